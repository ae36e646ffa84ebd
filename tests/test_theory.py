"""`prsgd verify`: the problems' constants, and that each check can fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Command

from prsgd.algorithms.epochs import PRSGDEpochs
from prsgd.algorithms.restarted import PRSGD
from prsgd.theory import speedup, variants
from prsgd.theory.checks import CheckContext, corollary, slope
from prsgd.theory.problems import (
    Bumps,
    Logistic,
    Problem,
    different_hessians,
    equal_hessians,
)
from prsgd.theory.verify import CLAIMS, check_all
from prsgd.theory.workers import ProblemWorkers

RNG = np.random.default_rng(0)
PROBLEMS: list[Problem] = [
    Bumps(0.5, RNG.standard_normal((4, 1, 6))),
    different_hessians(4, 0.5, 6),
    equal_hessians(4, 0.5, 6),
    Logistic(RNG.standard_normal((4, 20, 6))),
]


def value(problem: Problem, centre: np.ndarray) -> np.ndarray:
    if isinstance(problem, Bumps | Logistic):
        return problem.value(centre)
    return (problem.h * np.square(centre - problem.b) / 2).sum(-1).mean(0)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)
def test_gradients_are_those_of_the_value(problem: Problem) -> None:
    """Central differences; and the f_i's gradients average to f's."""
    centre = RNG.standard_normal((3, 6))
    found = problem.gradient(centre)
    for j in range(6):
        e = 1e-6 * np.eye(6)[j]
        difference = (value(problem, centre + e) - value(problem, centre - e)) / 2e-6
        np.testing.assert_allclose(found[:, j], difference, atol=1e-8)
    everywhere = np.repeat(centre[None], 4, 0)
    np.testing.assert_allclose(problem.gradients(everywhere).mean(0), found, atol=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)
def test_samples_are_unbiased_and_within_the_constants(problem: Problem) -> None:
    x = np.repeat(RNG.standard_normal((4, 1, 6)), 40_000, 1)
    noise = problem.sample(x, np.random.default_rng(1)) - problem.gradients(x[:, :1])
    np.testing.assert_allclose(noise.mean(1), 0, atol=0.05)
    variance = np.square(noise).sum(-1).mean(1).max()
    if isinstance(problem, Logistic):
        assert 0.05 * problem.sigma2 < variance <= problem.sigma2
        sizes = np.square(noise + problem.gradients(x[:, :1])).sum(-1)
        assert 0.2 * problem.g2 < sizes.max() <= problem.g2
    else:
        assert variance == pytest.approx(0.25)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)
def test_the_gradients_are_lipschitz_with_l(problem: Problem) -> None:
    """|∇f_i(x) - ∇f_i(y)| <= L |x - y|, and L is not far too large."""
    x = RNG.standard_normal((4, 2000, 6))
    step = RNG.standard_normal(x.shape)
    step *= 1e-4 / np.linalg.norm(step, axis=-1, keepdims=True)
    change = np.linalg.norm(problem.gradients(x + step) - problem.gradients(x), axis=-1) / 1e-4
    assert 0.2 * problem.L < change.max() <= problem.L * (1 + 1e-6)


def test_constants_of_p1() -> None:
    problem = Bumps(0.5, 0.7 * RNG.standard_normal((4, 1, 6)))
    x = RNG.uniform(-3, 3, (4, 5000, 6))
    assert np.abs(problem.gradients(x)).max() == pytest.approx(3 * 3**0.5 / 8, rel=1e-3)
    assert problem.g2 == pytest.approx(27 * 6 / 64 + 0.25)
    assert problem.minimum() <= problem.value(RNG.uniform(-3, 3, (5000, 6))).min() + 1e-6
    assert Bumps(0.0, np.zeros((1, 1, 6))).minimum() == 0


def test_the_fixed_point_for_one_step_is_the_optimum() -> None:
    problem = different_hessians(4, 0.0)
    np.testing.assert_allclose(problem.fixed_point(0.1, np.ones(4)), problem.optimum())


def test_corollary_by_hand() -> None:
    assert corollary(1, 4096, 2.0) == (1 / 128, 8)
    assert corollary(16, 2**16, 1.0) == (1 / 64, 2)
    assert corollary(16, 2**12, 1.0)[1] == 1
    assert slope(np.array([1, 2, 4]), np.array([[8, 4], [4, 1], [2, 0.25]])) == pytest.approx(
        (-1.5, 12.706205 * 0.5**0.5 / 2**0.5)  # t of 1 degree of freedom, from a table
    )


@pytest.mark.parametrize(("copies", "table"), [(6, 2.570582), (16, 2.131450), (32, 2.039513)])
def test_intervals_are_students(copies: int, table: float) -> None:
    slopes = RNG.standard_normal(copies)
    x = np.array([1.0, 2.0, 4.0])
    found = slope(x, x[:, None] ** slopes)
    expected = table * slopes.std(ddof=1) / copies**0.5
    assert found == pytest.approx((slopes.mean(), expected), rel=1e-6)


def test_the_noise_is_a_function_of_the_seed() -> None:
    def gradients(seed: int) -> np.ndarray:
        workers = ProblemWorkers(PROBLEMS[0], np.ones((2, 6)), 4, seed)
        workers.compute_gradients(None)
        return workers.g

    assert np.array_equal(gradients(1), gradients(1))
    assert not np.array_equal(gradients(1), gradients(2))


# every check can fail ---------------------------------------------------------------------------


class Skipping(ProblemWorkers):
    """Averages are counted and not taken."""

    def restart(self, x: np.ndarray) -> None:
        pass


class ByProcesses(ProblemWorkers):
    """The sum over N workers is divided by half of them."""

    def restart(self, x: np.ndarray) -> None:
        super().restart(x * (2 if len(self.x) > 1 else 1))


class Doubled(ProblemWorkers):
    """Every step is twice as long."""

    def optimizer_step(self, lr: float) -> None:
        super().optimizer_step(2 * lr)


class Frozen(ProblemWorkers):
    """No step is taken."""

    def optimizer_step(self, lr: float) -> None:
        pass


class Busy(ProblemWorkers):
    """Nobody is idle."""

    def compute_gradients(self, active: object) -> None:
        super().compute_gradients(None)


class Local(ProblemWorkers):
    """Gradients are not averaged."""

    def average_gradients(self) -> None:
        self.rounds += 1


BROKEN = [
    ("bound", Frozen),
    ("drift", Skipping),
    ("speedup", ByProcesses),
    ("breakdown", Skipping),
    ("breakdown", ByProcesses),
    ("breakdown", Doubled),
    ("minibatch", Skipping),
    ("minibatch", ByProcesses),
    ("minibatch", Local),
    ("fixed_point", Skipping),
    ("fixed_point", ByProcesses),
    ("fixed_point", Doubled),
    ("control", ByProcesses),
    ("falling", ByProcesses),
    ("falling", Doubled),
    ("unequal", Frozen),
    ("unequal_different", Busy),
    ("unequal_different", Skipping),
    ("unequal_different", Doubled),
]


@pytest.mark.slow
@pytest.mark.parametrize(("claim", "broken"), BROKEN)
def test_a_broken_algorithm_turns_the_verdict(claim: str, broken: type[ProblemWorkers]) -> None:
    found = {f.claim: f.holds for f in CLAIMS[claim](CheckContext(quick=True, workers=broken))}
    assert not found[claim]


def test_too_many_rounds_turn_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    step = PRSGD.step

    def twice(self: PRSGD, t: int, lr: float, workers: object) -> None:
        step(self, t, lr, workers)
        step(self, t, lr, workers)

    monkeypatch.setattr(speedup.PRSGD, "step", twice)
    [finding] = speedup.rounds(CheckContext(quick=True))
    assert not finding.holds


@pytest.mark.slow
def test_doubled_epochs_turn_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Algorithm 2 with K^s = ceil(2 s^{1/3} / N) needs fewer rounds than claimed."""

    def longer(**keys: float) -> PRSGDEpochs:
        return PRSGDEpochs(**keys, steps_scale=2 / keys["workers"])

    monkeypatch.setattr(variants, "PRSGDEpochs", longer)
    found = {f.claim: f.holds for f in variants.falling(CheckContext(quick=True))}
    assert not found["falling_rounds"]


