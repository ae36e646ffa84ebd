"""Language modelling: texts, windows of them, a small GPT, and the recipe that it learns by."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, Trainer, bound, cut_short, drawn, part
from test_data import silent
from torch.nn import functional as F

from prsgd.config.build import build_run
from prsgd.config.schema import Run
from prsgd.data.cache import prepare
from prsgd.data.text import Stdlib, Text, Tokens
from prsgd.distributed.communicator import Communicator
from prsgd.errors import UserError
from prsgd.models import GPT
from prsgd.models.gpt import Decoder
from prsgd.rng import Purpose, generator
from prsgd.run_folder import RunFolder
from prsgd.schedule import WSD, Cosine
from prsgd.training.sample import sample
from prsgd.training.setup import build_workers

CONTEXT = 16
TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(300))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tables.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def run_of(file: Path) -> Callable[..., Run]:
    def make(**values: Any) -> Run:
        data = {"name": "text", "root": str(file), **values.pop("data", {})}
        return build_run(
            {
                "workers": 2,
                "batch_size": 4,
                "lr": 0.01,
                "epochs": 1,
                "optimiser": "adamw",
                "weight_decay": 0.1,
                "decayed": "matrices",
                "clip": 1.0,
                "precision": "fp32",
                "threads": 1,
                "evaluate_every": 0.25,
                "evaluate_samples": 8,
                "algorithm": part("prsgd"),
                "model": {"name": "gpt", "depth": 2, "width": 16, "heads": 2},
                "schedule": part("constant"),
                "task": {"name": "language_modeling", "context": CONTEXT},
                "data": data,
                **values,
            }
        )

    return make


RunOf = Callable[..., Run]


def test_a_batch_holds_what_follows(run_of: RunOf, cache: Path) -> None:
    run = run_of()
    tokens, following = bound(run, cache).batch([0, 1], [3, 0])
    assert tokens.shape == following.shape == (2, 4, CONTEXT)
    training = TEXT.encode()[: math.ceil(len(TEXT) * 0.9)]
    for window, after in zip(
        tokens.reshape(-1, CONTEXT), following.reshape(-1, CONTEXT), strict=True
    ):
        place = training.find(bytes(window.tolist()))
        assert place >= 0
        assert training[place + 1 : place + 1 + CONTEXT] == bytes(after.tolist())


def test_a_draw_is_a_pure_function(run_of: RunOf, cache: Path) -> None:
    one, two, other = (bound(run_of(seed=seed), cache) for seed in (0, 0, 1))
    for worker, draw in ((1, 40), (0, 0), (1, 40)):
        for mine, same in zip(drawn(one, worker, draw), drawn(two, worker, draw), strict=True):
            assert torch.equal(mine, same)
    assert not torch.equal(drawn(one, 0, 0)[0], drawn(other, 0, 0)[0])


@pytest.mark.parametrize("partition", ["shared", "contiguous", "by_file"])
def test_a_pass_reads_every_window_once(run_of: RunOf, cache: Path, partition: str) -> None:
    run = run_of(data={"partition": partition})
    task: Any = bound(run, cache)
    n = run.samples()
    assert n == math.ceil(len(TEXT) * 0.9) // CONTEXT - 1
    shares = [n] if partition == "shared" else [n - n // 2, n // 2]
    for worker, size in enumerate(shares):
        workers = range(2) if partition == "shared" else [worker]
        starts = [task._starts(w, k) for k in range(n) for w in workers]
        first = np.concatenate(starts)[:size]
        assert len(set(first)) == size
        assert len(set(first % CONTEXT)) == 1
        if partition == "contiguous":
            assert set(np.diff(sorted(first))) == {CONTEXT}


def test_files_stay_with_their_workers(tmp_path: Path, run_of: RunOf, cache: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in "abcd":
        (folder / f"{name}.txt").write_text(name * 1000)
    run = run_of(data={"root": str(folder), "partition": "by_file"})
    seen = [
        {chr(token) for k in range(60) for token in drawn(bound(run, cache), w, k)[0].unique()}
        for w in range(2)
    ]
    assert seen[0] >= {"a", "b"}
    assert seen[1] >= {"d"}
    assert not seen[0] & {"d"}
    assert not seen[1] & {"a"}


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, text in {"b/1.md": "third ", "a.txt": "first ", "c": "last", ".hidden": "no"}.items():
        (tmp_path / name).write_text(text * 5)
    data = Text(root=str(tmp_path))
    found = data.read(tmp_path, lambda items, n: iter(items)).arrays
    whole = b"".join(found[split].tobytes() for split in ("train_tokens", "test_tokens"))
    assert whole == b"first " * 5 + b"last" * 5 + b"third " * 5
    assert len(found["test_tokens"]) == len(whole) // 10
    assert data.found() == "3 files, 80 bytes; 1 hidden file ignored"
    (tmp_path / "c").write_text("Last" * 5)
    assert Text(root=str(tmp_path)).fingerprint() != data.fingerprint()


def test_a_text_is_not_kept(file: Path) -> None:
    """A sweep has a set for each run, and each is pickled for its processes."""
    data = Text(root=str(file))
    assert data.found() == f"1 file, {len(TEXT):,} bytes"
    data.fingerprint()
    data.read(file.parent, silent)
    assert max(len(own) for own in vars(data).values()) < len(TEXT) / 2
    assert len(pickle.dumps(data)) < len(TEXT) / 2


def test_a_text_that_changes_while_it_is_read(file: Path) -> None:
    data = Text(root=str(file))
    data.fingerprint()
    file.write_text(TEXT.replace("times", "TIMES"))
    with pytest.raises(UserError) as refusal:
        data.read(file.parent, silent)
    assert str(refusal.value) == "data: tables changed while it was read"


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    """Several to one folder are no loop."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "texts/a.txt").write_text("first " * 5)
    (tmp_path / "elsewhere/b.txt").write_text("linked " * 5)
    for name in ("one", "two"):
        (tmp_path / "texts" / name).symlink_to(tmp_path / "elsewhere")
    data = Text(root=str(tmp_path / "texts"))
    names = ("a.txt", "one/b.txt", "two/b.txt")
    assert data.paths() == [tmp_path / "texts" / name for name in names]
    loop = tmp_path / "elsewhere/again"
    loop.symlink_to(tmp_path / "texts")
    with pytest.raises(UserError) as refusal:
        Text(root=str(tmp_path / "texts")).fingerprint()
    line = f"data: {tmp_path}/texts/one/again is a link to a folder that it is in"
    assert str(refusal.value) == line


