"""Set-points sent by a thread of the driver's own, for libraries whose calls wait for an answer.

Only the newest set-point is kept. When set-points stay away the sender brings the arm to rest; a watchdog of
the arm's own must do so when this process is gone, and the sender feeds it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from dualsys.clock import NS_PER_MS, Clock, seconds
from dualsys.errors import RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.robots.contract import RobotSpec

SILENCE_NS: Final = 100 * NS_PER_MS
"""Set-points that stay away for so long bring the arm to rest."""

BEAT_NS: Final = 20 * NS_PER_MS
"""How often an arm without set-points hears that this process lives."""

START_RAD: Final = 0.1
"""Farthest that the first set-point of an arm at rest may be from where it is."""

JOIN_S: Final = 2.0
"""Longest wait for the call that is under way when the sender ends."""

_LOG = logging.getLogger(__name__)

Act = Literal["send", "rest", "beat", "wait"]


@dataclass(frozen=True)
class SenderCalls:
    """What the arm is told, by calls that may wait. Each raises RobotError when the arm refuses.

    Attributes:
        send: A set-point [A], rad.
        rest: Come to rest, and stay.
        beat: This process lives. Called between set-points, see `Mailbox`.
    """

    send: Callable[[FloatArray], None]
    rest: Callable[[], None]
    beat: Callable[[], None]


class Mailbox:
    """What is to be done next, without thread and without waiting.

    Args:
        silence_ns: Set-points that stay away for so long are a reason to rest.
        beat_ns: Time between two signs of life.
    """

    def __init__(self, silence_ns: int = SILENCE_NS, beat_ns: int = BEAT_NS) -> None:
        self._silence_ns = silence_ns
        self.beat_ns = beat_ns
        self._newest: FloatArray | None = None
        self._newest_ns = 0
        self._told_ns = 0
        self._rest_asked = False
        self.moving = False
        """Whether set-points are followed: since the first one, until rest was told."""
        self.silent = False
        """Whether set-points stayed away."""

    def put(self, setpoint: FloatArray, now_ns: int) -> None:
        """Send this set-point next; one that waits is dropped."""
        self._newest, self._newest_ns = setpoint, now_ns
        self._rest_asked = self.silent = False
        self.moving = True

    def ask_rest(self) -> None:
        """Rest next; a set-point that waits is dropped."""
        self._newest = None
        self._rest_asked = self.moving

    def due(self, now_ns: int) -> Act:
        """What is to be done now."""
        if self._rest_asked:
            return "rest"
        if self._newest is not None:
            return "send"
        if self.moving and now_ns - self._newest_ns >= self._silence_ns:
            return "rest"
        return "beat" if now_ns - self._told_ns >= self.beat_ns else "wait"

    def take(self, now_ns: int) -> tuple[Act, FloatArray | None]:
        """What is to be done now, and the set-point if one is to be sent; it counts as done."""
        act = self.due(now_ns)
        setpoint = self._newest if act == "send" else None
        if act == "rest":
            self.silent = not self._rest_asked
            self._rest_asked = self.moving = False
        if act != "wait":
            self._newest, self._told_ns = None, now_ns
        return act, setpoint


class SetpointSender:
    """The thread. `put` and `ask_rest` never wait for the arm.

    Args:
        spec: The arm.
        clock: Where time comes from.
        calls: What the arm is told, from the thread alone.
        mailbox: What is told when.
    """

    def __init__(
        self, spec: RobotSpec, clock: Clock, calls: SenderCalls, mailbox: Mailbox | None = None
    ) -> None:
        self._spec = spec
        self._clock = clock
        self._calls = calls
        self._mailbox = mailbox or Mailbox()
        self._news = threading.Condition()
        self._ended = False
        self._calling = False
        self._fault = ""
        self._thread = threading.Thread(target=self._work, name=f"set-points of {spec.name}", daemon=True)

    @property
    def fault(self) -> str:
        """What the arm refused, after which nothing more is told; empty if it did not."""
        return self._fault

    @property
    def silent(self) -> bool:
        """Whether the arm was brought to rest because set-points stayed away."""
        return self._mailbox.silent

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, setpoint: FloatArray, position: FloatArray) -> None:
        """Send this set-point next.

        Args:
            setpoint: [A], rad and m; checked already, see `RobotSpec.require_command`.
            position: [A], where the arm was measured last.

        Raises:
            RobotError: The arm is at rest, and the set-point is far from where it is.
        """
        with self._news:
            if not self._mailbox.moving:
                require_near(self._spec, setpoint, position)
            self._mailbox.put(setpoint.copy(), self._clock.now_ns())
            self._news.notify()

    def ask_rest(self) -> None:
        """Rest next."""
        with self._news:
            self._mailbox.ask_rest()
            self._news.notify()

    def end(self, *, wait: bool = True) -> None:
        """Rest, and tell nothing more. Waits for calls that are under way, at most `JOIN_S`, if asked to."""
        with self._news:
            self._mailbox.ask_rest()
            self._ended = True
            self._news.notify()
        if wait and self._thread.is_alive():
            self._thread.join(JOIN_S)

    def settled(self) -> bool:
        """Whether nothing is to be told now, and no call is under way. For tests that make time pass."""
        with self._news:
            self._news.notify()
            now_ns = self._clock.now_ns()
            return not self._calling and (self._mailbox.due(now_ns) == "wait" or not self._thread.is_alive())

    def _work(self) -> None:
        try:
            while self._turn():
                pass
        except RobotError as error:
            _LOG.warning("%s: %s", self._spec.name, error)
            self._fault = str(error)
        except Exception as error:
            # Whatever a library raises, the driver shall know that nothing is sent any more.
            _LOG.exception("%s: set-points end", self._spec.name)
            self._fault = f"the library raised {type(error).__name__}: {error}"

    def _turn(self) -> bool:
        """Do the next thing. Returns whether to go on."""
        with self._news:
            act, setpoint = self._mailbox.take(self._clock.now_ns())
            if act == "wait" or (act == "beat" and self._ended):
                if self._ended:
                    return False
                self._news.wait(seconds(self._mailbox.beat_ns))
                return True
            self._calling = True
        try:
            if setpoint is not None:
                self._calls.send(setpoint)
            elif act == "rest":
                self._calls.rest()
            else:
                self._calls.beat()
        finally:
            self._calling = False
        return True


def require_near(spec: RobotSpec, setpoint: FloatArray, position: FloatArray) -> None:
    """See that the first set-point of an arm at rest is near to where that is.

    Args:
        spec: The arm.
        setpoint: [A], rad and m.
        position: [A], where the arm was measured last.

    Raises:
        RobotError: A joint is farther away than `START_RAD`.
    """
    joints = spec.limits.joints
    away = abs(setpoint[:joints] - position[:joints])
    if away.max() > START_RAD:
        axis = int(away.argmax())
        raise RobotError(
            f"{spec.axes[axis]}: the arm is at rest, and its first set-point is {away[axis]:.2f} rad away, "
            f"at most {START_RAD:g} rad: nothing was sent; begin where the arm is"
        )
