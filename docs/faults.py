"""Writes docs/faults.md: every fault that the system is made for, and the tests that show what it does then.

A test names the rows that it covers with the marker `fault_row`. The sources are read, not run, so that the
page is true as soon as this has run: `python docs/faults.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs/faults.md"
MARKER: Final = "pytest.mark.fault_row"


class Row(NamedTuple):
    """One fault: what happens, what has to be done then, and why no test covers it where none does."""

    fault: str
    response: str
    why_not: str = ""


NO_SHARED_MEMORY: Final = "does not arise: processes share no memory, all messages go over sockets"

ROWS: Final[tuple[Row, ...]] = (
    Row("A latent comes late by a period or so", "keep the last one, tell its age, change nothing"),
    Row("The latent is past its soft age", "go on along the plan at a part of its pace; say so once"),
    Row("The latent is past its hard age", "brake to a hold that only a command ends"),
    Row("System 2 never appears", "wait without motion; give up after the start-up deadline"),
    Row("System 2 is killed", "hold after the hard age; start it again, in a new session"),
    Row("System 2 restarts while old messages are on their way", "drop them by session, epoch and number"),
    Row("Messages come twice or out of order", "take only what is newer than the last"),
    Row(
        "The planner or control is killed",
        "hold within the age of a plan; the robot has its own watchdog; a restarted one waits to be told",
    ),
    Row("The planner hangs", "as if it were killed; the supervisor ends it"),
    Row("A tick overruns its period by less than one", "keep the phase, count, never catch up"),
    Row("Control is away for many periods", "the robot stops by itself; control holds when it is back"),
    Row("Control wakes up early, or unevenly", "never two ticks in a period, never a doubled period"),
    Row("The clock of the device drifts against ours", "follow its cycle, or count the beats"),
    Row("The wall clock jumps", "nothing"),
    Row("The clock of the cloud jumps, or the route is asymmetric", "ages are unaffected"),
    Row("The edge is suspended for seconds", "do not chase the plan: hold"),
    Row("The plan is over and no other has come", "brake to rest at the last commanded pose"),
    Row(
        "A plan is joined with a wrong delay",
        "the set-point never jumps; a plan that starts elsewhere is refused",
    ),
    Row("Inference takes longer than the horizon", "hold at the end of the plan; never replay it"),
    Row("NaN or infinity in a latent, a plan or a command", "refuse it whole; three in a row stop the arm"),
    Row("Wrong shape, element type, number or order of joints", "refuse at the handshake, and each message"),
    Row(
        "Position, velocity, acceleration or jerk out of range", "clamp and count; grossly out of range: stop"
    ),
    Row("The first command is far from where the arm is", "refuse; commands start at the measured pose"),
    Row("The measured state is out of range, frozen or not finite", "stop"),
    Row("The driver raises in read or write", "stop, and raise with the last ticks attached"),
    Row("The robot reports a protective stop", "stop commanding; never recover by itself"),
    Row("The link loses, delays or reorders packets", "by age alone, as above; no queue grows"),
    Row("The network is cut, and heals", "a hold stays latched; then a new handshake and session"),
    Row("A subscriber is slow", "memory and age stay bounded: the latest value wins; drops are counted"),
    Row("A subscriber joins late", "the first message is not lost, or does no harm"),
    Row(
        "A message is too large",
        "refuse it before anything is allocated, and cut off the peer; a channel counts it (where peers "
        "connect, with all others that end), and hears a peer again that it connects to",
    ),
    Row("A message is malformed, cut off or deeply nested", "a typed error, nothing is applied"),
    Row("A hostile element type, or a shape whose product overflows", "allow-list and size check come first"),
    Row(
        "A peer without a key, or with a wrong one",
        "refused, counted, and logged by System 2; without keys nothing leaves the machine",
    ),
    Row("A recorded valid session is replayed at us", "refused by session, epoch and number"),
    Row("The cloud is authenticated and malicious, or wrong", "limits, rates and ages at the edge hold"),
    Row("Two planners or operators claim the arm", "one at a time; the other is refused"),
    Row("A read from shared memory is torn", "retry, then the sample before", NO_SHARED_MEMORY),
    Row("A writer dies in the middle of a write", "time out, never spin", NO_SHARED_MEMORY),
    Row("A shared segment is left over", "unique names, clean up at the start", NO_SHARED_MEMORY),
    Row("No real-time privilege", "best effort: run, and say so; enforced: refuse to start"),
    Row(
        "Another program or the garbage collector takes the CPU", "count overruns; one thread in the process"
    ),
    Row("The disk is full, or the recorder is slow", "drop and count; never block"),
    Row("The telemetry or the recorder crashes", "control is unaffected"),
    Row("Ctrl-C, twice, SIGTERM, or the parent dies", "brake, within bounded time; children end too"),
    Row("The configuration contradicts itself", "refuse it at load with path, value and remedy"),
    Row("Edge and cloud are of different versions", "refuse at the handshake with both versions"),
    Row(
        "The task or the model changes in the middle of a plan", "a new epoch; come to rest within the limits"
    ),
    Row("The emergency stop is pressed", "latch; no data ever clears it"),
    Row("The same inputs come again", "the same commands, bit for bit"),
)


class Covered(NamedTuple):
    """A test and the rows that it names."""

    test: str
    path: str
    rows: tuple[int, ...]


def covered(path: Path) -> Iterator[Covered]:
    """Every marked test of one file.

    Raises:
        ValueError: A marker names no row, or one that does not exist.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = path.relative_to(ROOT).as_posix()
    everywhere = [
        mark
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        for mark in ast.walk(node.value)
    ]
    for node in ast.walk(tree):
        if not (isinstance(node, ast.FunctionDef) and node.name.startswith("test")):
            continue
        rows: set[int] = set()
        for mark in [*everywhere, *(one for decorator in node.decorator_list for one in ast.walk(decorator))]:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == MARKER:
                rows |= _rows(mark, f"{name}::{node.name}")
        if rows:
            yield Covered(node.name, name, tuple(sorted(rows)))


