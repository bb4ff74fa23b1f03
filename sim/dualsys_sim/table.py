"""The simulated table as a robot: commands in, readings out, a judge beside it. No socket and no clock.

Its own clock is the number of physics ticks. Like a real controller it believes nobody: it refuses commands
that are not numbers or that jump, and comes to rest by itself when they stay away.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, get_args

import numpy as np

from dualsys.bus.codec import to_image
from dualsys.clock import nanoseconds
from dualsys.errors import InstructionError
from dualsys.fast.control.readings import Tolerances
from dualsys.messages import ArmCommand, ArmState, CameraFrame, clip_detail
from dualsys.robots.contract import ArmStatus
from dualsys_sim import arena
from dualsys_sim.episode import Episode, Event, Phrasing, make_episode
from dualsys_sim.language import DIRECTION_WORDS, absent_names, names_of
from dualsys_sim.referee import Referee
from dualsys_sim.state import FloatArray, Goal, ObjectTable
from dualsys_sim.task import Task, Verdict
from dualsys_sim.tasks import all_tasks
from dualsys_sim.world import World

TICK_NS: Final = nanoseconds(arena.TICK_S)

JUMP_RAD: Final = 0.3
"""Largest distance of a joint command from the one before; more would be a leap at full speed for 0.1 s."""

FIRST_JUMP_RAD: Final = Tolerances().moved_rad
"""The same for the first command after a reset: one from before it, still on its way, would yank the arm.

Control goes on from its own command if the reset has moved the arm by no more than this: to refuse what it
says then would be to refuse it for good.
"""

FREE: Final = "free"
"""Name of the scene without a task."""


class TableCore:
    """A world with a watchdog, an episode and a judge.

    Args:
        world: Taken over by this core.
        watchdog_ns: Time without a command after which the robot reports `watchdog`; it then rests where it
            was led.
    """

    def __init__(self, world: World, watchdog_ns: int) -> None:
        self._world = world
        self._limits = world.arm.spec.limits
        self._watchdog_ns = watchdog_ns
        self._ticks = 0
        self._command_tick = 0
        self._command_seq = -1
        self._commanded = False
        self._stopped = ""
        self._frames: Counter[str] = Counter()
        self.counters: Counter[str] = Counter(
            {"ticks": 0, "commands": 0, "rejected": 0, "jumps": 0, "watchdog": 0}
        )
        self.last_fault = ""
        self.reset({"task": FREE})

    @property
    def time_ns(self) -> int:
        """The robot's own clock: simulated time since it was switched on."""
        return self._ticks * TICK_NS

    def reset(self, arguments: dict[str, str]) -> dict[str, str]:
        """Build a new scene with the arm at rest at its start, and begin to judge.

        Args:
            arguments: `task` (or `free` for a scene that nobody judges), `seed`, `phrasing`, `event`,
                `instruction` (other words than the episode's own); all but `task` may be missing.

        Returns:
            What the episode says about itself.

        Raises:
            InstructionError: An argument is unknown, or not one of the known values, or the arm cannot reach
                the place where such an episode starts.
        """
        episode = _episode_of(arguments)
        task = arguments.get("task", FREE)
        judged = task != FREE
        if words := arguments.get("instruction", ""):
            meaning = meaning_of(words, episode)
            judged = judged and meaning is not None
            episode = replace(episode, instruction=words, goal=meaning or episode.goal, change=None)
        self._world.reset(episode)
        self._task, self._judged, self._episode = task, judged, episode
        self._said = ""
        self._referee = Referee(episode)
        self._verdict: Verdict | None = None
        self._target = self._posture()
        self._commanded, self._stopped = False, ""
        return self.scene()

    def on_command(self, command: ArmCommand) -> bool:
        """Take in a command [J + 1]: joints in rad, finger width in m. Returns whether it is followed."""
        position = command.position
        axes = self._limits.axes
        if len(position) != axes or not all(math.isfinite(value) for value in position):
            self.counters["rejected"] += 1
            self.last_fault = f"command: expected {axes} finite numbers, got {position}"
            return False
        joints = self._limits.joints
        target = self._limits.clip(position)
        jump = float(np.abs(target[:joints] - self._target[:joints]).max())
        largest = JUMP_RAD if self._commanded else FIRST_JUMP_RAD
        if jump > largest:
            self.counters["jumps"] += 1
            self.last_fault = f"command: jumps by {jump:.3f} rad, at most {largest} rad"
            return False
        self.counters["commands"] += 1
        self._command_seq = command.seq
        self._command_tick = self._ticks
        self._commanded = True
        if not self._stopped:
            self._target = target
        return True

    def tick(self) -> ArmState:
        """Advance by one tick, judge, and measure."""
        self._world.step(self._target)
        self._ticks += 1
        self.counters["ticks"] += 1
        if self._judged and self._verdict is None:
            self._verdict = self._referee.update(self._world.snapshot())
        arm = self._world.measure()
        status = self._status()
        self.counters["watchdog"] += status == "watchdog"
        return ArmState(
            seq=self._ticks,
            t_robot_ns=self.time_ns,
            position=(*arm.q_rad.tolist(), arm.width_m),
            velocity=(*arm.dq_rad_s.tolist(), arm.width_speed_m_s),
            status=status,
            command_seq=self._command_seq,
            detail=self._stopped,
        )

    def look(self, camera: str) -> CameraFrame:
        """What a camera sees now.

        Raises:
            KeyError: There is no camera of that name.
        """
        image = to_image(self._world.render(camera))
        self._frames[camera] += 1
        return CameraFrame(camera=camera, seq=self._frames[camera], t_robot_ns=self.time_ns, image=image)

    def stop(self, reason: str) -> None:
        """Press the protective stop: rest here, and follow no command until `recover` or `reset`."""
        self._stopped = clip_detail(reason) or "stopped"
        self._target = self._posture()

    def recover(self) -> None:
        """Release the protective stop."""
        self._stopped = ""

    def say(self, words: str) -> None:
        """Judge by these words from now on.

        Raises:
            InstructionError: They mean nothing in this scene.
        """
        meaning = meaning_of(words, self._episode)
        if meaning is None:
            raise InstructionError(f"instruction: {words!r} means nothing in the present scene")
        self._referee.give(meaning, self._world.snapshot(), for_good=True)
        self._said, self._verdict, self._judged = words, None, True

    def scene(self) -> dict[str, str]:
        """The episode: task, seed, words, whether it is judged, and its time limit in s."""
        return {
            "task": self._task,
            "seed": str(self._episode.seed),
            "instruction": self._said or self._episode.instruction_at(self._world.time_s),
            "judged": "yes" if self._judged else "no",
            "timeout_s": f"{self._episode.timeout_s:g}",
        }

    def verdict(self) -> dict[str, str]:
        """`verdict` is empty until the episode is decided, then `success` or `failure` with the rest."""
        if self._verdict is None:
            return {"verdict": "", "reason": ""}
        return {
            "verdict": "success" if self._verdict.success else "failure",
            "reason": self._verdict.reason,
            **{f"metrics.{name}": str(value) for name, value in self._verdict.metrics.items()},
        }

    def status(self) -> dict[str, str]:
        """Everything that there is to say, for machines."""
        return {
            **self.scene(),
            **self.verdict(),
            "status": self._status(),
            "stopped": self._stopped,
            "time_s": f"{self._world.time_s:.3f}",
            "last_fault": self.last_fault,
            **{name: str(count) for name, count in self.counters.items()},
            **{f"frames.{name}": str(count) for name, count in self._frames.items()},
        }

    def _status(self) -> ArmStatus:
        if self._stopped:
            return "protective_stop"
        silent_ns = (self._ticks - self._command_tick) * TICK_NS
        return "ok" if self._commanded and silent_ns <= self._watchdog_ns else "watchdog"

    def _posture(self) -> FloatArray:
        arm = self._world.measure()
        return self._limits.clip(np.append(arm.q_rad, arm.width_m))


