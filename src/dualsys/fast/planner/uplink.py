"""When observations leave for System 2, and how good their images are: as ever, or as the line allows.

The decisions of the second are in `rate_control`; this keeps books for it, and for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.fast.planner.cadence import Cadence
from dualsys.fast.planner.rate_control import RateBounds, RateChoice, RateController
from dualsys.messages import Image, LatentPacket, Observation, Tensor

if TYPE_CHECKING:
    from dualsys.config import SlowConfig

_ENVELOPE_BYTES = 300
"""About what the names and numbers of an observation take beside its arrays and words."""


class Journal(Protocol):
    """Where changes of the choice are written down."""

    def rate(self, now_ns: int, choice: RateChoice, queue_ns: int, budget: float) -> None:
        """Note a choice that differs from the one before in quality or reason."""
        ...


@dataclass(frozen=True)
class UplinkStatistics:
    """How the uplink is used now, and totals.

    Attributes:
        mode: Whether rate and quality are fixed or adapted.
        rate_hz: Observations per second that are allowed now.
        jpeg_quality: Quality of the images now, where they travel as JPEG.
        reason: Why; see `rate_control.REASONS`. Empty while fixed.
        queue_ms: What stands in the line, as time.
        budget_bytes_s: Bytes per second that may be sent now; 0 for any number.
        sent: Observations that left.
        sent_bytes: What they took.
        cuts: Times that a queue led to less.
        silences: Times that answers stayed away.
    """

    mode: Literal["fixed", "adaptive"]
    rate_hz: float
    jpeg_quality: int
    reason: str
    queue_ms: float
    budget_bytes_s: int
    sent: int
    sent_bytes: int
    cuts: int
    silences: int


def observation_bytes(observation: Observation) -> int:
    """About how many bytes an observation takes on the wire."""
    parts: tuple[Image | Tensor, ...] = (*observation.images.values(), *observation.features.values())
    seen = sum(len(part.data) for part in parts)
    words = len(observation.instruction.encode())
    return seen + len(observation.proprioception.data) + words + _ENVELOPE_BYTES


class Uplink:
    """Paces observations, and adapts them to the line if it may.

    Args:
        period_ns: Time between two observations, at least.
        jpeg_quality: Of their images, at most.
        start_ns: When the first one is due.
        bounds: What may be chosen in place of that; None: nothing.
        journal: Where changes are written down; None for nowhere.
    """

    def __init__(
        self,
        period_ns: int,
        jpeg_quality: int,
        start_ns: int,
        bounds: RateBounds | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._choice = RateChoice(jpeg_quality, period_ns, "steady")
        self._cadence = Cadence(period_ns, start_ns)
        self._controller = None if bounds is None else RateController(bounds)
        self._journal = journal
        self._noted: tuple[int, str] | None = None
        self._sent = 0
        self._sent_bytes = 0
        self._clock_steps = 0

    @property
    def jpeg_quality(self) -> int | None:
        """Quality of the next observation's images; None: as the settings say."""
        return None if self._controller is None else self._choice.quality

    def due(self, now_ns: int) -> bool:
        """Whether an observation is due; if so, the next one is due later."""
        if self._controller is None:
            return self._cadence.due(now_ns)
        if not self._controller.due(now_ns):
            return False
        self._choose(self._controller, now_ns)
        return True

    def sent(self, observation: Observation, now_ns: int) -> None:
        """An observation leaves."""
        size = observation_bytes(observation)
        self._sent += 1
        self._sent_bytes += size
        if self._controller is not None:
            self._controller.sent(observation.seq, size, now_ns)

    def spared(self) -> None:
        """An observation was due, and System 2 need not see it."""
        if self._controller is not None:
            self._controller.spared()

    def answered(self, packet: LatentPacket, now_ns: int, clock_steps: int) -> None:
        """A latent of this session is here.

        Args:
            packet: The latent; only its stamps and the number of its observation matter.
            now_ns: When.
            clock_steps: Times that System 2's clock was set, as far as is known.
        """
        if self._controller is None:
            return
        if clock_steps != self._clock_steps:
            self._clock_steps = clock_steps
            self._controller.forget_clock()
        # Without a stamp, the whole way there and back has to do.
        received_ns = packet.t_received_ns if packet.t_received_ns >= 0 else now_ns - packet.compute_ns
        self._controller.answered(packet.observation_seq, received_ns, now_ns)

    def statistics(self) -> UplinkStatistics:
        """How the uplink is used now, and totals since the start."""
        controller = self._controller
        return UplinkStatistics(
            mode="fixed" if controller is None else "adaptive",
            rate_hz=round(NS_PER_S / self._choice.period_ns, 2),
            jpeg_quality=self._choice.quality,
            reason="" if controller is None else self._choice.reason,
            queue_ms=0.0 if controller is None else controller.queue_ns / NS_PER_MS,
            budget_bytes_s=0 if controller is None else round(controller.budget),
            sent=self._sent,
            sent_bytes=self._sent_bytes,
            cuts=0 if controller is None else controller.cuts,
            silences=0 if controller is None else controller.silences,
        )

    def _choose(self, controller: RateController, now_ns: int) -> None:
        choice = self._choice = controller.choose(now_ns)
        if self._journal is not None and self._noted != (choice.quality, choice.reason):
            self._noted = (choice.quality, choice.reason)
            self._journal.rate(now_ns, choice, controller.queue_ns, controller.budget)


def rate_bounds(slow: SlowConfig) -> RateBounds:
    """What adaptive observations may be. What is not sent as JPEG images has one quality only."""
    rate = slow.rate_control
    jpeg = slow.image_encoding == "jpeg" and slow.uplink == "images"
    return RateBounds(
        least_rate_hz=rate.least_rate_hz,
        most_rate_hz=slow.observation_rate_hz,
        least_quality=rate.least_jpeg_quality if jpeg else slow.jpeg_quality,
        most_quality=slow.jpeg_quality,
        queue_ns=round(rate.queue_ms * NS_PER_MS),
        answer_ns=round(slow.patience_ms * NS_PER_MS),
    )
