"""No argument gets a traceback: it makes a run, or one line that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prsgd.config.choices import choices, known_keys
from prsgd.config.compose import compose
from prsgd.config.naming import run_name
from prsgd.config.schema import GROUPS, Run
from prsgd.cost.counter import CommCounter
from prsgd.errors import UserError

NUMBERS = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([10**9, -(10**30), 2**63, 10**400]),
    st.floats(),
    st.sampled_from([1e-320, 1e308, -0.0]),
)
WORDS = st.one_of(
    st.sampled_from(["auto", "null", "true", "???", "", "${lr}", "${nothing}", "[", "{a: 1", "'"]),
    st.sampled_from(
        ["average", "drop", "steps", "by_label", "dirichlet", "cosine", "sgd", "adamw"]
    ),
    st.text(max_size=12),
    st.text("xσγ漢🙂\x00\n\t=,()[]{}~+-", max_size=6),
)
LISTS = st.lists(NUMBERS, max_size=4).map(lambda v: "[" + ",".join(map(str, v)) + "]")
MAPS = st.dictionaries(st.integers(-1, 9), st.integers(-1, 40), max_size=3).map(
    lambda v: "{" + ",".join(f"{a}:{b}" for a, b in v.items()) + "}"
)
VALUES = st.one_of(NUMBERS.map(str), WORDS, LISTS, MAPS)
KEYS = st.one_of(st.sampled_from(known_keys()), st.text(max_size=8))
CHOICES = st.sampled_from([f"{group}={name}" for group in GROUPS for name in choices(group)])
OVERRIDES = st.one_of(
    CHOICES,
    st.builds("{}={}".format, KEYS, VALUES),
    st.builds("{}{}={}".format, st.sampled_from(["+", "++", "~"]), KEYS, VALUES),
)
SMALL = ["data=synthetic", "model=mlp", "workers=2", "epochs=2"]


def accepted(arguments: list[str]) -> list[Run]:
    """The runs that they make, gone through as far as a plan does; raises `UserError` only."""
    runs, _ = compose([*SMALL, *arguments])
    for run in runs:
        samples = 512  # however many there are
        info = run.info(samples)
        run_name(run, "fp32", "fingerprint")
        if info.steps < 3000 and run.workers < 100:
            CommCounter([10], run.workers, run.moments).run(run.algorithm, info)
            run.algorithm.warning(info)
    return runs


def check(arguments: list[str], folder: Path) -> None:
    try:
        accepted(arguments)
    except UserError as refusal:
        line = str(refusal)
        assert line.strip()
        assert len(line.split("\n")) == 1, line
    except SystemExit as end:  # what begins with a dash is an option, to argparse
        if end.code != 2:
            raise
    assert not list(folder.iterdir())


LONG = pytest.param(2000, marks=[pytest.mark.faults, pytest.mark.timeout(3000)])


@pytest.mark.parametrize("cases", [60, LONG])
def test_no_argument_gets_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases: int
) -> None:
    monkeypatch.chdir(tmp_path)

    @settings(
        max_examples=cases,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(OVERRIDES, min_size=1, max_size=3))
    def one(arguments: list[str]) -> None:
        check(arguments, tmp_path)

    one()
