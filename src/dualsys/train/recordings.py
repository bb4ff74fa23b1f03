"""Recorded episodes for System 1: what the arm saw and did, and what each expert would have done.

Episodes are driven by the scripted expert under disturbances, with goals that change on the way, or by a
trained policy (`policy_actor`), whose mistakes the experts then label: DAgger, arXiv 1011.0686. Whoever
drives, every recorded state is labelled for several instructions, most of which were never given.

Shards are folders of `.npy` files: `wrist` uint8 [T, px, px, 3], `proprioception` float32 [T, 9], `chunks`
float16 [T, J, H, 4], `played` float32 [T, 4], `aims` float32 [T, J, 8], `tossed` bool [T, J], `active` int8
[T] (the variant in force), `first_step` and `first_frame` int64 [T], `fixed` uint8 [F, h, w, 3], `words`
int16 [F, J, 16], `places` float32 [F, J, 6], `classes` int8 [F, J, 5]; F counts every second step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from dualsys.train.policy_actor import policy_actor
from dualsys.train.scenes import vocabulary_list
from dualsys.train.shards import Arrays, joined, make_shards
from dualsys.train.variants import draw_variants, meaning, second_place, word_indices
from dualsys_sim.episode import Episode, make_episode
from dualsys_sim.labels import expert_chunk
from dualsys_sim.runner import Actor, Regoal, Step, Trajectory, expert_actor, run_episode
from dualsys_sim.state import ExpertState, FloatArray, Goal, ObjectTable
from dualsys_sim.task import Verdict
from dualsys_sim.tasks import expert_action, task_named
from dualsys_sim.world import World

EPISODES_PER_SHARD: Final = 10
VARIANTS: Final = 6
HORIZON: Final = 16
EXPERT_MIX: Final = (
    "touch", "pick", "pick", "place", "place", "place",
    "push", "push", "conveyor", "conveyor", "follow", "follow", "around", "around", "intercept", "intercept",
)  # fmt: skip
"""Tasks of the episodes that experts drive."""
POLICY_MIX: Final = (
    "touch", "pick", "place", "place", "place", "place", "push", "push", "conveyor", "conveyor",
    "follow", "follow", "around", "around", "intercept", "intercept",
)  # fmt: skip
"""Tasks of the episodes that a policy drives: more of those that take long, where its mistakes add up."""
REGOAL_CHANCE: Final = 0.006
REGOAL_AFTER_VERDICT_CHANCE: Final = 0.06


@dataclass(frozen=True)
class Bundles:
    """Folders of the two trained systems that drive a recording."""

    system1: Path
    system2: Path


def record(folder: Path, episodes: int, seed: int, workers: int, drivers: Bundles | None = None) -> None:
    """Record `episodes` episodes as shards in `folder`; shards that are there already are kept.

    Args:
        folder: Where the shards go.
        episodes: Rounded up to whole shards.
        seed: Seed of the first episode.
        workers: Processes.
        drivers: Trained systems to drive; None for the experts.
    """
    count = -(-episodes // EPISODES_PER_SHARD)
    make_shards(folder, count, partial(_record_shard, seed, drivers), workers)


def _record_shard(seed: int, drivers: Bundles | None, shard: int) -> Arrays:
    with World() as world:
        numbers = range(shard * EPISODES_PER_SHARD, (shard + 1) * EPISODES_PER_SHARD)
        return joined(_record_episode(world, seed + number, drivers) for number in numbers)


def _record_episode(world: World, seed: int, drivers: Bundles | None) -> Arrays:
    rng = np.random.default_rng(seed)
    episode = _draw_episode(rng, seed, EXPERT_MIX if drivers is None else POLICY_MIX)
    moving, belt = episode.moving_index, episode.belt is not None
    given = [(episode.instruction, episode.goal)]
    if episode.change is not None:
        given.append((episode.change.instruction, episode.change.goal))
    variants = given + draw_variants(episode.table(), rng, VARIANTS - len(given), moving, belt)
    actor: Actor = expert_actor if drivers is None else policy_actor(drivers.system1, drivers.system2, rng)
    disturb = rng if drivers is None or rng.random() < 0.3 else None
    trajectory = run_episode(
        world,
        episode,
        actor,
        disturb,
        cameras=True,
        regoal=_regoal(variants, rng),
        linger_s=float(rng.uniform(0.2, 1.2)),
    )
    return _arrays(trajectory, variants, rng)


def _draw_episode(rng: np.random.Generator, seed: int, mix: tuple[str, ...]) -> Episode:
    task = mix[int(rng.integers(len(mix)))]
    events = [None, None, None, "absent"]
    if task != "intercept":
        events.append("changed")
    if task in ("touch", "pick", "place"):
        events += ["moved", "moved"]
    event = events[int(rng.integers(len(events)))]
    return make_episode(task, seed, event=event)  # type: ignore[arg-type]


def _regoal(variants: list[tuple[str, Goal]], rng: np.random.Generator) -> Regoal:
    """Now and then, and soon after a task is done, go on with another of the episode's instructions."""

    def choose(_: Step, verdict: Verdict | None) -> tuple[str, Goal] | None:
        chance = REGOAL_CHANCE if verdict is None else REGOAL_AFTER_VERDICT_CHANCE
        return variants[int(rng.integers(len(variants)))] if rng.random() < chance else None

    return choose


