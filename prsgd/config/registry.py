"""The classes behind the choices, by the names that records call them.

A record says `{name: prsgd, interval: 8}`; `_target_: prsgd.algorithms.restarted.PRSGD`, as conf/
and the records of version 1 have it, means the same. A class of somebody else's has its path only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prsgd.algorithms.adacomm import AdaComm
from prsgd.algorithms.diloco import DiLoCo
from prsgd.algorithms.easgd import EASGD
from prsgd.algorithms.epochs import PRSGDEpochs
from prsgd.algorithms.heterogeneous import HeterogeneousPRSGD
from prsgd.algorithms.hierarchical import Hierarchical
from prsgd.algorithms.minibatch import MiniBatchSGD
from prsgd.algorithms.one_shot import OneShot
from prsgd.algorithms.post_local import PostLocalSGD
from prsgd.algorithms.qsr import QSR
from prsgd.algorithms.restarted import PRSGD
from prsgd.algorithms.scaffold import Scaffold
from prsgd.algorithms.slowmo import SlowMo
from prsgd.algorithms.vrl_sgd import VRLSGD
from prsgd.data.folder import ImageFolder
from prsgd.data.sets import CIFAR10, CIFAR100, Digits, FashionMNIST, Synthetic
from prsgd.models import MLP, ResNet
from prsgd.schedule import Constant, Cosine, StepDrops

ALGORITHMS: tuple[type, ...] = (
    *(AdaComm, DiLoCo, EASGD, Hierarchical, HeterogeneousPRSGD, MiniBatchSGD, OneShot),
    *(PostLocalSGD, PRSGD, PRSGDEpochs, QSR, Scaffold, SlowMo, VRLSGD),
)
CLASSES: dict[str, dict[str, type]] = {
    "algorithm": {cls.name: cls for cls in ALGORITHMS},  # type: ignore[attr-defined]
    "model": {"mlp": MLP, "resnet": ResNet},
    "data": {
        "cifar10": CIFAR10,
        "cifar100": CIFAR100,
        "digits": Digits,
        "fashion_mnist": FashionMNIST,
        "image_folder": ImageFolder,
        "synthetic": Synthetic,
    },
    "schedule": {"constant": Constant, "cosine": Cosine, "step": StepDrops},
}


def path_of(cls: type) -> str:
    """The import path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def known_class(group: str, spec: Mapping[str, Any]) -> type | None:
    """The class of prsgd that a group's mapping names, by `name` or `_target_`; None if none."""
    if "name" in spec:
        return CLASSES[group].get(str(spec["name"]))
    target = spec.get("_target_")
    return next((cls for cls in CLASSES[group].values() if path_of(cls) == target), None)


def called(group: str, cls: type) -> str:
    """The name of a class of prsgd in its group; the path of any other."""
    return next((name for name, own in CLASSES[group].items() if own is cls), path_of(cls))


def description(group: str, part: Any) -> dict[str, Any]:
    """The plain mapping of a dataclass instance, as records have it."""
    cls = type(part)
    name = called(group, cls)
    return {"name" if name in CLASSES[group] else "_target_": name, **asdict(part)}


def keys_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a group's mapping, without what names its class."""
    return {name: value for name, value in spec.items() if name not in ("name", "_target_")}
