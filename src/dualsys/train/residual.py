"""The residual head: System 1 learns to correct an action of an old chunk by what is seen when it is played.

Source: A2C2, arXiv:2509.23224. System 1 is frozen. A training example is one action of one chunk:

* the chunk is sampled by System 1 from what was seen at a recorded step t, as in a plan;
* its action k is corrected by what is seen at step t + k of the same episode, with the latents that have come
  in by then;
* the target is the action that the expert of the instruction would take there, the first of the chunk that
  was recorded as its label.

The loss is the mean square of target - (planned + correction), over all k alike. Where the toss of a coin
decides what the expert would take, any way of the chunk is as good: there the target is the planned action
itself. The expert's would be another way half of the time, and the least mean square lies between the ways.

What happened between the two steps is what the driver of the recording did, who mostly followed the same
instruction; where the words changed meanwhile, the chunk is for the old ones, and latents and target are for
the new ones. Where the driver has come past the coin on another way than the chunk's, the target is on his:
so it is at work, where a chunk that was planned before the coin comes in after it.

`python -m dualsys.train.residual --system1 CHECKPOINT --system2 CHECKPOINT --recordings FOLDER...` trains a
head and leaves a checkpoint for `dualsys export --residual`. `python -m dualsys.train` does so as a stage.
"""

from __future__ import annotations

import sys

from dualsys.train.entry import TRAIN, start

if __name__ == "__main__":
    sys.exit(start("dualsys.train.residual", "training a residual head", TRAIN))

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dualsys.command_line import read
from dualsys.errors import BundleError
from dualsys.models.flow import sample
from dualsys.models.residual import ResidualNet
from dualsys.models.system1 import System1Net
from dualsys.models.system2 import System2Net
from dualsys.train.action import ActionData, draw_latents, last_rows, seen_at
from dualsys.train.checkpoint import averaged_weights, load_network, load_system1, require_fit
from dualsys.train.examples import action_data
from dualsys.train.graphs import EULER_STEPS, field_of, phase_of
from dualsys.train.loop import Stage, device, mixed_precision
from dualsys.train.shards import load_shards
from dualsys.train.weights import round_to_half

CHUNKS = 48
"""Chunks of a batch."""
LATER = 4
"""Actions of each chunk that a batch looks at."""
PEAK_RATE = 1e-3
OTHER_SHARE = 0.2
"""Share of chunks for any instruction of the scene; the rest are for the one in force."""
COIN_SHARE = 0.15
"""Share of chunks that are planned from where a coin decides, besides those that chance brings: these are
one in two hundred, and what follows them hangs on them."""
HELD_OUT = 10
"""One episode of so many is kept from training, for `measure`."""
MEASURED_BATCHES = 12


