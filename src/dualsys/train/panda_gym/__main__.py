"""`python -m dualsys.train.panda_gym`: from nothing to the two bundles of a panda-gym task.

Stages: still pictures, runs of the scripted expert, System 2, its latents, System 1, and the bundles. Every
stage keeps what it made, so an interrupted run goes on where it stopped; the same seed gives the same scenes,
motions, labels and order of batches. Pictures are the same but for single pixels: PyBullet's renderer is not
quite repeatable. `python -m dualsys.twin.environment` then runs episodes of unseen seeds.
"""

from __future__ import annotations

import sys

from dualsys.train.entry import PANDA_GYM, start

if __name__ == "__main__":
    sys.exit(start("dualsys.train.panda_gym.__main__", "training for panda-gym", PANDA_GYM))

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dualsys.command_line import read
from dualsys.config import load_config
from dualsys.models import System1Config, System1Net, System2Config, System2Net
from dualsys.robots.gymnasium import EnvironmentOptions
from dualsys.train.action import set_state_scale, train_system1
from dualsys.train.examples import action_data
from dualsys.train.export import export_system1, export_system2, system_specs
from dualsys.train.panda_gym.data import WRIST_PX, Site, make_site, run_shard, still_shard
from dualsys.train.panda_gym.tasks import ACTION, HORIZON, MAX_WORDS, VOCABULARY, TaskName
from dualsys.train.panda_gym.vision import Lookout, pointing_accuracy, train_system2
from dualsys.train.shards import Arrays, load_shards
from dualsys.train.vision import VisionData
from dualsys_sim.physics import pybullet


@dataclass(frozen=True)
class Sizes:
    """How much data a task takes, and how large its networks are.

    Attributes:
        still_shards, run_shards: Sets of pictures and of runs.
        width: Channels of every token of either network.
        system2_depth, system2_steps: Blocks of System 2, and its gradient steps.
        pointers: Places in the latent that System 1 is told in numbers.
        context_depth, depth: Blocks of System 1.
        system1_steps, system1_batch: Its gradient steps, and examples in one.
    """

    still_shards: int
    run_shards: int
    width: int
    system2_depth: int
    system2_steps: int
    pointers: int
    context_depth: int
    depth: int
    system1_steps: int
    system1_batch: int


SIZES: dict[TaskName, Sizes] = {
    "reach": Sizes(
        still_shards=16,
        run_shards=14,
        width=64,
        system2_depth=2,
        system2_steps=1100,
        pointers=0,
        context_depth=1,
        depth=2,
        system1_steps=800,
        system1_batch=64,
    ),
    # A hand's breadth will do for `reach`; the fingers have a centimetre and a half to spare beside a cube.
    "pick": Sizes(
        still_shards=48,
        run_shards=80,
        width=96,
        system2_depth=2,
        system2_steps=6000,
        pointers=2,
        context_depth=2,
        depth=3,
        system1_steps=2500,
        system1_batch=128,
    ),
}


@dataclass(frozen=True)
class Recipe:
    """What is trained, and with what.

    Attributes:
        task: `reach` or `pick`; `SIZES` has what either takes.
        out: Where the bundles go, `<out>/system1` and `<out>/system2`; None for `bundles/panda_gym_<task>`.
        data: Where data and checkpoints are kept.
        seed: Seed of everything; evaluation has seeds of its own.
        threads: Threads of torch, and processes that make data.
        config: The configuration whose environment and cameras are learned; None for that of the task.
    """

    task: TaskName = "reach"
    out: Path | None = None
    data: Path = Path("data/panda_gym")
    seed: int = 1
    threads: int = 2
    config: Path | None = None