def test_pythons_own_library() -> None:
    data = Stdlib()
    assert data.name().startswith("library of Python 3.")
    assert data.train_samples() > 1e6
    assert data.facts() == {"vocabulary": 256}


def test_tokens_made_elsewhere(tmp_path: Path, run_of: RunOf, cache: Path) -> None:
    for name, count in {"train.bin": 4000, "val.bin": 400}.items():
        (np.arange(count, dtype="<u2") % 900).tofile(tmp_path / name)
    data = {"name": "tokens", "root": str(tmp_path), "vocabulary": 1000}
    run = run_of(data=data)
    tokens, following = drawn(bound(run, cache), 0, 0)
    assert torch.equal((tokens + 1) % 900, following)
    assert run.measures().main.title == "bits per token"
    few = Tokens(root=str(tmp_path), vocabulary=800)
    with pytest.raises(UserError) as refusal:
        few.read(tmp_path, lambda items, n: iter(items))
    assert str(refusal.value) == "data.vocabulary=800: must be above 899, the largest token"
    (tmp_path / "val.bin").write_bytes(b"\1\0" * 400)
    with pytest.raises(UserError) as refusal:
        few.read(tmp_path, lambda items, n: iter(items))
    assert str(refusal.value) == f"data.root={tmp_path}: the tokens changed while they were read"


