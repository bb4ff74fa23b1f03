"""`python -m dualsys.train.panda_gym`: from nothing to the two bundles of a panda-gym task.

Stages: still pictures, runs of the scripted expert, System 2, its latents, System 1, and the bundles. Every
stage keeps what it made, so an interrupted run goes on where it stopped; the same seed gives the same data
and the same batches. `python -m dualsys.twin.environment` then runs episodes of unseen seeds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from dualsys.cameras.fitting import Fit
from dualsys.config import load_config
from dualsys.models import System1Config, System1Net, System2Config, System2Net
from dualsys.robots.gymnasium import EnvironmentOptions
from dualsys.train.action import ActionData, encode_latents, set_state_scale, train_system1
from dualsys.train.export import export_system1, export_system2, system_specs
from dualsys.train.panda_gym.data import Arrays, Site, load_shards, make_shards, run_shard, still_shard
from dualsys.train.panda_gym.tasks import ACTION, HORIZON, MAX_WORDS, VOCABULARY, TaskName
from dualsys.train.panda_gym.vision import Lookout, train_system2
from dualsys.train.vision import VisionData, reading_accuracy
from dualsys_sim.physics import pybullet

WRIST_PX = 16
"""System 1 is shown the left view so small: where the marker is, it is told by the latent."""
WIDTH = 64


@dataclass(frozen=True)
class Recipe:
    """Size of every stage.

    Attributes:
        task: `reach` or `pick`.
        out: Where the bundles go, `<out>/system1` and `<out>/system2`; None for `bundles/panda_gym_<task>`.
        data: Where data and checkpoints are kept.
        seed: Seed of everything; evaluation has seeds of its own.
        still_shards, run_shards: Sets of pictures and runs.
        system2_steps, system1_steps: Gradient steps of either network.
        system1_batch: Examples in one step of System 1.
        threads: Threads of torch.
        config: The configuration whose environment and cameras are learned; None for that of the task.
    """

    task: TaskName = "reach"
    out: Path | None = None
    data: Path = Path("data/panda_gym")
    seed: int = 1
    still_shards: int = 16
    run_shards: int = 14
    system2_steps: int = 1100
    system1_steps: int = 800
    system1_batch: int = 64
    threads: int = 2
    config: Path | None = None


def main() -> None:
    """Run all stages that are not done yet."""
    recipe = tyro.cli(Annotated[Recipe, tyro.conf.arg(name="")], description=__doc__)
    torch.set_num_threads(recipe.threads)
    task, data = recipe.task, recipe.data / recipe.task
    out = recipe.out or Path(f"bundles/panda_gym_{task}")
    config = load_config(recipe.config or Path(f"configs/panda_gym_{task}.yaml"))
    options = EnvironmentOptions.of(config.robot.options)
    for name, count, make in (
        ("stills", recipe.still_shards, still_shard),
        ("runs", recipe.run_shards, run_shard),
        ("held-out", 2, still_shard),
    ):
        offset = ("stills", "runs", "held-out").index(name)
        make_shards(data / name, count, Site(task, options, 3 * recipe.seed - 2 + offset), make)
    stills, runs, held_out = (load_shards(data / name) for name in ("stills", "runs", "held-out"))
    system2 = _system2(recipe, options, stills, data / "checkpoints")
    accuracy = reading_accuracy(system2, _pictures(held_out, "images"), np.arange(len(held_out["images"])))
    print("System 2 on held-out stills:", json.dumps({name: round(one, 4) for name, one in accuracy.items()}))
    system1 = _system1(recipe, system2, runs, data)
    provenance: dict[str, Any] = {
        "command": f"python -m dualsys.train.panda_gym --task {task}",
        "recipe": {name: str(value) for name, value in vars(recipe).items()},
        "stills": len(stills["images"]),
        "steps_recorded": len(runs["wrist"]),
        "parameters": {
            "system1": sum(p.numel() for p in system1.parameters()),
            "system2": sum(p.numel() for p in system2.parameters()),
        },
        "system2_on_held_out_stills": {name: round(value, 4) for name, value in accuracy.items()},
    }
    specs = system_specs(system2, system1.config.proprioception)
    named = f"panda_gym_{task}"
    export_system2(system2, specs, VOCABULARY, out / "system2", provenance, name=named)
    export_system1(system1, specs, out / "system1", provenance, name=named, action=ACTION)
    evaluate = f"python -m dualsys.twin.environment configs/{named}.yaml --bundles {out}"
    print(f"bundles are in {out}; `{evaluate}` evaluates them")


def _pictures(arrays: Arrays, images: str) -> VisionData:
    return VisionData(arrays[images], arrays["words"], arrays["places"], arrays["classes"])  # type: ignore[arg-type]


def _system2(recipe: Recipe, options: EnvironmentOptions, stills: Arrays, folder: Path) -> System2Net:
    height, width = stills["images"].shape[1:3]
    views = options.cameras["fixed"]
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
            width=WIDTH,
            queries=4,
            depth=2,
        )
    )
    lookout = Lookout(pybullet, views, height, width // len(views))
    steps, seed = recipe.system2_steps, recipe.seed
    return train_system2(
        net, _pictures(stills, "images"), lookout, folder, steps=steps, seed=seed, rate=1.5e-3
    )


def _system1(recipe: Recipe, system2: System2Net, runs: Arrays, data: Path) -> System1Net:
    fixed, words = runs["fixed"], runs["words"]
    latents = encode_latents(system2, fixed, words, data / "latents.npy")  # type: ignore[arg-type]
    names = ("proprioception", "first_step", "first_frame", "chunks", "active", "aims", "played", "tossed")
    height, width = runs["wrist"].shape[1:3]
    small = Fit(width, height, WRIST_PX, WRIST_PX, None)
    wrist = np.stack([small(image) for image in runs["wrist"]])
    part = ActionData(wrist=wrist, latents=latents, **{name: runs[name] for name in names})  # type: ignore[arg-type]
    torch.manual_seed(recipe.seed)
    net = System1Net(
        System1Config(
            horizon=HORIZON,
            latent_tokens=system2.config.queries,
            latent_width=WIDTH,
            latents=2,
            pointers=0,
            wrist_px=WRIST_PX,
            width=WIDTH,
            context_depth=1,
            depth=2,
        )
    )
    set_state_scale(net, [part])
    return train_system1(
        net,
        [part],
        data / "checkpoints",
        name="system1",
        steps=recipe.system1_steps,
        seed=recipe.seed,
        batch=recipe.system1_batch,
    )


if __name__ == "__main__":
    main()
