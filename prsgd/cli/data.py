"""`prsgd data`: fetch and decode a set ahead of a job."""

from __future__ import annotations

import argparse


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "prsgd data", description="Fetch and decode a set ahead of a job, into the cache."
    )
    parser.add_argument("name", metavar="NAME", help="a choice of the group data, e.g. cifar10")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. data.root=DIR")
    options = parser.parse_args(arguments)
    from prsgd.config.compose import compose
    from prsgd.console import say, track
    from prsgd.data.cache import prepare
    from prsgd.data.digest import cache_folder

    runs, _ = compose([f"data={options.name}", *options.overrides])
    for run in {run.data.fingerprint(): run for run in runs}.values():
        if run.data.found():
            say(f"{run.data.name()}: {run.data.found()}")
        path = prepare(run.data, cache_folder(), track)
        samples = f"{run.data.train_samples():,} training {run.measures().unit}"
        say(f"{run.data.name()}: {samples}, in {path}")
    return 0
