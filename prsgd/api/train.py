"""Train one run from Python."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from prsgd.api.compose import composed
from prsgd.api.objects import PLACED, Objects
from prsgd.api.result import Result
from prsgd.config.grammar import in_grammar
from prsgd.config.naming import curve_config, run_name
from prsgd.config.plan import Job
from prsgd.config.registry import PATHS, called
from prsgd.config.schema import Run
from prsgd.console import say, track
from prsgd.data.cache import prepare
from prsgd.data.digest import cache_folder
from prsgd.errors import UserError
from prsgd.files import home_expanded
from prsgd.launch.notes import about_data, skipped
from prsgd.launch.planning import PlannedRun, plan_runs
from prsgd.launch.torchrun import torchrun_rank
from prsgd.models.given import given as given_model
from prsgd.run_folder import ENDED, RunFolder

DECIDED = ("precision", "start", "start_sha256")  # keys that a run with `auto` is given


def train(
    run: Run | None = None,
    *,
    model: Any = None,
    data: Any = None,
    loss: Any = None,
    resume: str | Path | None = None,
    **keys: Any,
) -> Result:
    """Train a run to its end and return what came out.

    The run is a composed one, or the default one with other `keys`: `train(interval=8, workers=4)`.
    As on the command line, a run that has ended is not trained again, and an unfinished one goes
    on.

    Objects of your own may take the place of choices:

    - `model`: a torch.nn.Module, which is copied, or a class or function that makes one. It is
      called with those facts of the data that its parameters without a default are named after,
      such as `features` and `outputs`.
    - `data`: (train, test), each a torch Dataset of (x, y) or a pair of arrays. They are read once,
      into memory. Whole numbers as y are classes, other numbers are a regression's targets.
    - `loss`: `loss(output, target)`, a scalar mean; by default cross-entropy or the squared error.

    A run of objects has no identity: each call begins a new one, in a folder with a number, unless
    `resume` names the folder of one that is to go on. Where P > 1 the processes start in a fresh
    interpreter, which has to import the class of the model and the loss. What it cannot import is
    trained in this process, as a line says.

    Raises a UserError for what the command line refuses, with the same line, and a RunFailed for a
    run that ended by an error. A run that diverges is returned. An interrupt leaves a checkpoint.
    """
    if not isinstance(run, Run | None):
        raise UserError("run: must be what prsgd.compose returned; a model is given as model=...")
    with _threads_restored():
        return _trained(run, *_objects(model, data, loss), resume, keys)


@contextmanager
def _threads_restored() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _trained(
    run: Run | None,
    objects: Objects,
    choices: Mapping[str, str],
    resume: str | Path | None,
    keys: Mapping[str, Any],
) -> Result:
    """What `train` does, once it is known which of what it was given are objects."""
    keys = {**choices, **keys}
    recorded = run is None and resume is not None and not objects and {*keys} <= {"plugins"}
    config = _recorded(resume) if recorded else _config(run, objects, keys)
    run = objects.run(config, keys.get("plugins", []) if recorded else None)
    if objects and torchrun_rank() is not None:
        raise UserError(
            "objects cannot be trained under torchrun: a package in plugins can, by prsgd train"
        )
    strange = objects.names() is None and run.workers > 1 and run.processes != 1
    if strange:
        run = replace(run, processes=1)
    folder = None
    if resume is not None:
        folder = home_expanded("resume", str(resume))
        run = _as_recorded(folder, run)
    elif objects:
        folder = next(_new_folders(run))
    [planned] = plan_runs([(run, folder)], alone=True, may_fork=False)
    if strange:
        say("a fresh interpreter could not import what was given: training here, with P = 1")
    for line in about_data([planned]):
        say(line)
    if planned.folder.status()[0] in ENDED:
        say(skipped(planned.folder, run.profile))
        return _result(planned.run, planned.folder)
    is_new = bool(objects) and resume is None
    return _result(planned.run, _train(planned, objects, is_new))


def _objects(model: Any, data: Any, loss: Any) -> tuple[Objects, dict[str, str]]:
    """The objects among what was given, and the choices, which are names."""
    named = {name: own for name, own in (("model", model), ("data", data)) if isinstance(own, str)}
    own_data = None
    if data is not None and "data" not in named:
        from prsgd.data.given import given

        own_data = given(data, _label(data))
    own_model = None if model is None or "model" in named else given_model(model)
    if loss is not None and not callable(loss):
        raise UserError(f"loss={loss!r}: must be a function of output and target")
    return Objects(own_model, own_data, loss), named


def _label(data: Any) -> str:
    """The name of a data set's class, if it has one of its own."""
    cls = type(data[0]) if isinstance(data, tuple | list) and data else tuple
    is_plain = cls.__module__.partition(".")[0] in ("builtins", "torch", "numpy", "pandas")
    return "data" if is_plain else cls.__name__


def _recorded(folder: Any) -> dict[str, Any]:
    return RunFolder(home_expanded("resume", str(folder))).config()


def _config(run: Run | None, objects: Objects, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The plain configuration, without the objects."""
    if run is not None:
        for key in keys:
            raise UserError(f"{key}: belongs into prsgd.compose, which made the run")
        config, task = run.as_dict(), called("task", type(run.task))
        if objects.data is not None and task in {*PATHS["task"]} - {*objects.data.tasks}:
            config["task"] = {"name": objects.data.suits()}
        return config
    given = {"model": objects.model, "data": objects.data}
    for key in keys:
        group, _, name = key.partition(".")
        if name and given.get(group) is not None and name not in PLACED:
            raise UserError(f"{key}: cannot be given here, as the {group} is an object")
    if objects.data is not None:
        keys = {"task": objects.data.suits(), **keys}
    return composed([f"{key}={in_grammar(value)}" for key, value in keys.items()])


def _as_recorded(folder: Path, run: Run) -> Run:
    """The run with what the one in the folder decided; `UserError` if it had another curve."""
    record = RunFolder(folder).config()
    decided = {key: record[key] for key in DECIDED if key in record and vars(run)[key] == "auto"}
    run = replace(run, **decided)
    before, after = (curve_config(config) for config in (record, run.as_dict()))
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            raise UserError(
                f"resume={folder}: {key} was {before.get(key)} and is {after.get(key)}; "
                "only what does not decide the curve may change"
            )
    return run


def _new_folders(run: Run) -> Iterator[Path]:
    """Folders that are not there yet, named after the run and numbered."""
    stem, _, _ = run_name(run, run.precision, "").rpartition("-")
    title = re.sub(r"\W+", "", run.model.title)
    places = (home_expanded("out", run.out) / f"{stem}-{title}-{number}" for number in count(1))
    return (place for place in places if not place.exists())


def _result(run: Run, folder: RunFolder) -> Result:
    return Result(run, folder.path, *folder.status())


def _train(planned: PlannedRun, objects: Objects, is_new: bool) -> RunFolder:
    """Train a planned run; returns the folder that it has."""
    from prsgd.api.apart import train_apart
    from prsgd.api.here import train_here

    cache = prepare(planned.run.data, cache_folder(), track)
    path = _made(planned) if is_new else planned.folder.path
    job = Job(planned.run, planned.plan, path, cache)
    if planned.plan.start == "fresh":
        train_apart(job, objects)
    else:
        train_here(job)
    return RunFolder(path)


def _made(planned: PlannedRun) -> Path:
    """A new folder of this run's own, which no other thread or process has made."""
    for path in _new_folders(planned.run):
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            continue
    raise AssertionError
