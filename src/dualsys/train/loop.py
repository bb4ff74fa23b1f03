"""What both training stages share: schedule, averaged weights, resumable checkpoints, progress."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn

from dualsys.clock import NS_PER_S, WallClock

WARMUP_STEPS = 200
SAVE_EVERY = 500
REPORT_EVERY = 50


def device() -> torch.device:
    """A GPU where there is one, the CPU otherwise."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision() -> AbstractContextManager[object]:
    """bfloat16 matrix products on the CPU, where they are twice as fast; nothing special on a GPU."""
    return torch.autocast("cpu", torch.bfloat16) if device().type == "cpu" else nullcontext()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then a cosine to 2 % of the peak."""
    if step < WARMUP_STEPS:
        return peak * (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return peak * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))


def progress_bar() -> Progress:
    """The bar of every long stage."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*columns)


class Stage:
    """One resumable stage of gradient descent.

    Args:
        name: Names the checkpoint, `<folder>/<name>.pt`, and the log, `<folder>/<name>.jsonl`.
        net: Network to train, in place.
        steps: Total gradient steps.
        peak_rate: Peak learning rate of AdamW.
        folder: Where checkpoints go.
        averaging: Decay of the averaged weights, which are what is exported.
    """

    def __init__(
        self,
        name: str,
        net: nn.Module,
        *,
        steps: int,
        peak_rate: float,
        folder: Path,
        averaging: float = 0.998,
    ) -> None:
        self.name, self.net, self.steps, self.peak_rate = name, net, steps, peak_rate
        self.averaging = averaging
        self.average = copy.deepcopy(net).requires_grad_(False)
        decayed = [p for p in net.parameters() if p.ndim > 1]
        other = [p for p in net.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.02}, {"params": other, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=peak_rate, betas=(0.9, 0.98))
        self.checkpoint = folder / f"{name}.pt"
        self.log = folder / f"{name}.jsonl"
        self.step = 0
        self.train_s = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._load()

    def run(self, loss_of: Callable[[int], dict[str, Tensor]], seed: int) -> nn.Module:
        """Take the remaining steps and return the averaged network.

        Args:
            loss_of: Named losses of a step; their sum is minimised. Must derive its randomness from the step
                number and torch's generator, which is seeded for every step, so that a resumed run repeats an
                uninterrupted one.
            seed: Base of the seeds.
        """
        clock = WallClock()
        begun_ns = clock.now_ns()
        with progress_bar() as bar:
            task = bar.add_task(self.name, total=self.steps, completed=self.step, note="")
            while self.step < self.steps:
                torch.manual_seed(seed * 1_000_003 + self.step)
                for group in self.optimizer.param_groups:
                    group["lr"] = learning_rate(self.step, self.steps, self.peak_rate)
                with mixed_precision():
                    losses = loss_of(self.step)
                total = torch.stack([loss.float() for loss in losses.values()]).sum()
                self.optimizer.zero_grad(set_to_none=True)
                total.backward()
                nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
                self.optimizer.step()
                self._average()
                self.step += 1
                if self.step % REPORT_EVERY == 0 or self.step == self.steps:
                    note = {key: round(float(value.detach()), 4) for key, value in losses.items()}
                    bar.update(task, completed=self.step, note=" ".join(f"{k} {v}" for k, v in note.items()))
                    line = {"step": self.step, "loss": round(float(total.detach()), 5)} | note
                    with self.log.open("a") as log:
                        log.write(json.dumps(line) + "\n")
                if self.step % SAVE_EVERY == 0 or self.step == self.steps:
                    now_ns = clock.now_ns()
                    self.train_s += (now_ns - begun_ns) / NS_PER_S
                    begun_ns = now_ns
                    self._save()
        return self.average

    def _average(self) -> None:
        decay = min(self.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            ours: list[Tensor] = list(self.average.parameters())
            theirs = [parameter.detach() for parameter in self.net.parameters()]
            torch._foreach_lerp_(ours, theirs, 1.0 - decay)
            for kept, current in zip(self.average.buffers(), self.net.buffers(), strict=True):
                kept.copy_(current)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "train_s": self.train_s,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, map_location=device(), weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.train_s = int(state["step"]), float(state["train_s"])
