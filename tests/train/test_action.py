"""Examples for System 1: honest about how old everything is, and drawn in the shares that are promised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dualsys.models import System1Config, System1Net, System2Config, System2Net
from dualsys.train import action
from dualsys.train.action import ActionData, ExampleSampler, encode_latents, set_state_scale, train_system1

VARIANTS = 4
LATENTS = 4
FRAME_S = action.FRAME_STEPS * action.STEP_S


def numbered(*lengths: int) -> ActionData:
    """Episodes in which every entry tells its own row and variant, so that an example gives itself away."""
    rows, first_step, first_frame, frames = sum(lengths), [], [], 0
    for length in lengths:
        first_step += [len(first_step)] * length
        first_frame += [frames] * length
        frames += -(-length // action.FRAME_STEPS)
    chunks = np.zeros((rows, VARIANTS, 2, 2), np.float16)
    chunks[..., 0, 1] = np.arange(VARIANTS)
    latents = np.zeros((frames, VARIANTS, 1, 2), np.float16)
    latents[..., 0, 0] = np.arange(frames)[:, None]
    latents[..., 0, 1] = np.arange(VARIANTS)
    wrist = np.zeros((rows, 1, 1, 3), np.uint8)
    wrist[:, 0, 0, 0], wrist[:, 0, 0, 1] = np.divmod(np.arange(rows), 256)
    return ActionData(
        wrist=wrist,
        proprioception=np.arange(rows, dtype=np.float32)[:, None],
        first_step=np.array(first_step, dtype=np.int64),
        first_frame=np.array(first_frame, dtype=np.int64),
        chunks=chunks,
        active=(np.arange(rows) % VARIANTS).astype(np.int8),
        aims=np.zeros((rows, VARIANTS, 8), np.float32),
        latents=latents,
        played=np.column_stack([-1.0 - np.arange(rows), np.zeros(rows)]).astype(np.float32),
        tossed=np.zeros((rows, VARIANTS), np.bool_),
    )


DATA = numbered(151, 90, 3, 120)


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    """A large batch, as plain arrays: rows, variants, frames, wrist rows, ages."""
    torch.manual_seed(7)
    drawn = {name: tensor.numpy() for name, tensor in ExampleSampler([DATA], LATENTS).draw(8000).items()}
    row = drawn["proprioception"][:, 0].astype(np.int64)
    return {
        "row": row,
        "step": row - DATA.first_step[row],
        "variant": drawn["chunk"][:, 0, 1].astype(np.int64),
        "latent_variant": drawn["tokens"][:, :, 0, 1].astype(np.int64),
        "frame": drawn["tokens"][:, :, 0, 0].astype(np.int64) - DATA.first_frame[row][:, None],
        "wrist": drawn["wrist"][:, :, 0, 0, 0] * np.int64(256) + drawn["wrist"][:, :, 0, 0, 1],
        "age_s": drawn["age_s"],
    }


def test_ages_are_the_true_ages_of_the_latents(batch: dict[str, np.ndarray]) -> None:
    true_s = batch["step"][:, None] * action.STEP_S - batch["frame"] * FRAME_S
    np.testing.assert_allclose(batch["age_s"], true_s, atol=1e-5)
    steps = batch["age_s"] / action.STEP_S
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)


def test_no_latent_is_from_the_future_or_from_another_episode(batch: dict[str, np.ndarray]) -> None:
    assert (batch["frame"] >= 0).all()
    assert (batch["age_s"] >= -1e-6).all()
    assert (batch["frame"] * action.FRAME_STEPS <= batch["step"][:, None]).all()
    assert (np.diff(batch["frame"], axis=1) <= 0).all()


def test_latents_are_as_old_as_is_promised(batch: dict[str, np.ndarray]) -> None:
    late = batch["step"] * action.STEP_S > action.LARGEST_AGE_S + (LATENTS - 1) * action.LARGEST_GAP_S
    newest, before, *_ = batch["age_s"][late].T
    assert newest.max() < action.LARGEST_AGE_S + FRAME_S
    assert newest.min() == pytest.approx(action.STEP_S, abs=1e-5)
    rare = (newest > action.NORMAL_AGE_S + FRAME_S).mean()
    assert rare == pytest.approx(action.RARE_AGE_SHARE, abs=0.03)
    assert (before - newest).max() <= action.LARGEST_GAP_S + FRAME_S / 2
    assert np.median((before - newest)[before > newest]) < action.LARGEST_GAP_S / 2, "mostly short ones"


def test_latents_are_equally_far_apart_as_far_as_there_are_so_many(batch: dict[str, np.ndarray]) -> None:
    late = batch["step"] * action.STEP_S > action.LARGEST_AGE_S + (LATENTS - 1) * action.LARGEST_GAP_S
    gaps = -np.diff(batch["frame"][late], axis=1)
    there = (gaps > 0).sum(axis=1)
    for count in range(1, LATENTS):
        assert (gaps[there >= count, count - 1] == gaps[there >= count, 0]).all()
        assert not gaps[there < count, count - 1].any()
    assert (there == 0).mean() == pytest.approx(action.SINGLE_LATENT_SHARE, abs=0.03)
    for count in range(1, LATENTS - 1):
        share = action.FEW_LATENTS_SHARE / (LATENTS - 1)
        assert (there == count).mean() == pytest.approx(share, abs=0.02)


def test_latents_and_chunk_belong_to_one_instruction(batch: dict[str, np.ndarray]) -> None:
    for nth in range(LATENTS):
        np.testing.assert_array_equal(batch["latent_variant"][:, nth], batch["variant"])


def test_the_instruction_in_force_has_its_share(batch: dict[str, np.ndarray]) -> None:
    active = (batch["variant"] == DATA.active[batch["row"]]).mean()
    expected = action.ACTIVE_SHARE + (1 - action.ACTIVE_SHARE) / VARIANTS
    assert active == pytest.approx(expected, abs=0.03)


def test_the_earlier_wrist_image_is_120_ms_old_or_the_first(batch: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(batch["wrist"][:, 0], batch["row"])
    earlier = np.maximum(batch["row"] - action.PREVIOUS_FRAME_STEPS, DATA.first_step[batch["row"]])
    np.testing.assert_array_equal(batch["wrist"][:, 1], earlier)


def test_recordings_are_drawn_in_proportion_to_their_length() -> None:
    other = numbered(91)
    other = replace(other, proprioception=other.proprioception + 1000.0)
    torch.manual_seed(1)
    drawn = ExampleSampler([DATA, other], LATENTS).draw(6000)
    assert (drawn["proprioception"] >= 1000).float().mean() == pytest.approx(91 / (364 + 91), abs=0.02)


def test_steps_at_which_the_named_object_moves_are_drawn_more_often() -> None:
    torch.manual_seed(7)
    aims = np.zeros((100, VARIANTS, 8), np.float32)
    aims[:, :, 6] = np.nan
    moving = {3: 0.1, 4: -0.3}
    too_slow_or_knocked_away = {5: 0.02, 6: 2.0}
    for row, speed_m_s in (moving | too_slow_or_knocked_away).items():
        aims[row, row % VARIANTS, 6] = speed_m_s
    aims[7, (7 + 1) % VARIANTS, 6] = 0.1  # of another instruction than that in force
    drawn = ExampleSampler([replace(numbered(100), aims=aims)], LATENTS).draw(8000)
    rows, counts = np.unique(drawn["proprioception"].numpy()[:, 0], return_counts=True)
    often = action.MOVING_SHARE / 2 + (1 - action.MOVING_SHARE) / 100
    np.testing.assert_allclose(counts[np.isin(rows, [3, 4])] / 8000, often, rtol=0.15)
    assert counts[~np.isin(rows, [3, 4])].max() < 2.2 * 8000 / 100
    variants = drawn["chunk"][:, 0, 1].numpy()[drawn["proprioception"].numpy()[:, 0] == 3]
    assert (variants == 3 % VARIANTS).mean() > 0.9


def test_a_batch_is_a_function_of_torchs_generator() -> None:
    batches = []
    for _ in range(2):
        torch.manual_seed(11)
        batches.append(ExampleSampler([DATA, numbered(20)], LATENTS).draw(64))
    for name, tensor in batches[0].items():
        assert torch.equal(tensor, batches[1][name])


def test_the_state_scale_is_that_of_the_recordings() -> None:
    net = System1Net(System1Config(width=32, depth=1, context_depth=1, heads=2, proprioception=2, pointers=0))
    states = np.column_stack([np.arange(5.0), np.full(5, 0.3)]).astype(np.float32)
    parts = [replace(numbered(3), proprioception=states[:3]), replace(numbered(2), proprioception=states[3:])]
    set_state_scale(net, parts)
    np.testing.assert_allclose(net.state_mean.numpy(), [2.0, 0.3], rtol=1e-6)
    np.testing.assert_allclose(net.state_scale.numpy(), [np.sqrt(2.0), 1e-3], rtol=1e-6)


def tiny_system2(seed: int) -> System2Net:
    """Two tokens of eight numbers from sixteen pixels square."""
    torch.manual_seed(seed)
    config = System2Config(
        vocabulary=6, max_words=4, tasks=2, directions=2, colours=2, shapes=2, height_px=16, width_px=16,
        width=32, queries=2, depth=1, heads=2,
    )  # fmt: skip
    return System2Net(config)


def test_latents_are_those_of_every_image_under_its_own_instructions(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    net, images = tiny_system2(0), rng.integers(0, 256, (130, 16, 16, 3), dtype=np.uint8)
    words = rng.integers(1, 6, (130, 3, 4)).astype(np.int16)
    latents = encode_latents(net, images, words, tmp_path / "latents.npy")
    assert latents.shape == (130, 3, 2, 32)
    assert latents.dtype == np.float16
    for frame, variant in ((0, 0), (1, 2), (127, 1), (129, 2)):
        text = torch.from_numpy(words[frame, variant][None].astype(np.int64))
        with torch.no_grad():
            alone = net.think(net.see(torch.from_numpy(images[frame][None])), text)[0].numpy()
        np.testing.assert_allclose(latents[frame, variant], alone, atol=0.08)


def test_latents_are_kept_as_long_as_they_fit(tmp_path: Path, rng: np.random.Generator) -> None:
    path, images = tmp_path / "latents.npy", rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    words = rng.integers(1, 6, (4, 3, 4)).astype(np.int16)
    first = np.array(encode_latents(tiny_system2(0), images, words, path))
    np.testing.assert_array_equal(encode_latents(tiny_system2(1), images, words, path), first)
    assert encode_latents(tiny_system2(1), images, words[:, :2], path).shape == (4, 2, 2, 32)
    assert [file.name for file in tmp_path.iterdir()] == ["latents.npy"]


def test_training_teaches_the_chunk_and_returns_the_average(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(action, "BATCH", 16)
    shapes = {"horizon": 2, "actions": 2, "proprioception": 1, "latent_tokens": 1, "latent_width": 2}
    shapes |= {"pointers": 0}
    torch.manual_seed(0)
    sizes = {"latents": LATENTS, "wrist_px": 16, "width": 32, "depth": 1, "context_depth": 1, "heads": 2}
    net = System1Net(System1Config(**shapes, **sizes))
    # The same chunk everywhere: what is left to learn is to go there from any noise.
    data = replace(
        DATA,
        chunks=np.ones_like(DATA.chunks),
        played=np.ones_like(DATA.played),
        wrist=np.zeros((len(DATA.wrist), 16, 16, 3), np.uint8),
    )
    set_state_scale(net, [data])
    average = train_system1(net, [data], tmp_path, name="tiny", steps=150, seed=1, peak_rate=1e-2)
    assert average is not net
    log = (tmp_path / "tiny.jsonl").read_text().splitlines()
    assert len(log) == 3
    with torch.no_grad():
        tokens, age_s = torch.zeros(64, LATENTS, 1, 2), torch.rand(64, LATENTS)
        context = average.context(tokens, age_s, torch.zeros(64, 2, 1, 32), torch.rand(64, 1) * 300)
        x = torch.randn(64, 2, 2)
        for step in range(5):
            x = x + average.velocity(x, torch.full((64, 1), step / 5), context) / 5
    assert (x - 1).abs().mean() < 0.4


def test_aims_are_told_from_the_tool_in_tenths() -> None:
    data = replace(numbered(9), proprioception=np.full((9, 3), 0.25, np.float32))
    aims = np.full((9, VARIANTS, 8), 0.5, np.float32)
    aims[..., 3:6] = np.nan
    aim = ExampleSampler([replace(data, aims=aims)], LATENTS).draw(5)["aim"].numpy()
    np.testing.assert_allclose(aim, [[2.5, 2.5, 2.5, *[np.nan] * 3, 5.0, 5.0, 1.0]] * 5, rtol=1e-6)


def test_an_aim_that_was_knocked_away_is_told_as_the_farthest() -> None:
    data = replace(numbered(9), proprioception=np.zeros((9, 3), np.float32))
    aims = np.full((9, VARIANTS, 8), 70.0, np.float32)
    aims[..., 2] = -40.0
    aim = ExampleSampler([replace(data, aims=aims)], LATENTS).draw(5)["aim"].numpy()
    np.testing.assert_allclose(aim, [[6.0, 6.0, -6.0, *[6.0] * 5, 1.0]] * 5, rtol=1e-6)


def test_an_object_that_is_not_there_is_told_as_absent() -> None:
    aims = np.full((9, VARIANTS, 8), 0.5, np.float32)
    aims[..., :3] = np.nan
    aims[..., 6:] = np.nan
    aim = ExampleSampler([replace(numbered(9), aims=aims)], LATENTS).draw(5)["aim"].numpy()
    assert np.isnan(aim[:, [0, 1, 2, 6, 7]]).all()
    assert np.isfinite(aim[:, 3:6]).all()
    np.testing.assert_array_equal(aim[:, 8], -1.0)


def test_an_aim_that_does_not_exist_costs_nothing() -> None:
    truth = torch.tensor([[0.3] * 9, [float("nan")] * 9])
    predicted = torch.tensor([[0.3] * 9, [9.0] * 9], requires_grad=True)
    loss = action.aim_loss(predicted, truth)
    loss.backward()
    assert loss.item() == 0.0
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()


class Probe:
    """Stands in for a System 1 whose velocity is wrong on the given actions only."""

    def __init__(self) -> None:
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def velocity(self, x: torch.Tensor, tau: torch.Tensor, _: object) -> torch.Tensor:
        self.seen.append((x, tau))
        # With a chunk of zeros, x = (1 - tau) noise, so that the wanted velocity is -x / (1 - tau).
        return torch.where(tau.unsqueeze(-1) == 1.0, 1e6, -x / (1 - tau.unsqueeze(-1)).clamp(min=1e-6))


def test_a_prefix_is_clean_at_flow_time_one_and_left_out_of_the_loss() -> None:
    torch.manual_seed(3)
    probe, prefix = Probe(), torch.arange(1, 9).repeat(8)
    context = (torch.zeros(1),) * 3
    loss = action.prefix_loss(probe, context, torch.zeros(64, 16, 4), prefix)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    x, tau = probe.seen[0]
    assert torch.equal((tau == 1.0).sum(dim=1), prefix)
    for row, length in enumerate(prefix.tolist()):
        assert (x[row, :length] == 0.0).all()
        assert len(set(tau[row, length:].tolist())) == 1


def led(tossed: int = -1, horizon: int = 12) -> dict[str, np.ndarray]:
    """Many chunks in which every action tells its step, and the expert's variant, or -1 if it was played.

    A coin decides at steps from `tossed` on, if that is given.
    """
    rows = 2 * 60
    data = numbered(60, 60)
    chunks = np.zeros((rows, VARIANTS, horizon, 4), np.float16)
    chunks[..., 2] = (np.arange(rows)[:, None] + np.arange(horizon))[:, None]
    chunks[..., 3] = np.arange(VARIANTS)[:, None]
    played = np.tile(np.array([0.5, 0.0, 0.0, -1.0], np.float32), (rows, 1))
    played[:, 2] = np.arange(rows)
    coin = np.zeros((rows, VARIANTS), np.bool_)
    if tossed >= 0:
        coin[tossed:60] = coin[60 + tossed :] = True
    torch.manual_seed(2)
    drawn = ExampleSampler([replace(data, chunks=chunks, played=played, tossed=coin)], LATENTS).draw(4000)
    return {name: tensor.numpy() for name, tensor in drawn.items()}


def test_a_prefix_is_what_was_played_and_the_expert_goes_on_from_where_that_has_led() -> None:
    drawn = led()
    assert set(drawn["prefix"].tolist()) == set(range(1, action.PREFIX_MOST + 1))
    step = drawn["proprioception"][:, 0].astype(np.int64)
    for row, (own, length) in enumerate(zip(drawn["led_chunk"], drawn["prefix"], strict=True)):
        np.testing.assert_array_equal(own[:, 2], step[row] + np.arange(12))
        left = 59 - step[row] % 60
        assert length <= max(left, 1), "a prefix ends with its episode"
        expert = (np.arange(12) >= length) | (left == 0)
        np.testing.assert_array_equal(own[:, 3], np.where(expert, drawn["chunk"][row, 0, 3], -1))


def test_the_expert_keeps_to_its_way_where_a_coin_would_decide_anew_after_the_prefix() -> None:
    drawn = led(tossed=30)
    then = drawn["proprioception"][:, 0] % 60 + drawn["prefix"]
    inside = then <= 59
    np.testing.assert_array_equal(drawn["led_chunk"][inside, 0, 3] >= 0, then[inside] >= 30)