def _rows(mark: ast.Call, where: str) -> set[int]:
    rows = [argument.value for argument in mark.args if isinstance(argument, ast.Constant)]
    if not rows or len(rows) != len(mark.args) or not all(row in range(1, len(ROWS) + 1) for row in rows):
        raise ValueError(f"{where}: fault_row expects numbers from 1 to {len(ROWS)}, got {ast.unparse(mark)}")
    return {int(str(row)) for row in rows}


def page() -> str:
    """The text of docs/faults.md."""
    tests = [one for path in sorted((ROOT / "tests").rglob("test_*.py")) for one in covered(path)]
    by_row = {row: [test for test in tests if row in test.rows] for row in range(1, len(ROWS) + 1)}
    bare = [row for row, found in by_row.items() if not found]
    lines = [
        "# What happens when something fails",
        "",
        "Every fault that the system is made for, what it has to do then, and the tests that show it.",
        "`python docs/faults.py` writes this page from the markers `fault_row` of the tests.",
        "",
        f"{len(ROWS) - len(bare)} of {len(ROWS)} rows are covered. Without a test: "
        f"{', '.join(map(str, bare)) if bare else 'none'}.",
        "",
        "| # | fault | what has to happen | tests |",
        "|---|---|---|---|",
    ]
    for number, row in enumerate(ROWS, 1):
        lines.append(f"| {number} | {row.fault} | {row.response} | {_told(row, by_row[number])} |")
    return "\n".join([*lines, ""])


def _told(row: Row, tests: list[Covered]) -> str:
    if not tests:
        return f"**no test**: {row.why_not}" if row.why_not else "**no test**"
    return "<br>".join(
        f"[{test.test.removeprefix('test_').replace('_', ' ')}](../{test.path})" for test in tests
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
