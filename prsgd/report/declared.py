"""What figures.yaml says, and which keys it may name.

Beside figures (see `specs`) it may say that each curve is drawn at its best value of a key:

    best_of: lr  # or [lr, algorithm.outer_lr]
    best_by: test_loss  # the column that decides, at the end; the training loss if it is not said

which question the runs answer, a sentence that `prsgd report` shows:

    question: How much does accuracy fall as workers average less often?

and that time is drawn as it would be on a network:

    network: {latency_ms: 1, bandwidth_mbit: 100, group_bandwidth_mbit: 10000, processes: 8,
              jitter: 0.2}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from prsgd.config.registry import PATHS, class_named
from prsgd.config.schema import GROUPS, Settings
from prsgd.cost.network import MBIT, Network
from prsgd.errors import UserError
from prsgd.files import read_bytes
from prsgd.measures import Measures
from prsgd.plain_yaml import read_yaml
from prsgd.report.curves import Group
from prsgd.report.trials import TRAINING_LOSS, criteria
from prsgd.run_folder import unreadable

BEST = ("best_of", "best_by")
QUESTION = "question"
NETWORK = "network"
OF_NETWORK = ("latency_ms", "bandwidth_mbit", "group_bandwidth_mbit", "processes", "jitter")

ALLOWED = (("latency_ms", 0), ("jitter", 0))  # though they are not above 0


@dataclass(frozen=True)
class Best:
    """The keys whose best values are wanted, and the column that decides."""

    keys: Sequence[str]
    by: str = TRAINING_LOSS


def read_block(path: Path) -> dict[str, Any]:
    """The block of a figures.yaml, not checked further; empty where there is no such file."""
    try:
        block = read_yaml(read_bytes(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(block, dict):
        raise UserError(f"{path} is damaged: it must be a mapping of figures, each with its keys")
    return block


def declared_best(group: Group) -> Best | None:
    """What the figures.yaml beside a group's runs says of best values, in full names."""
    path = group.folder / "figures.yaml"
    block = read_block(path)
    of, by = block.get("best_of"), block.get("best_by", TRAINING_LOSS)
    if of is None:
        if "best_by" in block:
            raise UserError(f"{path}: best_by={by}: needs best_of")
        return None
    known = deciding_keys(group)
    given = of if isinstance(of, list) else str(of).split(",")
    keys = [*dict.fromkeys(full_name(str(key), known) for key in given)]
    if not keys or not known >= {*keys}:
        raise UserError(
            f"{path}: best_of={of}: must be a configuration key or a list of them, "
            "as in [lr, outer_lr]"
        )
    check_criterion(f"{path}: best_by", by, group.measures)
    return Best(keys, by)


def declared_question(group: Group) -> str:
    """The question that a group's runs answer, as the figures.yaml beside them says; or empty."""
    path = group.folder / "figures.yaml"
    question = read_block(path).get(QUESTION, "")
    if not isinstance(question, str):
        raise UserError(f"{path}: question={question}: must be a sentence")
    return question


def asked_best(of: str | None, by: str | None) -> Best | None:
    """What --best-of and --best-by say; None where neither is given."""
    if of is None:
        if by is not None:
            raise UserError(f"--best-by={by}: needs --best-of")
        return None
    return Best([*dict.fromkeys(of.split(","))], TRAINING_LOSS if by is None else by)


def declared_network(group: Group) -> Network | None:
    """What the figures.yaml beside a group's runs says of a network."""
    path = group.folder / "figures.yaml"
    given = read_block(path).get(NETWORK)
    if given is None:
        return None
    if not isinstance(given, dict) or not {*given} <= {*OF_NETWORK}:
        raise UserError(f"{path}: network={given}: must have keys among {', '.join(OF_NETWORK)}")
    try:
        return asked_network(given)
    except UserError as refusal:
        raise UserError(f"{path}: network: {refusal}") from refusal


def asked_network(given: Mapping[str, Any]) -> Network | None:
    """The network of these options; None where nothing is asked. Its latency is 0 unless given."""
    latency, *speeds, processes, jitter = (given.get(name) for name in OF_NETWORK)
    for name, value in given.items():
        is_right = type(value) in (int, float) and isfinite(value) and value > 0
        if value is not None and not is_right and (name, value) not in ALLOWED:
            raise UserError(f"{name}={value}: must be a number above 0")
    if type(processes) is float:
        raise UserError(f"processes={processes}: must be a whole number")
    if not any(value is not None for value in given.values()):
        return None
    between, within = (speed and speed * MBIT for speed in speeds)
    return Network((latency or 0) / 1000, between, within, processes, jitter or 0.0)


def check_criterion(name: str, by: Any, measures: Measures) -> None:
    """That a column may decide which values are the best."""
    allowed = [*criteria(measures)]
    if by not in allowed:
        raise UserError(f"{name}={by}: must be {', '.join(allowed[:-1])} or {allowed[-1]}")


def full_name(key: str, known: Set[str]) -> str:
    """A key as it is known: `interval` is short for `algorithm.interval`."""
    return f"algorithm.{key}" if key not in known and f"algorithm.{key}" in known else key


def deciding_keys(group: Group) -> set[str]:
    """The keys that may tell curves apart: those of prsgd's classes, and those in the records."""
    classes: list[tuple[str, Any]] = [("", Settings)]
    classes += [(f"{part}.", class_named(part, name)) for part in PATHS for name in PATHS[part]]
    keys = {
        f"{prefix}{f.name}"
        for prefix, cls in classes
        for f in fields(cls)
        if f.metadata.get("decides_curve", True)
    }
    return keys.union(GROUPS, *(curve.config for curve in group.curves)) - {"seed"}
