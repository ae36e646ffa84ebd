# Every target sets up what it needs; `make` alone lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml prsgd/hydra/hydra_plugins/prsgd_launcher.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

setup: $(READY) ## make .venv with prsgd and its tools
	@$(BIN)/pre-commit install >/dev/null 2>&1 || true

train: $(READY) ## the main job on bundled digits: ResNet-8, N = 4, I = 8; then its figures
	$(BIN)/prsgd train +experiment=quickstart interval=8 workers=4
	$(BIN)/prsgd figures

test: $(READY) ## the tests, three processes for two cores
	$(BIN)/pytest -q -n $$(($$(nproc) * 3 / 2)) --dist worksteal

test-faults: $(READY) ## what can happen to a run, many times: killed, cut short, on a full disk; more variants (35 minutes)
	$(BIN)/pytest -q -m faults

test-tools: $(READY) ## prsgd with optional packages: the notebook, trackers, the page
	$(BIN)/pip install --quiet --editable '.[tools]'
	$(BIN)/pytest -q -m tools

lint: $(READY) ## style, and which way imports run
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

type: $(READY) ## types
	$(BIN)/mypy

figures: $(READY) ## redraw all figures and tables of results/, and those of runs/ where there are any
	@{ test ! -f results/network/network.csv || $(BIN)/python scripts/network.py --table; } && \
		$(BIN)/python scripts/fill_tables.py & \
	for drawn in "results --format png" runs; do \
		test -z "$$(find $${drawn%% *} -name config.yaml 2>/dev/null | head -n 1)" || $(BIN)/prsgd figures $$drawn || exit; \
	done; wait $$!

EXPERIMENTS := paper one_shot interval interval_half noniid momentum order speedup rate rate_plain rate_resnet8 paper_plain short unequal falling family language communication communication_lm length_rate length length_40 groupnorm_rate groupnorm full_rate full outer outer_seeds

reproduce: $(READY) ## train what is missing of the committed results, and draw all of them; first says how long it takes
	test -d ~/.cache/cifar10-jpeg-small || \
		scripts/subset.sh ~/.cache/cifar10-jpeg ~/.cache/cifar10-jpeg-small 1000 200
	for name in $(EXPERIMENTS); do $(BIN)/prsgd train +experiment=$$name --dry-run || exit; done
	$(BIN)/prsgd verify --out results/theory
	for name in $(EXPERIMENTS); do $(BIN)/prsgd train +experiment=$$name || exit; done
	if [ $$(id -u) = 0 ]; then $(BIN)/python scripts/network.py; \
		else echo "left out, as only root may make networks: sudo $(BIN)/python scripts/network.py"; fi
	$(MAKE) figures

bench: $(READY) ## prsgd beside its peers, on DATA="data=... KEY=VALUE" or synthetic images
	$(BIN)/pip install --quiet --editable '.[bench]'
	$(BIN)/python scripts/compare_peers.py $(DATA)

clean: ## remove runs/, builds and caches, but neither .venv nor results/
	rm -rf runs dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: help setup train test test-faults test-tools lint type figures reproduce bench clean
