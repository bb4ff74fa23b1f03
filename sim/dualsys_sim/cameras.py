"""The two cameras and the light, and how PyBullet's software renderer draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dualsys_sim.physics import pybullet

FIXED_SHAPE: Final = (96, 128, 3)
WRIST_SHAPE: Final = (64, 64, 3)
CAMERA_SHAPES: Final = {"fixed": FIXED_SHAPE, "wrist": WRIST_SHAPE}
"""Height, width and channels of each camera's image."""

FIXED_EYE_M: Final = (1.0, 0.0, 0.80)
FIXED_TARGET_M: Final = (0.485, 0.0, 0.0)
FIXED_FOV_DEG: Final = 31.0

WRIST_EYE_M: Final = (0.085, 0.0, 0.035)
WRIST_TARGET_M: Final = (0.043, 0.0, 0.13)
"""Eye and target of the wrist camera in the frame of the hand: x ahead, z along the fingers."""

WRIST_FOV_DEG: Final = 72.0

SIGHT_MARGIN_M: Final = 0.01
"""How far outside the picture (m, about) something must be to pass for out of sight."""

Box = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Light:
    """Direction towards the light [3] (base frame) and the renderer's coefficients, all dimensionless."""

    direction: tuple[float, float, float] = (0.6, 0.4, 1.5)
    ambient: float = 0.55
    diffuse: float = 0.45
    specular: float = 0.05
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class CameraPose:
    """Eye and target [3] (m; base frame for `fixed`, hand frame for `wrist`), vertical field of view."""

    eye_m: tuple[float, float, float]
    target_m: tuple[float, float, float]
    fov_deg: float


FIXED_CAMERA: Final = CameraPose(FIXED_EYE_M, FIXED_TARGET_M, FIXED_FOV_DEG)
WRIST_CAMERA: Final = CameraPose(WRIST_EYE_M, WRIST_TARGET_M, WRIST_FOV_DEG)


def draw(
    client: int, shape: tuple[int, int, int], view: list[float], projection: list[float], light: Light
) -> NDArray[np.uint8]:
    """One image [h, w, 3] (uint8 RGB) from column-major view and projection matrices of 16 numbers each."""
    height, width, _ = shape
    _, _, pixels, _, _ = pybullet.getCameraImage(
        width,
        height,
        view,
        projection,
        lightDirection=light.direction,
        lightColor=light.colour,
        lightDistance=3.0,
        lightAmbientCoeff=light.ambient,
        lightDiffuseCoeff=light.diffuse,
        lightSpecularCoeff=light.specular,
        shadow=0,
        flags=pybullet.ER_NO_SEGMENTATION_MASK,
        renderer=pybullet.ER_TINY_RENDERER,
        physicsClientId=client,
    )
    return np.ascontiguousarray(np.asarray(pixels, dtype=np.uint8).reshape(height, width, 4)[:, :, :3])


def fixed_view(pose: CameraPose) -> list[float]:
    """View matrix of the fixed camera: column-major, 16 numbers."""
    view: list[float] = pybullet.computeViewMatrix(pose.eye_m, pose.target_m, (0.0, 0.0, 1.0))
    return view


def wrist_view(pose: CameraPose, hand_m: NDArray[np.float64], hand: NDArray[np.float64]) -> list[float]:
    """View matrix of the wrist camera, given the hand's place [3] and rotation [3, 3] in the base frame."""
    eye = hand_m + hand @ np.asarray(pose.eye_m)
    target = hand_m + hand @ np.asarray(pose.target_m)
    view: list[float] = pybullet.computeViewMatrix(eye.tolist(), target.tolist(), hand[:, 0].tolist())
    return view


def projection(shape: tuple[int, int, int], fov_deg: float, near_m: float, far_m: float) -> list[float]:
    """Projection matrix for an image of the given shape: column-major, 16 numbers."""
    height, width, _ = shape
    matrix: list[float] = pybullet.computeProjectionMatrixFOV(fov_deg, width / height, near_m, far_m)
    return matrix


def out_of_sight(boxes_m: list[Box], view: list[float], projection: list[float]) -> list[bool]:
    """Whether nothing inside each box (lowest and highest corner [3], m) can show in the image.

    A box is out of sight if all of it lies behind the eye or beyond one side of the picture, with
    `SIGHT_MARGIN_M` to spare. The planes near and far do not count: the renderer draws what is before the
    near one.
    """
    low, high = np.array(boxes_m).swapaxes(0, 1)
    # Points are rows, so matrices in column-major order are already the transposes that this takes.
    x, y, _, w = (np.array(view).reshape(4, 4) @ np.array(projection).reshape(4, 4)).T
    planes = np.array([w, w - x, w + x, w - y, w + y])
    inward, offset = planes[:, :3].T, planes[:, 3]
    # How far inside each plane the corner is that lies farthest inside.
    farthest = high @ np.maximum(inward, 0.0) + low @ np.minimum(inward, 0.0) + offset
    hidden: list[bool] = (farthest.min(axis=1) < -SIGHT_MARGIN_M).tolist()
    return hidden
