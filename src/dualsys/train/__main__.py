"""`python -m dualsys.train`: from nothing to the two bundles of the table-top demo.

Stages: random scenes, expert recordings, System 2, its latents, System 1; then three times: a pair of draft
bundles, recordings that this pair drives and the experts label, System 1 again; last, the bundles. The second
time System 2 is refined first, on recordings of its own. The residual head of the last System 1 is trained on
the same recordings. System 1 must not learn from latents of images that System 2 was trained on: they are
better than any it will meet at work, and it would trust them too much.
Every stage keeps what it made in the data folder, so an interrupted run goes on where it stopped; the same
seed gives the same data and the same batches.
"""

from __future__ import annotations

import sys

from dualsys.train.entry import TRAIN, start

if __name__ == "__main__":
    sys.exit(start("dualsys.train.__main__", "training", TRAIN))

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dualsys.bundles import MANIFEST
from dualsys.clock import NS_PER_S, WallClock
from dualsys.command_line import read
from dualsys.errors import ConfigError
from dualsys.models import System1Config, System1Net, System2Config, System2Net
from dualsys.specs import SystemSpecs
from dualsys.train.action import ActionData, set_state_scale, train_system1
from dualsys.train.examples import action_data
from dualsys.train.export import export_system1, export_system2, system_specs
from dualsys.train.recordings import Bundles, record
from dualsys.train.residual import measure, train_residual
from dualsys.train.scenes import make_scenes, vocabulary_list
from dualsys.train.shards import Arrays, load_shards
from dualsys.train.variants import MAX_WORDS, class_counts
from dualsys.train.vision import VisionData, reading_accuracy, train_system2

SEED_SPACING = 1_000_000
SEEDS = range(1, 8)
"""Those of a recipe: the episodes of all of them lie between what evaluation uses, in millions, 0 and 10."""
ROUND_SPACING = 100_000
FIRST_RATE, REFINE_RATE, FURTHER_RATE = 1e-3, 8e-4, 5e-4
"""Peak learning rates: of a new System 1, of both as System 2 changes, and of System 1 while it does not."""
HELD_OUT_SCENES = 200


@dataclass(frozen=True)
class Recipe:
    """Size of every stage; `--scale 0.01` is a quick rehearsal.

    How the shipped bundles were made is told beside them.

    Attributes:
        out: Where the bundles go, `<out>/system1` and `<out>/system2`.
        data: Where recordings and checkpoints are kept.
        seed: Seed of everything, 1 to 7. Training uses episode seeds from `seed` million to below `seed` + 3
            million; evaluation uses others: below a million, and by default from ten million up.
        scale: Multiplies every size.
        workers: Processes that record.
        scenes: Random still scenes, four pictures each.
        expert_episodes: Episodes that experts drive.
        system2_steps, system1_steps: Gradient steps of either network.
        draft_episodes, draft_steps: Episodes that the first draft drives, and steps of System 1 on them.
        policy_episodes: Episodes that the second draft drives, as many for either system.
        refine2_steps, refine1_steps: Steps of System 2 and of System 1 on them.
        last_episodes, last_steps: Episodes that the third draft drives, and steps of System 1 on them and
            on all that drafts drove before for it.
        residual_steps: Steps of the residual head on the same recordings.
    """

    out: Path = Path("bundles/tabletop")
    data: Path = Path("data")
    seed: int = 1
    scale: float = 1.0
    workers: int = 2
    scenes: int = 10000
    expert_episodes: int = 480
    system2_steps: int = 3600
    system1_steps: int = 1800
    draft_episodes: int = 240
    draft_steps: int = 1100
    policy_episodes: int = 240
    refine2_steps: int = 2400
    refine1_steps: int = 2500
    last_episodes: int = 480
    last_steps: int = 1200
    residual_steps: int = 1000

    def check(self) -> None:
        """Refuse what would spoil the data or the evaluation.

        Raises:
            ConfigError: Training would learn from episodes that are kept for evaluation, or from none.
        """
        faults = []
        if self.seed not in SEEDS:
            faults.append(
                f"--seed: got {self.seed}, expected {SEEDS[0]} to {SEEDS[-1]}: with others, training would "
                "learn from episodes that evaluation is to be the first to see"
            )
        if not 0 < self.scale <= 100:
            faults.append(f"--scale: got {self.scale:g}, expected more than 0 and at most 100")
        if self.workers < 1:
            faults.append(f"--workers: got {self.workers}, expected 1 or more")
        if faults:
            raise ConfigError("training", faults)

    def size(self, count: int) -> int:
        """A count after scaling, at least 1."""
        return max(1, round(count * self.scale))


