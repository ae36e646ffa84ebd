"""Which groups are drawn at best values: as the command line asks, or as their folders declare."""

from __future__ import annotations

from collections.abc import Sequence

from prsgd.errors import UserError
from prsgd.report.attempts import Attempt
from prsgd.report.curves import Group, varied
from prsgd.report.declared import Best, check_criterion, deciding_keys, declared_best, full_name
from prsgd.report.tuning import at_best, searched_keys


def tuned(
    groups: Sequence[Group], tried: Sequence[Attempt], asked: Best | None = None
) -> list[Group]:
    """The groups, each curve at its best values where that is `asked` or else declared.

    A key stays as it is in a group where no curve has several values of it. `UserError` where
    that is so in every group, and the key was asked for.
    """
    if asked:
        asked = _checked(asked, groups, tried)
    return [_tuned(group, tried, asked) for group in groups]


def _tuned(group: Group, tried: Sequence[Attempt], asked: Best | None) -> Group:
    best = asked or declared_best(group)
    keys = searched_keys(group, tried, best.keys) if best else []
    if not best or not keys:
        return group
    if asked:
        check_criterion("--best-by", asked.by, group.measures)
    return at_best(group, tried, keys, best.by)


def _checked(asked: Best, groups: Sequence[Group], tried: Sequence[Attempt]) -> Best:
    """What was asked for, in full names."""
    known = {key for group in groups for key in deciding_keys(group)}
    names = {key: full_name(key, known) for key in asked.keys}
    found = {key for group in groups for key in searched_keys(group, tried, [*names.values()])}
    for key, name in names.items():
        if name not in found:
            there = dict.fromkeys(
                other
                for group in groups
                for other in varied(group.curves)
                if searched_keys(group, tried, [other])
            )
            raise UserError(
                f"--best-of={key}: must be a key that one curve was tried at several values of; "
                f"here those are {', '.join(there) or 'none'}"
            )
    return Best([*names.values()], asked.by)