def test_a_vocabulary_that_is_too_small_is_refused_with_a_cache_too(
    tmp_path: Path, cache: Path
) -> None:
    for name in ("train.bin", "val.bin"):
        (np.arange(4000, dtype="<u2") % 900).tofile(tmp_path / name)
    few, many = (Tokens(root=str(tmp_path), vocabulary=size) for size in (899, 900))
    for _ in range(2):
        with pytest.raises(UserError) as refusal:
            prepare(few, cache, silent)
        assert str(refusal.value) == "data.vocabulary=899: must be above 899, the largest token"
        prepare(many, cache, silent)
    assert many.fingerprint() == Tokens(root=str(tmp_path), vocabulary=1000).fingerprint()


def odd_texts(folder: Path) -> dict[str, tuple[str, str]]:
    (folder / "latin.txt").write_bytes(b"caf\xe9 " * 20)
    (folder / "short.txt").write_text("short")
    (folder / "few.txt").write_text("few " * 300)
    (folder / "none").mkdir()
    (folder / "bins").mkdir()
    (folder / "bins/train.bin").write_bytes(b"123")
    (folder / "wide").mkdir()
    for name in ("train.bin", "val.bin"):
        (np.arange(400) % 9).astype("<u4").tofile(folder / "wide" / name)
    return {
        "latin": (
            "data=text data.root=latin.txt",
            "data: {folder}/latin.txt is not UTF-8 text (byte 3 is 0xe9)",
        ),
        "short": ("data=text data.root=short.txt", "data: short has too little text to train on"),
        "none": ("data=text data.root=none", "data.root=none: it holds no files of text"),
        "nowhere": (
            "data=text data.root=nowhere",
            "data.root=nowhere: must be a file of UTF-8 text, or a folder of such files",
        ),
        "vocabulary": (
            "data=tokens data.root=bins",
            "data.vocabulary is required: a whole number from 2 to 65536, above every token",
        ),
        "half": (
            "data=tokens data.root=bins data.vocabulary=9",
            "data: bins/train.bin must hold 16-bit numbers",
        ),
        "wide": (
            "data=tokens data.root=wide data.vocabulary=9",
            "data: wide/train.bin must hold 16-bit numbers, and every second one is 0, as in a "
            "file of 32-bit numbers",
        ),
        "model": (
            "data=stdlib model=mlp",
            "model: MLP-64 asks for features, outputs, and the task tells vocabulary, context; "
            "choose a model or a task that fits",
        ),
        "task": (
            "data=digits task=language_modeling",
            "data=digits: serves task=image_classification, not task=language_modeling",
        ),
        "heads": ("data=stdlib model.heads=3", "model.heads=3: must divide model.width=128"),
        "long": (
            "data=text data.root=few.txt",
            "task.context=128: must be below 120, the length of the text to be tested on",
        ),
        "parts": ("data=stdlib accumulate=3", "accumulate=3: must divide batch_size=16"),
    }


def test_what_is_no_text_is_one_line(tmp_path: Path, prsgd: Command) -> None:
    for command, line in odd_texts(tmp_path).values():
        done = prsgd("train", *command.split(), "device=cpu", "--dry-run")
        assert (done.returncode, done.stderr) == (
            2,
            f"prsgd: {line.format(folder=tmp_path)}\n".replace(f"{tmp_path}/latin", "latin"),
        )


