"""The file of one arm made of bus servos: its port, its servos, and what their positions mean.

The file is YAML (JSON is YAML too). `dualsys calibrate` writes it. One turn has 4096 ticks for every servo
that is driven; an angle is `direction * (ticks - homing_ticks) * 2 pi / 4096`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationError, model_validator

from dualsys.config_faults import explain, fault_at
from dualsys.config_file import parse_yaml
from dualsys.config_links import Section
from dualsys.errors import ConfigError
from dualsys.fast.control.limits import FloatArray, Limits
from dualsys.robots.contract import RobotSpec
from dualsys.robots.profiles import PROFILES

TICKS_PER_TURN: Final = 4096
"""Resolution of the servos that are driven."""

LEAST_TICKS: Final = 64
"""Shortest range of a joint, about 6 degrees: less is a joint that was not moved during calibration."""

StopChoice = Literal["hold", "limp"]
"""After a stop: motors on, resting where the arm is; or motors off, and the arm sinks."""


class JointEntry(Section):
    """One joint."""

    name: str = Field(pattern=r"^[A-Za-z0-9_\-]{1,64}$", description="name of the joint")
    id: int = Field(ge=0, le=252, description="number of its servo on the bus")
    model: str = Field(min_length=1, max_length=64, description="model of its servo")
    homing_ticks: int = Field(ge=0, lt=TICKS_PER_TURN, description="position of the servo at angle zero")
    direction: Literal[1, -1] = Field(description="1 if the angle grows with the position, -1 if it falls")
    min_ticks: int = Field(ge=0, lt=TICKS_PER_TURN, description="lowest position that the joint reaches")
    max_ticks: int = Field(ge=0, lt=TICKS_PER_TURN, description="highest position that the joint reaches")
    velocity_rad_s: float | None = Field(
        default=None, gt=0, le=20, description="largest speed; null: as the profile of the arm says"
    )
    acceleration_rad_s2: float | None = Field(
        default=None, gt=0, le=200, description="largest acceleration; null: as the profile of the arm says"
    )


class ProtectionSection(Section):
    """When the arm is stopped for the sake of its servos, before they switch off by themselves."""

    max_temperature_c: int = Field(default=60, ge=30, le=80, description="highest temperature of a servo")
    max_load: float = Field(
        default=0.9, gt=0, le=1, description="highest load, as a part of what the servo can give"
    )
    max_load_s: float = Field(default=1.0, gt=0, le=10, description="how long the load may be higher")


class ArmFile(Section):
    """One arm."""

    arm: str = Field(
        pattern=r"^[A-Za-z0-9_\-]{1,64}$",
        description="a profile of dualsys.robots.profiles such as so101, or any other name",
    )
    port: str = Field(
        min_length=1, max_length=200, description="serial port of the bus, such as /dev/ttyACM0"
    )
    baud_rate: int = Field(default=1_000_000, ge=9600, le=4_000_000, description="bits per second on the bus")
    rate_hz: float = Field(default=50.0, ge=10, le=500, description="cycles of the bus per second")
    on_stop: StopChoice = Field(
        default="hold", description="hold: the motors stay on; limp: they are switched off, and the arm sinks"
    )
    tolerated_losses: int = Field(
        default=5, ge=0, le=100, description="cycles in a row in which a servo may give no good answer"
    )
    protection: ProtectionSection = ProtectionSection()
    joints: list[JointEntry] = Field(min_length=1, max_length=32, description="the joints, in their order")

    @model_validator(mode="after")
    def _check_joints(self) -> Self:
        if faults := [*self._joint_faults(), *self._profile_faults()]:
            raise ValueError("\n".join(faults))
        return self

    def _joint_faults(self) -> list[str]:
        faults = []
        for number, joint in enumerate(self.joints):
            at, before = f"joints.{number}", self.joints[:number]
            if joint.name in [other.name for other in before]:
                faults.append(fault_at(f"{at}.name", joint.name, "a name of its own"))
            if joint.id in [other.id for other in before]:
                faults.append(f"{at}.id: got {joint.id}, expected a number of its own")
            if joint.max_ticks - joint.min_ticks < LEAST_TICKS:
                expected = f"at least {LEAST_TICKS} more than min_ticks ({joint.min_ticks})"
                again = f": calibrate {joint.name} again"
                faults.append(fault_at(f"{at}.max_ticks", joint.max_ticks, expected + again))
        return faults

    def _profile_faults(self) -> list[str]:
        profile = PROFILES.get(self.arm)
        if profile is None:
            return [
                f"joints.{number}.{name}: got null, expected a number: there is no profile {self.arm!r}"
                for number, joint in enumerate(self.joints)
                for name in ("velocity_rad_s", "acceleration_rad_s2")
                if getattr(joint, name) is None
            ]
        names = tuple(joint.name for joint in self.joints)
        if names != profile.axes:
            order = ", ".join(profile.axes)
            return [
                f"joints: got {', '.join(names)}, expected those of {profile.name} in their order: {order}"
            ]
        lower, upper = self._range_rad()
        low, high = np.maximum(lower, profile.limits.lower), np.minimum(upper, profile.limits.upper)
        return [
            f"joints.{number}: reaches {lower[number]:.3f} to {upper[number]:.3f} rad, expected some of "
            f"{profile.limits.lower[number]:g} to {profile.limits.upper[number]:g} rad: check homing_ticks "
            "and direction"
            for number in np.flatnonzero(high <= low)
        ]

    def _range_rad(self) -> tuple[FloatArray, FloatArray]:
        scale = self.scale()
        ends = np.stack(
            (
                scale.to_rad([joint.min_ticks for joint in self.joints]),
                scale.to_rad([joint.max_ticks for joint in self.joints]),
            )
        )
        return ends.min(axis=0), ends.max(axis=0)

    def scale(self) -> TickScale:
        """What the positions of the servos mean."""
        return TickScale(
            np.array([joint.homing_ticks for joint in self.joints], dtype=np.float64),
            np.array([joint.direction for joint in self.joints], dtype=np.float64),
        )

    def spec(self) -> RobotSpec:
        """What the arm is. Where it can be: where the joints reach, and the profile of the arm allows it."""
        lower, upper = self._range_rad()
        velocity: list[float | None] = [joint.velocity_rad_s for joint in self.joints]
        acceleration: list[float | None] = [joint.acceleration_rad_s2 for joint in self.joints]
        if (profile := PROFILES.get(self.arm)) is not None:
            usual = profile.limits
            lower, upper = np.maximum(lower, usual.lower), np.minimum(upper, usual.upper)
            velocity = [own or float(limit) for own, limit in zip(velocity, usual.velocity, strict=True)]
            acceleration = [
                own or float(limit) for own, limit in zip(acceleration, usual.acceleration, strict=True)
            ]
        limits = Limits(
            lower,
            upper,
            np.array(velocity, dtype=np.float64),
            np.array(acceleration, dtype=np.float64),
            len(self.joints),
        )
        return RobotSpec(self.arm, tuple(joint.name for joint in self.joints), limits, self.rate_hz)

    def to_yaml(self) -> str:
        """The file that `load_arm` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