class StalePairs:
    """Draws actions of chunks that are older than what is seen.

    Args:
        parts: Recordings.
        horizon: Actions of a chunk.
        latents: How many latents System 1 reads.
        coin_share: Share of chunks that are planned from where a coin decides, besides those that chance
            brings; of a recording that has such steps.
        held_out: Draw from the episodes that are kept from training, and from no others.
    """

    def __init__(
        self,
        parts: Sequence[ActionData],
        horizon: int,
        latents: int,
        *,
        coin_share: float = 0.0,
        held_out: bool = False,
    ) -> None:
        self._parts, self._horizon, self._latents, self._coin_share = parts, horizon, latents, coin_share
        self._last_rows, self._rows, self._coins = [], [], []
        for part in parts:
            episode = np.unique(part.first_step, return_inverse=True)[1]
            self._last_rows.append(last_rows(part.first_step))
            kept = (episode % HELD_OUT == HELD_OUT - 1) == held_out
            self._rows.append(np.flatnonzero(kept))
            self._coins.append(np.flatnonzero(kept & part.tossed[np.arange(len(kept)), part.active]))
        self._shares = torch.tensor([float(len(rows)) for rows in self._rows])

    def draw(self, chunks: int) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """For each recording that is drawn from: what its chunks are planned from, and what is seen later.

        Returns:
            Two batches as of `action.seen_at`: of B chunks, and of B * `LATER` steps, those of a chunk next
            to each other, with `step` int64, the number of the action that is then played, `target` float32
            `[B * LATER, A]`, the expert's, and `tossed` bool, a coin decided that.
        """
        drawn = torch.multinomial(self._shares, chunks, replacement=True)
        counts = torch.bincount(drawn, minlength=len(self._parts)).tolist()
        return [self._draw_from(number, count) for number, count in enumerate(counts) if count]

    def _draw_from(self, number: int, size: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        part, rows, coins = self._parts[number], self._rows[number], self._coins[number]
        row = rows[torch.randint(len(rows), (size,)).numpy()]
        if self._coin_share > 0.0 and len(coins):
            chosen = torch.rand(size).numpy() < self._coin_share
            row = np.where(chosen, coins[torch.randint(len(coins), (size,)).numpy()], row)
        row = np.sort(row)
        step = torch.randint(self._horizon, (size, LATER)).numpy()
        later = np.minimum(row[:, None] + step, self._last_rows[number][row][:, None])
        step = later - row[:, None]
        any_one = torch.randint(part.chunks.shape[1], (size,)).numpy()
        other = torch.rand(size).numpy() < OTHER_SHARE
        before = np.where(other, any_one, part.active[row]).astype(np.int64)
        now = np.where(other[:, None], any_one[:, None], part.active[later]).astype(np.int64)
        frames = draw_latents(row - part.first_step[row], self._latents)
        planned_from = seen_at(part, row, before, frames)
        flat, variant = later.reshape(-1), now.reshape(-1)
        later_frames = draw_latents(flat - part.first_step[flat], self._latents)
        # What had come in when the chunk was planned is not lost meanwhile.
        later_frames[:, 0] = np.maximum(later_frames[:, 0], frames[:, 0].repeat(LATER))
        seen = seen_at(part, flat, variant, later_frames)
        seen["step"] = torch.from_numpy(step.reshape(-1))
        seen["target"] = torch.from_numpy(part.chunks[flat, variant, 0].astype(np.float32))
        seen["tossed"] = torch.from_numpy(part.tossed[flat, variant])
        return planned_from, seen


@dataclass(frozen=True)
class Example:
    """Planned actions and what there is to correct them by; B of each.

    Attributes:
        action: `[B, A]`, planned.
        phase: `[B, 2]`.
        features: `[B, F]`, from `System1Net.summary`.
        target: `[B, A]`, the expert's, or the planned action where a coin would decide that.
        tossed: bool `[B]`, a coin would.
        step: int64 `[B]`, the number of the action in its chunk.
    """

    action: Tensor
    phase: Tensor
    features: Tensor
    target: Tensor
    tossed: Tensor
    step: Tensor

    def error(self, head: ResidualNet) -> Tensor:
        """What is left of the difference to the target after the correction, `[B, A]`."""
        return self.target - self.action - head(self.action, self.phase, self.features)


@torch.no_grad()
def planned(net: System1Net, pairs: StalePairs, chunks: int) -> Example:
    """Draw chunks and plan them with the frozen System 1."""
    found: dict[str, list[Tensor]] = {}
    for before, now in pairs.draw(chunks):
        context = net.condition(_encoded(net, before))
        noise = torch.randn(len(before["wrist"]), net.config.horizon, net.config.actions)
        chunk = sample(field_of(net, context, EULER_STEPS), noise.to(device()), EULER_STEPS).float()
        step, tossed = now["step"].to(device()), now["tossed"].to(device())
        action = chunk.repeat_interleave(LATER, 0)[torch.arange(len(step), device=step.device), step]
        action = action.clamp(-1.0, 1.0)
        found.setdefault("action", []).append(action)
        found.setdefault("phase", []).append(phase_of(step, net.config.horizon))
        found.setdefault("features", []).append(net.summary(_encoded(net, now)).float())
        target = torch.where(tossed.unsqueeze(1), action, now["target"].to(device()))
        found.setdefault("target", []).append(target)
        found.setdefault("tossed", []).append(tossed)
        found.setdefault("step", []).append(step)
    return Example(**{name: torch.cat(values) for name, values in found.items()})


def _encoded(net: System1Net, seen: dict[str, Tensor]) -> Tensor:
    """Context tokens of what is seen."""
    given = {name: value.to(device()) for name, value in seen.items()}
    batch, config = len(given["wrist"]), net.config
    features = net.wrist(given["wrist"].flatten(0, 1))
    features = features.reshape(batch, config.frames, config.wrist_tokens, config.width)
    return net.encode(given["tokens"], given["age_s"], features, given["proprioception"])


def train_residual(
    net: System1Net,
    parts: Sequence[ActionData],
    folder: Path,
    *,
    steps: int,
    seed: int,
    name: str = "residual",
) -> ResidualNet:
    """Train a head for a System 1, which is left as it is. Resumes from `folder/<name>.pt`.

    Returns:
        The averaged head.

    Raises:
        BundleError: The checkpoint to resume from is of another System 1.
    """
    frozen = _frozen(net)
    digest = digest_of(frozen)
    torch.manual_seed(seed)
    head = ResidualNet(net.config.actions, net.summary_size).to(device())
    head.trained_on.copy_(digest)
    stage = Stage(name, head, steps=steps, peak_rate=PEAK_RATE, folder=folder)
    _require_trained_on(stage.checkpoint, head, digest)
    pairs = StalePairs(parts, net.config.horizon, net.config.latents, coin_share=COIN_SHARE)

    def loss_of(_: int) -> dict[str, Tensor]:
        return {"residual": planned(frozen, pairs, CHUNKS).error(head).square().mean()}

    averaged = stage.run(loss_of, seed)
    assert isinstance(averaged, ResidualNet)
    return averaged


@torch.no_grad()
def measure(net: System1Net, head: ResidualNet, parts: Sequence[ActionData], seed: int) -> dict[str, float]:
    """How far actions are from the expert's on episodes kept from training, planned and corrected.

    Root mean squares of the normalised motion, and shares of wrong gripper commands, by quarter of the chunk.
    Where a coin decides what the expert does, there is nothing to correct: `tossed_rms` is the planned motion
    there, and `tossed_changed_rms` what the head makes of it; both are left out where there is no coin.
    """
    frozen = _frozen(net)
    horizon, latents = net.config.horizon, net.config.latents
    torch.manual_seed(seed)
    with mixed_precision():
        natural = _drawn(frozen, StalePairs(parts, horizon, latents, held_out=True))
        coins = _drawn(frozen, StalePairs(parts, horizon, latents, held_out=True, coin_share=1.0))
    found: dict[str, float] = {}
    quarter = max(1, horizon // 4)
    for way in ("planned", "corrected"):
        left = natural.target - natural.action if way == "planned" else natural.error(head)
        wrong = (natural.target[:, 3] - left[:, 3] > 0) != (natural.target[:, 3] > 0)
        for first in range(0, horizon, quarter):
            among = (natural.step >= first) & (natural.step < first + quarter) & ~natural.tossed
            name = f"{way}_{first}_to_{first + quarter - 1}"
            found[f"{name}_rms"] = float(left[among, :3].square().mean().sqrt())
            found[f"{name}_gripper_wrong"] = float(wrong[among].float().mean())
    if coins.tossed.any():
        found["tossed_rms"] = float(coins.action[coins.tossed, :3].square().mean().sqrt())
        found["tossed_changed_rms"] = float(coins.error(head)[coins.tossed, :3].square().mean().sqrt())
    return {name: round(value, 4) for name, value in found.items()}


def _drawn(frozen: System1Net, pairs: StalePairs) -> Example:
    """All that is measured on."""
    batches = [planned(frozen, pairs, CHUNKS) for _ in range(MEASURED_BATCHES)]
    joined = {one.name: torch.cat([getattr(batch, one.name) for batch in batches]) for one in fields(Example)}
    return Example(**joined)


def digest_of(net: System1Net) -> Tensor:
    """SHA-256 uint8 `[32]` of a System 1 without its head, as an export rounds it."""
    frozen = _frozen(net)
    digest = hashlib.sha256()
    for name, value in sorted(frozen.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8).clone()


def load_residual(path: Path, net: System1Net) -> ResidualNet:
    """The head of a checkpoint, for a System 1.

    Raises:
        BundleError: It cannot be read, is of another size, was trained on another System 1, or a weight is
            not finite.
    """
    head = ResidualNet(net.config.actions, net.summary_size)
    weights = averaged_weights(path)
    require_fit(path, weights, head.state_dict())
    head.load_state_dict(weights)
    _require_trained_on(path, head, digest_of(net))
    return head


def _require_trained_on(path: Path, head: ResidualNet, digest: Tensor) -> None:
    if not torch.equal(head.trained_on.cpu(), digest):
        told = bytes(head.trained_on.cpu().tolist()).hex()[:16]
        raise BundleError(
            f"{path}: trained_on: expected System 1 {bytes(digest.tolist()).hex()[:16]}, got {told}; train "
            "the head again, for this System 1"
        )


def _frozen(net: System1Net) -> System1Net:
    """A copy as it is exported, without a head."""
    frozen = copy.deepcopy(net)
    frozen.residual = None
    round_to_half(frozen)
    return frozen.to(device()).float().eval().requires_grad_(False)


@dataclass(frozen=True)
class ResidualRecipe:
    """Train a residual head for a System 1 that is there already.

    Attributes:
        system1, system2: Checkpoints.
        recordings: Folders; best those that System 1 drove, whose states are the ones it will meet.
        latents: Name of the files with the latents of this System 2, in the folders; made where they are not
            there yet.
        out: Folder of the checkpoint, `<out>/<name>.pt`.
        name: Of the checkpoint.
        steps: Gradient steps.
        seed: Of everything.
        threads: Of torch.
    """

    system1: Path
    system2: Path
    recordings: tuple[Path, ...]
    latents: str = "latents-refined"
    out: Path = Path("data/checkpoints")
    name: str = "residual"
    steps: int = 1000
    seed: int = 1
    threads: int = 2


def main() -> None:
    """Train, measure and tell."""
    recipe = read(ResidualRecipe, description=__doc__)
    torch.set_num_threads(recipe.threads)
    system1, system2 = load_system1(recipe.system1), load_network(recipe.system2)
    if not isinstance(system2, System2Net):
        raise BundleError(f"{recipe.system2}: expected a System 2, got a System 1; give its checkpoint")
    system2 = system2.to(device())
    parts = [
        action_data(system2, load_shards(folder), folder / f"{recipe.latents}.npy")
        for folder in recipe.recordings
    ]
    head = train_residual(system1, parts, recipe.out, steps=recipe.steps, seed=recipe.seed, name=recipe.name)
    figures = measure(system1, head, parts, recipe.seed)
    (recipe.out / f"{recipe.name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
