"""The denoiser for one chunk: the network's velocity, and the transpose of its Jacobian."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from dualsys.models.denoiser import _LARGE, Denoiser, _enter  # noqa: E402
from dualsys.models.system1 import System1Config, System1Net  # noqa: E402

CONFIG = System1Config(width=24, depth=2, context_depth=1, heads=3, horizon=5, actions=3, wrist_px=32)


@pytest.fixture(scope="module")
def net():
    """A network in float64 whose every weight is random, those that start from zero included."""
    torch.manual_seed(7)
    made = System1Net(CONFIG)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made.double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def context(net):
    torch.manual_seed(8)
    return net.condition(torch.randn(1, 7, CONFIG.width).double())


@pytest.fixture(scope="module")
def x():
    torch.manual_seed(9)
    return torch.randn(CONFIG.horizon, CONFIG.actions).double()


def linear(net, context, tau, x):
    """Velocity and pull-back of the denoiser."""
    denoiser, (keys, values, state) = Denoiser(net), context
    modulations = denoiser.modulations(denoiser.time_features(tau), state[0])
    parts = denoiser.shared(modulations)[0] if len(tau) == 1 else denoiser.single(modulations)
    velocity, passed = denoiser.forward(x, parts, denoiser.by_block(keys), denoiser.by_block(values))
    return velocity, lambda gradient: denoiser.pull_back(passed, gradient)


@pytest.mark.parametrize("tau", [[0.0], [0.4], [1.0, 1.0, 0.6, 0.2, 0.0]])
def test_the_velocity_is_that_of_the_network(net, context, x, tau) -> None:
    times = torch.tensor(tau).double()
    expected = net.velocity(x[None], times[None], context)[0]
    torch.testing.assert_close(linear(net, context, times, x)[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tau", [[0.4], [1.0, 1.0, 0.6, 0.2, 0.0]])
def test_the_pull_back_is_the_transpose_of_the_numerical_jacobian(net, context, x, tau) -> None:
    times = torch.tensor(tau).double()
    size, nudge = x.numel(), 1e-6
    columns = []
    for index in range(size):
        step = torch.zeros(size).double()
        step[index] = nudge
        ahead, behind = (
            net.velocity((x + sign * step.reshape(x.shape))[None], times[None], context)[0]
            for sign in (1, -1)
        )
        columns.append(((ahead - behind) / (2 * nudge)).flatten())
    jacobian = torch.stack(columns, dim=1)
    pull_back = linear(net, context, times, x)[1]
    rows = [pull_back(unit.reshape(x.shape)).flatten() for unit in torch.eye(size).double()]
    assert (torch.stack(rows) - jacobian).abs().max() / jacobian.abs().max() < 1e-7
    assert jacobian.abs().max() > 0.1


def test_the_network_is_left_as_it_was(net) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    Denoiser(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@given(st.integers(0, 2**32), st.floats(1e-6, 100.0), st.floats(-100.0, 100.0))
def test_a_gradient_is_centred_and_gated_as_well_as_float32_allows(seed, size, mean) -> None:
    random = torch.Generator().manual_seed(seed)
    gradient = size * (mean + torch.randn(6, 32, generator=random))
    gate = torch.randn(32, generator=random)
    exact = gradient.double()
    expected = (exact - exact.mean(dim=-1, keepdim=True)) * gate.double()
    far = (_LARGE * _enter(gradient, gate).double() - expected).abs().max()
    assert far <= 1e-6 * expected.abs().max() * max(1.0, abs(mean))
    by_action = _LARGE * _enter(gradient, gate.expand(6, -1)).double()
    assert (by_action - expected).abs().max() <= 1e-6 * expected.abs().max() * max(1.0, abs(mean))
