"""Every claim of the paper that numbers can check."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from prsgd.console import track
from prsgd.errors import UserError
from prsgd.theory import identities, speedup, theorem1, variants
from prsgd.theory.checks import CheckContext, CheckResult

Check = Callable[[CheckContext], list[CheckResult]]
CLAIMS: dict[str, Check] = {  # in the order of the table
    "bound": theorem1.check,
    "drift": theorem1.check,
    "speedup": speedup.linear,
    "rounds": speedup.rounds,
    "breakdown": speedup.breakdown,
    "minibatch": identities.minibatch,
    "fixed_point": identities.fixed_point,
    "control": identities.control,
    "falling": variants.falling,
    "falling_rounds": variants.falling,
    "unequal": variants.unequal,
    "unequal_different": variants.unequal_different,
}
LONGEST_FIRST = (speedup.breakdown, theorem1.check, variants.falling, speedup.linear)


def check_all(names: Sequence[str], context: CheckContext) -> list[CheckResult]:
    """The results of the named claims, or of all, in the order of `CLAIMS`; a process per core."""
    for name in names:
        if name not in CLAIMS:
            raise UserError(f"{name}: there is no such claim; allowed are {', '.join(CLAIMS)}")
    names = names or list(CLAIMS)
    checks = dict.fromkeys(CLAIMS[name] for name in names)
    ordered = sorted(checks, key=lambda c: c not in LONGEST_FIRST)
    with ProcessPoolExecutor(min(len(ordered), os.cpu_count() or 1)) as pool:
        futures = [pool.submit(check, context) for check in ordered]
        done = track(as_completed(futures), len(futures), "checking claims")
        found = {result.claim: result for future in done for result in future.result()}
    return [found[name] for name in CLAIMS if name in names]
