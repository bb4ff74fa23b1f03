"""Pictures of panda-gym scenes, put together from layers, for drawing the arm takes nearly all the time.

The arm is drawn without cube and marker, and these without the arm; what is nearer hides what is behind it.
The result is, to the last bit, what the environment draws, as a test checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualsys.robots.gymnasium import EnvironmentOptions, View
from dualsys_sim.environment import make_environment

THINGS = ("object", "target")
"""Bodies that may be drawn apart from the arm: the cube, if there is one, and the marker."""


@dataclass(frozen=True)
class Layer:
    """One drawing of some bodies: uint8 `[h, n * w, 3]`, and float32 `[h, n * w]`, depth in [0, 1]."""

    colour: NDArray[np.uint8]
    depth: NDArray[np.float32]


def put_together(layers: list[Layer]) -> NDArray[np.uint8]:
    """The picture of all bodies, uint8 `[h, n * w, 3]`: at each pixel the nearest; of equals the first."""
    depth = np.stack([layer.depth for layer in layers])
    colour = np.stack([layer.colour for layer in layers])
    nearest = depth.argmin(axis=0)
    picture: NDArray[np.uint8] = np.take_along_axis(colour, nearest[None, :, :, None], axis=0)[0]
    return picture


class Studio:
    """Draws layers of one task.

    Args:
        options: The environment and its camera `fixed`.
    """

    def __init__(self, options: EnvironmentOptions) -> None:
        self.env, self._bare = make_environment(options), make_environment(options)
        self._views = options.cameras["fixed"]
        self.sim: Any = self.env.unwrapped.sim
        self._bare_sim: Any = self._bare.unwrapped.sim
        self._bare_sim.physics_client.removeBody(self._bare_sim._bodies_idx["panda"])
        self.things = tuple(name for name in THINGS if name in self.sim._bodies_idx)
        self._colours = {
            name: self.sim.physics_client.getVisualShapeData(self.sim._bodies_idx[name])[0][7]
            for name in self.things
        }
        self.width_px, self.height_px = (
            int(getattr(self.env.unwrapped, f"render_{side}")) for side in ("width", "height")
        )

    def arm(self) -> Layer:
        """The arm as it is now, and the table."""
        for name in self.things:
            self._paint(self.sim, name, 0.0)
        layer = self._draw(self.sim)
        for name in self.things:
            self._paint(self.sim, name, self._colours[name][3])
        return layer

    def thing(
        self, name: str, position_m: NDArray[np.float64], rotation: NDArray[np.float64] | None = None
    ) -> Layer:
        """Cube or marker [3] at a place, upright or turned by a quaternion [4], and the table."""
        for other in self.things:
            self._paint(self._bare_sim, other, self._colours[other][3] if other == name else 0.0)
        turned = np.array([0.0, 0.0, 0.0, 1.0]) if rotation is None else rotation
        self._bare_sim.set_base_pose(name, np.asarray(position_m, dtype=np.float64), turned)
        return self._draw(self._bare_sim)

    def close(self) -> None:
        """Let go of both simulators."""
        self.env.close()
        self._bare.close()

    def _paint(self, sim: Any, name: str, alpha: float) -> None:
        colour = (*self._colours[name][:3], alpha)
        sim.physics_client.changeVisualShape(sim._bodies_idx[name], -1, rgbaColor=colour)

    def _draw(self, sim: Any) -> Layer:
        parts = [self._look(sim, view) for view in self._views]
        return Layer(
            np.concatenate([part.colour for part in parts], axis=1),
            np.concatenate([part.depth for part in parts], axis=1),
        )

    def _look(self, sim: Any, view: View) -> Layer:
        client = sim.physics_client
        width, height = self.width_px, self.height_px
        look, lens = camera_matrices(client, view, width / height)
        _, _, colour, depth, _ = client.getCameraImage(
            width, height, look, lens, shadow=True, renderer=client.ER_BULLET_HARDWARE_OPENGL
        )
        pixels = np.asarray(colour, dtype=np.uint8).reshape(height, width, 4)[..., :3]
        return Layer(pixels.copy(), np.asarray(depth, dtype=np.float32).reshape(height, width).copy())


def camera_matrices(client: Any, view: View, aspect: float) -> tuple[list[float], list[float]]:
    """View and projection of panda-gym's camera: column-major, 16 numbers each."""
    setting: Mapping[str, float] = {"render_distance": 1.4, "render_yaw": 45.0, "render_pitch": -30.0} | dict(
        view
    )
    look: list[float] = client.computeViewMatrixFromYawPitchRoll(
        cameraTargetPosition=(0.0, 0.0, 0.0),
        distance=setting["render_distance"],
        yaw=setting["render_yaw"],
        pitch=setting["render_pitch"],
        roll=setting.get("render_roll", 0.0),
        upAxisIndex=2,
    )
    lens: list[float] = client.computeProjectionMatrixFOV(fov=60, aspect=aspect, nearVal=0.1, farVal=100.0)
    return look, lens