def test_every_claim_can_fail() -> None:
    counted = {"rounds", "falling_rounds"}  # by the two tests above
    assert {claim for claim, _ in BROKEN} | counted == set(CLAIMS)


# the command ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_quick_verification_holds(prsgd: Command, tmp_path: Path) -> None:
    done = prsgd("verify", "--quick", "--out", "theory")
    assert done.returncode == 0, done.stdout + done.stderr
    frame = pd.read_csv(tmp_path / "theory" / "claims.csv")
    assert list(frame["claim"]) == list(CLAIMS)
    assert frame["holds"].all()
    names = {path.name for path in (tmp_path / "theory").iterdir()}
    figures = {"bound", "speedup", "breakdown", "falling", "unequal_different"}
    assert {f"{name}.{kind}" for name in figures for kind in ("png", "svg", "csv")} < names
    assert (tmp_path / "theory" / "claims.md").read_text().count("| holds |") == len(CLAIMS)


def test_chosen_claims_only(prsgd: Command) -> None:
    done = prsgd("verify", "control", "minibatch", "--quick")
    assert done.returncode == 0
    assert done.stdout.index("minibatch") < done.stdout.index("control")
    assert "speedup" not in done.stdout


def test_an_unknown_claim(prsgd: Command) -> None:
    done = prsgd("verify", "everything")
    assert done.returncode == 2
    allowed = ", ".join(CLAIMS)
    assert done.stderr == f"prsgd: everything: there is no such claim; allowed are {allowed}\n"


def test_kept_tables_are_whole(prsgd: Command, tmp_path: Path) -> None:
    done = prsgd("verify", "control", "--quick", "--out", "here")
    assert done.returncode == 2
    assert done.stderr == "prsgd: --out: keeps the table of all claims; name none\n"
    assert not list(tmp_path.iterdir())


def test_a_failed_claim_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from prsgd.cli import verify as command
    from prsgd.theory import verify
    from prsgd.theory.checks import CheckResult

    def failing(lab: CheckContext) -> list[CheckResult]:
        return [CheckResult("control", "what", "nothing", False)]

    check: Callable[..., list[CheckResult]] = lambda names, lab: failing(lab)  # noqa: E731
    monkeypatch.setattr(verify, "check_all", check)
    assert command.main(["control", "--quick"]) == 1


def test_verification_needs_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['prsgd', 'verify', 'control', '--quick']\n"
        "from prsgd.cli.main import dispatch; assert dispatch(sys.argv[1:]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_findings_come_in_the_order_of_the_table() -> None:
    names = ["control", "fixed_point", "minibatch"]
    found = [f.claim for f in check_all(names, CheckContext(quick=True))]
    assert found == ["minibatch", "fixed_point", "control"]
