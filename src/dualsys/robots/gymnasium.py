"""Any Gymnasium environment with a `Box` action space as a robot, in a process of its own.

The environment is stepped in real time at its own rate by `dualsys sim`, which speaks the robot link. This
module says what such a robot is. A set-point becomes an action of the environment in one of three ways:

    direct        the axes are the actions themselves; a reading is what was applied last
    position      the range of each axis, from `lower` to `upper`, is that of its action
    displacement  an action of one moves its axis by `scale` within a step, from where it is measured

The options are those of `robot.options`; lists are numbers or words with blanks between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np

from dualsys.errors import ConfigError, SpecError
from dualsys.fast.control.limits import FloatArray, Limits
from dualsys.plugins import Option
from dualsys.robots.contract import RobotSpec
from dualsys.robots.geometry import ArmGeometry, Cartesian
from dualsys.robots.link import LinkRobot
from dualsys.robots.registry import RobotDriver, RobotSettings

EXTRA: Final = "gymnasium"
ActionMeaning = Literal["direct", "position", "displacement"]
TOOL_AXES: Final = ("x", "y", "z", "gripper_opening")
"""The axes, in m, with which the planner can drive an environment."""

View = Mapping[str, float]
"""Attributes of the environment that are set before it draws, such as `render_yaw`."""

_TEXTS: Final = (
    "environment",
    "action",
    "axes",
    "observation",
    "position",
    "velocity",
    "success",
    "instruction",
)
_NUMBERS: Final = ("scale", "lower", "upper", "speed", "acceleration")
_WHOLE: Final = ("joints", "steps")
_PREFIXES: Final = ("make.", "camera.")


@dataclass(frozen=True)
class EnvironmentOptions:
    """What is to be known of an environment, checked.

    Attributes:
        environment: Its id, with the module that registers it, such as `panda_gym:PandaReach-v3`.
        axes: Name of each axis; those beyond the actions of the environment do nothing and read as told.
        action: What an action is, see the module.
        joints: How many of the first axes are joints in rad; the others are in m.
        observation: Key of the observation that is read, where observations are dictionaries.
        position: [N], its entries that are the positions of the first N axes; not for `direct`.
        velocity: The same for velocities; empty to take the difference of positions.
        scale: [N], displacement for an action of one, rad or m; for `displacement`.
        lower, upper, speed, acceleration: [A], limits of the axes, rad or m (per s).
        success: Entry of the step's information that tells success.
        steps: Longest episode in steps; 0 for that of the environment.
        instruction: What its task says.
        make: Keyword arguments of `gymnasium.make`.
        cameras: Views of each camera, drawn side by side.
    """

    environment: str
    axes: tuple[str, ...]
    action: ActionMeaning
    joints: int
    observation: str
    position: tuple[int, ...]
    velocity: tuple[int, ...]
    scale: FloatArray
    lower: FloatArray
    upper: FloatArray
    speed: FloatArray
    acceleration: FloatArray
    success: str
    steps: int
    instruction: str
    make: Mapping[str, Option] = field(default_factory=dict)
    cameras: Mapping[str, tuple[View, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Option]) -> EnvironmentOptions:
        """Read `robot.options`.

        Raises:
            ConfigError: Lists every option that is missing, unknown, or not what was expected.
        """
        return _Reader(options).read()

    def spec(self, rate_hz: float) -> RobotSpec:
        """The robot, at a rate in set-points per second."""
        limits = Limits(
            lower=self.lower,
            upper=self.upper,
            velocity=self.speed,
            acceleration=self.acceleration,
            joints=self.joints,
        )
        name = self.environment.partition(":")[2] or self.environment
        return RobotSpec(name, self.axes, limits, rate_hz)


class _Reader:
    """Reads options and collects what is wrong with them."""

    def __init__(self, options: Mapping[str, Option]) -> None:
        self._options = options
        self._faults: list[str] = []

    def read(self) -> EnvironmentOptions:
        known = (*_TEXTS, *_NUMBERS, *_WHOLE)
        for name in self._options:
            if name not in known and not name.startswith(_PREFIXES):
                there = ", ".join((*known, *(f"{prefix}NAME" for prefix in _PREFIXES)))
                self._fault(name, f"unknown; there are {there}")
        axes = tuple(self._text("axes").split())
        action = self._text("action", "displacement")
        if action not in get_args(ActionMeaning):
            self._fault("action", f"expected one of {', '.join(get_args(ActionMeaning))}, got {action!r}")
        position = self._indices("position", required=action != "direct")
        velocity = self._indices("velocity", required=False)
        if velocity and len(velocity) != len(position):
            self._fault("velocity", f"expected {len(position)} entries as for position, got {len(velocity)}")
        if len(position) > len(axes):
            self._fault("position", f"expected at most {len(axes)} entries, one for each axis")
        count = len(position)
        vectors = {name: self._vector(name, len(axes)) for name in _NUMBERS if name != "scale"}
        scale = self._vector("scale", count) if action == "displacement" else np.ones(count)
        if (scale == 0).any():
            self._fault("scale", "expected no zero")
        wanted = EnvironmentOptions(
            environment=self._text("environment"),
            axes=axes,
            action=action,  # type: ignore[arg-type]
            joints=self._whole("joints", 0),
            observation=self._text("observation", "observation"),
            position=position,
            velocity=velocity,
            scale=scale,
            success=self._text("success", "is_success"),
            steps=self._whole("steps", 0),
            instruction=self._text("instruction", "do it"),
            make=self._behind("make."),
            cameras={name: self._views(name, text) for name, text in self._behind("camera.").items()},
            **vectors,
        )
        if not self._faults:
            try:
                wanted.spec(1.0)
            except SpecError as error:
                self._faults.append(f"robot.options: {error}")
        if self._faults:
            raise ConfigError("the gymnasium driver", self._faults)
        return wanted

    def _fault(self, name: str, wrong: str) -> None:
        self._faults.append(f"robot.options.{name}: {wrong}")

    def _behind(self, prefix: str) -> dict[str, Option]:
        return {
            name.removeprefix(prefix): value
            for name, value in self._options.items()
            if name.startswith(prefix)
        }

    def _text(self, name: str, default: str | None = None) -> str:
        value = self._options.get(name, default)
        if not isinstance(value, str) or not value.strip():
            self._fault(name, f"expected text, got {value!r}")
            return "?"
        return value

    def _whole(self, name: str, default: int) -> int:
        value = self._options.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self._fault(name, f"expected a whole number from 0 up, got {value!r}")
            return default
        return value

    def _words(self, name: str) -> list[str]:
        value = self._options.get(name)
        return [] if value is None or isinstance(value, bool) else str(value).split()

    def _vector(self, name: str, count: int) -> FloatArray:
        words = self._words(name)
        try:
            numbers = np.array([float(word) for word in words])
        except ValueError:
            numbers = np.empty(0)
        if len(words) != count or not np.isfinite(numbers).all() or len(numbers) != count:
            self._fault(name, f"expected {count} finite numbers, got {self._options.get(name)!r}")
            return np.ones(count)
        return numbers

    def _indices(self, name: str, *, required: bool) -> tuple[int, ...]:
        words = self._words(name)
        if not all(word.isascii() and word.isdigit() for word in words) or (required and not words):
            self._fault(name, f"expected entries of the observation, got {self._options.get(name)!r}")
            return ()
        return tuple(int(word) for word in words)

    def _views(self, camera: str, text: Option) -> tuple[View, ...]:
        """Views are set apart by bars; each is `attribute=number` words, or nothing for its own view."""
        views = []
        for words in str(text or "").split("|"):
            view: dict[str, float] = {}
            for word in words.split():
                attribute, _, number = word.partition("=")
                try:
                    view[attribute] = float(number)
                except ValueError:
                    self._fault(f"camera.{camera}", f"expected words such as render_yaw=90, got {word!r}")
            views.append(view)
        return tuple(views)


class GymnasiumRobot(LinkRobot):
    """The robot link with an environment at its other end, which tells what it is.

    Args:
        settings: Where it is; its options are those of `EnvironmentOptions`.

    Raises:
        ConfigError: An option is wrong.
    """

    def __init__(self, settings: RobotSettings) -> None:
        EnvironmentOptions.of(settings.options)
        super().__init__(settings, options=None)


def geometry_of(options: Mapping[str, Option]) -> ArmGeometry:
    """How the planner drives such a robot: as a tool that moves along three axes.

    Raises:
        ConfigError: An option is wrong, or the axes are others.
    """
    wanted = EnvironmentOptions.of(options)
    if wanted.axes != TOOL_AXES or wanted.joints:
        raise ConfigError(
            "the gymnasium driver",
            [
                f"robot.options.axes: got {' '.join(wanted.axes)!r} with {wanted.joints} joints; the planner "
                f"moves a tool and needs {' '.join(TOOL_AXES)!r}, in m. Other axes are for control alone, "
                "such as `dualsys robot check`"
            ],
        )
    low, high = wanted.lower[:3].tolist(), wanted.upper[:3].tolist()
    return ArmGeometry(
        Cartesian(np.add(low, high) / 2), TOOL_AXES, (low[0], low[1], low[2]), (high[0], high[1], high[2]),
        float(wanted.upper[3]),
    )  # fmt: skip


DRIVER: Final = RobotDriver(
    "a Gymnasium environment with a Box action space, in a process of its own",
    open=GymnasiumRobot,
    simulated=True,
    world="dualsys_sim.environment_server",
    geometry=geometry_of,
    library="gymnasium",
    install=f"pip install 'dualsys[{EXTRA}]'",
)
