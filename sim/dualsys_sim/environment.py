"""A Gymnasium environment as a robot: set-points in, readings out, success told. No socket and no clock.

One tick is one step of the environment. It is stepped whether or not anybody commands it, as a robot stays
switched on; once a judged episode is over it rests where it is until the next reset.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dualsys.bus.codec import to_image
from dualsys.clock import NS_PER_S
from dualsys.errors import ConfigError, InstructionError, MissingExtraError, RobotError
from dualsys.messages import ArmCommand, ArmState, CameraFrame, clip_detail
from dualsys.robots.contract import ArmStatus
from dualsys.robots.gymnasium import EXTRA, EnvironmentOptions, View
from dualsys_sim.environment_moves import Environment, FloatArray, Move, digest_of, step_with

FREE: Final = "free"
"""Name of the task that nobody judges."""

JUMP_S: Final = 0.1
"""A set-point that leaps farther than its axis can go in so long is refused."""

OBSERVED: Final = ("task", "seed", "phrasing", "instruction")


def make_environment(options: EnvironmentOptions) -> Environment:
    """Make the environment, without a time limit of its own.

    Raises:
        MissingExtraError: Gymnasium is not installed.
        ConfigError: There is no such environment, it cannot be made so, or it is no robot.
    """
    try:
        import gymnasium
    except ModuleNotFoundError as error:
        raise MissingExtraError("gymnasium", EXTRA, "the driver 'gymnasium'") from error
    arguments: dict[str, Any] = {"render_mode": "rgb_array", **options.make}
    try:
        env = gymnasium.make(options.environment, max_episode_steps=-1, disable_env_checker=True, **arguments)
    except ModuleNotFoundError as error:
        # Gymnasium raises the error anew, without the name of the module that is not there.
        module = error.name or getattr(error.__cause__, "name", None)
        fault = (
            f"robot.options.environment: {options.environment!r} needs module {module!r}: install it; "
            "panda_gym comes with `pip install 'dualsys[panda-gym]'`"
        )
        raise ConfigError("the gymnasium driver", [fault]) from error
    except (gymnasium.error.Error, TypeError) as error:
        fault = f"robot.options.environment: {options.environment!r} cannot be made: {error}"
        raise ConfigError("the gymnasium driver", [fault]) from error
    if faults := list(_misfits(options, env)):
        env.close()
        raise ConfigError("the gymnasium driver", faults)
    return env


def rate_of(env: Environment) -> float:
    """Steps per second of simulated time, as the environment itself says.

    Raises:
        ConfigError: It does not.
    """
    rate = env.metadata.get("render_fps")
    if not isinstance(rate, int | float) or not 0 < rate <= 1000:
        fault = f"robot.options.environment: its metadata tell no render_fps up to 1000, but {rate!r}"
        raise ConfigError("the gymnasium driver", [fault])
    return float(rate)


def draw_views(env: Environment, views: Iterable[View]) -> NDArray[np.uint8]:
    """What `render` gives of each view, side by side: uint8 [h, n * w, 3].

    Raises:
        RobotError: The environment has no such attribute, or draws no colour image.
    """
    base: Any = env.unwrapped
    pictures = []
    for view in views:
        for name, value in view.items():
            if not hasattr(base, name):
                raise RobotError(f"camera: the environment has no {name!r} to set before it draws")
            setattr(base, name, value)
        picture = np.asarray(env.render())
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise RobotError(
                f"camera: expected uint8[h, w, 3], render gave {picture.dtype}{list(picture.shape)}"
            )
        pictures.append(picture)
    return np.ascontiguousarray(np.concatenate(pictures, axis=1))


class EnvironmentCore:
    """An environment with a watchdog and its own judgement.

    Args:
        options: Which environment, and how it is driven.
        watchdog_ns: Time without a command after which the robot reports `watchdog`, and rests.
        tell: Told of every reset and step, for a copy that draws; None for nobody.

    Attributes:
        env: The environment.
        spec: The robot that it is.
        tick_ns: Duration of a step.
        counters: Ticks, commands, and what was refused.
        last_fault: What was wrong with the last thing refused.

    Raises:
        MissingExtraError, ConfigError: As `make_environment`.
    """

    def __init__(
        self,
        options: EnvironmentOptions,
        watchdog_ns: int,
        tell: Callable[[Move], None] | None = None,
    ) -> None:
        self.env = make_environment(options)
        self.spec = options.spec(rate_of(self.env))
        self.tick_ns = round(NS_PER_S / self.spec.rate_hz)
        self._options, self._watchdog_ns, self._tell = options, watchdog_ns, tell
        spec = self.env.spec
        self._steps = options.steps or _own_steps(spec.id if spec is not None else "")
        box: Any = self.env.action_space
        self._low: FloatArray = np.asarray(box.low, dtype=np.float64)
        self._high: FloatArray = np.asarray(box.high, dtype=np.float64)
        self._ticks = self._command_tick = 0
        self._command_seq = -1
        self._frames: Counter[str] = Counter()
        self.counters: Counter[str] = Counter(
            {"ticks": 0, "commands": 0, "rejected": 0, "jumps": 0, "watchdog": 0}
        )
        self.last_fault = ""
        # Whether there is a judge is told by the information of a step; that of a reset may lack it.
        self._tells_success = False
        self.reset({"task": FREE})
        self._advance()
        self.reset({"task": FREE})

    @property
    def time_ns(self) -> int:
        """The robot's own clock: simulated time since it was switched on."""
        return self._ticks * self.tick_ns

    @property
    def episode_s(self) -> float:
        """Simulated time since the last reset, s."""
        return self._step * self.tick_ns / NS_PER_S

    def reset(self, arguments: Mapping[str, str]) -> dict[str, str]:
        """Reset the environment, and begin to judge.

        Args:
            arguments: `task` (any name; `free` for nobody to judge), `seed`, `instruction` (other words than
                the configuration's; they are judged alike), `phrasing` (of no consequence).

        Returns:
            What the episode says about itself.

        Raises:
            InstructionError: An argument is unknown, or the seed is no number.
        """
        if unknown := sorted(arguments.keys() - set(OBSERVED)):
            raise InstructionError(
                f"reset: unknown {', '.join(unknown)}; an environment knows {', '.join(OBSERVED)}"
            )
        seed = arguments.get("seed", "0")
        if not (seed.isascii() and seed.isdigit()):
            raise InstructionError(f"reset: seed must be a whole number that is not negative, got {seed!r}")
        self._task, self._seed = arguments.get("task", FREE), int(seed)
        self._words = arguments.get("instruction") or self._options.instruction
        observation, _ = self.env.reset(seed=self._seed)
        if self._tell is not None:
            self._tell(Move(self.time_ns, digest_of(observation), seed=self._seed))
        self._judged = self._task != FREE and self._tells_success
        self._verdict, self._reason, self._return = "", "", 0.0
        self._step = 0
        self._commanded, self._stopped = False, ""
        count = len(self.spec.axes)
        self._velocity: FloatArray = np.zeros(count)
        self._position: FloatArray = np.zeros(count)
        if self._options.action == "direct":
            self._position = self.spec.limits.clip(np.zeros(count))
        else:
            # What the environment lacks begins at its upper limit: a gripper is open.
            self._position = self.spec.limits.upper.copy()
        self._measure(observation, first=True)
        self._target = self._position.copy()
        return self.scene()

    def on_command(self, command: ArmCommand) -> bool:
        """Take in a set-point [A], rad then m. Returns whether it is followed."""
        axes = len(self.spec.axes)
        position = command.position
        if len(position) != axes or not all(math.isfinite(value) for value in position):
            self.counters["rejected"] += 1
            self.last_fault = f"command: expected {axes} finite numbers, got {position}"
            return False
        limits = self.spec.limits
        target = limits.clip(position)
        leap = np.abs(target - self._target) / limits.velocity
        # The first command after a reset may be one from before it, still on its way.
        longest_s = JUMP_S if self._commanded else JUMP_S / 2
        if leap.max() > longest_s and self._options.action != "direct":
            axis = int(leap.argmax())
            self.counters["jumps"] += 1
            self.last_fault = (
                f"command: {self.spec.axes[axis]} leaps as far as it goes in {leap[axis]:.3f} s at full "
                f"speed, at most {longest_s} s"
            )
            return False
        self.counters["commands"] += 1
        self._command_seq, self._command_tick, self._commanded = command.seq, self._ticks, True
        if not self._stopped:
            self._target = target
        return True

    def tick(self) -> ArmState:
        """Advance by one step, judge, and measure."""
        self._ticks += 1
        self.counters["ticks"] += 1
        if self._verdict:
            self._velocity = np.zeros_like(self._velocity)
        else:
            self._advance()
        status = self._status()
        if status == "watchdog":
            self.counters["watchdog"] += 1
            self._target = self._position.copy()
        return ArmState(
            seq=self._ticks,
            t_robot_ns=self.time_ns,
            position=tuple(self._position.tolist()),
            velocity=tuple(self._velocity.tolist()),
            status=status,
            command_seq=self._command_seq,
            detail=self._stopped,
        )

    def action(self) -> FloatArray:
        """The action [n] that leads to the present set-point, as far as the action space allows."""
        options, count = self._options, len(self._low)
        target = self._target[:count]
        if options.action == "displacement":
            target = (target - self._position[:count]) / options.scale
        elif options.action == "position":
            share = (target - options.lower[:count]) / (options.upper[:count] - options.lower[:count])
            target = self._low + share * (self._high - self._low)
        return np.clip(target, self._low, self._high)

    def look(self, camera: str) -> CameraFrame:
        """What a camera sees now.

        Raises:
            KeyError: There is no camera of that name.
            RobotError: The environment cannot draw it.
        """
        image = to_image(self.picture(camera))
        self._frames[camera] += 1
        return CameraFrame(camera=camera, seq=self._frames[camera], t_robot_ns=self.time_ns, image=image)

    def picture(self, camera: str) -> NDArray[np.uint8]:
        """The same as an array, uint8 [h, w, 3]."""
        return draw_views(self.env, self._options.cameras[camera])

    def stop(self, reason: str) -> None:
        """Press the protective stop: rest here, and follow no command until `recover` or `reset`."""
        self._stopped = clip_detail(reason) or "stopped"
        self._target = self._position.copy()

    def recover(self) -> None:
        """Release the protective stop."""
        self._stopped = ""

    def say(self, words: str) -> None:
        """Note other words. What the environment takes for success is its own affair."""
        self._words = words

    def scene(self) -> dict[str, str]:
        """The episode: task, seed, words, whether it is judged, and its time limit in s."""
        limit_s = self._steps * self.tick_ns / NS_PER_S if self._steps else math.inf
        return {
            "task": self._task,
            "seed": str(self._seed),
            "instruction": self._words,
            "judged": "yes" if self._judged else "no",
            "timeout_s": f"{limit_s:g}",
        }

    def verdict(self) -> dict[str, str]:
        """`verdict` is empty until the episode is over, then `success` or `failure` with the rest."""
        metrics = {"metrics.return": f"{self._return:g}", "metrics.steps": str(self._step)}
        return {"verdict": self._verdict, "reason": self._reason, **metrics}

    def status(self) -> dict[str, str]:
        """Everything that there is to say, for machines."""
        return {
            **self.scene(),
            **self.verdict(),
            "status": self._status(),
            "stopped": self._stopped,
            "time_s": f"{self.episode_s:.3f}",
            "last_fault": self.last_fault,
            **{name: str(count) for name, count in self.counters.items()},
            **{f"frames.{name}": str(count) for name, count in self._frames.items()},
        }

    def close(self) -> None:
        """Let go of the environment."""
        self.env.close()

    def _advance(self) -> None:
        action = self.action()
        observation, reward, terminated, truncated, info = step_with(self.env, action)
        if self._tell is not None:
            self._tell(Move(self.time_ns, digest_of(observation), action=action.tolist()))
        self._step += 1
        self._return += float(reward)
        self._measure(observation)
        self._tells_success = self._options.success in info
        if not self._judged:
            return
        if bool(info.get(self._options.success, False)):
            self._verdict = "success"
        elif terminated or truncated:
            self._verdict, self._reason = "failure", "terminated" if terminated else "truncated"
        elif self._steps and self._step >= self._steps:
            self._verdict, self._reason = "failure", "timeout"

    def _measure(self, observation: Any, *, first: bool = False) -> None:
        """Read the axes from an observation; those that it does not have read as told."""
        options = self._options
        before = self._position
        position = before.copy()
        if not first:
            beyond = 0 if options.action == "direct" else len(options.position)
            position[beyond:] = self._target[beyond:]
            if options.action == "direct":
                applied = self.action()
                position[: len(applied)] = applied
        vector = observation[options.observation] if isinstance(observation, dict) else observation
        flat = np.asarray(vector, dtype=np.float64).reshape(-1)
        if options.position:
            position[: len(options.position)] = flat[list(options.position)]
        if not np.isfinite(position).all():
            raise RobotError(f"{self.spec.name}: its observation holds NaN or infinity: {flat.tolist()}")
        velocity = (position - before) * (NS_PER_S / self.tick_ns) * (not first)
        if options.velocity:
            velocity[: len(options.velocity)] = flat[list(options.velocity)]
        self._position, self._velocity = position, velocity

    def _status(self) -> ArmStatus:
        if self._stopped:
            return "protective_stop"
        silent_ns = (self._ticks - self._command_tick) * self.tick_ns
        return "ok" if self._commanded and silent_ns <= self._watchdog_ns else "watchdog"


