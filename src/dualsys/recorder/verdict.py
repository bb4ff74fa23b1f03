"""What a replay came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from dualsys.clock import NS_PER_S


@dataclass(frozen=True)
class Difference:
    """A decision that comes out differently when it is computed again.

    Attributes:
        where: Which one, such as `control tick 812`.
        t_ns: When, edge clock.
        field: What of it.
        recorded, replayed: Both values, in words.
    """

    where: str
    t_ns: int
    field: str
    recorded: str
    replayed: str

    def line(self, start_ns: int) -> str:
        """In words; times are told from `start_ns`."""
        after_s = (self.t_ns - start_ns) / NS_PER_S
        return (
            f"{self.where}, {after_s:.6f} s ({self.t_ns} ns): "
            f"{self.field}: recorded {self.recorded}, replayed {self.replayed}"
        )


@dataclass
class Part:
    """How far the replay of one process came.

    Attributes:
        name: The process.
        compared: How many decisions of each kind came out the same.
        difference: The first that did not; nothing is compared after it.
        gap: Why nothing was compared any more: records are missing.
    """

    name: str
    compared: dict[str, int] = field(default_factory=dict)
    difference: Difference | None = None
    gap: str = ""

    @property
    def equal(self) -> bool:
        """Whether every decision was compared and came out the same."""
        return self.difference is None and not self.gap

    def lines(self, start_ns: int) -> list[str]:
        """In words."""
        counted = ", ".join(f"{count} {kind}" for kind, count in self.compared.items())
        if self.difference is not None:
            return [f"{self.name}: the first difference is {self.difference.line(start_ns)}"]
        if self.gap:
            return [f"{self.name}: {self.gap}; bit for bit the same up to there: {counted}"]
        if not any(self.compared.values()):
            return [f"{self.name}: nothing was recorded"]
        return [f"{self.name}: bit for bit the same: {counted}"]


@dataclass
class ReplayVerdict:
    """What the replay of a recording came to.

    Attributes:
        start_ns: Time of the first record, edge clock.
        parts: Control, then the planner.
        cut: Why the recording ends early; empty if it does not.
        versions: Where the numbers of the recording differ from this machine in what they depend on.
    """

    start_ns: int = -1
    parts: list[Part] = field(default_factory=list)
    cut: str = ""
    versions: list[str] = field(default_factory=list)

    @property
    def reproduced(self) -> bool:
        """Whether there is something, and all of it came out the same."""
        return all(part.equal for part in self.parts) and any(
            count for part in self.parts for count in part.compared.values()
        )

    def lines(self) -> list[str]:
        """In words."""
        lines = [line for part in self.parts for line in part.lines(self.start_ns)]
        if self.cut:
            lines.append(f"the recording ends early: {self.cut}")
        if self.versions and not self.reproduced:
            lines.append(f"it was made elsewhere: {'; '.join(self.versions)}")
        return lines
