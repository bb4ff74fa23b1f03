"""The samplers against numerical references."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from dualsys.fast.chunking.masks import guidance_schedule  # noqa: E402
from dualsys.models.flow import (  # noqa: E402
    constant,
    differentiated,
    sample,
    sample_guided,
    sample_prefix,
)


def _network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(torch.nn.Linear(12, 32), torch.nn.Tanh(), torch.nn.Linear(32, 12)).double()
    for parameter in layers.parameters():
        parameter.data.mul_(2.0)
    return layers.requires_grad_(False)


def _field(net: torch.nn.Module):
    return lambda x, step: net(x.flatten(1) + 0.1 * step).reshape(x.shape)


def _numerical_guided(field, noise, previous, weights, guidance):
    """Guided sampling whose Jacobian is a central difference, in float64."""
    x, size, steps = noise.clone(), noise.numel(), len(guidance)
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
        x = x + (field(x, step) + guidance[step] * (jacobian.T @ error).reshape(x.shape)) / steps
    return x


@pytest.fixture
def problem():
    torch.manual_seed(1)
    shape = (1, 4, 3)
    noise, previous = torch.randn(shape).double(), torch.randn(shape).double()
    guidance = torch.from_numpy(guidance_schedule(5.0, 5)).double()
    return noise, previous, torch.tensor([[1.0, 0.6, 0.2, 0.0]]).double(), guidance


def test_a_guided_step_uses_the_jacobian_of_the_network(problem) -> None:
    noise, previous, weights, guidance = problem
    field = _field(_network())
    ours = sample_guided(differentiated(field), noise, previous, weights, guidance)
    reference = _numerical_guided(field, noise, previous, weights, guidance)
    assert (ours - reference).norm() / reference.norm() < 1e-6


def test_guidance_that_takes_the_velocity_for_constant_is_measurably_different(problem) -> None:
    noise, previous, weights, guidance = problem
    field = _field(_network())
    exact = sample_guided(differentiated(field), noise, previous, weights, guidance)
    simple = sample_guided(constant(field), noise, previous, weights, guidance)
    assert (exact - simple).norm() / exact.norm() > 0.05


def test_guidance_without_the_jacobian_pulls_by_the_error_alone(problem) -> None:
    noise, previous, weights, guidance = problem
    field, x = _field(_network()), noise
    for step in range(5):
        velocity = field(x, step)
        error = weights.unsqueeze(-1) * (previous - (x + (1 - step / 5) * velocity))
        x = x + (velocity + guidance[step] * error) / 5
    ours = sample_guided(constant(field), noise, previous, weights, guidance)
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-12)


def test_zero_weights_give_the_plain_sampler(problem) -> None:
    noise, previous, weights, guidance = problem
    field = _field(_network())
    guided = sample_guided(differentiated(field), noise, previous, torch.zeros_like(weights), guidance)
    torch.testing.assert_close(guided, sample(field, noise, steps=5), rtol=0, atol=1e-12)


def test_what_is_padded_behind_zero_weight_does_not_matter(problem) -> None:
    noise, previous, weights, guidance = problem
    field = differentiated(_field(_network()))
    other = previous.clone()
    other[:, 3] = 1e3
    first = sample_guided(field, noise, previous, weights, guidance)
    assert torch.equal(first, sample_guided(field, noise, other, weights, guidance))


def test_guidance_draws_the_chunk_towards_the_previous_one(problem) -> None:
    noise, previous, weights, guidance = problem
    field = _field(_network())
    plain = sample(field, noise, steps=5)
    guided = sample_guided(differentiated(field), noise, previous, weights, guidance)
    assert (guided - previous)[:, 0].norm() < (plain - previous)[:, 0].norm()


def test_a_batch_is_guided_as_each_chunk_alone_is(problem) -> None:
    noise, previous, weights, guidance = problem
    field = differentiated(_field(_network()))
    both = sample_guided(
        field, torch.cat([noise, -noise]), torch.cat([previous] * 2), torch.cat([weights] * 2), guidance
    )
    alone = sample_guided(field, -noise, previous, weights, guidance)
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-12)


def test_guidance_is_the_same_where_autograd_is_switched_off(problem) -> None:
    field = differentiated(_field(_network()))
    expected = sample_guided(field, *problem)
    for off in (torch.inference_mode, torch.no_grad):
        with off():
            # Tensors that were made inside are of another kind than those from outside.
            inside = sample_guided(field, *(given.clone() for given in problem))
            assert torch.equal(sample_guided(field, *problem), expected)
        assert torch.equal(inside, expected)
        assert not inside.requires_grad


def test_one_previous_chunk_guides_a_whole_batch(problem) -> None:
    noise, previous, weights, guidance = problem
    field = differentiated(_field(_network()))
    batch = torch.cat([noise, -noise, 0.5 * noise])
    both = sample_guided(field, batch, previous, weights, guidance)
    alone = [sample_guided(field, one[None], previous, weights, guidance) for one in batch]
    torch.testing.assert_close(both, torch.cat(alone), rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_a_given_beginning_comes_back_to_the_bit(problem, count) -> None:
    noise, prefix, *_ = problem
    given = (torch.arange(4) < count)[None]
    chunk = sample_prefix(_field(_network()), noise, prefix, given, steps=5)
    assert torch.equal(chunk[:, :count], prefix[:, :count])


def test_what_follows_a_prefix_sees_it_as_it_is_at_every_step(problem) -> None:
    noise, prefix, *_ = problem
    given = torch.tensor([[True, True, False, False]])
    seen = []

    def field(x, step):
        seen.append(x.clone())
        return _field(_network())(x, step)

    chunk = sample_prefix(field, noise, prefix, given, steps=5)
    assert all(torch.equal(x[:, :2], prefix[:, :2]) for x in seen)
    assert torch.equal(seen[0][:, 2:], noise[:, 2:])
    assert not torch.allclose(chunk[:, 2:], sample(_field(_network()), noise, steps=5)[:, 2:])


def test_without_a_given_action_the_prefix_sampler_is_the_plain_one(problem) -> None:
    noise, prefix, weights, _ = problem
    field = _field(_network())
    chunk = sample_prefix(field, noise, prefix, torch.zeros_like(weights).bool(), steps=5)
    assert torch.equal(chunk, sample(field, noise, steps=5))
