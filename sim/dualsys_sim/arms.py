"""The arm as PyBullet has it: a model of PyBullet's own with the Panda's hand, drawn with light meshes."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final
from xml.etree import ElementTree

import numpy as np
import pybullet_data

from dualsys.robots.kinematics import transform
from dualsys.robots.tabletop import HAND_TO_TOOL_M, TabletopArm
from dualsys_sim.physics import pybullet

Rgba = tuple[float, float, float, float]

ARM_RGBA: Final[Rgba] = (0.86, 0.87, 0.88, 1.0)
HAND_RGBA: Final[Rgba] = (0.45, 0.46, 0.48, 1.0)
FINGER_RGBA: Final[Rgba] = (0.16, 0.16, 0.18, 1.0)

HAND_LINK: Final = b"panda_hand"
TOOL_LINK: Final = b"panda_grasptarget"

HAND_LINKS: Final = ("panda_hand", "panda_leftfinger", "panda_rightfinger", "panda_grasptarget")
HAND_JOINTS: Final = ("panda_finger_joint1", "panda_finger_joint2", "panda_grasptarget_hand")
RISER_HALF_M: Final = 0.07


@dataclass(frozen=True)
class Model:
    """A model that comes with PyBullet.

    Attributes:
        file: Below the folder of PyBullet's data.
        forces_nm: Largest torque of each joint.
        root: Link that stands on the ground; whatever the model has above it is left out.
        flange: Link that the Panda's hand is bolted to; empty for the Panda, which has it.
    """

    file: str
    forces_nm: tuple[float, ...]
    root: str
    flange: str = ""


PANDA_MODEL: Final = Model(
    "franka_panda/panda.urdf", (87.0, 87.0, 87.0, 87.0, 20.0, 20.0, 20.0), "panda_link0"
)

MODELS: Final = MappingProxyType(
    {
        "panda": PANDA_MODEL,
        # Torques: KUKA, LBR iiwa 7 R800, LBR iiwa 14 R820 Specification.
        "iiwa14": Model(
            "kuka_iiwa/model.urdf", (320.0, 320.0, 176.0, 176.0, 110.0, 40.0, 40.0),
            "lbr_iiwa_link_0", "lbr_iiwa_link_7",
        ),
        # Torques: those of the model, which UFACTORY made.
        "xarm6": Model("xarm/xarm6_robot.urdf", (50.0, 50.0, 32.0, 32.0, 32.0, 20.0), "link_base", "link6"),
    }
)  # fmt: skip
"""Models by the short name of the arm."""


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


def load_arm(client: int, wanted: TabletopArm) -> ArmBody:
    """The arm at its place by the table, on a riser if that is high, its fingers geared together."""
    _, path = _urdf(wanted.name, _hand_origin(wanted))
    body: int = pybullet.loadURDF(
        path, basePosition=wanted.mount_m, useFixedBase=True,
        flags=pybullet.URDF_ENABLE_CACHED_GRAPHICS_SHAPES, physicsClientId=client,
    )  # fmt: skip
    arm = _explored(client, body, MODELS[wanted.name].forces_nm)
    if wanted.mount_m[2] > 0.0:
        _build_riser(client, wanted.mount_m)
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


def _build_riser(client: int, mount_m: tuple[float, float, float]) -> None:
    """What an arm stands on; it is drawn, and touches nothing."""
    x, y, height = mount_m
    half = (RISER_HALF_M, RISER_HALF_M, height / 2)
    drawn = pybullet.createVisualShape(
        pybullet.GEOM_BOX, halfExtents=half, rgbaColor=ARM_RGBA, specularColor=(0, 0, 0),
        physicsClientId=client,
    )  # fmt: skip
    pybullet.createMultiBody(0.0, -1, drawn, (x, y, height / 2), physicsClientId=client)


def _hand_origin(arm: TabletopArm) -> tuple[float, float]:
    """Where the hand is on the flange, along z in m, and its turn about z in rad; it has no other freedom."""
    hand = arm.chain.tool_frame @ transform((0.0, 0.0, -HAND_TO_TOOL_M))
    height_m, turn_rad = float(hand[2, 3]), math.atan2(hand[1, 0], hand[0, 0])
    straight = transform((0.0, 0.0, height_m), (0.0, 0.0, turn_rad))
    if not np.allclose(hand, straight, atol=1e-9):
        raise ValueError(f"{arm.name}: the hand must point along the axis of the last joint, found {hand}")
    return height_m, turn_rad


@cache
def _urdf(name: str, hand_origin: tuple[float, float]) -> tuple[tempfile.TemporaryDirectory[str], str]:
    """The model with its light collision meshes drawn as well, twenty times quicker to render, and a hand."""
    model = MODELS[name]
    robot = _read(model)
    if model.flange:
        _bolt_hand(robot, model.flange, *hand_origin)
    folder = tempfile.TemporaryDirectory(prefix="dualsys_sim_")
    path = Path(folder.name) / f"{name}.urdf"
    ElementTree.ElementTree(robot).write(path)
    return folder, str(path)


def _read(model: Model) -> ElementTree.Element:
    """The model, from its root on, with the whole paths of its light meshes."""
    source = Path(pybullet_data.getDataPath()) / model.file
    robot = ElementTree.parse(source).getroot()
    for element in list(robot):
        child = element.find("child")
        if element.tag == "joint" and child is not None and child.get("link") == model.root:
            parent = element.find("parent")
            above = "" if parent is None else parent.get("link")
            robot.remove(element)
            robot[:] = [one for one in robot if one.get("name") != above]
    for link in robot.iter("link"):
        for drawn, solid in zip(link.findall("visual"), link.findall("collision"), strict=True):
            light = solid.find("geometry/mesh")
            heavy = drawn.find("geometry/mesh")
            if light is None or heavy is None:
                raise ValueError(f"{model.file}: link {link.get('name')!r} has no mesh")
            whole = str(source.parent / light.get("filename", "").removeprefix("package://"))
            light.set("filename", whole)
            heavy.set("filename", whole)
    return robot


def _bolt_hand(robot: ElementTree.Element, flange: str, height_m: float, turn_rad: float) -> None:
    """Add the Panda's hand to a link of another arm."""
    bolt = ElementTree.SubElement(robot, "joint", name="hand_joint", type="fixed")
    ElementTree.SubElement(bolt, "origin", xyz=f"0 0 {height_m!r}", rpy=f"0 0 {turn_rad!r}")
    ElementTree.SubElement(bolt, "parent", link=flange)
    ElementTree.SubElement(bolt, "child", link=HAND_LINKS[0])
    robot.extend(one for one in _read(PANDA_MODEL) if one.get("name") in HAND_LINKS + HAND_JOINTS)
