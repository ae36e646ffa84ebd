"""`prsgd run`: go on with one run by its folder."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from prsgd.errors import UserError

TRUST = "the packages whose code it may run, where it runs any but prsgd's"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("prsgd run", description="Go on with a run that was stopped.")
    parser.add_argument("folder", type=Path, metavar="RUN_DIR", help="its run folder")
    parser.add_argument("plugins", nargs="*", default=[], metavar="plugins=[PACKAGE]", help=TRUST)
    options = parser.parse_args(arguments)
    folder, trusted = options.folder, named_plugins(options.plugins)
    from prsgd.cli.train import execute
    from prsgd.config.build import build_run
    from prsgd.run_folder import RunFolder

    config = RunFolder(folder).config()
    try:
        run = build_run(config, trusted)
    except UserError as error:
        raise UserError(f"{folder}/config.yaml: {error}") from error
    return execute([(run, folder)], dry_run=False, figures={})


def named_plugins(arguments: list[str]) -> list[str]:
    """The packages of `plugins=[a,b]`, the only key that may be given with a run folder."""
    named: list[str] = []
    for argument in arguments:
        found = re.fullmatch(r"plugins=\[(.*)\]", argument)
        if not found:
            raise UserError(f"{argument}: the run folder has its keys; only plugins=[...] fits")
        named += [name.strip() for name in found[1].split(",")]
    return named
