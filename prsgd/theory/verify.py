"""`prsgd verify`: every claim of the paper that numbers can check."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from prsgd import console
from prsgd.errors import Refused
from prsgd.theory import identities, speedup, theorem1, variants
from prsgd.theory.lab import Finding, Lab

Check = Callable[[Lab], list[Finding]]
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


def verify(names: Sequence[str], quick: bool, out: Path | None) -> int:
    """Check the claims (all, if none is named), print the table; 1 if one of them fails.

    With `out`, the table and its figures are kept there.
    """
    for name in names:
        if name not in CLAIMS:
            raise Refused(f"{name}: there is no such claim; allowed are {', '.join(CLAIMS)}")
    if names and out:
        raise Refused("--out: keeps the table of all claims; name none")
    findings = check_all(names or list(CLAIMS), Lab(quick))
    console.show_findings(findings)
    if out:
        from prsgd.theory.figures import keep

        keep(findings, out)
        console.console.print(f"{out}: claims.md, claims.csv and figures", markup=False)
    return 0 if all(finding.holds for finding in findings) else 1


def check_all(names: Sequence[str], lab: Lab) -> list[Finding]:
    """The findings of the named claims, in the order of `CLAIMS`; a process per core."""
    checks = dict.fromkeys(CLAIMS[name] for name in names)
    ordered = sorted(checks, key=lambda c: c not in LONGEST_FIRST)
    with ProcessPoolExecutor(min(len(ordered), os.cpu_count() or 1)) as pool:
        futures = [pool.submit(check, lab) for check in ordered]
        done = console.track(as_completed(futures), len(futures), "checking claims")
        found = {f.claim: f for future in done for f in future.result()}
    return [found[name] for name in CLAIMS if name in names]