def test_the_decoder_against_numpy() -> None:
    """Pre-norm blocks, causal attention, tied embeddings: the same logits to 1e-5."""
    torch.manual_seed(0)
    model = Decoder(11, 8, depth=2, width=12, heads=3, dropout=0.0)
    tokens = torch.randint(0, 11, (2, 7))
    w = {name: p.detach().double().numpy() for name, p in model.named_parameters()}

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight

    def gelu(x: np.ndarray) -> np.ndarray:
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    x = w["tokens.weight"][tokens] + w["places.weight"][:7]
    for block in ("blocks.0.", "blocks.1."):
        y = norm(x, w[f"{block}norm1.weight"]) @ w[f"{block}attention.into.weight"].T
        q, k, v = (y[..., 12 * n : 12 * (n + 1)].reshape(2, 7, 3, 4) for n in range(3))
        scores = np.einsum("bihd,bjhd->bhij", q, k) / 2
        scores[..., np.triu(np.ones((7, 7), bool), 1)] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = np.einsum("bhij,bjhd->bihd", shares, v).reshape(2, 7, 12)
        x = x + mixed @ w[f"{block}attention.out.weight"].T
        hidden = gelu(norm(x, w[f"{block}norm2.weight"]) @ w[f"{block}perceptron.into.weight"].T)
        x = x + hidden @ w[f"{block}perceptron.out.weight"].T
    logits = norm(x, w["norm.weight"]) @ w["tokens.weight"].T
    np.testing.assert_allclose(model(tokens).detach().numpy(), logits, atol=1e-5)


def test_gpt_nano_is_as_large_as_it_says() -> None:
    model = GPT(4, 128, 4).build(vocabulary=256, context=128)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(0.84e6, rel=0.01)


@pytest.mark.parametrize(("accumulate", "dropout"), [(1, 0.0), (2, 0.0), (1, 0.2)])
def test_a_step_against_a_plain_loop(
    run_of: RunOf, cache: Path, accumulate: int, dropout: float
) -> None:
    """One worker, AdamW that decays matrices only, clipping at 1: torch's own, to 1e-6.

    Masks of dropout are those of the step's seed.
    """
    model = {"name": "gpt", "depth": 2, "width": 16, "heads": 2, "dropout": dropout}
    run = run_of(workers=1, accumulate=accumulate, clip=0.5, model=model)
    task = bound(run, cache)
    workers = build_workers(run, task, Communicator(1, "cpu", "fast"), bf16=False)
    plain = run.build_model()
    plain.load_state_dict({k: v.clone() for k, v in workers.models[0].state_dict().items()})
    decayed = [p for p in plain.parameters() if p.dim() > 1]
    others = [p for p in plain.parameters() if p.dim() == 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=run.lr,
    )
    clipped = 0
    for t in range(6):
        tokens, following = drawn(task, 0, t)
        optimiser.zero_grad()
        torch.manual_seed(int(generator(Purpose.FORWARD, run.seed, 0, t).integers(1 << 32)))
        F.cross_entropy(plain(tokens).flatten(0, 1), following.flatten()).backward()
        clipped += torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5) > 0.5
        optimiser.step()
        workers.compute_gradients()
        workers.optimizer_step(run.lr)
        for ours, theirs in zip(workers.models[0].parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    assert clipped


def test_a_run_learns_and_its_record_says_what_it_measures(
    run_of: RunOf, train_here: Trainer
) -> None:
    status, folder = train_here(run_of(epochs=4))
    assert status == "done"
    measures = folder.measures()
    assert measures.unit == "tokens"
    assert measures.main.column == "test_bits_per_byte"
    header, *rows = (folder.path / "metrics.csv").read_text().splitlines()
    assert "test_bits_per_byte" in header.split(",")
    assert "tokens_per_second" in header.split(",")
    assert len(rows) >= 16  # four an epoch
    last = folder.last_metrics()
    assert last["consensus_train_loss"] < 2.5
    assert last["test_bits_per_byte"] == pytest.approx(last["test_loss"] / math.log(2))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_resuming_changes_no_bit(run_of: RunOf, train_here: Trainer, dropout: float) -> None:
    model = {"name": "gpt", "depth": 2, "width": 16, "heads": 2, "dropout": dropout}
    run = run_of(checkpoint_seconds=0, model=model)
    whole, parts = cut_short(train_here, run, 9)
    expected = (whole.path / "model.safetensors").read_bytes()
    assert (parts.path / "model.safetensors").read_bytes() == expected


@pytest.mark.dist
@pytest.mark.parametrize("dropout", [pytest.param(0.0, marks=pytest.mark.faults), 0.1])
def test_processes_do_not_matter(
    tmp_path: Path, file: Path, prsgd: Command, dropout: float
) -> None:
    keys = [f"data.root={file}", "model.depth=1", "model.width=16", "model.heads=2"]
    keys += ["task.context=16", "batch_size=4", "epochs=0.5", "workers=3", "interval=2"]
    keys += ["reduction=exact", "threads=1", "device=cpu", "precision=fp32"]
    keys += [f"model.dropout={dropout}"]
    models = []
    for processes in (1, 2):
        out = f"out{processes}"
        done = prsgd("train", "data=text", *keys, f"processes={processes}", f"out={out}")
        assert done.returncode == 0, done.stderr
        [folder] = (tmp_path / out).iterdir()
        models.append((folder / "model.safetensors").read_bytes())
    assert models[0] == models[1]


def test_the_floor_of_a_schedule() -> None:
    rates = [Cosine(floor=0.1).lr(t, 100, 2.0) for t in (1, 51, 100)]
    assert rates == pytest.approx([2.0, 1.1, 0.2], abs=1e-3)
    steady = [WSD(cooldown=0.2, warmup=0.1).lr(t, 100, 1.0) for t in (5, 10, 81, 91, 100)]
    assert steady == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.05])


