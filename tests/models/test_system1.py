"""System 1: how what a plan is about reaches the denoiser."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dualsys.models import System1Config, System1Net

CONFIG = System1Config()


@pytest.fixture
def net() -> System1Net:
    """A small random network whose denoiser listens to the aim."""
    torch.manual_seed(3)
    made = System1Net(CONFIG)
    for layer in (made.aim_in[2], made.action_out, *(block.modulation for block in made.blocks)):
        torch.nn.init.normal_(layer.weight, std=0.05)  # type: ignore[arg-type]
    return made


def encoded() -> Tensor:
    """Context tokens of two examples."""
    torch.manual_seed(4)
    return torch.randn(2, 9, CONFIG.width)


def velocity(net: System1Net, tokens: Tensor) -> Tensor:
    """The velocity of a chunk under context tokens."""
    chunk = torch.linspace(-1, 1, 2 * CONFIG.horizon * CONFIG.actions).reshape(2, CONFIG.horizon, -1)
    return net.velocity(chunk, torch.full((2, 1), 0.4), net.condition(tokens))


def test_an_untrained_network_does_not_listen_to_its_aim() -> None:
    torch.manual_seed(3)
    net = System1Net(CONFIG)
    keys, values, state = net.condition(encoded())
    torch.nn.init.normal_(net.aim_out.weight)
    again = net.condition(encoded())
    assert all(torch.equal(one, other) for one, other in zip((keys, values, state), again, strict=True))


def test_another_aim_is_another_velocity(net: System1Net) -> None:
    before = velocity(net, encoded())
    with torch.no_grad():
        net.aim_out.bias += torch.tensor([0.5, *[0.0] * 8])
    assert (velocity(net, encoded()) - before).abs().max() > 1e-3


def test_acting_does_not_teach_the_aim(net: System1Net) -> None:
    velocity(net, encoded()).square().sum().backward()
    assert net.aim_out.weight.grad is None
    assert net.aim_in[0].weight.grad is not None
