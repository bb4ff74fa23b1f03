"""Still scenes without physics: objects of every kind, the arm posed anywhere, one fixed-camera picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dualsys_sim import arena
from dualsys_sim.episode import Episode, make_episode, redrawn
from dualsys_sim.state import FloatArray, ObjectTable
from dualsys_sim.world import World

VARIANTS: Final = 4
"""Pictures taken of each set of objects, at other places, under other light, from another camera."""

TASK_SHARES: Final = {"pick": 0.45, "place": 0.4, "conveyor": 0.15}
IN_BOWL_CHANCE: Final = 0.25
BOWL_FLOOR_REST_M: Final = arena.BOWL_FLOOR_M + arena.BLOCK_SIZE_M / 2


def scene_arrays(world: World, seed: int, count: int) -> dict[str, NDArray[np.generic]]:
    """`count` scenes drawn from a seed, as the arrays of a "scenes" shard (see `dualsys_sim.generate`)."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, NDArray[np.generic]]] = []
    while len(rows) < count:
        task = str(rng.choice(list(TASK_SHARES), p=list(TASK_SHARES.values())))
        episode = make_episode(task, int(rng.integers(2**31)))
        world.reset(episode)
        for _ in range(min(VARIANTS, count - len(rows))):
            rows.append(_shoot(world, episode, rng))
            episode = redrawn(episode, rng)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _shoot(world: World, episode: Episode, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    """Stage the episode's scene with the arm somewhere, and take the picture."""
    table = episode.table()
    blocks = np.flatnonzero(table.kind != arena.BOWL)
    bowls = np.flatnonzero(table.kind == arena.BOWL)
    if len(bowls) and rng.random() < IN_BOWL_CHANCE:
        block, bowl = rng.choice(blocks), rng.choice(bowls)
        table.position_m[block, :2] = table.position_m[bowl, :2] + rng.uniform(-0.025, 0.025, 2)
        table.position_m[block, 2] = BOWL_FLOOR_REST_M
    tool, width = _draw_tool(table, blocks, rng)
    start = (float(tool[0]), float(tool[1]), float(tool[2]))
    world.stage(replace(episode, start_tool_m=start, start_width_m=width))
    for index, position in enumerate(table.position_m):
        world.place_object(index, position, episode.objects[index].yaw_rad)
    return {
        "fixed_image": world.render("fixed"),
        "position_m": padded(table.position_m.astype(np.float32)),
        "kind": padded(table.kind, -1),
        "colour": padded(table.colour, -1),
        "tool_m": tool.astype(np.float32),
        "width_m": np.array(width, dtype=np.float32),
        "belt": np.array(episode.belt is not None),
    }


def _draw_tool(
    table: ObjectTable, blocks: NDArray[np.int64], rng: np.random.Generator
) -> tuple[FloatArray, float]:
    """A tool point and finger width: above an object, beside one, holding a block, or anywhere."""
    width = arena.GRIPPER_OPEN_M if rng.random() < 0.7 else 0.0
    draw = rng.random()
    if draw < 0.2:
        held = int(rng.choice(blocks))
        tool = rng.uniform((0.36, -0.24, 0.03), (0.66, 0.24, 0.24))
        table.position_m[held] = tool + rng.uniform(-0.006, 0.006, 3)
        return tool, arena.BLOCK_SIZE_M + 0.001
    if draw < 0.6:
        over = table.position_m[int(rng.integers(len(table.kind)))]
        tool = over + np.array([*rng.normal(0.0, 0.03, 2), rng.uniform(0.0, 0.2)])
        if tool[2] < 0.05 and np.abs(tool[:2] - over[:2]).max() > 0.012:
            tool[2] += 0.05
    else:
        tool = rng.uniform((0.33, -0.27, 0.06), (0.68, 0.27, 0.28))
    return np.clip(tool, arena.COMMAND_LOW_M, arena.COMMAND_HIGH_M), width


def padded(array: NDArray[np.generic], fill: float = 0.0) -> NDArray[np.generic]:
    """An array [K, ...] of objects as [MAX_OBJECTS, ...], the missing rows filled."""
    result = np.full((arena.MAX_OBJECTS, *array.shape[1:]), fill, dtype=array.dtype)
    result[: len(array)] = array
    return result
