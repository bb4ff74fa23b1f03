"""The arm as PyBullet has it: loaded from one of PyBullet's own models, drawn with light meshes."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pybullet_data

from dualsys_sim.physics import pybullet

Rgba = tuple[float, float, float, float]

ARM_RGBA: Final[Rgba] = (0.86, 0.87, 0.88, 1.0)
HAND_RGBA: Final[Rgba] = (0.45, 0.46, 0.48, 1.0)
FINGER_RGBA: Final[Rgba] = (0.16, 0.16, 0.18, 1.0)

HAND_LINK: Final = b"panda_hand"
TOOL_LINK: Final = b"panda_grasptarget"

JOINT_FORCES_NM: Final = MappingProxyType({"panda": (87.0, 87.0, 87.0, 87.0, 20.0, 20.0, 20.0)})
"""Largest torque of each joint, by the arm's short name."""


@dataclass(frozen=True)
class ArmBody:
    """A loaded arm.

    Attributes:
        body: Its body number.
        joints: Index of each joint of the arm, from the base on.
        fingers: Index of each finger's joint.
        hand: Index of the hand.
        tool: Index of the point between the fingertips.
        forces_nm: Largest torque of each joint.
    """

    body: int
    joints: tuple[int, ...]
    fingers: tuple[int, ...]
    hand: int
    tool: int
    forces_nm: tuple[float, ...]

    @property
    def measured(self) -> tuple[int, ...]:
        """Indices of everything that moves, joints first."""
        return (*self.joints, *self.fingers)

    def link_rgba(self, link: int) -> Rgba:
        """Colour of a link."""
        return FINGER_RGBA if link in self.fingers else HAND_RGBA if link == self.hand else ARM_RGBA


def load_arm(client: int, name: str) -> ArmBody:
    """The arm of a short name at its place by the table, its fingers geared together."""
    _, path = _urdf(name)
    body: int = pybullet.loadURDF(
        path, useFixedBase=True, flags=pybullet.URDF_ENABLE_CACHED_GRAPHICS_SHAPES, physicsClientId=client
    )
    arm = _explored(client, body, JOINT_FORCES_NM[name])
    for link in range(-1, arm.tool):
        pybullet.changeVisualShape(body, link, rgbaColor=arm.link_rgba(link), physicsClientId=client)
        pybullet.changeDynamics(body, link, linearDamping=0.0, angularDamping=0.0, physicsClientId=client)
    for link in arm.fingers:
        pybullet.changeDynamics(
            body, link, lateralFriction=1.2, spinningFriction=0.02, physicsClientId=client
        )
    left, right = arm.fingers
    gear = pybullet.createConstraint(
        body, left, body, right, pybullet.JOINT_GEAR, [1, 0, 0], [0, 0, 0], [0, 0, 0], physicsClientId=client
    )
    pybullet.changeConstraint(gear, gearRatio=-1, erp=0.2, maxForce=100, physicsClientId=client)
    return arm


def _explored(client: int, body: int, forces_nm: tuple[float, ...]) -> ArmBody:
    """Find out which index is what: the joints turn, the fingers slide, hand and tool have names."""
    joints, fingers, links = [], [], {}
    for index in range(pybullet.getNumJoints(body, physicsClientId=client)):
        about = pybullet.getJointInfo(body, index, physicsClientId=client)
        links[about[12]] = index
        if about[2] == pybullet.JOINT_REVOLUTE:
            joints.append(index)
        elif about[2] == pybullet.JOINT_PRISMATIC:
            fingers.append(index)
    return ArmBody(body, tuple(joints), tuple(fingers), links[HAND_LINK], links[TOOL_LINK], forces_nm)


@cache
def _urdf(name: str) -> tuple[tempfile.TemporaryDirectory[str], str]:
    """The model with its light collision meshes drawn as well: twenty times quicker to render."""
    source = Path(pybullet_data.getDataPath()) / "franka_panda"
    text = (source / "panda.urdf").read_text()
    text = text.replace("meshes/visual/", "meshes/collision/").replace("package://", f"{source}{os.sep}")
    folder = tempfile.TemporaryDirectory(prefix="dualsys_sim_")
    path = Path(folder.name) / f"{name}.urdf"
    path.write_text(text)
    return folder, str(path)
