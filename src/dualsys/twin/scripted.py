"""A scripted pair of systems that know the truth: what the experts reach under the same delays.

Their camera writes the state of the scene into the pixels. System 2 copies it, with the meaning of the words,
into its latent; System 1 reads both, as old as they are, and rolls the task's expert out into a chunk. So
everything that time does to networks is done to the pair as well, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import InstructionError, PolicyError
from dualsys.fast.policies.policy import Capability, Condition
from dualsys.slow.backend import System2Output
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec
from dualsys.twin.settings import Parts

if TYPE_CHECKING:
    from dualsys_sim.state import ExpertState, Goal
    from dualsys_sim.world import World

Float32Array = NDArray[np.float32]

HORIZON = 16
STEP_NS = 40_000_000
ROWS, COLUMNS = 10, 8
"""The state as numbers: one row of head, a row for each of up to eight objects, and one of furniture: whether
there is a wall, its five numbers, the side on which an expert passes it, and the row of the gliding block."""

SCRIPTED_SPECS = SystemSpecs(
    ObservationSpec({"fixed": TensorSpec((96, 128, 3), "uint8")}, TensorSpec((9,), "float32")),
    LatentSpec("latent_sequence", {"tokens": TensorSpec((8, 128), "float32")}),
)
SCRIPTED_ACTION = ActionSpec(
    "tool_velocity", ("x", "y", "z", "gripper"), HORIZON, STEP_NS, (0.012, 0.012, 0.012, 1.0)
)
DIRECTIONS = ("", "left", "right", "away")
NEAR_M = 0.12
"""Horizontal distance from the tool within which the wrist camera tells where an object is."""


def write_state(world: World, name: str) -> NDArray[np.uint8]:
    """An image of the camera's shape whose first bytes are the object table, float32 little-endian."""
    from dualsys_sim.cameras import CAMERA_SHAPES

    objects = world.objects()
    count = len(objects.kind)
    table = np.zeros((ROWS, COLUMNS), dtype="<f4")
    table[0, 0] = count
    table[-1, 6:] = (world.episode.side, objects.glider)
    if (wall := objects.wall) is not None:
        table[-1, :6] = (1.0, wall.x_m, wall.y_m, wall.yaw_rad, wall.length_m, wall.height_m)
    table[1 : count + 1] = np.column_stack(
        [objects.kind, objects.colour, objects.position_m, objects.velocity_m_s]
    )
    image = np.zeros(CAMERA_SHAPES[name], dtype=np.uint8)
    data = np.frombuffer(table.tobytes(), dtype=np.uint8)
    image.reshape(-1)[: len(data)] = data
    return image


def read_state(image: NDArray[np.uint8]) -> Float32Array:
    """The object table [10, 8] that `write_state` has put into an image."""
    data = image.reshape(-1)[: ROWS * COLUMNS * 4].tobytes()
    return np.frombuffer(data, dtype="<f4").reshape(ROWS, COLUMNS)


@dataclass
class ScriptedSystem2:
    """Knows what words mean, and where everything is in the image."""

    specs: SystemSpecs = SCRIPTED_SPECS
    name: str = "scripted"
    weights: str = "scripted"
    goals: dict[str, Goal] = field(default_factory=dict)

    def explain(self, goals: Mapping[str, Goal]) -> None:
        """Learn what the instructions of the next episode mean."""
        self.goals = dict(goals)

    def check_instruction(self, text: str) -> None:
        """Raise InstructionError unless `text` was explained."""
        if text not in self.goals:
            known = ", ".join(sorted(self.goals)) or "nothing"
            raise InstructionError(f"{text!r} was not explained to the scripted System 2; it knows: {known}")

    def encode(
        self, images: Mapping[str, NDArray[np.uint8]], proprioception: Float32Array, instruction: str
    ) -> System2Output:
        """Put the state and the goal into the latent."""
        from dualsys_sim.tasks import all_tasks

        del proprioception
        self.check_instruction(instruction)
        goal = self.goals[instruction]
        table = read_state(images["fixed"]).copy()
        task = list(all_tasks()).index(goal.task)
        table[0, 1:5] = (task, goal.target_index, goal.goal_index, DIRECTIONS.index(goal.direction))
        tokens = np.zeros(8 * 128, dtype=np.float32)
        tokens[: table.size] = table.reshape(-1)
        return System2Output({"tokens": tokens.reshape(8, 128)}, "")


@dataclass(frozen=True)
class ScriptedCondition:
    """Everything that the expert sees at the start of a chunk; no goal where there is no latent."""

    state: ExpertState
    goal: Goal | None


