"""The motions of a tick on things of its own: nothing real is read, moved or told.

Nearly all that a tick takes is memory that has left the caches since the tick before: the same calls take a
small part of that right afterwards. What is called here shortly before a deadline is at hand when it comes.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.sockets import ZmqContext
from dualsys.fast.control.ages import Ages
from dualsys.fast.control.core import ControlCore
from dualsys.fast.control.limiter import Smoothing
from dualsys.fast.control.limits import FloatArray, Limits
from dualsys.messages import ArmCommand, ArmState, Plan, Tensor
from dualsys.robots.contract import ArmReading

SESSION: Final = 1
ADDRESS: Final = "inproc://dry-run-state", "inproc://dry-run-command"
"""Within the process; nobody else can reach them."""

FOR_EVER_NS: Final = 10**18
"""Longer than any process lives, ns: the plan is never over, and nothing ever too old."""

PATH: Final = 0.01
"""How far towards the middle of its range each axis is led, all in all: the readings stand still."""


class DryRun:
    """A control core of its own, and a robot link to nowhere, which go through the motions of a tick.

    Args:
        context: From `sockets.open_context`; that of the loop.
        position: [A], where the arm is, rad then m.
        limits: What the arm can do, as for the core that decides.
        period_ns: Time between two ticks, ns.
        smoothing: As for the core that decides.

    Attributes:
        core: The core that goes through the motions.

    Raises:
        MissingExtraError: The package of that smoothing is not installed.
        BusError: There is one in this context already.
    """

    def __init__(
        self,
        context: ZmqContext,
        position: FloatArray,
        limits: Limits,
        period_ns: int,
        smoothing: Smoothing = "limiter",
    ) -> None:
        states, commands = ADDRESS
        self._states = LatestPublisher(context, states, bind=True, setting="dry run")
        self._arm = LatestSubscriber(context, states, bind=False, setting="dry run", types=(ArmState,))
        self._commands = LatestPublisher(context, commands, bind=True, setting="dry run")
        ages = Ages(**dict.fromkeys(Ages.__dataclass_fields__, FOR_EVER_NS))
        self.core = ControlCore(limits, ages, period_ns, session=SESSION, smoothing=smoothing)
        first = limits.clip(position)
        middle = (limits.lower + limits.upper) / 2
        # Two, by turns: a reading that never changes would have to be looked at for having frozen.
        self._positions = [tuple(first.tolist()), tuple((first + 1e-12).tolist())]
        self._rest = (0.0,) * limits.axes
        self._plan = _slow_plan(first, first + PATH * (middle - first))
        self._count = 0

    def close(self) -> None:
        """Release the addresses. Closing twice is allowed."""
        for channel in (self._states, self._arm, self._commands):
            channel.close()

    @property
    def received(self) -> int:
        """How many readings have come over the link so far."""
        return self._arm.statistics().received

    def __call__(self, now_ns: int) -> None:
        """Go through the motions at an edge time, ns. Takes about as long as a tick that comes unprepared."""
        self._count += 1
        self._states.send(
            ArmState(
                seq=self._count,
                t_robot_ns=now_ns,
                position=self._positions[self._count % 2],
                velocity=self._rest,
                status="ok",
                command_seq=-1,
            )
        )
        state = self._arm.receive()
        position = self._positions[0] if state is None else state.position
        reading = ArmReading(now_ns, np.array(position), np.array(self._rest), "ok", "")
        if self._count == 2:
            self.core.on_plan(self._plan, now_ns)
        output = self.core.step(now_ns, reading)
        if output.command is not None:
            self._commands.send(ArmCommand(seq=self._count, position=tuple(output.command.tolist())))


def _slow_plan(first: FloatArray, last: FloatArray) -> Plan:
    """From one position [A] to another, rad then m, for ever."""
    return Plan(
        session=SESSION,
        episode=0,
        epoch=0,
        seq=1,
        t_ns=Tensor.of(np.array([0, FOR_EVER_NS], dtype=np.int64)),
        setpoints=Tensor.of(np.stack([first, last])),
        latent_seq=-1,
        t_latent_ns=0,
        t_observation_ns=0,
        splice_ns=0,
        delay_ns=0,
        delay_steps=0,
    )
