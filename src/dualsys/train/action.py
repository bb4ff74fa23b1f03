"""Stage 2: System 1 learns to act on latents that are old.

System 2 is frozen and its latents are computed beforehand. Every training example draws how stale the newest
latent is and how long before it the one before was made, so that a slow System 2 is normal to System 1. The
same recorded state is shown with the latents of several instructions, each with the chunk that its expert
would play from there: what to do can only be told from the latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from dualsys.models.system1 import System1Net
from dualsys.models.system2 import System2Net
from dualsys.train.loop import Stage, device, mixed_precision, progress_bar
from dualsys.train.vision import jitter_light

BATCH = 192
DRAWS = 2
"""Noise and flow-time draws for each example, besides one with a clean prefix; all share one context."""
PREFIX_SHARE = 0.5
"""Weight of the loss behind a clean prefix."""
PEAK_RATE = 1.0e-3
PREFIX_MOST = 8
"""Longest clean prefix of a training example, in actions: a delay of 320 ms."""
AIM_SHARE = 0.3
"""Weight of the auxiliary loss on what the plan is about."""
LARGEST_AIM = 0.6
"""Farther aims (m, m/s) are told as this."""
AIM_UNIT = 0.1
"""Errors of the aim are measured in tenths of its unit: cm, and cm/s."""
STEP_S = 0.04
FRAME_STEPS = 2
"""Policy steps between two images of the fixed camera."""
PREVIOUS_FRAME_STEPS = 3
"""Policy steps between the two wrist images: 120 ms."""
NORMAL_AGE_S, LARGEST_AGE_S = 0.8, 1.5
RARE_AGE_SHARE = 0.1
"""Share of examples whose newest latent is older than `NORMAL_AGE_S`."""
LARGEST_GAP_S = 1.0
"""Longest time between two latents; short ones are drawn more often."""
ACTIVE_SHARE = 0.35
"""Share of examples shown with the instruction that was in force; the rest take any of the scene's."""
MOVING_SHARE = 0.2
"""Share of examples, besides those that chance brings, in which the named object moves: these are rare, and
nowhere else is anything learned about velocities."""
MOVING_M_S = 0.05, LARGEST_AIM
"""Slowest and fastest such object; one that is faster was knocked away."""
SINGLE_LATENT_SHARE = 0.15
"""Share of examples with one latent only, as after a new instruction."""
FEW_LATENTS_SHARE = 0.2
"""Share of examples with fewer latents than System 1 reads, besides."""


@dataclass(frozen=True)
class ActionData:
    """Recorded steps with J instructions each. Arrays may be memory-mapped.

    Attributes:
        wrist: uint8 `[T, px, px, 3]`.
        proprioception: float32 `[T, P]`.
        first_step: int64 `[T]`, row of the first step of the same episode.
        first_frame: int64 `[T]`, row in `latents` of that episode's first image.
        chunks: float16 `[T, J, H, A]`, what the expert of each instruction would play from here.
        active: int8 `[T]`, the instruction that was in force.
        aims: float32 `[T, J, 8]`, named object `[3]`, where it is to go, the wall before it, or where the
            tool is to go `[3]` (m, base frame), and the velocity of the object `[2]` (m/s); NaN for none.
        latents: float16 `[F, J, tokens, width]`, one row for every `FRAME_STEPS` steps.
        played: float32 `[T, A]`, the action that was played at each step, whoever chose it.
        tossed: bool `[T, J]`, the toss of a coin decided what that expert would play from here.
    """

    wrist: NDArray[np.uint8]
    proprioception: NDArray[np.float32]
    first_step: NDArray[np.int64]
    first_frame: NDArray[np.int64]
    chunks: NDArray[np.float16]
    active: NDArray[np.int8]
    aims: NDArray[np.float32]
    latents: NDArray[np.float16]
    played: NDArray[np.float32]
    tossed: NDArray[np.bool_]


