"""`prsgd run`: go on with one run by its folder."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prsgd.errors import UserError
from prsgd.files import from_anywhere

if TYPE_CHECKING:
    from prsgd.run_folder import RunFolder

TRUST = "the packages whose code it may run, where it runs any but prsgd's"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("prsgd run", description="Go on with a run that was stopped.")
    parser.add_argument("folder", type=Path, metavar="RUN_DIR", help="its run folder")
    parser.add_argument(
        "keys",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help=f"plugins=[PACKAGE]: {TRUST}; data.root=FOLDER, start=FILE: where these are now",
    )
    options = parser.parse_args(arguments)
    folder = options.folder
    trusted, places = given_keys(options.keys)
    from prsgd.cli.train import close
    from prsgd.config.build import build_run
    from prsgd.launch.sweep import Sweep
    from prsgd.run_folder import RunFolder

    config = moved(RunFolder(folder), places)
    try:
        run = build_run(config, trusted)
    except UserError as error:
        raise UserError(f"{folder}/config.yaml: {error}") from error
    sweep = Sweep()
    sweep.go_on(run, folder)
    return close(sweep)


def moved(folder: RunFolder, places: Mapping[str, str]) -> dict[str, Any]:
    """A run's configuration, with its data and its start where they are now."""
    config = folder.config()
    if "data.root" in places:
        config["data"] = {**config["data"], "root": places["data.root"]}
    if "start" in places:
        if config.get("start", "auto") == "auto":
            raise UserError(f"start={places['start']}: {folder.path} did not start at a file")
        config["start"] = places["start"]
    return config


def given_keys(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """The packages of `plugins=[a,b]`, and the paths of `data.root` and `start`.

    Nothing else may be given.
    """
    named, places = list[str](), dict[str, str]()
    for argument in arguments:
        key, _, value = argument.partition("=")
        found = re.fullmatch(r"\[(.*)\]", value)
        if key == "plugins" and found:
            named += [name.strip() for name in found[1].split(",")]
        elif key in ("data.root", "start") and value:
            places[key] = from_anywhere(value)
        else:
            raise UserError(
                f"{argument}: the run folder has its keys; only plugins=[...], data.root=... and "
                "start=... fit"
            )
    return named, places
