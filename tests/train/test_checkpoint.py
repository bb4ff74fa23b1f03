"""Checkpoints: which network they hold, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from dualsys.errors import BundleError
from dualsys.models import System1Config, System1Net, System2Net
from dualsys.train import checkpoint
from dualsys.train.checkpoint import load_network, load_system1


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, small_system1: System1Net, small_system2: System2Net) -> None:
    """The shipped networks are as small as those of the tests."""
    monkeypatch.setattr(checkpoint, "System1Config", lambda: small_system1.config)
    monkeypatch.setattr(checkpoint, "System2Config", lambda **_: small_system2.config)


def saved(path: Path, weights: dict[str, Any]) -> Path:
    torch.save({"average": weights, "step": 3}, path)
    return path


def test_the_names_of_the_weights_tell_which_network_it_is(
    tmp_path: Path, small_system1: System1Net, small_system2: System2Net
) -> None:
    for net in (small_system1, small_system2):
        loaded = load_network(saved(tmp_path / "net.pt", net.state_dict()))
        assert type(loaded) is type(net)
        assert all(torch.equal(value, net.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_the_averaged_weights_are_those_that_count(tmp_path: Path, small_system1: System1Net) -> None:
    torch.save({"net": small_system1.state_dict()}, tmp_path / "net.pt")
    with pytest.raises(BundleError, match=r"net\.pt: average: expected averaged weights, found none"):
        load_network(tmp_path / "net.pt")


def test_weights_of_another_size_are_refused(tmp_path: Path, small_system1: System1Net) -> None:
    other = System1Net(System1Config(width=48, depth=1, context_depth=1, heads=2, horizon=4, wrist_px=32))
    path = saved(tmp_path / "net.pt", other.state_dict())
    with pytest.raises(
        BundleError, match=r"average\.\w+.*: expected shape \[.*32.*\], got \[.*48.*\]; export"
    ):
        load_network(path)
    assert small_system1.config.width == 32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, small_system1: System1Net, value: float
) -> None:
    weights = {name: tensor.clone() for name, tensor in small_system1.state_dict().items()}
    weights["action_in.weight"][0, 0] = value
    path = saved(tmp_path / "net.pt", weights)
    expected = "average.action_in.weight: expected finite numbers, 1 of 128 are not"
    with pytest.raises(BundleError, match=re.escape(expected)):
        load_network(path)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, small_system2: System2Net) -> None:
    with pytest.raises(BundleError, match=r"none\.pt: cannot be read: No such file"):
        load_network(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(BundleError, match=r"text\.pt: is not a checkpoint") as caught:
        load_network(tmp_path / "text.pt")
    # Torch would have the file loaded in a way that lets it run code.
    assert "weights_only" not in str(caught.value)
    with pytest.raises(BundleError, match=r"average\.\S+: is missing, and so are \d+ more weights; export a"):
        load_network(saved(tmp_path / "other.pt", {"weight": torch.zeros(2)}))
    with pytest.raises(BundleError, match=r"average\.extra: is unknown, and so are 0 more weights"):
        load_network(saved(tmp_path / "more.pt", small_system2.state_dict() | {"extra": torch.zeros(2)}))
    with pytest.raises(BundleError, match="expected a System 1, got a System 2"):
        load_system1(saved(tmp_path / "two.pt", small_system2.state_dict()))
