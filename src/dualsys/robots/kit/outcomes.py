"""What a check found: what was seen, what was expected, and what the author of the driver can do."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """The result of one check.

    Attributes:
        check: Its name.
        state: `skipped`: it could not be made; `seen` tells why.
        seen: What was seen.
        expected: What was expected; empty unless it failed.
        remedy: What to do; empty if there is nothing to do.
    """

    check: str
    state: State
    seen: str
    expected: str = ""
    remedy: str = ""

    def lines(self) -> list[str]:
        """For people."""
        shown = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}[self.state]
        rest = {"expected": self.expected, "do": self.remedy}
        return [
            f"{shown:<8} {self.check}: {self.seen}",
            *(f"{'':<8}   {name}: {text}" for name, text in rest.items() if text),
        ]


@dataclass(frozen=True)
class Report:
    """The results of all checks of one robot.

    Attributes:
        robot: What was checked.
        outcomes: In the order in which they were made.
    """

    robot: str
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return all(outcome.state != "failed" for outcome in self.outcomes)

    def tree(self) -> dict[str, object]:
        """For JSON."""
        return {
            "robot": self.robot,
            "passed": self.passed,
            "checks": [asdict(outcome) for outcome in self.outcomes],
        }

    def closing_line(self) -> str:
        """How many of each, in words."""
        counts = Counter(outcome.state for outcome in self.outcomes)
        told = ", ".join(
            f"{counts[state]} {state}" for state in ("failed", "skipped", "passed") if counts[state]
        )
        return f"{self.robot}: {told}"
