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
    parser.add_argument(
        "keys",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help=f"plugins=[PACKAGE]: {TRUST}; data.root=FOLDER: where its data are now",
    )
    options = parser.parse_args(arguments)
    folder = options.folder
    trusted, root = given_keys(options.keys)
    from prsgd.cli.train import execute
    from prsgd.config.build import build_run
    from prsgd.run_folder import RunFolder

    config = RunFolder(folder).config()
    if root:
        config["data"] = {**config["data"], "root": root}
    try:
        run = build_run(config, trusted)
    except UserError as error:
        raise UserError(f"{folder}/config.yaml: {error}") from error
    return execute([(run, folder)], dry_run=False, figures={})


def given_keys(arguments: list[str]) -> tuple[list[str], str]:
    """The packages of `plugins=[a,b]` and the folder of `data.root=DIR`, all that may be given."""
    named, root = list[str](), ""
    for argument in arguments:
        key, _, value = argument.partition("=")
        found = re.fullmatch(r"\[(.*)\]", value)
        if key == "plugins" and found:
            named += [name.strip() for name in found[1].split(",")]
        elif key == "data.root" and value:
            root = str(Path(value).expanduser().absolute())
        else:
            raise UserError(
                f"{argument}: the run folder has its keys; only plugins=[...] and data.root=... fit"
            )
    return named, root