def _own_steps(identity: str) -> int:
    """The time limit with which an environment was registered, in steps; 0 for none."""
    import gymnasium

    spec = gymnasium.registry.get(identity)
    return 0 if spec is None else spec.max_episode_steps or 0


def _misfits(options: EnvironmentOptions, env: Environment) -> Iterable[str]:
    """What options say that is not so."""
    import gymnasium

    where = "robot.options."
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        yield f"{where}environment: expected actions from a flat Box, {options.environment!r} takes {space}"
        return
    count = space.shape[0]
    if not space.is_bounded():
        yield f"{where}environment: expected actions within bounds, {options.environment!r} has none"
    if len(options.axes) < count:
        yield f"{where}axes: expected {count} or more, one for each action, got {' '.join(options.axes)!r}"
    if options.action != "direct" and len(options.position) != count:
        yield f"{where}position: expected {count} entries, one for each action, got {len(options.position)}"
    observed: Any = env.observation_space
    if isinstance(observed, gymnasium.spaces.Dict):
        if options.observation not in observed.spaces:
            names = ", ".join(observed.spaces)
            yield f"{where}observation: no {options.observation!r}; there are {names}"
            return
        observed = observed[options.observation]
    entries = math.prod(observed.shape or ())
    for name in ("position", "velocity"):
        if beyond := [str(index) for index in getattr(options, name) if index >= entries]:
            yield f"{where}{name}: no entry {', '.join(beyond)}: the observation has {entries}"
