"""The samplers against numerical references."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from dualsys.models.flow import guidance_weight, sample, sample_guided  # noqa: E402


def _network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(torch.nn.Linear(12, 32), torch.nn.Tanh(), torch.nn.Linear(32, 12)).double()
    for parameter in layers.parameters():
        parameter.data.mul_(2.0)
    return layers.requires_grad_(False)


def _field(net: torch.nn.Module):
    return lambda x, step: net(x.flatten(1) + 0.1 * step).reshape(x.shape)


def _numerical_guided(field, noise, previous, weights, beta, steps):
    """Guided sampling whose Jacobian is a central difference, in float64."""
    x, size = noise.clone(), noise.numel()
    for step in range(steps):
        tau = step / steps

        def clean(point, step=step, tau=tau):
            return point + (1 - tau) * field(point, step)

        error = (weights.unsqueeze(-1) * (previous - clean(x))).flatten()
        jacobian = torch.zeros(size, size, dtype=torch.float64)
        for column in range(size):
            nudge = torch.zeros(size, dtype=torch.float64)
            nudge[column] = 1e-6
            forward, back = clean(x + nudge.reshape(x.shape)), clean(x - nudge.reshape(x.shape))
            jacobian[:, column] = ((forward - back) / 2e-6).flatten()
        weight = beta if tau == 0 else torch.clamp(beta, max=(tau**2 + (1 - tau) ** 2) / (tau * (1 - tau)))
        x = x + (field(x, step) + weight * (jacobian.T @ error).reshape(x.shape)) / steps
    return x


@pytest.fixture
def problem():
    torch.manual_seed(1)
    shape = (1, 4, 3)
    noise, previous = torch.randn(shape).double(), torch.randn(shape).double()
    return noise, previous, torch.tensor([[1.0, 0.6, 0.2, 0.0]]).double(), torch.tensor([5.0]).double()


def test_a_guided_step_uses_the_jacobian_of_the_network(problem) -> None:
    noise, previous, weights, beta = problem
    field = _field(_network())
    ours = sample_guided(field, noise, previous, weights, beta, steps=5)
    reference = _numerical_guided(field, noise, previous, weights, beta, steps=5)
    assert (ours - reference).norm() / reference.norm() < 1e-6


def test_zero_weights_give_the_plain_sampler(problem) -> None:
    noise, previous, weights, beta = problem
    field = _field(_network())
    guided = sample_guided(field, noise, previous, torch.zeros_like(weights), beta, steps=5)
    torch.testing.assert_close(guided, sample(field, noise, steps=5), rtol=0, atol=1e-12)


def test_what_is_padded_behind_zero_weight_does_not_matter(problem) -> None:
    noise, previous, weights, beta = problem
    field = _field(_network())
    other = previous.clone()
    other[:, 3] = 1e3
    first = sample_guided(field, noise, previous, weights, beta, steps=5)
    assert torch.equal(first, sample_guided(field, noise, other, weights, beta, steps=5))


def test_guidance_weights_are_those_of_the_paper() -> None:
    beta = torch.tensor([5.0])
    values = [float(guidance_weight(step / 5, beta)) for step in range(5)]
    assert values == pytest.approx([5, 4.25, 2.1667, 2.1667, 4.25], abs=1e-4)


def test_guidance_draws_the_chunk_towards_the_previous_one(problem) -> None:
    noise, previous, weights, beta = problem
    field = _field(_network())
    plain = sample(field, noise, steps=5)
    guided = sample_guided(field, noise, previous, weights, beta, steps=5)
    assert (guided - previous)[:, 0].norm() < (plain - previous)[:, 0].norm()
