"""What is done to an environment, told to a copy of it that goes the same way."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.errors import RobotError

Environment = Any
"""A `gymnasium.Env`. Not typed as one: Gymnasium is an optional package."""

FloatArray = NDArray[np.float64]


class Move(msgspec.Struct, frozen=True):
    """What was done to an environment, for a copy that goes the same way.

    Attributes:
        time_ns: The robot's own clock.
        digest: Of what was observed then.
        seed: Of a reset; None for a step.
        action: [n], of a step.
    """

    time_ns: int
    digest: int
    seed: int | None = None
    action: list[float] = []


def digest_of(observation: Any) -> int:
    """Checksum of an observation: an array, or a dictionary of arrays."""
    parts = (
        [observation[name] for name in sorted(observation)]
        if isinstance(observation, dict)
        else [observation]
    )
    digest = 0
    for part in parts:
        digest = zlib.crc32(np.ascontiguousarray(part).tobytes(), digest)
    return digest


def follow(env: Environment, move: Move) -> None:
    """Do to a copy what was done to the original.

    Raises:
        RobotError: It observes something else.
    """
    if move.seed is not None:
        observation: Any = env.reset(seed=move.seed)[0]
    else:
        observation = step_with(env, np.array(move.action))[0]
    if digest_of(observation) != move.digest:
        raise RobotError(
            "cameras: the copy of the environment that is drawn went another way than the robot: with the "
            "same seed and actions an environment must do the same again"
        )


def step_with(env: Environment, action: FloatArray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
    """One step under an action [n], in the element type of the environment."""
    result: tuple[Any, Any, bool, bool, dict[str, Any]] = env.step(action.astype(env.action_space.dtype))
    return result