def meaning_of(words: str, episode: Episode) -> Goal | None:
    """What an instruction asks for in an episode's scene; None if no task would say it there."""
    objects = episode.table()
    for task in all_tasks().values():
        if task.scene.belt and episode.belt is None:
            continue
        for goal in task.goals(objects):
            names = names_of(objects, goal.target_index, episode.moving_index)
            if words in _wordings(task, goal, names, objects):
                return goal
            if words in _wordings(task, goal, absent_names(objects), objects):
                return Goal(task.name, -1, -1, goal.direction)
    return None


def _wordings(task: Task, goal: Goal, names: list[str], objects: ObjectTable) -> Iterator[str]:
    bowl = names_of(objects, goal.goal_index)[0] if goal.goal_index >= 0 else ""
    for template in (*task.seen, *task.unseen):
        for name in names:
            for direction in DIRECTION_WORDS[goal.direction]:
                yield template.format(target=name, goal=bowl, direction=direction)


def _episode_of(arguments: dict[str, str]) -> Episode:
    known = {"task", "seed", "phrasing", "event", "instruction"}
    if unknown := arguments.keys() - known:
        raise InstructionError(
            f"reset: unknown {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
        )
    task = arguments.get("task", FREE)
    seed = arguments.get("seed", "0")
    phrasing = arguments.get("phrasing", "seen")
    event = arguments.get("event", "")
    tasks = all_tasks()
    if task not in tasks and task != FREE:
        raise InstructionError(f"reset: no task {task!r}; there are {', '.join((*tasks, FREE))}")
    if not (seed.isascii() and seed.isdigit()):
        raise InstructionError(f"reset: seed must be a whole number that is not negative, got {seed!r}")
    if phrasing not in get_args(Phrasing):
        raise InstructionError(f"reset: phrasing is one of {', '.join(get_args(Phrasing))}, got {phrasing!r}")
    if event and event not in get_args(Event):
        raise InstructionError(f"reset: event is one of {', '.join(get_args(Event))}, got {event!r}")
    try:
        return make_episode(
            "pick" if task == FREE else task,
            int(seed),
            phrasing,  # type: ignore[arg-type]
            event or None,  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise InstructionError(f"reset: {error}") from error