@dataclass(frozen=True, eq=False)
class TickScale:
    """Positions of A servos as angles, and back.

    Attributes:
        homing: [A], position at angle zero, ticks.
        direction: [A], 1 where the angle grows with the position, -1 where it falls.
    """

    homing: FloatArray
    direction: FloatArray

    RAD_PER_TICK = 2 * np.pi / TICKS_PER_TURN

    def to_rad(self, ticks: ArrayLike) -> FloatArray:
        """Angles [..., A], rad, of positions [..., A], ticks."""
        turned: FloatArray = (
            self.direction * (np.asarray(ticks, np.float64) - self.homing) * self.RAD_PER_TICK
        )
        return turned

    def to_ticks(self, angles_rad: ArrayLike) -> NDArray[np.int64]:
        """The nearest positions [..., A], ticks, of angles [..., A], rad. They may lie outside of a turn."""
        ticks = self.homing + self.direction * np.asarray(angles_rad, np.float64) / self.RAD_PER_TICK
        return np.rint(ticks).astype(np.int64)


def load_arm(path: Path) -> ArmFile:
    """Read and check the file of an arm.

    Raises:
        ConfigError: Lists every fault: the field, what it is, what was expected, and what to do.
    """
    remedy = "`dualsys calibrate` makes a new one, docs/servo-arms.md explains every field"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(str(path), [f"cannot be read: {reason}; {remedy}"]) from error
    tree = parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        got = type(tree).__name__
        raise ConfigError(str(path), [f"expected fields such as 'arm: so101', got {got}; {remedy}"])
    try:
        return ArmFile.model_validate(tree)
    except ValidationError as error:
        faults = [line for detail in error.errors() for line in explain(ArmFile, detail)]
        raise ConfigError(str(path), [*faults[:-1], f"{faults[-1]}\n  {remedy}"]) from None
