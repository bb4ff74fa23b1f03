"""The simulated table: an arm, blocks, bowls, movers and two cameras, one control tick at a time."""

from __future__ import annotations

import math
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dualsys.errors import InstructionError
from dualsys.robots.kinematics import TOOL_DOWN
from dualsys.robots.tabletop import HAND_TO_TOOL_M, TABLE_PANDA, TabletopArm
from dualsys_sim import arena, bodies, cameras
from dualsys_sim.arms import load_arm
from dualsys_sim.cameras import CameraPose
from dualsys_sim.episode import Episode
from dualsys_sim.movers import Belt, Glide, Hand, Wander
from dualsys_sim.physics import pybullet
from dualsys_sim.state import ArmState, FloatArray, ObjectTable, Snapshot

GRAVITY_M_S2: Final = 9.81
JOINT_POSITION_GAIN: Final = 0.2
JOINT_VELOCITY_GAIN: Final = 1.0
LIFTED_M: Final = 0.006
NEAR_TOOL_M: Final = 0.08
START_TOLERANCE_M: Final = 0.001
"""How far from its start an episode may begin."""


class World:
    """One simulated table, reused over episodes. The same episode and the same commands give the same bits.

    Use it as a context manager, or call `close`.

    Args:
        gui: Show it in PyBullet's window.
        arm: Which arm stands there, with J joints.
    """

    def __init__(self, gui: bool = False, arm: TabletopArm = TABLE_PANDA) -> None:
        self.arm = arm
        self._speeds_rad_s = arm.spec.limits.velocity[:-1].tolist()
        self._client: int = pybullet.connect(pybullet.GUI if gui else pybullet.DIRECT)
        self._gui = gui
        self._ticks = 0
        self._objects: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the physics client. Calling it again does nothing."""
        if self._client >= 0:
            pybullet.disconnect(self._client)
            self._client = -1

    @property
    def time_s(self) -> float:
        """Simulated time since the reset."""
        return self._ticks * arena.TICK_S

    @property
    def episode(self) -> Episode:
        """The episode of the last reset."""
        return self._episode

    def reset(self, episode: Episode) -> None:
        """Clear the table and build the episode's scene, with the arm at its start pose and at rest.

        Raises:
            InstructionError: The arm cannot reach the place where the episode starts; nothing has changed.
        """
        start = self._start_of(episode)
        client = self._client
        pybullet.resetSimulation(physicsClientId=client)
        if self._gui:
            self._frame_window()
        pybullet.setGravity(0.0, 0.0, -GRAVITY_M_S2, physicsClientId=client)
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=arena.TICK_S,
            numSolverIterations=40,
            numSubSteps=1,
            deterministicOverlappingPairs=1,
            physicsClientId=client,
        )
        self._episode = episode
        self._body = load_arm(client, self.arm)
        bodies.build_table(client, episode.table_rgba)
        bodies.build_mat(client, episode.mat_rgba)
        if episode.belt is not None:
            bodies.build_belt(client, episode.belt_rgba)
        if episode.wall is not None:
            bodies.build_wall(client, episode.wall, episode.wall_rgba)
        self._objects = [bodies.build_object(client, spec) for spec in episode.objects]
        arm = self._body
        self._hideable: list[tuple[int, int, bodies.Rgba]] = [
            *((arm.body, link, arm.link_rgba(link)) for link in range(-1, arm.joints[-1] + 1)),
            *(
                (body, -1, spec.rgba)
                for body, spec in zip(self._objects, episode.objects, strict=True)
                if spec.kind == arena.BOWL  # blocks are drawn as fast as they are looked up
            ),
        ]
        self._hidden = [False] * len(self._hideable)
        self._kind = np.array([spec.kind for spec in episode.objects], dtype=np.int8)
        self._colour = np.array([spec.colour for spec in episode.objects], dtype=np.int8)
        self._belt = None if episode.belt is None else Belt(episode.belt)
        self._wander = None if episode.wander is None else Wander(episode.wander)
        self._hand = None if episode.hand is None else Hand(episode.hand)
        self._glide = None if episode.glide is None else Glide(episode.glide)
        self._ticks = 0
        self._start = start
        self.place_arm(start[:-1], float(start[-1]))

    def start_command(self) -> FloatArray:
        """The command [J + 1] that keeps the arm where the episode starts it."""
        return self._start.copy()

    def place_arm(self, q_rad: ArrayLike, width_m: float) -> None:
        """Put the arm at joint angles [J] and finger width at once, at rest, without physics."""
        q = np.asarray(q_rad, dtype=np.float64).tolist()
        arm = self._body
        for joint, angle in zip(arm.joints, q, strict=True):
            pybullet.resetJointState(arm.body, joint, angle, 0.0, physicsClientId=self._client)
        for joint in arm.fingers:
            pybullet.resetJointState(arm.body, joint, width_m / 2, 0.0, physicsClientId=self._client)

    def place_object(self, index: int, position_m: ArrayLike, yaw_rad: float) -> None:
        """Put object `index` at `position_m` [3] (base frame) and yaw at once, at rest, without physics."""
        position = np.asarray(position_m, dtype=np.float64).tolist()
        turn = pybullet.getQuaternionFromEuler((0.0, 0.0, yaw_rad))
        pybullet.resetBasePositionAndOrientation(
            self._objects[index], position, turn, physicsClientId=self._client
        )

    def step(self, q_cmd: ArrayLike) -> None:
        """Advance one tick under a command [J + 1]: joint angles (rad) and the finger width (m, 0 to 0.08).

        Raises:
            ValueError: the command has a wrong shape or is not finite.
        """
        command = np.asarray(q_cmd, dtype=np.float64)
        arm = self._body
        joints = len(arm.joints)
        if command.shape != (joints + 1,) or not np.isfinite(command).all():
            raise ValueError(f"q_cmd must be {joints + 1} finite numbers, found {command}")
        *angles, width_m = command.tolist()
        # A motor turns no faster than it can: a joint that a contact held back, and lets go, returns at its
        # rated speed, not as fast as the gain would have it.
        motors = zip(arm.joints, angles, arm.forces_nm, self._speeds_rad_s, strict=True)
        for joint, angle, force_nm, speed_rad_s in motors:
            pybullet.setJointMotorControl2(
                arm.body, joint, pybullet.POSITION_CONTROL, targetPosition=angle, force=force_nm,
                positionGain=JOINT_POSITION_GAIN, velocityGain=JOINT_VELOCITY_GAIN, maxVelocity=speed_rad_s,
                physicsClientId=self._client,
            )  # fmt: skip
        finger = 0.5 * min(arena.GRIPPER_OPEN_M, max(0.0, width_m))
        for joint in arm.fingers:
            pybullet.setJointMotorControl2(
                arm.body, joint, pybullet.POSITION_CONTROL, targetPosition=finger,
                force=arena.FINGER_FORCE_N, maxVelocity=arena.FINGER_SPEED_M_S,
                positionGain=0.2, velocityGain=1.0, physicsClientId=self._client,
            )  # fmt: skip
        self._move_objects()
        pybullet.stepSimulation(physicsClientId=self._client)
        self._ticks += 1

    def measure(self) -> ArmState:
        """The arm's measured joints and fingers."""
        arm = self._body
        states = pybullet.getJointStates(arm.body, arm.measured, physicsClientId=self._client)
        (*angles, left_m, right_m), (*speeds, left_m_s, right_m_s), _, _ = zip(*states, strict=True)
        return ArmState(
            q_rad=np.array(angles),
            dq_rad_s=np.array(speeds),
            width_m=float(left_m + right_m),
            width_speed_m_s=float(left_m_s + right_m_s),
        )

    def objects(self) -> ObjectTable:
        """Every object's kind, colour, position and velocity."""
        client = self._client
        poses = [
            pybullet.getBasePositionAndOrientation(body, physicsClientId=client) for body in self._objects
        ]
        speeds = [pybullet.getBaseVelocity(body, physicsClientId=client) for body in self._objects]
        return ObjectTable(
            self._kind,
            self._colour,
            np.array([position for position, _ in poses]).reshape(-1, 3),
            np.array([linear for linear, _ in speeds]).reshape(-1, 3),
            self._episode.wall,
            -1 if self._glide is None else self._glide.plan.index,
        )

    def snapshot(self) -> Snapshot:
        """This instant, as judges and experts see it."""
        arm = self.measure()
        tool, _ = self.arm.chain.forward(arm.q_rad)
        return Snapshot(self.time_s, tool, arm.width_m, arm.width_speed_m_s, self.objects())

    def render(self, name: str) -> NDArray[np.uint8]:
        """The image of camera `fixed` [96, 128, 3] or `wrist` [64, 64, 3], uint8 RGB.

        Raises:
            KeyError: there is no camera of that name.
        """
        shape = cameras.CAMERA_SHAPES[name]
        if name == "fixed":
            return self.photograph(self._episode.fixed_camera, shape)
        pose = self._episode.wrist_camera
        tool, rotation = self.arm.chain.forward(self.measure().q_rad)
        view = cameras.wrist_view(pose, tool - HAND_TO_TOOL_M * rotation[:, 2], rotation)
        return self._drawn(shape, view, cameras.projection(shape, pose.fov_deg, 0.02, 1.0))

    def photograph(self, pose: CameraPose, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """An image of that shape [h, w, 3] from anywhere around the table, uint8 RGB."""
        lens = cameras.projection(shape, pose.fov_deg, 0.2, 2.5)
        return self._drawn(shape, cameras.fixed_view(pose), lens)

    def _drawn(self, shape: tuple[int, int, int], view: list[float], lens: list[float]) -> NDArray[np.uint8]:
        if not self._gui:
            self._hide(view, lens)
        return cameras.draw(self._client, shape, view, lens, self._episode.light)

    def _start_of(self, episode: Episode) -> FloatArray:
        """The command that keeps the arm where an episode starts it.

        Raises:
            InstructionError: It is out of reach.
        """
        chain, start_m = self.arm.chain, episode.start_tool_m
        joints = chain.inverse(start_m, TOOL_DOWN, chain.rest_rad)[0]
        missed_m = float(np.linalg.norm(chain.forward(joints)[0] - start_m))
        if missed_m > START_TOLERANCE_M:
            place = ", ".join(f"{value:.3f}" for value in start_m)
            raise InstructionError(
                f"task {episode.task!r}, seed {episode.seed}: the tool starts at ({place}) m, which the arm "
                f"{self.arm.name!r} misses by {1000 * missed_m:.0f} mm; choose another task, seed or "
                "arm (robot.options.arm)"
            )
        return np.append(joints, episode.start_width_m)

    def _hide(self, view: list[float], lens: list[float]) -> None:
        """Make transparent what this image cannot show: the renderer then skips it.

        Hands off in a window, where people would see it.
        """
        boxes = [
            pybullet.getAABB(body, link, physicsClientId=self._client) for body, link, _ in self._hideable
        ]
        hidden = cameras.out_of_sight(boxes, view, lens)
        for (body, link, rgba), is_hidden, was_hidden in zip(
            self._hideable, hidden, self._hidden, strict=True
        ):
            if is_hidden != was_hidden:
                shown = (*rgba[:3], 0.0) if is_hidden else rgba
                pybullet.changeVisualShape(body, link, rgbaColor=shown, physicsClientId=self._client)
        self._hidden = hidden

    def _move_objects(self) -> None:
        """Give every driven block its velocity for the next tick."""
        if self._belt is None and self._wander is None and self._hand is None and self._glide is None:
            return
        places = [
            pybullet.getBasePositionAndOrientation(body, physicsClientId=self._client)[0]
            for body in self._objects
        ]
        if self._belt is not None:
            riders = [i for i, place in enumerate(places) if self._rides(i, place)]
            velocity = self._belt.velocity(self.time_s, [places[i][1] for i in riders])
            for rider in riders:
                self._drive(rider, velocity)
        if self._wander is not None:
            index = self._wander.plan.index
            others = [(x, y) for i, (x, y, _) in enumerate(places) if i != index]
            velocity = self._wander.velocity(self.time_s, places[index][:2], others)
            if self._rests(index, places[index]) and not self._held(index, places[index]):
                self._drive(index, velocity)
        if self._hand is not None:
            index = self._hand.plan.index
            held = not self._rests(index, places[index]) or self._held(index, places[index])
            slide = self._hand.velocity(self.time_s, places[index][:2], held)
            if slide is not None:
                self._drive(index, slide)
        if self._glide is not None:
            index = self._glide.plan.index
            own_m_s = pybullet.getBaseVelocity(self._objects[index], physicsClientId=self._client)[0]
            held = not self._rests(index, places[index]) or self._held(index, places[index])
            glide = self._glide.velocity(self.time_s, places[index][:2], own_m_s[:2], held)
            if glide is not None:
                self._drive(index, glide)

    def _rests(self, index: int, place_m: tuple[float, float, float]) -> bool:
        return bool(place_m[2] < bodies.rest_height_m(int(self._kind[index])) + LIFTED_M)

    def _rides(self, index: int, place_m: tuple[float, float, float]) -> bool:
        on_belt = (
            abs(place_m[0] - arena.BELT_X_M) < arena.BELT_WIDTH_M / 2 + 0.01
            and abs(place_m[1]) < arena.BELT_END_M + 0.03
        )
        return on_belt and self._rests(index, place_m) and not self._held(index, place_m)

    def _held(self, index: int, place_m: tuple[float, float, float]) -> bool:
        """Whether both fingers touch the object."""
        arm = self._body
        tool = pybullet.getLinkState(arm.body, arm.tool, physicsClientId=self._client)[0]
        if math.dist(tool, place_m) > NEAR_TOOL_M:
            return False
        contacts = pybullet.getContactPoints(arm.body, self._objects[index], physicsClientId=self._client)
        links = {contact[3] for contact in contacts if contact[8] < 0.0005}
        return links.issuperset(arm.fingers)

    def _drive(self, index: int, velocity_m_s: tuple[float, float]) -> None:
        """Make a block that slides on the table travel at this velocity over the next tick."""
        body = self._objects[index]
        linear, angular = pybullet.getBaseVelocity(body, physicsClientId=self._client)
        speed = math.hypot(*velocity_m_s)
        loss = bodies.BLOCK_FRICTION * bodies.TABLE_FRICTION * GRAVITY_M_S2 * arena.TICK_S
        scale = 1.0 + loss / speed if speed > 1e-6 else 0.0
        moved = (velocity_m_s[0] * scale, velocity_m_s[1] * scale, linear[2])
        pybullet.resetBaseVelocity(body, moved, (0.0, 0.0, 0.5 * angular[2]), physicsClientId=self._client)

    def _frame_window(self) -> None:
        for flag in (pybullet.COV_ENABLE_GUI, pybullet.COV_ENABLE_SHADOWS):
            pybullet.configureDebugVisualizer(flag, 0, physicsClientId=self._client)
        pybullet.resetDebugVisualizerCamera(
            cameraDistance=1.1, cameraYaw=60.0, cameraPitch=-35.0, cameraTargetPosition=(0.45, 0.0, 0.1),
            physicsClientId=self._client,
        )  # fmt: skip
