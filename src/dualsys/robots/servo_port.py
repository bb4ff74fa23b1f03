"""A serial port as the packet handlers of both makers' SDKs want one, with our clock and bounded waits.

The SDKs' own ports wait at least 34 ms (Dynamixel) or 50 ms (Feetech) for an answer, whatever the rate of the
bus, by a clock that can step, without yielding the CPU; and forever for a port that takes no more bytes.
"""

from __future__ import annotations

import errno
import os
import select
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from dualsys.clock import NS_PER_S, Clock, seconds
from dualsys.errors import MissingExtraError, RobotError

if TYPE_CHECKING:
    import serial

BITS_PER_BYTE: Final = 10
"""A start bit, eight bits, a stop bit."""


class SerialPort:
    """One serial port, for this process alone.

    Its camelCase methods are those that the SDKs' packet handlers call.

    Args:
        device: Such as /dev/ttyACM0.
        baud_rate: Bits per second.
        clock: Where time comes from.
        patience_ns: What an answer may take beyond the time that its bytes spend on the wire: the servo's own
            delay, the adapter, and the operating system.
    """

    def __init__(self, device: str, baud_rate: int, clock: Clock, patience_ns: int) -> None:
        self._device = device
        self._baud_rate = baud_rate
        self._clock = clock
        self._patience_ns = patience_ns
        self._deadline_ns = 0
        self._serial: serial.Serial | None = None
        self.is_using = False
        """Set and read by the packet handlers: a request is under way."""

    def open(self, extra: str) -> None:
        """Open the port.

        Args:
            extra: Which extra brings pyserial.

        Raises:
            RobotError: It is not there, not allowed, in use, or gone again.
            MissingExtraError: pyserial is not installed.
        """
        try:
            import serial
        except ImportError as error:
            raise MissingExtraError("pyserial", extra, "a serial port") from error
        try:
            self._serial = serial.Serial(self._device, self._baud_rate, timeout=0, exclusive=True)
        # `termios.error`, of a port that is pulled out meanwhile, is no OSError.
        except (OSError, ValueError, termios.error) as error:
            raise RobotError(f"{self._device} cannot be opened: {error}; {remedy_of(error)}") from error

    def close(self) -> None:
        """Close the port. Calling it again does nothing."""
        if self._serial is not None:
            self._serial.close()
        self._serial = None

    @property
    def waiting(self) -> int:
        """Bytes that have arrived and were not read."""
        with self._guarded() as port:
            return int(port.in_waiting)

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self._clock.now_ns() > self._deadline_ns

    @property
    def deadline_ns(self) -> int:
        """Until when an answer is waited for."""
        return self._deadline_ns

    def wait_at_most_ns(self, duration_ns: int) -> None:
        """From now on, wait no longer than that for what is still missing."""
        self._deadline_ns = min(self._deadline_ns, self._clock.now_ns() + duration_ns)

    def setPacketTimeout(self, length: int) -> None:  # noqa: N802
        """Set the deadline for an answer of so many bytes."""
        wire_ns = length * BITS_PER_BYTE * NS_PER_S // self._baud_rate
        self._deadline_ns = self._clock.now_ns() + wire_ns + self._patience_ns

    def isPacketTimeout(self) -> bool:  # noqa: N802
        """Whether the deadline has passed."""
        return self.expired

    def clearPort(self) -> None:  # noqa: N802
        """Forget what has arrived and was not read."""
        with self._guarded() as port:
            port.reset_input_buffer()

    def writePort(self, packet: Sequence[int]) -> int:  # noqa: N802
        """Send bytes; returns how many were taken: all, unless it takes no more."""
        with self._guarded() as port:
            # pyserial's own `write` waits for room, and fails if this process had to wait meanwhile.
            try:
                return os.write(port.fileno(), bytes(packet))
            except BlockingIOError:
                return 0

    def readPort(self, length: int) -> bytes:  # noqa: N802
        """At most so many bytes; waits for the first one until the deadline."""
        with self._guarded() as port:
            remaining_ns = self._deadline_ns - self._clock.now_ns()
            if length > 0 and remaining_ns > 0 and not port.in_waiting:
                self._wait(port.fileno(), remaining_ns)
            return bytes(port.read(length))

    def _wait(self, handle: int, longest_ns: int) -> None:
        """Wait until something can be read."""
        select.select([handle], [], [], seconds(longest_ns))

    @contextmanager
    def _guarded(self) -> Iterator[serial.Serial]:
        if self._serial is None:
            raise RobotError(f"{self._device} is not open: connect first")
        try:
            yield self._serial
        # `termios.error` is no OSError.
        except (OSError, termios.error) as error:
            raise RobotError(
                f"{self._device} failed: {error}; check the cable and the supply of the servo board, and "
                "that no other program uses the port"
            ) from error


def remedy_of(error: Exception) -> str:
    """What to do about a port that cannot be opened."""
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return "check the cable, and find its name with `python -m serial.tools.list_ports`"
    if number == errno.EACCES:
        return "let your user in with `sudo usermod -aG dialout $USER`, then log in again"
    if number in (errno.EAGAIN, errno.EBUSY):
        return "another program uses it: stop that program"
    return "check the cable, the name of the port, and its baud rate"
