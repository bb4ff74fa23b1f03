"""The residual head: which pairs it learns from, that it learns, and that it belongs to one System 1."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dualsys.bundles import load_manifest
from dualsys.errors import BundleError
from dualsys.fast.policies.graph import Graph
from dualsys.models import System1Config, System1Net, System2Net
from dualsys.models.residual import ResidualNet
from dualsys.train import checkpoint, export, graphs, loop, residual
from dualsys.train.action import ActionData
from dualsys.train.graphs import phase_of
from dualsys.train.residual import LATER, StalePairs, digest_of, load_residual, planned, train_residual

from .test_action import numbered

HORIZON = 16
LATENTS = 4
EPISODES = (60, 45, 3, 120, 30, 30, 30, 30, 30, 80, 33)
CHUNKS = 400


def coded() -> ActionData:
    """Every entry tells its own row and variant; the words change after every seventh step."""
    data = numbered(*EPISODES)
    chunks = np.zeros((len(data.wrist), 4, HORIZON, 4), np.float16)
    chunks[:, :, 0, 0] = (np.arange(len(data.wrist)) / 1024)[:, None]
    chunks[:, :, 0, 1] = np.arange(4)
    return replace(data, chunks=chunks, active=((np.arange(len(data.wrist)) // 7) % 4).astype(np.int8))


DATA = coded()


@pytest.fixture(scope="module")
def drawn() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Many pairs as plain arrays; what is seen later has a leading dimension for its chunk."""
    torch.manual_seed(5)
    ((before, now),) = StalePairs([DATA], HORIZON, LATENTS).draw(CHUNKS)
    later = {name: value.numpy().reshape(CHUNKS, LATER, *value.shape[1:]) for name, value in now.items()}
    return {name: value.numpy() for name, value in before.items()}, later


def rows(seen: dict[str, np.ndarray]) -> np.ndarray:
    return seen["proprioception"][..., 0].astype(np.int64)