class ScriptedSystem1:
    """Rolls an expert out from what the latent and the wrist image say."""

    action = SCRIPTED_ACTION
    specs = SCRIPTED_SPECS
    wrist = TensorSpec((64, 64, 3), "uint8")
    latents = 2
    weights = "scripted"
    capabilities: frozenset[Capability] = frozenset({"sampler", "guided"})
    steps = 1

    def encode_wrist(self, image: NDArray[np.uint8]) -> Float32Array:
        """The object table as features [16, 128]."""
        features = np.zeros(16 * 128, dtype=np.float32)
        table = read_state(image)
        features[: table.size] = table.reshape(-1)
        return features.reshape(16, 128)

    def condition(
        self,
        tokens: Float32Array,
        latent_age_s: Float32Array,
        wrist: Float32Array,
        proprioception: Float32Array,
    ) -> ScriptedCondition:
        """Objects near the tool as the wrist image has them, the others as the latent had them."""
        from dualsys_sim.state import ExpertState, Goal, Wall
        from dualsys_sim.tasks import all_tasks

        if tokens.shape != (2, 8, 128) or wrist.shape != (2, 16, 128):
            shapes = f"{tokens.shape} and {wrist.shape}"
            raise PolicyError(f"expected tokens [2, 8, 128] and wrist [2, 16, 128], got {shapes}")
        size = ROWS * COLUMNS
        far = tokens[0].reshape(-1)[:size].reshape(ROWS, COLUMNS).astype(np.float64)
        near = wrist[0].reshape(-1)[:size].reshape(ROWS, COLUMNS).astype(np.float64)
        count = int(far[0, 0])
        tool = proprioception[:3].astype(np.float64)
        rows = far[1 : count + 1].copy()
        on_table = rows[:, 4] < 0.035
        rows[:, 2:4] += np.where(on_table, float(latent_age_s[0]), 0.0)[:, None] * rows[:, 5:7]
        seen = near[1 : count + 1]
        close = np.hypot(seen[:, 2] - tool[0], seen[:, 3] - tool[1]) < NEAR_M
        rows[close] = seen[close]
        state = ExpertState(
            command=(tool + proprioception[3:6]).tolist(),
            tool=tool.tolist(),
            width=float(proprioception[6]),
            width_speed=float(proprioception[7]),
            kind=[int(kind) for kind in rows[:, 0]],
            position=rows[:, 2:5].tolist(),
            velocity=rows[:, 5:8].tolist(),
            wall=Wall(*far[-1, 1:6].tolist()) if far[-1, 0] else None,
            glider=int(far[-1, 7]),
            side=int(far[-1, 6]),
        )
        if count == 0:
            return ScriptedCondition(state, None)
        task, target, goal, direction = (int(value) for value in far[0, 1:5])
        return ScriptedCondition(state, Goal(list(all_tasks())[task], target, goal, DIRECTIONS[direction]))

    def sample(self, noise: Float32Array, condition: Condition) -> Float32Array:
        """The expert's next sixteen actions."""
        unguided = np.zeros(HORIZON, np.float32)
        return self.guided(noise, condition, np.zeros_like(noise), unguided, np.zeros(1, np.float32))

    def guided(
        self,
        noise: Float32Array,
        condition: Condition,
        previous: Float32Array,
        weights: Float32Array,
        guidance: Float32Array,
    ) -> Float32Array:
        """The same, mixed with the planned motion by its weights; each action starts where that leads."""
        from dualsys_sim.labels import advance, at_start
        from dualsys_sim.skills import still
        from dualsys_sim.tasks import expert_action

        del noise, guidance
        if not isinstance(condition, ScriptedCondition):
            raise PolicyError(
                f"expected a condition of the scripted System 1, got {type(condition).__name__}"
            )
        state = at_start(condition.state)
        chunk = np.zeros((HORIZON, 4), dtype=np.float32)
        for step in range(HORIZON):
            wanted = still(state) if condition.goal is None else expert_action(state, condition.goal)
            chunk[step] = weights[step] * previous[step] + (1.0 - weights[step]) * np.asarray(wanted)
            x, y, z, gripper = chunk[step].tolist()
            advance(state, (x, y, z, gripper))
        return chunk


def scripted_parts() -> Parts:
    """The pair, and the camera that it needs."""
    system2 = ScriptedSystem2()
    return Parts(system2, ScriptedSystem1(), camera=write_state, explain=system2.explain)