def main() -> None:
    """Run all stages that are not done yet."""
    recipe = read(Recipe, description=__doc__)
    torch.set_num_threads(recipe.threads)
    task, data, sizes = recipe.task, recipe.data / recipe.task, SIZES[recipe.task]
    out = recipe.out or Path(f"bundles/panda_gym_{task}")
    config = load_config(recipe.config or Path(f"configs/panda_gym_{task}.yaml"))
    options = EnvironmentOptions.of(config.robot.options)
    for name, count, make in (
        ("stills", sizes.still_shards, still_shard),
        ("runs", sizes.run_shards, run_shard),
        ("held-out", 2, still_shard),
    ):
        offset = ("stills", "runs", "held-out").index(name)
        site = Site(task, options, 3 * recipe.seed - 2 + offset)
        make_site(data / name, count, site, make, recipe.threads)
    stills, runs, held_out = (load_shards(data / name) for name in ("stills", "runs", "held-out"))
    seen = [_pictures(stills, "images"), _pictures(runs, "fixed")]
    system2 = _system2(recipe, options, seen, data / "checkpoints")
    accuracy = pointing_accuracy(system2, _pictures(held_out, "images"))
    print("System 2 on held-out stills:", json.dumps({name: round(one, 1) for name, one in accuracy.items()}))
    system1 = _system1(recipe, system2, runs, data)
    provenance: dict[str, Any] = {
        "command": f"python -m dualsys.train.panda_gym --task {task}",
        "recipe": {name: str(value) for name, value in {**vars(recipe), **vars(sizes)}.items()},
        "stills": len(stills["images"]),
        "steps_recorded": len(runs["wrist"]),
        "parameters": {
            "system1": sum(p.numel() for p in system1.parameters()),
            "system2": sum(p.numel() for p in system2.parameters()),
        },
        "system2_on_held_out_stills": {name: round(value, 1) for name, value in accuracy.items()},
    }
    specs = system_specs(system2, system1.config.proprioception)
    named = f"panda_gym_{task}"
    export_system2(system2, specs, VOCABULARY, out / "system2", provenance, name=named)
    export_system1(system1, specs, out / "system1", provenance, name=named, action=ACTION)
    evaluate = f"python -m dualsys.twin.environment configs/{named}.yaml --bundles {out}"
    print(f"bundles are in {out}; `{evaluate}` evaluates them")


def _pictures(arrays: Arrays, images: str) -> VisionData:
    return VisionData(arrays[images], arrays["words"], arrays["places"], arrays["classes"])  # type: ignore[arg-type]


def _system2(recipe: Recipe, options: EnvironmentOptions, seen: list[VisionData], folder: Path) -> System2Net:
    height, width = seen[0].images.shape[1:3]
    views, sizes = options.cameras["fixed"], SIZES[recipe.task]
    torch.manual_seed(recipe.seed)
    net = System2Net(
        System2Config(
            vocabulary=len(VOCABULARY),
            max_words=MAX_WORDS,
            tasks=2,
            directions=1,
            colours=1,
            shapes=1,
            height_px=height,
            width_px=width,
            width=sizes.width,
            queries=4,
            depth=sizes.system2_depth,
        )
    )
    lookout = Lookout(pybullet, views, height, width // len(views))
    steps, seed = sizes.system2_steps, recipe.seed
    return train_system2(net, seen, lookout, folder, steps=steps, seed=seed, rate=1.5e-3)


def _system1(recipe: Recipe, system2: System2Net, runs: Arrays, data: Path) -> System1Net:
    sizes = SIZES[recipe.task]
    part = action_data(system2, runs, data / "latents.npy")
    torch.manual_seed(recipe.seed)
    net = System1Net(
        System1Config(
            horizon=HORIZON,
            latent_tokens=system2.config.queries,
            latent_width=sizes.width,
            latents=2,
            pointers=sizes.pointers,
            wrist_px=WRIST_PX,
            width=sizes.width,
            context_depth=sizes.context_depth,
            depth=sizes.depth,
        )
    )
    if sizes.pointers:
        net.place_out.load_state_dict(system2.point.state_dict())
    set_state_scale(net, [part])
    return train_system1(
        net,
        [part],
        data / "checkpoints",
        name="system1",
        steps=sizes.system1_steps,
        seed=recipe.seed,
        batch=sizes.system1_batch,
    )