def test_what_is_seen_later_is_as_many_steps_later_as_the_action_in_the_same_episode(
    drawn: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    before, now = drawn
    np.testing.assert_array_equal(rows(now) - rows(before)[:, None], now["step"])
    assert set(now["step"].ravel().tolist()) == set(range(HORIZON))
    np.testing.assert_array_equal(
        DATA.first_step[rows(now)], np.broadcast_to(DATA.first_step[rows(before)][:, None], (CHUNKS, LATER))
    )


def test_the_target_is_the_first_action_of_the_expert_at_the_later_step(
    drawn: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    _, now = drawn
    np.testing.assert_allclose(now["target"][..., 0], rows(now) / 1024, atol=1e-3)


def test_latents_and_target_are_for_one_instruction_mostly_the_one_in_force(
    drawn: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    before, now = drawn
    told = now["tokens"][:, :, :, 0, 1]
    np.testing.assert_array_equal(told[..., 0], now["target"][..., 1])
    for before_it in range(1, LATENTS):
        np.testing.assert_array_equal(told[..., 0], told[..., before_it])
    in_force = (told[..., 0] == DATA.active[rows(now)]).mean()
    assert in_force == pytest.approx(1 - residual.OTHER_SHARE * 3 / 4, abs=0.06)
    planned_for = before["tokens"][:, 0, 0, 1]
    changed = planned_for[:, None] != told[..., 0]
    assert changed.any()
    assert (DATA.active[rows(now)] != DATA.active[rows(before)][:, None])[changed].all()


def test_no_latent_of_the_future_is_seen_and_none_is_lost(
    drawn: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    before, now = drawn
    newest, newer = before["tokens"][:, 0, 0, 0], now["tokens"][:, :, 0, 0, 0]
    assert (newer >= newest[:, None]).all()
    assert (np.diff(now["tokens"][..., 0, 0], axis=-1) <= 0).all()
    assert (now["age_s"] >= -1e-6).all()
    frames = DATA.first_frame[rows(now)]
    seen_s = (rows(now) - DATA.first_step[rows(now)]) * 0.04 - (newer - frames) * 0.08
    np.testing.assert_allclose(now["age_s"][..., 0], seen_s, atol=1e-5)


def test_one_episode_in_ten_is_kept_from_training() -> None:
    torch.manual_seed(6)
    firsts = np.unique(DATA.first_step)
    for held_out, expected in ((True, {9}), (False, set(range(11)) - {9})):
        ((before, _),) = StalePairs([DATA], HORIZON, LATENTS, held_out=held_out).draw(1000)
        row = before["proprioception"][:, 0].numpy().astype(np.int64)
        assert set(np.searchsorted(firsts, DATA.first_step[row]).tolist()) == expected


def test_a_phase_tells_each_action_from_the_others() -> None:
    phases = phase_of(torch.arange(16), 16)
    assert torch.unique(phases.round(decimals=4), dim=0).shape == (16, 2)
    torch.testing.assert_close(phases[4], torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(phases[1, 0].item(), math.sin(math.pi / 8))


@pytest.fixture(scope="module")
def tiny() -> System1Net:
    """A System 1 that takes next to no time."""
    torch.manual_seed(3)
    sizes = {"width": 16, "depth": 1, "context_depth": 1, "heads": 2, "wrist_px": 16}
    net = System1Net(System1Config(horizon=4, latent_tokens=2, latent_width=8, **sizes))
    return net.eval().requires_grad_(False)


def recording(net: System1Net, episodes: int = 12, length: int = 40, coin: int = 0) -> ActionData:
    """Random sights; the expert always plays what the state says, which a chunk from earlier cannot know.

    In each episode, a coin decides its last `coin` steps.
    """
    rng, config, count = np.random.default_rng(8), net.config, episodes * length
    state = rng.uniform(-1, 1, (count, config.proprioception)).astype(np.float32)
    chunks = np.zeros((count, 2, config.horizon, 4), np.float16)
    chunks[:, :, 0] = np.sign(state[:, None, :4]) * 0.5
    first = np.repeat(np.arange(episodes) * length, length)
    px = config.wrist_px
    return ActionData(
        wrist=np.zeros((count, px, px, 3), np.uint8),
        proprioception=state,
        first_step=first,
        first_frame=first // 2,
        chunks=chunks,
        active=np.zeros(count, np.int8),
        aims=np.zeros((count, 2, 8), np.float32),
        played=np.zeros((count, 4), np.float32),
        tossed=np.repeat((np.arange(count) % length >= length - coin)[:, None], 2, axis=1),
        latents=np.zeros((count // 2, 2, config.latent_tokens, config.latent_width), np.float16),
    )


def test_a_head_learns_what_only_the_present_tells(
    tiny: System1Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residual, "CHUNKS", 12)
    monkeypatch.setattr(loop, "WARMUP_STEPS", 10)
    monkeypatch.setattr(loop, "REPORT_EVERY", 20)
    weights = {name: value.clone() for name, value in tiny.state_dict().items()}
    parts = [recording(tiny)]
    head = train_residual(tiny, parts, tmp_path, steps=120, seed=2)
    figures = residual.measure(tiny, head, parts, seed=3)
    for first in range(4):
        name = f"{first}_to_{first}_rms"
        assert figures[f"corrected_{name}"] < 0.8 * figures[f"planned_{name}"]
    lines = [json.loads(line) for line in (tmp_path / "residual.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
    for name, value in tiny.state_dict().items():
        assert torch.equal(value, weights[name])
    again = train_residual(tiny, parts, tmp_path, steps=120, seed=2)
    assert all(torch.equal(one, two) for one, two in zip(head.parameters(), again.parameters(), strict=True))


def test_a_planned_action_is_that_of_the_chunk_of_system_1(tiny: System1Net) -> None:
    torch.manual_seed(4)
    one = planned(tiny, StalePairs([recording(tiny)], 4, tiny.config.latents), 8)
    assert one.action.shape == one.target.shape == (8 * LATER, 4)
    assert one.features.shape == (8 * LATER, tiny.summary_size)
    assert (one.action.abs() <= 1.0).all()
    untrained = ResidualNet(4, tiny.summary_size)
    torch.testing.assert_close(one.error(untrained), one.target - one.action)


def test_where_a_coin_decides_what_the_expert_plays_nothing_is_to_be_corrected(tiny: System1Net) -> None:
    torch.manual_seed(4)
    one = planned(tiny, StalePairs([recording(tiny, coin=15)], 4, tiny.config.latents), 64)
    assert one.tossed.any()
    assert not one.tossed.all()
    assert torch.equal(one.target[one.tossed], one.action[one.tossed])
    left = one.error(ResidualNet(4, tiny.summary_size))
    assert (left[~one.tossed].abs().amax(dim=1) > 0.0).all()


def test_chunks_from_where_a_coin_decides_are_drawn_more_often_on_request() -> None:
    rare = np.zeros((len(DATA.wrist), 4), np.bool_)
    rare[100:104] = True
    for share, expected in ((0.0, 4 / len(DATA.wrist)), (0.5, 0.5), (1.0, 1.0)):
        torch.manual_seed(6)
        pairs = StalePairs([replace(DATA, tossed=rare)], HORIZON, LATENTS, coin_share=share)
        ((before, now),) = pairs.draw(1000)
        row = before["proprioception"][:, 0].numpy().astype(np.int64)
        assert rare[row, 0].mean() == pytest.approx(expected, abs=0.05)
        assert (np.diff(row) >= 0).all()
        later = now["proprioception"][:, 0].numpy().astype(np.int64)
        np.testing.assert_array_equal(now["tossed"].numpy(), rare[later, 0])


def test_what_a_head_changes_where_a_coin_decides_is_measured_by_itself(
    tiny: System1Net, head: ResidualNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residual, "CHUNKS", 12)
    untrained = ResidualNet(4, tiny.summary_size)
    parts = [recording(tiny, episodes=20, coin=15)]
    assert residual.measure(tiny, untrained, parts, seed=3)["tossed_changed_rms"] == 0.0
    figures = residual.measure(tiny, head, parts, seed=3)
    assert figures["tossed_changed_rms"] > 0.0
    assert figures["tossed_rms"] > 0.0
    assert "tossed_rms" not in residual.measure(tiny, head, [recording(tiny)], seed=3)


@pytest.fixture
def head(tiny: System1Net) -> ResidualNet:
    """A head for `tiny` whose corrections are not zero."""
    torch.manual_seed(9)
    made = ResidualNet(4, tiny.summary_size)
    torch.nn.init.normal_(made.layers[4].weight, std=0.2)
    made.trained_on.copy_(digest_of(tiny))
    return made


def saved(path: Path, net: torch.nn.Module) -> Path:
    torch.save({"average": net.state_dict()}, path)
    return path


def test_an_exported_head_corrects_as_torch_does(
    tiny: System1Net,
    small_system2: System2Net,
    head: ResidualNet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def only_the_head(net: System1Net, steps: int) -> dict[str, graphs.Graph]:
        made = graphs.system1_graphs(net, steps)
        return {"residual.onnx": made["residual.onnx"]}

    monkeypatch.setattr(checkpoint, "System1Config", lambda: tiny.config)
    monkeypatch.setattr(checkpoint, "System2Config", lambda **_: small_system2.config)
    monkeypatch.setattr(export, "system1_graphs", only_the_head)
    out, net = tmp_path / "out", saved(tmp_path / "net.pt", tiny)
    manifest, _ = export.export_checkpoint(net, out, None, saved(tmp_path / "head.pt", head))
    assert load_manifest(out, "system1").files == manifest.files
    assert set(manifest.files) == {"residual.onnx", "weights.bin"}
    assert set(manifest.training["residual"]) == {"head.pt"}
    assert float(manifest.training["error_against_torch_float64"]["residual.onnx"]["largest"]) < 1e-4
    whole = with_head(tiny, tmp_path / "head.pt")
    given = graphs.system1_graphs(whole, graphs.EULER_STEPS)["residual.onnx"].draw(30)
    action, phase, *seen = given.values()
    expected = whole.correction(action, phase, whole.encode(*seen)).detach().numpy()
    found = Graph(out / "residual.onnx").run({name: value.numpy() for name, value in given.items()})
    np.testing.assert_allclose(found["residual"], expected, atol=2e-3)
    assert np.abs(expected).max() > 0.05


def with_head(net: System1Net, path: Path) -> System1Net:
    """A copy of a System 1 with the head of a checkpoint."""
    made = System1Net(net.config)
    made.load_state_dict(net.state_dict())
    made.residual = load_residual(path, made)
    return made.eval()


def test_without_a_head_there_is_no_graph_for_one(tiny: System1Net) -> None:
    assert "residual.onnx" not in graphs.system1_graphs(tiny, graphs.EULER_STEPS)


def test_a_system_2_has_no_residual_head(
    small_system2: System2Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "System2Config", lambda **_: small_system2.config)
    net = saved(tmp_path / "net.pt", small_system2)
    with pytest.raises(BundleError, match=r"net\.pt: holds a System 2, which has no residual head"):
        export.export_checkpoint(net, tmp_path / "out", None, tmp_path / "head.pt")


def test_a_head_is_refused_for_a_system_1_that_it_was_not_trained_on(
    tiny: System1Net, head: ResidualNet, tmp_path: Path
) -> None:
    path, other = saved(tmp_path / "residual.pt", head), System1Net(tiny.config)
    other.load_state_dict(tiny.state_dict())
    assert load_residual(path, other).trained_on.tolist() == head.trained_on.tolist()
    with torch.no_grad():
        other.action_out.bias += 0.01
    with pytest.raises(BundleError, match=r"residual\.pt: trained_on: expected System 1 \w{16}, got \w{16}"):
        load_residual(path, other)
    groups = [[p for p in head.parameters() if (p.ndim > 1) is matrix] for matrix in (True, False)]
    optimizer = torch.optim.AdamW([{"params": group} for group in groups])
    resumable = {"net": head.state_dict(), "average": head.state_dict(), "step": 1, "train_s": 0.0}
    torch.save(resumable | {"optimizer": optimizer.state_dict()}, path)
    with pytest.raises(BundleError, match="train the head again, for this System 1"):
        train_residual(other, [recording(other)], tmp_path, steps=1, seed=1)
