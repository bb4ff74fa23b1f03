"""Generates training data: `python -m dualsys_sim.generate --out DIR --episodes N --scenes M --workers 2`.

Data lies in shards, folders of `.npy` files beside one `instructions.json` (see `dualsys_sim.shards`). A run
that is started again with the same arguments makes only what is missing. Lengths are in metres, base frame.

`episodes_NNNNN/`, S policy steps of 40 ms in E episodes:

    wrist_image      uint8   [S, 64, 64, 3]
    fixed_image      uint8   [F, 96, 128, 3]   taken at every second step of an episode, from its first
    fixed_row        int32   [S]               row of the newest fixed image at that step
    tool_m           float32 [S, 3]            measured tool point
    command_m        float32 [S, 3]            commanded tool point, before the step's action
    width_m          float32 [S]               finger width
    width_speed_m_s  float32 [S]
    gripper          float32 [S]               last gripper action, +1 open or -1 close
    q_rad            float32 [S, 7]            measured joints
    position_m       float32 [S, 8, 3]         objects; rows beyond the scene's are zero
    velocity_m_s     float32 [S, 8, 3]
    goal             int8    [S, 4]            task (alphabetical), target row, bowl row, direction
    instruction      int32   [S]               row of `instructions.json`
    chunk            float32 [S, 16, 4]        the expert's next actions for that goal, undisturbed
    wanted           float32 [S, 4]            what the actor wanted to do
    action           float32 [S, 4]            what was done, disturbances included
    episode          int32   [S]               row of the episode arrays below
    step             int32   [S]               number of the step within its episode
    episode_seed     int64   [E]
    kind             int8    [E, 8]            0 cube, 1 cylinder, 2 bowl, -1 none
    colour           int8    [E, 8]            index into `arena.COLOURS`, -1 none
    belt             bool    [E]               whether the scene has a belt
    moving           int8    [E]               row of the wandering block, or -1

`scenes_NNNNN/`, N still scenes: fixed_image, position_m [N, 8, 3], kind and colour [N, 8], tool_m, width_m,
belt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dualsys_sim.demonstrations import demonstrate, trajectory_arrays
from dualsys_sim.runner import Actor, Trajectory, expert_actor
from dualsys_sim.scenes import padded, scene_arrays
from dualsys_sim.shards import write_shard
from dualsys_sim.world import World

EPISODES_PER_SHARD: Final = 20
SCENES_PER_SHARD: Final = 1000
SEED_STRIDE: Final = 1_000_000


@dataclass(frozen=True)
class Options:
    """Make training data.

    Attributes:
        out: folder for the shards.
        episodes: number of demonstrations.
        scenes: number of still scenes.
        seed: the data is a function of this alone.
        workers: processes.
    """

    out: Path
    episodes: int = 0
    scenes: int = 0
    seed: int = 0
    workers: int = 2


@dataclass(frozen=True)
class Job:
    """One shard to make: `count` episodes or scenes from `first_seed` on."""

    path: Path
    kind: str
    first_seed: int
    count: int


def jobs_of(options: Options) -> Iterator[Job]:
    """The shards that the options ask for and that are not there yet."""
    wanted = (
        ("episodes", options.episodes, EPISODES_PER_SHARD),
        ("scenes", options.scenes, SCENES_PER_SHARD),
    )
    for kind, total, size in wanted:
        for number, first in enumerate(range(0, total, size)):
            path = options.out / f"{kind}_{number:05d}"
            if not path.exists():
                yield Job(path, kind, options.seed * SEED_STRIDE + first, min(size, total - first))


def episode_arrays(trajectories: list[Trajectory]) -> tuple[dict[str, NDArray[np.generic]], list[str]]:
    """Arrays and texts of an "episodes" shard."""
    texts = sorted({text for trajectory in trajectories for text in trajectory.instructions})
    row_of = {text: row for row, text in enumerate(texts)}
    columns: dict[str, list[NDArray[np.generic]]] = {}
    pictures = 0
    for row, trajectory in enumerate(trajectories):
        arrays = trajectory_arrays(trajectory)
        steps = np.arange(len(trajectory.steps), dtype=np.int32)
        arrays["step"] = steps
        arrays["episode"] = np.full_like(steps, row)
        arrays["fixed_row"] = pictures + steps // 2
        arrays["instruction"] = np.array([row_of[text] for text in trajectory.instructions], dtype=np.int32)
        pictures += len(arrays["fixed_image"])
        for name, array in arrays.items():
            columns.setdefault(name, []).append(array)
    result = {name: np.concatenate(parts) for name, parts in columns.items()}
    episodes = [trajectory.episode for trajectory in trajectories]
    tables = [episode.table() for episode in episodes]
    result["episode_seed"] = np.array([episode.seed for episode in episodes], dtype=np.int64)
    result["kind"] = np.stack([padded(table.kind, -1) for table in tables])
    result["colour"] = np.stack([padded(table.colour, -1) for table in tables])
    result["belt"] = np.array([episode.belt is not None for episode in episodes])
    result["moving"] = np.array([episode.moving_index for episode in episodes], dtype=np.int8)
    return result, texts


def make_shard(world: World, job: Job, act: Actor = expert_actor) -> None:
    """Make one shard and write it; `act` drives the demonstrations."""
    if job.kind == "scenes":
        write_shard(job.path, scene_arrays(world, job.first_seed, job.count), [])
        return
    trajectories = [demonstrate(world, job.first_seed + offset, act) for offset in range(job.count)]
    write_shard(job.path, *episode_arrays(trajectories))


def _work(job: Job) -> Job:
    with World() as world:
        make_shard(world, job)
    return job


def generate(options: Options) -> None:
    """Make every shard that is missing, with a progress bar."""
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = list(jobs_of(options))
    os.environ["OMP_NUM_THREADS"] = "1"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with (
        Progress(*columns) as progress,
        ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool,
    ):
        bars = {
            kind: progress.add_task(kind, total=sum(job.count for job in jobs if job.kind == kind))
            for kind in sorted({job.kind for job in jobs})
        }
        for future in as_completed([pool.submit(_work, job) for job in jobs]):
            job = future.result()
            progress.advance(bars[job.kind], job.count)


if __name__ == "__main__":
    generate(tyro.cli(Options, description=__doc__))