def encode_latents(
    net: System2Net, images: NDArray[np.uint8], words: NDArray[np.int16], path: Path
) -> NDArray[np.float16]:
    """Latents of all images under all their instructions, float16 `[F, J, tokens, width]`, kept in `path`."""
    frames, variants = words.shape[:2]
    shape = (frames, variants, net.config.queries, net.config.width)
    if path.exists():
        kept: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
        if kept.shape == shape:
            return kept
    where, partial = device(), path.with_suffix(".partial.npy")
    out = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
    net.eval()
    with torch.no_grad(), mixed_precision(), progress_bar() as bar:
        task = bar.add_task("latents", total=frames, note="")
        for start in range(0, frames, 128):
            stop = min(frames, start + 128)
            seen = net.see(torch.from_numpy(images[start:stop]).to(where))
            text = torch.from_numpy(words[start:stop].astype(np.int64)).to(where).flatten(0, 1)
            tokens = net.think(seen, text)
            out[start:stop] = tokens.float().reshape(stop - start, *shape[1:]).half().cpu().numpy()
            bar.update(task, completed=stop)
    out.flush()
    partial.replace(path)
    finished: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return finished


class ExampleSampler:
    """Draws training examples from one or more recordings."""

    def __init__(self, parts: list[ActionData], latents: int) -> None:
        self.parts, self.latents = parts, latents
        sizes = torch.tensor([len(part.wrist) for part in parts], dtype=torch.float64)
        self.shares = sizes / sizes.sum()
        self.moving = [_rows_with_motion(part) for part in parts]
        self.last = [last_rows(part.first_step) for part in parts]

    def draw(self, size: int) -> dict[str, Tensor]:
        """One batch: wrist images, proprioception, latents with ages, chunk; from torch's generator."""
        counts = torch.bincount(
            torch.multinomial(self.shares, size, replacement=True), minlength=len(self.parts)
        )
        drawn = [
            self._draw_from(part, moving, last, int(count))
            for part, moving, last, count in zip(self.parts, self.moving, self.last, counts, strict=True)
            if count > 0
        ]
        return {key: torch.cat([batch[key] for batch in drawn]) for key in drawn[0]}

    def _draw_from(
        self, part: ActionData, moving: NDArray[np.int64], last: NDArray[np.int64], size: int
    ) -> dict[str, Tensor]:
        step = torch.randint(len(part.wrist), (size,)).numpy()
        other = torch.randint(part.chunks.shape[1], (size,)).numpy()
        follows = torch.rand(size).numpy() < ACTIVE_SHARE
        if len(moving):
            chosen = torch.rand(size).numpy() < MOVING_SHARE
            step = np.where(chosen, moving[torch.randint(len(moving), (size,)).numpy()], step)
            follows |= chosen
        variant = np.where(follows, part.active[step], other)
        first = part.first_step[step]
        prefix, led = _lead(part, step, variant, last[step])
        return {
            **seen_at(part, step, variant, draw_latents(step - first, self.latents)),
            "chunk": torch.from_numpy(part.chunks[step, variant].astype(np.float32)),
            "led_chunk": torch.from_numpy(led),
            "prefix": torch.from_numpy(prefix),
            "aim": torch.from_numpy(_from_tool(part.aims[step, variant], part.proprioception[step, :3])),
        }