def test_figures_show_the_metric_of_the_task(
    tmp_path: Path, run_of: RunOf, train_here: Trainer, prsgd: Command
) -> None:
    _, folder = train_here(run_of())
    done = prsgd("figures", str(folder.path.parent), "--out", "figures")
    assert done.returncode == 0, done.stderr
    assert "test bits per byte" in done.stdout
    assert "tokens/s" in done.stdout
    assert any("bits per byte" in svg.read_text() for svg in tmp_path.rglob("epochs.svg"))


def test_a_record_with_damaged_measures(run_of: RunOf, train_here: Trainer) -> None:
    _, folder = train_here(run_of(epochs=0.1))
    config = folder.path / "config.yaml"
    config.write_text(config.read_text().replace("unit: tokens", "units: tokens"))
    with pytest.raises(UserError) as refusal:
        RunFolder(folder.path).measures()
    assert str(refusal.value).startswith(f"{config} is damaged: its measures cannot be read")


def test_a_trained_model_writes(
    tmp_path: Path, run_of: RunOf, train_here: Trainer, prsgd: Command
) -> None:
    _, folder = train_here(run_of(epochs=6))
    one = prsgd("sample", str(folder.path), "--prompt", "12 times", "--tokens", "60")
    assert (one.returncode, one.stderr) == (0, "")
    assert one.stdout.startswith("12 times")
    assert len(one.stdout.encode()) == len("12 times") + 60 + 1
    same = prsgd("sample", str(folder.path), "--prompt", "12 times", "--tokens", "60")
    assert same.stdout == one.stdout
    other = prsgd("sample", str(folder.path), "--prompt", "12 times", "--tokens", "60", "--seed=1")
    assert other.stdout != one.stdout
    (folder.path / "model.safetensors").unlink()
    for arguments, line in {
        (str(folder.path),): "only a finished run has it",
        (str(folder.path), "--tokens=0"): "--tokens=0: must be a whole number of at least 1",
        (str(folder.path), "--temperature=-1"): "--temperature=-1: must be a number of at least 0",
        (str(folder.path), "--prompt="): "--prompt: must not be empty",
        (str(folder.path), "data.root=elsewhere"): "data.root: cannot be given here, as no data "
        "are read; only plugins=[...] fit",
        ("nowhere",): "nowhere is not a run folder: it has no config.yaml",
    }.items():
        done = prsgd("sample", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.rstrip().endswith(line)


def test_the_likeliest_token_against_a_loop() -> None:
    torch.manual_seed(0)
    model = Decoder(11, 8, depth=1, width=12, heads=3, dropout=0.0).eval()
    text = [3, 1, 4]
    for _ in range(12):
        text.append(int(model(torch.tensor([text[-8:]]))[0, -1].argmax()))
    assert sample(model, [3, 1, 4], 12, 8, 0.0, seed=0) == text[3:]
