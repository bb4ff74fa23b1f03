"""Networks from the checkpoints that training leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from dualsys.errors import BundleError
from dualsys.models.system1 import System1Config, System1Net
from dualsys.models.system2 import System2Config, System2Net
from dualsys.train.scenes import vocabulary_list
from dualsys.train.variants import MAX_WORDS, class_counts

AVERAGE = "average"
"""The averaged weights, which are what is exported."""


def new_system2() -> System2Net:
    """A System 2 of the shipped size, untrained."""
    config = System2Config(vocabulary=len(vocabulary_list()), max_words=MAX_WORDS, **class_counts())
    return System2Net(config)


def load_network(path: Path) -> System1Net | System2Net:
    """The network of a checkpoint, whichever of the two it is; the names of its weights tell.

    Raises:
        BundleError: It cannot be read, is of another network or of another size, or a weight is not finite.
    """
    weights = averaged_weights(path)
    nets: tuple[System1Net | System2Net, ...] = (System1Net(System1Config()), new_system2())
    net = max(nets, key=lambda net: len(net.state_dict().keys() & weights.keys()))
    require_fit(path, weights, net.state_dict())
    net.load_state_dict(weights)
    return net


def load_system1(path: Path) -> System1Net:
    """As `load_network`, and it must be a System 1."""
    net = load_network(path)
    if not isinstance(net, System1Net):
        _fail(path, "expected a System 1, got a System 2")
    return net


def averaged_weights(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint. Raises BundleError if it cannot be read or has none."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}; give a checkpoint file") from error
    except Exception as error:
        # What torch raises for a damaged file has no common base apart from Exception.
        # Its words are not repeated: they advise to load the file in a way that lets it run code.
        raise BundleError(
            f"{path}: is not a checkpoint of `python -m dualsys.train`, or is damaged; give one, such as "
            "data/checkpoints/system1.pt, train again, or copy it again"
        ) from error
    weights = state.get(AVERAGE) if isinstance(state, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        _fail(path, f"{AVERAGE}: expected averaged weights, found none")
    return weights


def require_fit(path: Path, weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise BundleError unless weights have the names and shapes of a network's own, and are finite."""
    missing, unknown = own.keys() - weights.keys(), weights.keys() - own.keys()
    for fault, names in (("is missing", missing), ("is unknown", unknown)):
        if names:
            _fail(path, f"{AVERAGE}.{min(names)}: {fault}, and so are {len(names) - 1} more weights")
    for name, expected in own.items():
        found = weights[name]
        if found.shape != expected.shape:
            _fail(path, f"{AVERAGE}.{name}: expected shape {list(expected.shape)}, got {list(found.shape)}")
        wrong = int((~torch.isfinite(found)).sum())
        if wrong:
            _fail(path, f"{AVERAGE}.{name}: expected finite numbers, {wrong} of {found.numel()} are not")


def _fail(path: Path, wrong: str) -> NoReturn:
    raise BundleError(f"{path}: {wrong}; export a checkpoint of `python -m dualsys.train` of this version")
