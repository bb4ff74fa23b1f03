"""Runs an episode with anything that can act, at policy rate, and records what happened.

A policy step lasts 40 ms. The action moves the commanded tool point, inverse kinematics turns it into joint
angles, and these are interpolated over the ten ticks of the step, as the runtime does on a real arm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dualsys.robots.kinematics import TOOL_DOWN
from dualsys_sim import arena
from dualsys_sim.disturbance import Disturbance
from dualsys_sim.episode import Episode
from dualsys_sim.referee import Referee
from dualsys_sim.state import ExpertState, FloatArray, Goal, Snapshot
from dualsys_sim.task import Verdict
from dualsys_sim.tasks import expert_action
from dualsys_sim.world import World


@dataclass(frozen=True)
class Step:
    """What an actor sees at the start of a policy step.

    Attributes:
        index: number of the step within the episode.
        world: the world; `world.render(name)` gives images that were not recorded already.
        snapshot: the present instant.
        command_m: [3], the commanded tool point (base frame).
        gripper: the last gripper action, +1 or -1.
        q_rad: [J], measured joints.
        goal: the goal in force.
        instruction: the words for it.
        images: images by camera name, of the cameras that are being recorded at this step.
    """

    index: int
    world: World
    snapshot: Snapshot
    command_m: FloatArray
    gripper: float
    q_rad: FloatArray
    goal: Goal
    instruction: str
    images: dict[str, NDArray[np.uint8]]

    def expert_state(self) -> ExpertState:
        """The same as the scripted experts see it."""
        return ExpertState.of(self.command_m, self.snapshot, self.world.episode.side)


Actor = Callable[[Step], FloatArray]
"""From a step to an action [4] in [-1, 1]: three of travel, one for the gripper."""

Regoal = Callable[[Step, Verdict | None], tuple[str, Goal] | None]
"""From a step and the verdict on the goal in force, if any, to a new instruction and goal; None: go on."""


def expert_actor(step: Step) -> FloatArray:
    """The scripted expert of the goal in force."""
    return np.array(expert_action(step.expert_state(), step.goal))


@dataclass
class Trajectory:
    """A recorded run: `steps` holds one dictionary of arrays for each policy step, `verdict` how it ended.

    `array(name)` stacks one entry over the steps.
    """

    episode: Episode
    verdict: Verdict
    steps: list[dict[str, NDArray[np.generic]]] = field(default_factory=list)
    instructions: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def array(self, name: str) -> NDArray[np.generic]:
        """One entry over the steps that have it: [steps, ...]."""
        return np.stack([step[name] for step in self.steps if name in step])


def run_episode(
    world: World,
    episode: Episode,
    act: Actor = expert_actor,
    disturb: np.random.Generator | None = None,
    *,
    cameras: bool = False,
    regoal: Regoal | None = None,
    linger_s: float = 0.0,
) -> Trajectory:
    """Run an episode from its reset to its verdict, and record every policy step.

    Args:
        world: reset by this call.
        episode: what to run.
        act: drives the arm; the expert by default.
        disturb: draws noise, kicks and gripper faults on top of the actions; None for none.
        cameras: whether to render and record the wrist image at every step and the fixed image at every
            second one.
        regoal: may give a new goal at any step; with it the run lasts until the time limit.
        linger_s: how long to go on after the verdict.
    """
    rig = _Rig(world, episode, cameras)
    referee = Referee(episode)
    disturbance = None if disturb is None else Disturbance(disturb)
    result = Trajectory(episode, Verdict(False, "timeout", {}))
    verdict: Verdict | None = None
    end_s = episode.timeout_s
    while True:
        step = rig.observe()
        now_s = step.snapshot.time_s
        fresh = referee.update(step.snapshot)
        if verdict is None and fresh is not None:
            verdict, result.verdict = fresh, fresh
            end_s = now_s + linger_s if regoal is None else episode.timeout_s
        if verdict is not None and now_s >= end_s - 1e-9:
            return result
        new = None if regoal is None else regoal(step, verdict)
        if new is not None:
            verdict = None
            referee.give(new[1], step.snapshot)
            step = rig.give(new, step)
        wanted = np.asarray(act(step), dtype=np.float64)
        action = np.clip(wanted if disturbance is None else disturbance.apply(wanted), -1.0, 1.0)
        _record(result, step, wanted, action)
        rig.travel(action)


class _Rig:
    """The simulated arm as a policy drives it: a commanded tool point, and knots of joint angles."""

    def __init__(self, world: World, episode: Episode, cameras: bool) -> None:
        world.reset(episode)
        self._world, self._episode, self._cameras = world, episode, cameras
        self._index = 0
        self._command_m: FloatArray = np.array(episode.start_tool_m)
        self._knot = world.start_command()
        self._gripper = 1.0 if episode.start_width_m > 0.04 else -1.0
        self._given: tuple[str, Goal] | None = None

    def observe(self) -> Step:
        """The present step, with images if they are being recorded."""
        snapshot = self._world.snapshot()
        instruction, goal = self._given or (
            self._episode.instruction_at(snapshot.time_s),
            self._episode.goal_at(snapshot.time_s),
        )
        names = ("wrist", "fixed") if self._index % 2 == 0 else ("wrist",)
        return Step(
            index=self._index,
            world=self._world,
            snapshot=snapshot,
            command_m=self._command_m,
            gripper=self._gripper,
            q_rad=self._world.measure().q_rad,
            goal=goal,
            instruction=instruction,
            images={name: self._world.render(name) for name in names} if self._cameras else {},
        )

    def give(self, given: tuple[str, Goal], step: Step) -> Step:
        """Another instruction and goal from this step on; the step as it looks with them."""
        self._given = given
        return replace(step, instruction=given[0], goal=given[1])

    def travel(self, action: FloatArray) -> None:
        """Play one policy step under an action [4]."""
        wanted = self._command_m + arena.ACTION_STEP_M * action[:3]
        arm = self._world.arm
        self._command_m = np.clip(wanted, arm.geometry.low_m, arm.geometry.high_m)
        self._gripper = 1.0 if action[3] > 0.0 else -1.0
        joints = arm.chain.inverse(self._command_m, TOOL_DOWN, self._knot[:-1])[0]
        new = np.append(joints, arena.GRIPPER_OPEN_M if self._gripper > 0.0 else 0.0)
        for tick in range(1, arena.POLICY_TICKS + 1):
            self._world.step(self._knot + (new - self._knot) * (tick / arena.POLICY_TICKS))
        self._knot = new
        self._index += 1


def _record(result: Trajectory, step: Step, wanted: FloatArray, action: FloatArray) -> None:
    snapshot = step.snapshot
    result.steps.append(
        {
            "tool_m": snapshot.tool_m,
            "command_m": step.command_m,
            "width_m": np.array(snapshot.width_m),
            "width_speed_m_s": np.array(snapshot.width_speed_m_s),
            "gripper": np.array(step.gripper),
            "q_rad": step.q_rad,
            "position_m": snapshot.objects.position_m,
            "velocity_m_s": snapshot.objects.velocity_m_s,
            "wanted": wanted,
            "action": action,
            **{f"{name}_image": image for name, image in step.images.items()},
        }
    )
    result.instructions.append(step.instruction)
    result.goals.append(step.goal)