def main() -> None:
    """Run all stages that are not done yet."""
    recipe = read(Recipe, description=__doc__)
    recipe.check()
    torch.set_num_threads(2)
    clock = WallClock()
    begun_ns = clock.now_ns()
    runs = recipe.data / "checkpoints"
    words = vocabulary_list()
    scenes, experts = recipe.data / "scenes", recipe.data / "expert"
    make_scenes(scenes, recipe.size(recipe.scenes), recipe.seed * SEED_SPACING, recipe.workers)
    record(experts, recipe.size(recipe.expert_episodes), (recipe.seed + 1) * SEED_SPACING, recipe.workers)
    shown = load_shards(experts)
    system2 = _train_system2(recipe, runs, scenes, shown, len(words))
    learned = _with_latents(system2, shown, experts)
    steps = recipe.size(recipe.system1_steps)
    system1 = _new_system1(recipe, system2, learned)
    system1 = _train_system1(recipe, runs, [learned], "system1", steps, system1, FIRST_RATE)
    specs = system_specs(system2, system1.config.proprioception)

    first = _draft(recipe, 1, system2, system1, specs, words)
    driven = _record_round(recipe, 1, first, recipe.draft_episodes)
    seen = [learned, _with_latents(system2, load_shards(driven), driven)]
    steps = recipe.size(recipe.draft_steps)
    system1 = _train_system1(recipe, runs, seen, "system1-draft", steps, system1, FURTHER_RATE)

    second = _draft(recipe, 2, system2, system1, specs, words)
    for_system2 = load_shards(_record_round(recipe, 2, second, recipe.policy_episodes))
    last = _record_round(recipe, 3, second, recipe.policy_episodes)
    system2 = _refine_system2(recipe, runs, system2, [_frames(shown), _frames(for_system2)])
    accuracy = _check_system2(recipe, system2)
    parts = [
        _with_latents(system2, load_shards(folder), folder, "latents-refined") for folder in (driven, last)
    ]
    steps = recipe.size(recipe.refine1_steps)
    system1 = _train_system1(recipe, runs, parts, "system1-refined", steps, system1, REFINE_RATE)

    third = _draft(recipe, 3, system2, system1, specs, words)
    driven = _record_round(recipe, 4, third, recipe.last_episodes)
    parts.append(_with_latents(system2, load_shards(driven), driven, "latents-refined"))
    steps = recipe.size(recipe.last_steps)
    system1 = _train_system1(recipe, runs, parts, "system1-last", steps, system1, FURTHER_RATE)
    steps = recipe.size(recipe.residual_steps)
    head = train_residual(system1, parts, runs, steps=steps, seed=recipe.seed)
    corrections = measure(system1, head, parts, recipe.seed)
    provenance: dict[str, Any] = {
        "command": "python -m dualsys.train",
        "seed": recipe.seed,
        "scale": recipe.scale,
        "minutes_this_run": round((clock.now_ns() - begun_ns) / NS_PER_S / 60, 1),
        "steps_recorded": [len(part.wrist) for part in (*seen, *parts[1:])],
        "parameters": {
            "system1": sum(p.numel() for p in system1.parameters()),
            "system2": sum(p.numel() for p in system2.parameters()),
        },
        "system2_on_held_out_scenes": {name: round(value, 4) for name, value in accuracy.items()},
        "residual_on_held_out_episodes": corrections,
    }
    system1.residual = head
    export_system2(system2, specs, words, recipe.out / "system2", provenance)
    export_system1(system1, specs, recipe.out / "system1", provenance)
    print(json.dumps(provenance, indent=2))


