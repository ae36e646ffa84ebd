"""`prsgd sample`: print text that a trained language model goes on with."""

from __future__ import annotations

import argparse
from pathlib import Path

from prsgd.cli.run import TRUST, given_keys
from prsgd.console import printable
from prsgd.errors import UserError

START = "\n"  # the prompt where none is given


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "prsgd sample", description="Print text that a trained language model goes on with."
    )
    parser.add_argument("folder", type=Path, metavar="RUN_DIR", help="a finished run's folder")
    parser.add_argument(
        "keys", nargs="*", default=[], metavar="KEY=VALUE", help=f"plugins=[PACKAGE]: {TRUST}"
    )
    parser.add_argument("--prompt", default=START, help="what the text begins with")
    parser.add_argument("--tokens", type=int, default=500, help="how many to draw (500)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: the likeliest (0.8)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.tokens < 1:
        raise UserError(f"--tokens={options.tokens}: must be a whole number of at least 1")
    if not 0 <= options.temperature < float("inf"):
        raise UserError(f"--temperature={options.temperature:g}: must be a number of at least 0")
    if not options.prompt:
        raise UserError("--prompt: must not be empty")
    trusted, places = given_keys(options.keys)
    for key in places:
        raise UserError(f"{key}: cannot be given here, as no data are read; only plugins=[...] fit")
    write(options, trusted)
    return 0


def write(options: argparse.Namespace, trusted: list[str]) -> None:
    """Draw the text and print it."""
    from prsgd.config.build import build_run
    from prsgd.run_folder import RunFolder
    from prsgd.tasks.language_modeling import LanguageModeling
    from prsgd.training.sample import sample
    from prsgd.training.trained import trained

    run = build_run(RunFolder(options.folder).config(), trusted)
    if not isinstance(run.task, LanguageModeling):
        raise UserError(f"{options.folder}: its task is no language model, and it writes no text")
    if getattr(run.data, "token", "") != "byte":
        raise UserError(f"{options.folder}: its tokens are not bytes, so nobody knows their text")
    model, prompt = trained(run, options.folder), list(options.prompt.encode())
    amount = options.tokens, run.task.context, options.temperature, options.seed
    text = bytes(prompt + sample(model, prompt, *amount)).decode("utf-8", "replace")
    print("\n".join(printable(line) for line in text.split("\n")))
