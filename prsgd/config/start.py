"""The file of weights that a run starts at: found and known by its content, before it is read."""

from __future__ import annotations

from dataclasses import replace

from prsgd.config.schema import Run
from prsgd.data.digest import digest_of
from prsgd.errors import UserError
from prsgd.files import from_anywhere, home_expanded
from prsgd.run_folder import RunFolder

WEIGHTS = "a safetensors file of the model's weights, as a finished run's model.safetensors"


def located(run: Run) -> Run:
    """The run with its start as it may be found from anywhere, and the SHA-256, for a record.

    `UserError` where the file cannot be read or has another SHA-256 than the run's.
    """
    if run.start == "auto":
        return run
    path = home_expanded("start", run.start)
    try:
        if not path.exists():
            raise UserError(f"start={run.start}: there is no such file; it must be {WEIGHTS}")
        if not path.is_file():
            raise UserError(f"start={run.start}: it is no file; it must be {WEIGHTS}")
        digest = digest_of(path)
    except OSError as error:
        why = error.strerror or error
        raise UserError(
            f"start={run.start}: it cannot be read ({why}); it must be {WEIGHTS}"
        ) from error
    if run.start_sha256 not in ("auto", digest):
        raise UserError(
            f"start={run.start}: its SHA-256 is {digest}, and must be {run.start_sha256}; the file "
            "has other content than it had"
        )
    return replace(run, start=from_anywhere(run.start), start_sha256=digest)


def without_lost_start(run: Run, folder: RunFolder) -> Run:
    """The run without its start, where the file is gone and a checkpoint takes its place."""
    if run.start == "auto" or _is_there(run.start) or not folder.has_checkpoint():
        return run
    return replace(run, start="auto")


def _is_there(start: str) -> bool:
    try:
        return home_expanded("start", start).exists()
    except UserError:
        return False
