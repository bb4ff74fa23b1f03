"""What a tick of control leads to: a command, and a state for others to see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dualsys.fast.control.limits import FloatArray, Step
from dualsys.fast.control.modes import Mode
from dualsys.messages import ControlState
from dualsys.robots.contract import ArmReading

COUNTERS = (
    "ticks", "missed", "plans", "rejected_plans",
    "clamped", "clamped_position", "clamped_velocity", "clamped_acceleration", "clamped_setpoints",
    "starved", "slowed", "held", "suspended", "stopped", "resumed", "restarted", "silent", "robot_watchdog",
)  # fmt: skip
"""Everything that control counts, but for the kinds of refused plans."""


class Followed(NamedTuple):
    """The plan that is followed: its number, when it came, and what it was made from; -1 for none.

    Attributes:
        seq: Its number.
        came_ns: When it came, edge time.
        latent_ns: Capture stamp of the newest latent behind it or a plan before it.
        observation_ns: Stamp of the observation that it was made from.
    """

    seq: int = -1
    came_ns: int = -1
    latent_ns: int = -1
    observation_ns: int = -1


class ControlOutput(NamedTuple):
    """What one tick decided.

    Attributes:
        command: float64 [A] to be sent, or None: send nothing, and have the robot stop by its own means.
        mode: What control does.
        reason: Why; empty while RUNNING.
        state: The same for others to see.
        setpoint: [A], rad then m, what the plan says for now, or for a little later where commands are
            averaged; None unless a plan is followed.
        step: What the limits made of it; None unless a plan is followed.
    """

    command: FloatArray | None
    mode: Mode
    reason: str
    state: ControlState
    setpoint: tuple[float, ...] | None = None
    step: Step | None = None


def control_state(
    now_ns: int,
    reading: ArmReading | None,
    command: FloatArray | None,
    followed: Followed,
    counters: Mapping[str, int],
    *,
    axes: int,
    session: int,
    epoch: int,
    mode: Mode,
    reason: str,
) -> ControlState:
    """The message that tells what control does.

    Args:
        now_ns: Edge time of the tick.
        reading: The newest good reading; zeros are told before the first.
        command: float64 [A], the last command, rad then m; before the first, the reading is told.
        followed: The plan that is followed.
        counters: Named totals.
        axes, session, epoch, mode, reason: See `ControlState`.
    """
    measured = tuple(reading.position.tolist()) if reading is not None else (0.0,) * axes
    return ControlState(
        session=session,
        seq=counters["ticks"],
        t_ns=reading.t_ns if reading is not None else now_ns,
        position=measured,
        velocity=tuple(reading.velocity.tolist()) if reading is not None else (0.0,) * axes,
        command=tuple(command.tolist()) if command is not None else measured,
        # The text itself: `value` is a property that is found in Python.
        mode=mode._value_,
        reason=reason,
        epoch=epoch,
        plan_seq=followed.seq,
        latent_age_ns=now_ns - followed.latent_ns if followed.latent_ns >= 0 else -1,
        plan_age_ns=now_ns - followed.came_ns if followed.came_ns >= 0 else -1,
        counters=dict(counters),
    )
