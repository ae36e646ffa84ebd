"""The classes behind the choices, by the names that records call them.

A record says `{name: prsgd, interval: 8}`; `_target_: prsgd.algorithms.restarted.PRSGD`, as conf/
and the records of version 1 have it, means the same. A class of somebody else's has its path only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

from prsgd.models.digest import NONE

PATHS: dict[str, dict[str, str]] = {  # group -> name -> import path; imported when asked for
    "algorithm": {
        "adacomm": "prsgd.algorithms.adacomm.AdaComm",
        "diloco": "prsgd.algorithms.diloco.DiLoCo",
        "easgd": "prsgd.algorithms.easgd.EASGD",
        "hierarchical": "prsgd.algorithms.hierarchical.Hierarchical",
        "minibatch": "prsgd.algorithms.minibatch.MiniBatchSGD",
        "one_shot": "prsgd.algorithms.one_shot.OneShot",
        "outer": "prsgd.algorithms.outer.Outer",
        "post_local": "prsgd.algorithms.post_local.PostLocalSGD",
        "prsgd": "prsgd.algorithms.restarted.PRSGD",
        "prsgd_epochs": "prsgd.algorithms.epochs.PRSGDEpochs",
        "prsgd_heterogeneous": "prsgd.algorithms.heterogeneous.HeterogeneousPRSGD",
        "qsr": "prsgd.algorithms.qsr.QSR",
        "scaffold": "prsgd.algorithms.scaffold.Scaffold",
        "slowmo": "prsgd.algorithms.slowmo.SlowMo",
        "vrl_sgd": "prsgd.algorithms.vrl_sgd.VRLSGD",
    },
    "model": {
        "given": "prsgd.models.given.Given",
        "gpt": "prsgd.models.GPT",
        "mlp": "prsgd.models.MLP",
        "resnet": "prsgd.models.ResNet",
    },
    "data": {
        "cifar10": "prsgd.data.sets.CIFAR10",
        "cifar100": "prsgd.data.sets.CIFAR100",
        "digits": "prsgd.data.sets.Digits",
        "fashion_mnist": "prsgd.data.sets.FashionMNIST",
        "given": "prsgd.data.given.Given",
        "image_folder": "prsgd.data.folder.ImageFolder",
        "npz": "prsgd.data.npz.NPZ",
        "stdlib": "prsgd.data.text.Stdlib",
        "synthetic": "prsgd.data.sets.Synthetic",
        "table": "prsgd.data.table.Table",
        "text": "prsgd.data.text.Text",
        "tokens": "prsgd.data.text.Tokens",
    },
    "task": {
        "classification": "prsgd.tasks.classification.Classification",
        "image_classification": "prsgd.tasks.image_classification.ImageClassification",
        "language_modeling": "prsgd.tasks.language_modeling.LanguageModeling",
        "regression": "prsgd.tasks.regression.Regression",
    },
    "compression": {
        "bf16": "prsgd.distributed.compression.BF16",
        "int4": "prsgd.distributed.compression.Int4",
        "int8": "prsgd.distributed.compression.Int8",
        "none": "prsgd.distributed.compression.Uncompressed",
        "randomk": "prsgd.distributed.compression.RandomK",
        "sign": "prsgd.distributed.compression.Sign",
        "topk": "prsgd.distributed.compression.TopK",
    },
    "schedule": {
        "constant": "prsgd.schedule.Constant",
        "cosine": "prsgd.schedule.Cosine",
        "step": "prsgd.schedule.StepDrops",
        "wsd": "prsgd.schedule.WSD",
    },
}


def class_named(group: str, name: str) -> type | None:
    """The class of prsgd of that name; None if there is none."""
    path = PATHS[group].get(name)
    if path is None:
        return None
    module, _, cls = path.rpartition(".")
    found: type = getattr(import_module(module), cls)
    return found


def path_of(cls: type) -> str:
    """The import path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def known_class(group: str, spec: Mapping[str, Any]) -> type | None:
    """The class of prsgd that a group's mapping names, by `name` or `_target_`; None if none."""
    by_path = {path: name for name, path in PATHS[group].items()}
    name = spec["name"] if "name" in spec else by_path.get(str(spec.get("_target_")), "")
    return class_named(group, str(name))


def called(group: str, cls: type) -> str:
    """The name of a class of prsgd in its group; the path of any other."""
    path = path_of(cls)
    return next((name for name, own in PATHS[group].items() if own == path), path)


def tried(run: Any) -> str:
    """What an error calls a model or a loss that is not prsgd's; empty where both are.

    Such are tried before anything starts.
    """
    if called("model", type(run.model)) not in {*PATHS["model"]} - {"given"}:
        return str(run.model.origin)
    if (task := called("task", type(run.task))) not in PATHS["task"]:
        return f"task._target_={task}"
    return "loss" if getattr(run.task, "given", None) is not None else ""


def description(group: str, part: Any) -> dict[str, Any]:
    """The plain mapping of a dataclass instance, as records have it.

    It has a digest only of what was handed over in Python.
    """
    cls = type(part)
    name = called(group, cls)
    own = {key: value for key, value in asdict(part).items() if (key, value) != ("digest", NONE)}
    return {"name" if name in PATHS[group] else "_target_": name, **own}


def keys_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a group's mapping, without what names its class."""
    return {name: value for name, value in spec.items() if name not in ("name", "_target_")}
