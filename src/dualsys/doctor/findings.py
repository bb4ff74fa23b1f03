"""What was found, how grave it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        level: `ok`; `note`: worth knowing; `warning`: works, worse than it could; `problem`: will not work.
        says: What was found.
        remedy: What to do; empty if there is nothing to do.
    """

    name: str
    level: Level
    says: str
    remedy: str = ""

    def tree(self) -> dict[str, str]:
        """For JSON."""
        return {"name": self.name, "level": self.level, "says": self.says, "remedy": self.remedy}

    def lines(self) -> list[str]:
        """For people."""
        shown = [f"{self.level:<8} {self.name}: {self.says}"]
        return [*shown, f"{'':<8} -> {self.remedy}"] if self.remedy else shown


def will_work(findings: Iterable[Finding]) -> bool:
    """Whether nothing was found that will not work."""
    return all(finding.level != "problem" for finding in findings)


def closing_line(findings: Sequence[Finding]) -> str:
    """How many of each level, in words."""
    levels: tuple[Level, ...] = ("problem", "warning", "note", "ok")
    counts = {level: sum(finding.level == level for finding in findings) for level in levels}
    told = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    return f"{told}: {'it will work' if will_work(findings) else 'something will not work'}"
