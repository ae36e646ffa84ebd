"""An experiment's `runs`: a table that makes several runs of one configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prsgd.config.schema import GROUPS
from prsgd.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def expand(config: DictConfig) -> list[DictConfig]:
    """The configurations that a table makes of `config`; without a table, `config` itself.

    `runs: {LINE: {workers: [1, 2], lr: 0.1}}` makes one run of workers=1 and one of workers=2. The
    lists of a line go side by side. A value that is no list is the same in all runs of the line.
    """
    if not config.get("runs"):
        return [config]
    from omegaconf import OmegaConf

    table: Any = OmegaConf.to_container(config.runs, resolve=True)
    for name, line in table.items():
        if not isinstance(line, dict):
            raise UserError(
                f"runs.{name}={line}: must set keys, as in {{workers: [1, 2], lr: 0.1}}"
            )
        if len({len(value) for value in line.values() if isinstance(value, list)}) > 1:
            raise UserError(f"runs.{name}: its lists must be equally long")
        for key, value in line.items():
            _refuse_what_no_table_sets(f"runs.{name}.{key}", str(key), value)
    made: Any = [OmegaConf.merge(config, row) for line in table.values() for row in rows(line)]
    return list(made)


def _refuse_what_no_table_sets(where: str, key: str, value: Any) -> None:
    """A choice of a group, and a dotted key."""
    values = value if isinstance(value, list) else [value]
    group, dot, name = key.partition(".")
    if dot:
        nested = ", ".join(f"{{{name}: {own}}}" for own in values)
        instead = f"[{nested}]" if isinstance(value, list) else nested
        raise UserError(f"{where}: cannot have a dot; write {group}: {instead}")
    if key in GROUPS and (chosen := [str(own) for own in values if not isinstance(own, dict)]):
        raise UserError(
            f"{where}: cannot be chosen in a table; leave it out and sweep by "
            f"-m {key}={','.join(chosen)}"
        )


def rows(line: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of one line of a table, each as the keys that it sets."""
    lists = {key: value for key, value in line.items() if isinstance(value, list)}
    same = {key: value for key, value in line.items() if key not in lists}
    if not lists:
        return [same]
    columns = zip(*lists.values(), strict=True)
    return [same | dict(zip(lists, column, strict=True)) for column in columns]