def last_rows(first_step: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every step, the row of the last step of its episode; `first_step` as in `ActionData`."""
    firsts, episode = np.unique(first_step, return_inverse=True)
    return (np.append(firsts[1:], len(first_step)) - 1)[episode]


def _lead(
    part: ActionData, step: NDArray[np.int64], variant: NDArray[np.int64], last: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Chunks that begin with what was played, and go on as the expert does from where that has led.

    At work a prefix is what an older plan has left to play, not what the expert would do now. From chunks of
    the expert alone a network learns to go on as though the prefix had been the expert's: the tool ends
    beside its way by what it was not. Besides, a prefix of an expert, who knows the present, tells of it what
    is not seen yet, such as that nothing has begun to move; one of an older plan does not.

    Args:
        part: The recording.
        step, variant, last: Rows `[B]`, the instruction of each, and the last row of its episode.

    Returns:
        Lengths of the prefixes `[B]`, 1 to `PREFIX_MOST`, and chunks `[B, H, A]`. Where the recording ends
        or a coin would decide anew how to go on, the whole chunk is the expert's: it keeps to its way.
    """
    horizon = part.chunks.shape[2]
    prefix = torch.randint(1, min(PREFIX_MOST, horizon - 1) + 1, (len(step),)).numpy()
    prefix = np.maximum(1, np.minimum(prefix, last - step))
    led = part.chunks[step, variant].astype(np.float32)
    then = np.minimum(step + prefix, last)
    played = (then > step) & ~part.tossed[then, variant]
    for row in np.flatnonzero(played):
        length = prefix[row]
        led[row, :length] = part.played[step[row] : then[row]]
        led[row, length:] = part.chunks[then[row], variant[row], : horizon - length]
    return prefix, led


def _rows_with_motion(part: ActionData) -> NDArray[np.int64]:
    """Steps at which the object that the instruction in force names moves by itself."""
    aims = part.aims[np.arange(len(part.aims)), part.active]
    speed_m_s = np.linalg.norm(aims[:, 6:8], axis=-1)
    slowest, fastest = MOVING_M_S
    return np.flatnonzero((speed_m_s > slowest) & (speed_m_s < fastest))


def draw_latents(since_start: NDArray[np.int64], latents: int) -> NDArray[np.int64]:
    """Frame numbers `[B, latents]` within the episode of the latents that System 1 reads, newest first.

    They are equally far apart, as far as there are so many; the oldest stands for those before it.

    Args:
        since_start: Steps `[B]` since the episode began.
        latents: How many are read.
    """
    size = len(since_start)
    rare = torch.rand(size) < RARE_AGE_SHARE
    age_s = torch.where(
        rare,
        NORMAL_AGE_S + (LARGEST_AGE_S - NORMAL_AGE_S) * torch.rand(size),
        NORMAL_AGE_S * torch.rand(size),
    )
    gap_s = 2 * STEP_S + (LARGEST_GAP_S - 2 * STEP_S) * torch.rand(size).square()
    few = torch.rand(size)
    there = torch.full((size,), latents - 1)
    there = torch.where(
        few < SINGLE_LATENT_SHARE + FEW_LATENTS_SHARE, torch.randint(1, latents, (size,)), there
    )
    there = torch.where(few < SINGLE_LATENT_SHARE, 0, there)
    frame_s = FRAME_STEPS * STEP_S
    now_s = since_start * STEP_S
    newest = np.maximum(np.floor((now_s - age_s.numpy()) / frame_s + 1e-6), 0).astype(np.int64)
    back = np.minimum(np.arange(latents), there.numpy()[:, None])
    frames = newest[:, None] - back * np.round(gap_s.numpy() / frame_s).astype(np.int64)[:, None]
    return np.maximum(frames, 0)


def seen_at(
    part: ActionData,
    step: NDArray[np.int64],
    variant: NDArray[np.int64],
    frames: NDArray[np.int64],
) -> dict[str, Tensor]:
    """What System 1 sees at recorded steps.

    Args:
        part: The recording.
        step: Rows `[B]`.
        variant: Instruction of each.
        frames: Frame numbers `[B, K]` of its latents within the episode, see `draw_latents`.

    Returns:
        `wrist` uint8 `[B, 2, px, px, 3]`, `proprioception` `[B, P]`, `tokens` `[B, K, tokens, width]` and
        `age_s` `[B, K]`, newest first.
    """
    first, base = part.first_step[step], part.first_frame[step]
    tokens = part.latents[base[:, None] + frames, variant[:, None]]
    earlier = np.maximum(step - PREVIOUS_FRAME_STEPS, first)
    now_s, frame_s = (step - first) * STEP_S, FRAME_STEPS * STEP_S
    ages = (now_s[:, None] - frames * frame_s).astype(np.float32)
    return {
        "wrist": torch.from_numpy(np.stack([part.wrist[step], part.wrist[earlier]], axis=1)),
        "proprioception": torch.from_numpy(part.proprioception[step]),
        "tokens": torch.from_numpy(tokens.astype(np.float32)),
        "age_s": torch.from_numpy(ages),
    }


def _from_tool(aims: NDArray[np.float32], tool_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Aims `[B, 8]` as System 1 is to tell them, `[B, 9]`: relative to the tool `[B, 3]`, in dm and dm/s.

    An object that was knocked away flies faster and farther than anybody needs to tell. The last number is
    whether the named object is there: its goal alone would draw the arm.
    """
    relative = aims.copy()
    relative[:, :3] -= tool_m
    relative[:, 3:6] -= tool_m
    told = 10.0 * np.clip(relative, -LARGEST_AIM, LARGEST_AIM)
    there = np.where(np.isfinite(aims[:, :1]), 1.0, -1.0)
    return np.concatenate([told, there], axis=1).astype(np.float32)


def aim_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Smooth L1 of the aims `[B, 9]`, over those that exist."""
    known = torch.isfinite(truth)
    error = (predicted.float() - torch.where(known, truth, predicted.float())) / AIM_UNIT
    return smooth_l1_loss(error, torch.zeros_like(error), reduction="sum") / known.sum().clamp(min=1)


def flow_loss(net: System1Net, context: tuple[Tensor, Tensor, Tensor], chunk: Tensor) -> Tensor:
    """Flow matching on chunks `[B, H, A]` with noise and flow time drawn for each."""
    noise = torch.randn_like(chunk)
    tau = torch.rand(len(chunk), 1, device=chunk.device)
    mix = tau.unsqueeze(-1)
    predicted = net.velocity(mix * chunk + (1 - mix) * noise, tau, context)
    return (predicted.float() - (chunk - noise)).square().mean()


def prefix_loss(
    net: System1Net, context: tuple[Tensor, Tensor, Tensor], chunk: Tensor, prefix: Tensor
) -> Tensor:
    """Flow matching on what follows a clean prefix `[B]` of each chunk: training-time RTC, arXiv 2512.05964.

    The actions of the prefix are given as they are, at flow time 1, and are left out of the loss.
    """
    given = torch.arange(chunk.shape[1], device=chunk.device) < prefix.unsqueeze(1)
    noise = torch.randn_like(chunk)
    tau = torch.where(given, 1.0, torch.rand(len(chunk), 1, device=chunk.device))
    mix = tau.unsqueeze(-1)
    predicted = net.velocity(mix * chunk + (1 - mix) * noise, tau, context)
    square = (predicted.float() - (chunk - noise)).square().mean(dim=-1)
    return (square * ~given).sum() / (~given).sum()


def set_state_scale(net: System1Net, parts: list[ActionData]) -> None:
    """Normalise proprioception by its mean and standard deviation over the recordings."""
    states = np.concatenate([np.asarray(part.proprioception) for part in parts])
    net.state_mean.copy_(torch.from_numpy(states.mean(axis=0)))
    net.state_scale.copy_(torch.from_numpy(np.maximum(states.std(axis=0), 1e-3)))


def train_system1(
    net: System1Net,
    parts: list[ActionData],
    folder: Path,
    *,
    name: str,
    steps: int,
    seed: int,
    peak_rate: float = PEAK_RATE,
    batch: int = BATCH,
) -> System1Net:
    """Train in place; returns the averaged network. Resumes from `folder/<name>.pt`."""
    where = device()
    net.to(where)
    net.wrist.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    sampler = ExampleSampler(parts, net.config.latents)
    stage = Stage(name, net, steps=steps, peak_rate=peak_rate, folder=folder)

    def loss_of(_: int) -> dict[str, Tensor]:
        example = {key: value.to(where) for key, value in sampler.draw(batch).items()}
        images = jitter_light(example["wrist"].flatten(0, 1))
        features = net.wrist(images).reshape(
            batch, net.config.frames, net.config.wrist_tokens, net.config.width
        )
        encoded = net.encode(example["tokens"], example["age_s"], features, example["proprioception"])
        context = net.condition(encoded)
        keys, values, state = (tensor.repeat_interleave(DRAWS, 0) for tensor in context)
        chunk = example["chunk"]
        return {
            "flow": flow_loss(net, (keys, values, state), chunk.repeat_interleave(DRAWS, 0)),
            "prefix": PREFIX_SHARE * prefix_loss(net, context, example["led_chunk"], example["prefix"]),
            "aim": AIM_SHARE * aim_loss(net.aim(encoded), example["aim"]),
        }

    averaged = stage.run(loss_of, seed)
    assert isinstance(averaged, System1Net)
    return averaged