def _draft(
    recipe: Recipe,
    number: int,
    system2: System2Net,
    system1: System1Net,
    specs: SystemSpecs,
    words: list[str],
) -> Bundles:
    """Bundles of the systems as they are now, to drive recordings."""
    folder = recipe.data / f"draft-{number}"
    draft = Bundles(folder / "system1", folder / "system2")
    if not (draft.system1 / MANIFEST).exists():
        export_system2(copy.deepcopy(system2), specs, words, draft.system2, {})
        export_system1(copy.deepcopy(system1), specs, draft.system1, {})
    return draft


def _record_round(recipe: Recipe, number: int, draft: Bundles, episodes: int) -> Path:
    """The folder with episodes that draft bundles drive."""
    folder = recipe.data / f"policy-{number}"
    seed = (recipe.seed + 2) * SEED_SPACING + number * ROUND_SPACING
    record(folder, recipe.size(episodes), seed, recipe.workers, draft)
    return folder


def _frames(shown: Arrays) -> VisionData:
    """The pictures of recordings, for System 2."""
    return VisionData(shown["fixed"], shown["words"], shown["places"], shown["classes"])  # type: ignore[arg-type]


def _train_system2(recipe: Recipe, runs: Path, scenes: Path, shown: Arrays, vocabulary: int) -> System2Net:
    torch.manual_seed(recipe.seed)
    net = System2Net(System2Config(vocabulary=vocabulary, max_words=MAX_WORDS, **class_counts()))
    parts = [VisionData.load(scenes), _frames(shown)]
    return train_system2(net, parts, runs, steps=recipe.size(recipe.system2_steps), seed=recipe.seed)


def _refine_system2(recipe: Recipe, runs: Path, start: System2Net, frames: list[VisionData]) -> System2Net:
    net = copy.deepcopy(start).requires_grad_(True)
    return train_system2(
        net,
        [VisionData.load(recipe.data / "scenes"), *frames],
        runs,
        steps=recipe.size(recipe.refine2_steps),
        seed=recipe.seed + 1,
        name="system2-refined",
        peak_rate=REFINE_RATE,
    )


def _check_system2(recipe: Recipe, net: System2Net) -> dict[str, float]:
    held_out = recipe.data / "scenes-held-out"
    make_scenes(held_out, recipe.size(HELD_OUT_SCENES), (recipe.seed + 3) * SEED_SPACING, recipe.workers)
    data = VisionData.load(held_out)
    accuracy = reading_accuracy(net, data, np.arange(len(data.images)))
    print("System 2 on held-out scenes:", {name: round(value, 3) for name, value in accuracy.items()})
    return accuracy


def _with_latents(net: System2Net, shown: Arrays, folder: Path, name: str = "latents") -> ActionData:
    """A recording with its latents, which are kept beside it."""
    return action_data(net, shown, folder / f"{name}.npy")


def _new_system1(recipe: Recipe, system2: System2Net, learned: ActionData) -> System1Net:
    torch.manual_seed(recipe.seed)
    net = System1Net(System1Config())
    set_state_scale(net, [learned])
    # System 2 has learned to read places from the tokens that point at them: that need not be learned again.
    net.place_out.load_state_dict(system2.point.state_dict())
    return net


def _train_system1(
    recipe: Recipe, runs: Path, parts: list[ActionData], name: str, steps: int, start: System1Net, rate: float
) -> System1Net:
    net = copy.deepcopy(start).requires_grad_(True)
    return train_system1(net, parts, runs, name=name, steps=steps, seed=recipe.seed, peak_rate=rate)
