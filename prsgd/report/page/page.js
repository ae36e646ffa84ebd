// What the page does with its data: charts by Vega-Lite, the table by DataTables, two runs compared.
const data = JSON.parse(document.getElementById("data").textContent);
const load = (text) => import("data:text/javascript," + encodeURIComponent(text));
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Figures: a section has a choice of x, a box for each series, and a chart for each panel.

function axisOf(axis, given) {
  const values = axis.log ? given.filter((v) => v > 0) : given;
  if (!values.length) return { type: "linear" };
  const low = axis.zero ? 0 : Math.min(...values), high = Math.max(...values);
  return axis.log && low < high
    ? { type: "log", domain: [low / 1.03, high * 1.03], nice: false }
    : { type: "linear", domain: [low, axis.zero ? 1.01 * high : high], zero: false, nice: !axis.zero };
}

function ticksOf({ type, domain }) {
  if (type !== "log") return {};
  const [low, high] = domain;
  const [, steps] = data.ticks.find(([most]) => high < most * low) ?? [0, [1]];
  const decades = [];
  for (let d = Math.floor(Math.log10(low)); 10 ** d <= high; d++) decades.push(10 ** d);
  return { values: decades.flatMap((d) => steps.map((s) => s * d)).filter((v) => low <= v && v <= high) };
}

function pointsOf(group, names, curves, x, y) {
  const title = (axis) => group.columns[axis].title;
  const digits = (v, most) => v.toLocaleString("en", { maximumSignificantDigits: most });
  return curves.flatMap(([place, series]) => {
    const { mean, spread, seeds } = group.curves[place];
    return mean[x].flatMap((at, k) => {
      const middle = mean[y][k], around = spread[y]?.[k] ?? null;
      const seen = (v, axis) => v !== null && (v > 0 || !group.columns[axis].log);
      if (!seen(at, x) || !seen(middle, y)) return [];
      const band = around === null ? "" : ` ± ${digits(around, 2)} (${seeds} seeds)`;
      const ends = around === null ? {} : { low: middle - around, high: middle + around };
      const name = names[series];
      const told = { curve: name, [title(x)]: digits(at, 6), [title(y)]: digits(middle, 5) + band };
      return [{ name, x: at, y: middle, told, ...ends }];
    });
  });
}

function chartOf(section, group, figure, points, x, y) {
  const looks = group.looks[figure.look];
  const domain = looks.map((series) => series.name);
  const styled = (range) => ({ domain, range });
  const chart = structuredClone(data.panel);
  const [, line, marks] = chart.layer;
  const title = (axis) => group.columns[axis].title;
  Object.assign(chart.encoding.x, { title: title(figure.x), scale: x });
  Object.assign(chart.encoding.x.axis, ticksOf(x));
  chart.encoding.color.scale = styled(
    looks.map((_, place) => `var(--c-${section.dataset.place}-${figure.look}-${place})`));
  for (const layer of chart.layer) {
    Object.assign(layer.encoding.y, { title: title(y.name), scale: y.scale });
  }
  Object.assign(line.encoding.y.axis, ticksOf(y.scale));
  line.encoding.strokeDash.scale = styled(looks.map(({ dash }) => dash.split(" ").map(Number)));
  marks.encoding.shape.scale = styled(looks.map(({ shape }) => shape));
  chart.description = `${title(y.name)} against ${title(figure.x)}`;
  chart.data = { values: points };
  return chart;
}

