"""System 1: how what a plan is about reaches the denoiser."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dualsys.models import System1Config, System1Net
from dualsys.models.system1 import FARTHEST_DM, SHORTEST_RATE_S, latent_rates
from dualsys.models.system2 import CENTRE_M, PLACE_UNIT_M

CONFIG = System1Config(latents=4)


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


def test_the_rate_of_a_latent_is_its_change_over_the_time_between() -> None:
    tokens = torch.randn(2, 3, 8, 4)
    rates = latent_rates(tokens, torch.tensor([[0.1, 0.5, 0.7], [0.3, 0.5, 1.0]]))
    assert rates.shape == (2, 2, 8, 4)
    for before, between_s in ((1, [0.4, 0.2]), (2, [0.6, 0.7])):
        change = tokens[:, 0] - tokens[:, before]
        torch.testing.assert_close(rates[:, before - 1], change / torch.tensor(between_s).reshape(2, 1, 1))


def test_a_latent_shown_twice_has_no_rate_and_a_short_time_is_not_divided_by() -> None:
    tokens = torch.randn(2, 2, 8, 4)
    tokens[0, 1] = tokens[0, 0]
    rates = latent_rates(tokens, torch.tensor([[0.3, 0.3], [0.3, 0.3001]]))
    assert not rates[0].any()
    torch.testing.assert_close(rates[1, 0], (tokens[1, 0] - tokens[1, 1]) / SHORTEST_RATE_S)


@pytest.mark.parametrize("way", ["rate_in", "motion_in"])
def test_a_network_learns_to_listen_to_rates(net: System1Net, way: str) -> None:
    """At first it does not, so that a network trained without them can go on from where it was."""
    listening = getattr(net, way)
    tokens = torch.randn(1, CONFIG.latents, CONFIG.latent_tokens, CONFIG.latent_width)
    age_s, state = torch.tensor([[0.2, 0.4, 0.6, 0.8]]), torch.zeros(1, CONFIG.proprioception)
    wrist = torch.randn(1, CONFIG.frames, CONFIG.wrist_tokens, CONFIG.width)
    before = net.encode(tokens, age_s, wrist, state)
    torch.nn.init.normal_(listening.weight, std=0.1)
    assert (net.encode(tokens, age_s, wrist, state) - before).abs().max() > 0.01
    tokens[:, 1:] = tokens[:, :1]
    with_rates = net.encode(tokens, age_s, wrist, state)
    torch.nn.init.zeros_(listening.weight)
    torch.testing.assert_close(with_rates, net.encode(tokens, age_s, wrist, state))


@pytest.mark.parametrize(("latents", "shown"), [(1, 1), (4, 5), (4, 0), (0, 0)])
def test_a_network_reads_two_latents_or_more_and_shows_no_more_than_it_reads(
    latents: int, shown: int
) -> None:
    with pytest.raises(ValueError, match=f"latents {latents}, shown {shown}: a rate takes two"):
        System1Config(latents=latents, shown=shown)


def test_latents_that_are_not_shown_change_nothing_but_through_their_rates(net: System1Net) -> None:
    tokens = torch.randn(1, CONFIG.latents, CONFIG.latent_tokens, CONFIG.latent_width)
    age_s, state = torch.tensor([[0.2, 0.4, 0.6, 0.8]]), torch.zeros(1, CONFIG.proprioception)
    wrist = torch.randn(1, CONFIG.frames, CONFIG.wrist_tokens, CONFIG.width)
    before = net.encode(tokens, age_s, wrist, state)
    other = tokens.clone()
    other[:, CONFIG.shown :] += 1.0
    torch.testing.assert_close(net.encode(other, age_s, wrist, state), before)
    torch.nn.init.normal_(net.motion_in.weight, std=0.1)
    assert (
        net.encode(other, age_s, wrist, state) - net.encode(tokens, age_s, wrist, state)
    ).abs().max() > 0.01


def track_of(net: System1Net, places_dm: Tensor, age_s: Tensor, tool_m: Tensor) -> Tensor:
    """The track of latents whose first token tells a place, in dm about the centre, in three channels."""
    tokens = torch.zeros(1, CONFIG.latents, CONFIG.latent_tokens, CONFIG.latent_width)
    tokens[0, :, 0, :3] = places_dm
    torch.nn.init.zeros_(net.place_out.weight)
    torch.nn.init.zeros_(net.place_out.bias)
    with torch.no_grad():
        net.place_out.weight[:, :3] = torch.eye(3) / (10.0 * PLACE_UNIT_M)
    return net.track(tokens, age_s, tool_m)[0]


def test_the_track_tells_places_from_the_tool_and_where_motion_has_taken_the_object_by_now(
    net: System1Net,
) -> None:
    age_s = torch.tensor([[0.2, 0.4, 0.6, 0.8]])
    velocity_dm_s = torch.tensor([1.0, -0.5, 0.0])
    places = torch.tensor([0.4, 0.2, 0.1]) - age_s[0].unsqueeze(1) * velocity_dm_s
    tool_m = torch.tensor([CENTRE_M]) + torch.tensor([[0.01, 0.0, 0.02]])
    track = track_of(net, places, age_s, tool_m)
    pointed, by_now, rates, ages = track.split([24, 6, 6, 4])
    from_tool = torch.tensor([0.1, 0.0, 0.2])
    torch.testing.assert_close(pointed.reshape(4, 2, 3)[:, 0], places - from_tool)
    torch.testing.assert_close(pointed.reshape(4, 2, 3)[:, 1], -from_tool.expand(4, 3))
    torch.testing.assert_close(by_now.reshape(3, 2), torch.tensor([0.3, 0.2]).expand(3, 2))
    torch.testing.assert_close(rates.reshape(3, 2), velocity_dm_s[:2].expand(3, 2))
    torch.testing.assert_close(ages, age_s[0])


def test_what_is_far_or_fast_is_told_as_the_farthest(net: System1Net) -> None:
    places = torch.tensor([[30.0, -30.0, 0.0], *[[0.0, 0.0, 0.0]] * 3])
    track = track_of(net, places, torch.tensor([[0.2, 0.4, 0.6, 0.8]]), torch.tensor([CENTRE_M]))
    assert track[:36].abs().max() == FARTHEST_DM


def test_a_network_learns_to_listen_to_the_track_and_only_the_token_of_the_aim_does(net: System1Net) -> None:
    tokens = torch.randn(1, CONFIG.latents, CONFIG.latent_tokens, CONFIG.latent_width)
    age_s, state = torch.tensor([[0.2, 0.4, 0.6, 0.8]]), torch.zeros(1, CONFIG.proprioception)
    wrist = torch.randn(1, CONFIG.frames, CONFIG.wrist_tokens, CONFIG.width)
    before = net.encode(tokens, age_s, wrist, state)
    torch.nn.init.normal_(net.track_in[4].weight, std=0.1)
    changed = (net.encode(tokens, age_s, wrist, state) - before).abs().amax(dim=(0, 2)) > 1e-6
    assert changed.nonzero().tolist() == [[1]]


def test_a_network_whose_latents_do_not_point_has_no_track() -> None:
    config = System1Config(pointers=0, proprioception=1)
    net = System1Net(config)
    assert not any(name.startswith(("place_out", "track_in")) for name in net.state_dict())
    tokens = torch.randn(1, config.latents, config.latent_tokens, config.latent_width)
    wrist = torch.randn(1, config.frames, config.wrist_tokens, config.width)
    assert net.encode(tokens, torch.full((1, 4), 0.2), wrist, torch.zeros(1, 1)).isfinite().all()


@pytest.mark.parametrize("pointers", [-1, 9])
def test_no_more_tokens_point_than_a_latent_has(pointers: int) -> None:
    with pytest.raises(ValueError, match=f"pointers {pointers}: expected 0 to 8, the tokens of a latent"):
        System1Config(pointers=pointers)


def test_a_track_takes_a_state_that_begins_with_the_place_of_the_tool() -> None:
    with pytest.raises(ValueError, match="pointers 2, proprioception 2: the first three numbers"):
        System1Config(proprioception=2)