def _aim(goal: Goal, table: ObjectTable, state: ExpertState) -> FloatArray:
    """Named object [3], where the tool heads for, or the object is to go, or the wall before it [3] (m, base
    frame), and the velocity of the object [2] (m/s); NaN for none.
    """
    aim = np.full(8, np.nan)
    aim[3:6] = second_place(goal, table)
    if goal.target_index >= 0:
        aim[:3] = table.position_m[goal.target_index]
        aim[6:] = table.velocity_m_s[goal.target_index][:2]
        heading = task_named(goal.task).heading
        aim[3:6] = aim[3:6] if heading is None else heading(state, goal)
    return aim


def _tossed(state: ExpertState, goal: Goal) -> bool:
    """Whether the toss of a coin decides what the expert does next."""
    if state.wall is None:
        return False
    left, right = state.copy(), state.copy()
    left.side, right.side = 1, -1
    return expert_action(left, goal) != expert_action(right, goal)


def _arrays(trajectory: Trajectory, variants: list[tuple[str, Goal]], rng: np.random.Generator) -> Arrays:
    table = trajectory.episode.table()
    command: FloatArray = trajectory.array("command_m").astype(np.float64)
    tool: FloatArray = trajectory.array("tool_m").astype(np.float64)
    width, speed = trajectory.array("width_m"), trajectory.array("width_speed_m_s")
    positions, velocities = trajectory.array("position_m"), trajectory.array("velocity_m_s")
    gripper = trajectory.array("gripper")
    chunks = np.empty((len(tool), len(variants), HORIZON, 4), dtype=np.float16)
    aims = np.empty((len(tool), len(variants), 8), dtype=np.float32)
    tossed = np.empty((len(tool), len(variants)), dtype=np.bool_)
    moved = zip(positions.astype(np.float64), velocities.astype(np.float64), strict=True)
    tables = [replace(table, position_m=now, velocity_m_s=speed) for now, speed in moved]
    for step in range(len(tool)):
        state = ExpertState(
            command=command[step].tolist(),
            tool=tool[step].tolist(),
            width=float(width[step]),
            width_speed=float(speed[step]),
            kind=table.kind.tolist(),
            position=positions[step].tolist(),
            velocity=velocities[step].tolist(),
            wall=table.wall,
            glider=table.glider,
            # A fresh toss for every state, so that the labels of one hold both ways round a wall.
            side=0 if table.wall is None else int(rng.choice((-1, 1))),
        )
        for column, (_, goal) in enumerate(variants):
            tossed[step, column] = _tossed(state, goal)
            aims[step, column] = _aim(goal, tables[step], state)
            chunks[step, column] = expert_chunk(state, goal, HORIZON)
    state_rows = np.column_stack([tool, command - tool, width, speed, gripper]).astype(np.float32)
    goals = [goal for _, goal in variants]
    words = vocabulary_list()
    meanings = [[meaning(text, goal, now) for text, goal in variants] for now in tables[::2]]
    texts = np.stack([word_indices(text, words, rng) for text, _ in variants])
    return {
        "wrist": trajectory.array("wrist_image"),
        "proprioception": state_rows,
        "chunks": chunks,
        "played": trajectory.array("action").astype(np.float32),
        "aims": aims,
        "tossed": tossed,
        "active": np.array([goals.index(goal) for goal in trajectory.goals], dtype=np.int8),
        "fixed": trajectory.array("fixed_image"),
        "words": np.repeat(texts[None], len(tables[::2]), axis=0),
        "places": np.array([[places for places, _ in row] for row in meanings], dtype=np.float32),
        "classes": np.array([[classes for _, classes in row] for row in meanings], dtype=np.int8),
    }