function drawn(section) {
  const group = data.groups[section.dataset.place];
  const figure = group.figures[section.querySelector("select").value];
  for (const legend of all("fieldset", section)) legend.hidden = legend.dataset.look != figure.look;
  const checked = all(`fieldset[data-look="${figure.look}"] input:checked`, section);
  const shown = new Set(checked.map((box) => Number(box.value)));
  const names = group.looks[figure.look].map((series) => series.name);
  const panels = section.querySelector(".panels");
  const rows = figure.rows.map((row) => row.curves.filter(([, series]) => shown.has(series)));
  const columns = figure.y.map((y) =>
    rows.map((curves) => pointsOf(group, names, curves, figure.x, y)));
  const scales = figure.y.map((y, place) => {
    const points = columns[place].flat();
    const values = points.flatMap((p) => [p.y, p.low, p.high]).filter((v) => v !== undefined);
    return {
      x: axisOf(group.columns[figure.x], points.map((p) => p.x)),
      y: { name: y, scale: axisOf(group.columns[y], values) },
    };
  });
  panels.style.setProperty("--columns", figure.y.length);
  panels.replaceChildren();
  rows.forEach((_, row) => {
    if (figure.rows[row].title) {
      const title = document.createElement("h3");
      title.textContent = figure.rows[row].title;
      panels.append(title);
    }
    figure.y.forEach((_, column) => {
      const { x, y } = scales[column], place = document.createElement("div");
      const low = y.scale.type === "log" ? y.scale.domain[0] : -Infinity;
      const points = columns[column][row].map((p) =>
        p.low === undefined ? p : { ...p, low: Math.max(p.low, low) });
      const chart = chartOf(section, group, figure, points, x, y);
      place.className = "chart";
      place.setAttribute("role", "img");
      place.setAttribute("aria-label", chart.description);
      panels.append(place);
      window.vegaEmbed(place, chart, { actions: false, ast: true, renderer: "svg" });
    });
  });
}

await load(data.scripts.charts);
const near = new IntersectionObserver((found) => {
  for (const { isIntersecting, target } of found.filter((one) => one.isIntersecting)) {
    near.unobserve(target);
    drawn(target);
  }
}, { rootMargin: "600px" });
for (const section of all("section.group")) {
  section.addEventListener("change", () => drawn(section));
  section.addEventListener("click", ({ target }) => {
    if (!target.dataset.check) return;
    for (const box of all("input", target.closest("fieldset"))) {
      box.checked = target.dataset.check === "all";
    }
    drawn(section);
  });
  near.observe(section);
}

// The table of all runs.

const { default: DataTable } = await load(data.scripts.tables);
const dark = matchMedia("(prefers-color-scheme: dark)");
const darken = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", darken);
darken();
const table = new DataTable("#runs", {
  paging: false,
  order: [],
  autoWidth: false,
  columnControl: ["order", ["searchList"]],
  ordering: { indicators: false, handler: false },
  layout: { topStart: "search", topEnd: "info", bottomStart: null, bottomEnd: null },
  language: { info: "_TOTAL_ runs", infoFiltered: "of _MAX_", search: "Filter" },
});
function hideEmpty() {
  const shown = { search: "applied" };
  table.columns("[data-hidden-if]").every(function () {
    const cells = table.column(this.index(), shown).nodes().toArray();
    const values = new Set(cells.map((cell) => cell.textContent));
    const alike = this.header().dataset.hiddenIf === "alike" && table.rows(shown).count() > 1;
    this.visible(alike ? values.size > 1 : values.size > 1 || !values.has(""), false);
  });
}
table.on("search.dt", hideEmpty);
hideEmpty();
document.querySelector(".dt-layout-table > *").tabIndex = 0;

// Two runs side by side.

const [first, second] = ["first", "second"].map((id) => document.getElementById(id));
function compare() {
  const [one, other] = [first, second].map((choice) => {
    const { own, ends } = data.runs[choice.value];
    return { ...data.usual, ...own, ...ends };
  });
  const keys = [...new Set([...Object.keys(one), ...Object.keys(other)])];
  const rows = keys.filter((key) => (one[key] ?? null) !== (other[key] ?? null)).map((key) => {
    const row = document.createElement("tr");
    for (const text of [key, one[key] ?? "", other[key] ?? ""]) {
      row.append(Object.assign(document.createElement("td"), { textContent: text }));
    }
    return row;
  });
  document.querySelector("#differences tbody").replaceChildren(...rows);
}
second.selectedIndex = Math.min(1, second.length - 1);
for (const choice of [first, second]) choice.addEventListener("change", compare);
compare();

// Commands: a button copies one, and a link to a run opens what it is folded into.

document.addEventListener("click", async ({ target }) => {
  if (!target.closest(".command > button")) return;
  const text = target.previousElementSibling;
  getSelection().selectAllChildren(text);
  await navigator.clipboard?.writeText(text.textContent).then(() => (target.textContent = "Copied"));
});
function unfold() {
  const place = location.hash && document.getElementById(location.hash.slice(1));
  const folded = place && place.closest("details");
  if (folded) folded.open = true;
  if (place) place.scrollIntoView();
}
addEventListener("hashchange", unfold);
unfold();
