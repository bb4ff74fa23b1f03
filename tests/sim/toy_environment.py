"""Tiny Gymnasium environments of our own: a point that moves in a box, and one that is pushed about."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

GOAL_M = (0.1, -0.05, 0.1)
CLOSE_M = 0.02

Info = dict[str, Any]


class Point(gymnasium.Env[Any, Any]):
    """A point in space that an action moves by 5 cm at most, with a gripper that is blocked.

    Args:
        render_mode: `rgb_array`.
        shade: Brightness of what it draws, besides where it is.
        drifts: Whether it does something else every time.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, render_mode: str = "rgb_array", shade: int = 10, drifts: bool = False) -> None:
        self.render_mode, self.shade, self.drifts = render_mode, shade, drifts
        self.offset = 0.0
        self.action_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        box = spaces.Box(-10.0, 10.0, (6,), np.float32)
        self.observation_space = spaces.Dict({"observation": box, "desired_goal": spaces.Box(-1, 1, (3,))})
        self.place: NDArray[np.float64] = np.zeros(3)
        self.velocity: NDArray[np.float64] = np.zeros(3)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed, options=options)
        self.place = self.np_random.uniform((-0.02, -0.02, 0.08), (0.02, 0.02, 0.12))
        self.velocity = np.zeros(3)
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Info]:
        assert action.dtype == np.float32
        assert self.action_space.contains(action)
        self.velocity = 0.05 * np.asarray(action, dtype=np.float64) * self.metadata["render_fps"]
        self.place = self.place + 0.05 * np.asarray(action, dtype=np.float64)
        if self.drifts:
            self.place = self.place + np.random.default_rng().normal(0.0, 1e-3, 3)
        success = bool(np.linalg.norm(self.place - GOAL_M) < CLOSE_M)
        return self._observe(), -1.0, success, False, {"is_success": success}

    def render(self) -> Any:
        picture = np.full((8, 12, 3), self.shade, dtype=np.uint8)
        picture[..., 1] = int(1000 * max(0.0, self.place[0])) % 256
        picture[..., 2] = int(self.offset)
        return picture

    def _observe(self) -> Any:
        state = np.concatenate([self.place, self.velocity]).astype(np.float32)
        return {"observation": state, "desired_goal": np.array(GOAL_M, dtype=np.float32)}


class Pushed(gymnasium.Env[Any, Any]):
    """One number that an action pushes about; it knows no success, and ends far out."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, render_mode: str = "rgb_array") -> None:
        self.render_mode = render_mode
        self.action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)
        self.observation_space = spaces.Box(-100.0, 100.0, (1,), np.float64)
        self.place = 0.0

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed, options=options)
        self.place = 0.0
        return np.array([self.place]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Info]:
        self.place += float(action[0])
        return np.array([self.place]), 1.0, abs(self.place) > 5.0, False, {}


def register() -> None:
    """Make both known, once."""
    if "ToyPoint-v0" not in gymnasium.registry:
        gymnasium.register("ToyPoint-v0", Point, max_episode_steps=30)
        gymnasium.register("ToyPushed-v0", Pushed)


register()
