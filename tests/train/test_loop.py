"""A stage of training: its schedule, its averaged weights, and that an interruption changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dualsys.train import loop
from dualsys.train.loop import WARMUP_STEPS, Stage, learning_rate

STEPS = 12


class InterruptionError(Exception):
    """Somebody pulled the plug."""


class Tiny(nn.Module):
    """A layer, a vector and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layer = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(()))


def stage(folder: Path) -> Stage:
    """A stage with a fresh network."""
    return Stage("tiny", Tiny(), steps=STEPS, peak_rate=1e-2, folder=folder)


def run(one: Stage, stop_at: int | None = None) -> nn.Module:
    """Take the remaining steps, or fail at one."""

    def loss_of(step: int) -> dict[str, Tensor]:
        if step == stop_at:
            raise InterruptionError
        one.net.seen += 1
        x = torch.randn(8, 4)
        return {
            "fit": (one.net.layer(x) - x[:, :3]).float().square().mean(),
            "size": 0.01 * x.square().mean(),
        }

    return one.run(loss_of, seed=5)


def test_the_rate_warms_up_and_falls_to_two_percent() -> None:
    rates = [learning_rate(step, 1000, 1e-3) for step in range(1001)]
    assert rates[0] == pytest.approx(1e-3 / WARMUP_STEPS)
    assert rates[WARMUP_STEPS] == pytest.approx(max(rates)) == pytest.approx(1e-3)
    assert rates[:WARMUP_STEPS] == sorted(rates[:WARMUP_STEPS])
    assert rates[WARMUP_STEPS:] == sorted(rates[WARMUP_STEPS:], reverse=True)
    assert rates[-1] == pytest.approx(2e-5) == pytest.approx(learning_rate(5000, 1000, 1e-3))


@pytest.mark.parametrize("stop_at", [0, 5, 7, 11])
def test_a_resumed_stage_repeats_an_uninterrupted_one_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 5)
    whole = stage(tmp_path / "whole")
    run(whole)
    broken = stage(tmp_path / "broken")
    with pytest.raises(InterruptionError):
        run(broken, stop_at)
    resumed = stage(tmp_path / "broken")
    assert resumed.step == stop_at // 5 * 5
    run(resumed)
    assert resumed.step == whole.step == STEPS
    for ours, theirs in ((resumed.net, whole.net), (resumed.average, whole.average)):
        for name, tensor in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], tensor), name
    assert resumed.net.seen == STEPS


def test_a_finished_stage_takes_no_more_steps(tmp_path: Path) -> None:
    first = run(stage(tmp_path))
    again = run(stage(tmp_path), stop_at=STEPS)
    for name, tensor in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_the_average_follows_quickly_at_first_and_takes_buffers_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REPORT_EVERY", 4)
    before = Tiny().layer.weight.detach()
    one = Stage("tiny", Tiny(), steps=1, peak_rate=1.0, folder=tmp_path)
    average = run(one)
    assert not torch.equal(one.net.layer.weight, before)
    torch.testing.assert_close(average.layer.weight, torch.lerp(before, one.net.layer.weight.detach(), 0.9))
    assert average.seen == 1
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_the_log_names_every_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "REPORT_EVERY", 5)
    run(stage(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "tiny.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 12]
    for line in lines:
        assert line["loss"] == pytest.approx(line["fit"] + line["size"], abs=2e-4)


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path) -> None:
    run(stage(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.jsonl", "tiny.pt"]


def test_every_step_draws_its_own_batch(tmp_path: Path) -> None:
    one, drawn = stage(tmp_path), []

    def loss_of(_: int) -> dict[str, Tensor]:
        drawn.append(float(torch.rand(())))
        return {"any": one.net.layer.weight.square().sum()}

    one.run(loss_of, seed=5)
    assert len(set(drawn)) == STEPS
