"""Who may share a System 2: a robot that would make latents too old, its own or another's, is refused.

What is promised is a bound, not a guess. A robot sends an observation every P. Its slot is filled within P of
the capture of what was taken last; from then on it waits for the pass that runs, for others to join (at most
B), and for the passes until its own has ended (`scheduler.rounds`), each of which takes C at most. So no
latent is older than

    P + max(B + (1 + rounds) * C, D)

when the next one leaves, where D is an emulated delay. The line comes on top, both ways: what the robot
allows has to leave room for it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import AdmissionError, MessageError
from dualsys.slow.scheduler import rounds

_REMEMBERED_PASSES = 64
_SHARE = 0.95
"""Part of the recent passes that must not have taken longer than what is reckoned with."""
_LEAST_NUMBER, _LARGEST_NUMBER = 1e-6, 1e6
"""What a robot may say of itself. The period of a rate that is all but zero would not be a number."""


class PassTimes:
    """How long forward passes take, by the size of their batch, as far as recent ones tell."""

    def __init__(self) -> None:
        self._recent: dict[int, deque[int]] = {}

    def add(self, size: int, duration_ns: int) -> None:
        """Note a pass."""
        self._recent.setdefault(size, deque(maxlen=_REMEMBERED_PASSES)).append(duration_ns)

    def of_size_ns(self, size: int) -> int | None:
        """What 95 of 100 recent passes of a size did not exceed; None before the first."""
        recent = self._recent.get(size)
        return None if not recent else sorted(recent)[math.ceil(_SHARE * len(recent)) - 1]

    def longest_ns(self) -> int:
        """The longest of those, whatever the size; 0 before any pass."""
        return max((self.of_size_ns(size) or 0 for size in self._recent), default=0)


@dataclass(frozen=True)
class RobotNeeds:
    """What a robot needs of System 2, as it says in the handshake.

    Attributes:
        observation_ns: Time between its observations.
        age_ns: Age of a latent past which its arm slows down.
    """

    observation_ns: int
    age_ns: int

    @classmethod
    def of(cls, details: Mapping[str, str]) -> RobotNeeds:
        """Read the details of a handshake.

        Raises:
            MessageError: One is missing, or no number from 1e-6 to 1e6; names it.
        """
        rate_hz = _positive(details, "observation_rate_hz")
        return cls(round(NS_PER_S / rate_hz), round(_positive(details, "latent_soft_ms") * NS_PER_MS))


def _positive(details: Mapping[str, str], name: str) -> float:
    text = details.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not _LEAST_NUMBER <= value <= _LARGEST_NUMBER:
        raise MessageError(
            f"handshake: details.{name}: expected a number from {_LEAST_NUMBER:g} to {_LARGEST_NUMBER:g}, "
            f"got {text!r}; run the same version of dualsys on both sides"
        )
    return value


@dataclass(frozen=True)
class Capacity:
    """What System 2 has to give.

    Attributes:
        robots: Most robots, whatever their ages.
        sizes: Sizes that a batch can have, ascending from 1.
        wait_ns: How long a pass waits for others at most.
        period_ns: Least time between the starts of two passes; 0 for none.
        delay_ns: Least time from an observation to its latent; 0 for none.
    """

    robots: int
    sizes: Sequence[int]
    wait_ns: int
    period_ns: int
    delay_ns: int

    def worst_age_ns(self, observation_ns: int, robots: int, pass_ns: int) -> int:
        """Greatest age of the newest latent of a robot that has left, see the module.

        Args:
            observation_ns: Time between its observations.
            robots: How many there are, itself included.
            pass_ns: Longest duration of a pass.
        """
        turn_ns = max(pass_ns, self.period_ns)
        served_ns = self.wait_ns + (1 + rounds(robots, self.sizes)) * turn_ns
        return observation_ns + max(served_ns, self.delay_ns)

    def admit(self, robot: str, needs: Mapping[str, RobotNeeds], pass_ns: int) -> None:
        """Return if a robot may join.

        Args:
            robot: The newcomer.
            needs: Of all robots by name, the newcomer included.
            pass_ns: Longest duration of a pass.

        Raises:
            AdmissionError: There are enough robots, or a latent of one of them would become too old.
        """
        count = len(needs)
        if count > self.robots:
            raise AdmissionError(
                f"robot {robot!r} would be number {count}, and fleet.robots is {self.robots}: raise it, end "
                "another robot, or connect to another System 2"
            )
        for name in sorted(needs, key=lambda name: name != robot):
            own = needs[name]
            worst_ns = self.worst_age_ns(own.observation_ns, count, pass_ns)
            if worst_ns > own.age_ns:
                raise AdmissionError(self._too_old(robot, name, own, count, pass_ns))

    def _too_old(self, robot: str, name: str, own: RobotNeeds, count: int, pass_ns: int) -> str:
        worst_ns = self.worst_age_ns(own.observation_ns, count, pass_ns)
        turn_ns, waits = max(pass_ns, self.period_ns), 1 + rounds(count, self.sizes)
        parts = f"{_ms(own.observation_ns)} between observations"
        parts += f", {_ms(self.wait_ns)} for others to join, {waits} passes of {_ms(turn_ns)}"
        if self.delay_ns:
            parts += f", at least {_ms(self.delay_ns)} of emulated delay"
        latents = "its latents" if name == robot else f"the latents of robot {name!r}"
        return (
            f"robot {robot!r} would be number {count}, and {latents} up to {_ms(worst_ns)} old before they "
            f"leave ({parts}), where control.ages.latent_soft_ms allows {_ms(own.age_ns)}: connect to "
            "another System 2, or raise that age"
        )


def _ms(duration_ns: int) -> str:
    return f"{duration_ns / NS_PER_MS:.0f} ms"
