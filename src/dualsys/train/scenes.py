"""Still pictures for System 2: random scenes of every task with the arm anywhere, no physics.

Writes a folder that `vision.VisionData.load` reads. Scenes are drawn from seeds below `EPISODE_SEED`, which
evaluation never uses.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualsys.robots.kinematics import PANDA, TOOL_DOWN
from dualsys.train.loop import progress_bar
from dualsys.train.variants import TRAINED_TASKS, draw_variants, meaning, word_indices
from dualsys_sim import arena
from dualsys_sim.cameras import CAMERA_SHAPES
from dualsys_sim.episode import Episode, make_episode
from dualsys_sim.language import vocabulary
from dualsys_sim.state import ObjectTable
from dualsys_sim.world import World

IMAGES_PER_SCENE = 4
SCENES_PER_CHUNK = 50
VARIANTS = 6
SCENE_MIX = ("place", "conveyor", "place", "around", "pick", "place", "intercept", "follow")
"""Tasks of the scenes in turn: what needs no furniture can be asked of all but the walled ones."""
SHIFT_M = 0.02
ARRAYS = ("images", "words", "places", "classes")


def make_scenes(folder: Path, scenes: int, seed: int, workers: int) -> None:
    """Draw `scenes` scenes of `IMAGES_PER_SCENE` pictures each into `folder`, unless they are there."""
    if (folder / "classes.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    starts = list(range(0, scenes, SCENES_PER_CHUNK))
    count = len(starts) * SCENES_PER_CHUNK * IMAGES_PER_SCENE
    images = np.lib.format.open_memmap(
        folder / "images.npy", mode="w+", dtype=np.uint8, shape=(count, *CAMERA_SHAPES["fixed"])
    )
    rest: dict[str, list[NDArray[np.generic]]] = {name: [] for name in ARRAYS[1:]}
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool, progress_bar() as bar:
        task = bar.add_task("scenes", total=count, note="")
        row = 0
        for arrays in pool.map(partial(_draw_chunk, seed=seed), starts):
            images[row : row + len(arrays["images"])] = arrays["images"]
            row += len(arrays["images"])
            for name, parts in rest.items():
                parts.append(arrays[name])
            bar.update(task, completed=row)
    images.flush()
    for name, parts in rest.items():
        np.save(folder / f"{name}.npy", np.concatenate(parts), allow_pickle=False)


def _draw_chunk(start: int, seed: int) -> dict[str, NDArray[np.generic]]:
    words = vocabulary_list()
    rows: dict[str, list[NDArray[np.generic]]] = {name: [] for name in ARRAYS}
    with World() as world:
        for index in range(start, start + SCENES_PER_CHUNK):
            rng = np.random.default_rng([seed, index])
            episode = make_episode(SCENE_MIX[index % len(SCENE_MIX)], seed + index)
            world.reset(episode)
            belt = episode.belt is not None
            for _ in range(IMAGES_PER_SCENE):
                table = _disturb(world, episode, rng)
                while not (variants := draw_variants(table, rng, VARIANTS, episode.moving_index, belt)):
                    table = _disturb(world, episode, rng)
                meanings = [meaning(text, goal, table) for text, goal in variants]
                rows["images"].append(world.render("fixed"))
                rows["words"].append(np.stack([word_indices(text, words, rng) for text, _ in variants]))
                rows["places"].append(np.stack([places for places, _ in meanings]))
                rows["classes"].append(np.stack([classes for _, classes in meanings]))
    return {name: np.stack(parts) for name, parts in rows.items()}


def vocabulary_list() -> list[str]:
    """The words of System 2 in the order of their indices; index 0 is padding."""
    return ["", *vocabulary(TRAINED_TASKS)]


def _disturb(world: World, episode: Episode, rng: np.random.Generator) -> ObjectTable:
    """Shift the objects a little; pose the arm near, over or away from them, or with a block in hand."""
    table = episode.table()
    position = table.position_m.copy()
    blocks = np.flatnonzero(table.kind != arena.BOWL)
    position[blocks, :2] += rng.uniform(-SHIFT_M, SHIFT_M, (len(blocks), 2))
    for index in blocks:
        world.place_object(int(index), position[index], float(rng.uniform(-0.35, 0.35)))
    choice = rng.random()
    near = position[int(rng.integers(len(position)))]
    width_m = float(rng.choice([0.0, 0.04, 0.08]))
    tool = np.array([rng.uniform(0.32, 0.68), rng.uniform(-0.28, 0.28), rng.uniform(0.02, 0.28)])
    if choice < 0.65:
        spread = rng.uniform(0.0, 0.05)
        tool[:2] = near[:2] + rng.uniform(-spread, spread, 2)
        tool[2] = near[2] + abs(rng.normal(0.0, 0.06))
    tool = np.clip(tool, arena.COMMAND_LOW_M, arena.COMMAND_HIGH_M)
    if choice > 0.85:
        held = int(rng.choice(blocks))
        position[held] = tool + rng.uniform(-0.006, 0.006, 3)
        world.place_object(held, position[held], 0.0)
        width_m = 0.04
    world.place_arm(PANDA.inverse(tool, TOOL_DOWN, PANDA.rest_rad)[0], width_m)
    return replace(table, position_m=position)
