"""Whether System 2 is asked now: only when there is something that its newest latent cannot know. Pure.

A latent of a scene that rests stays true. So a new one is asked for when the words change, when something in
the picture changes that is not the arm, near the table and when the gripper is told something else, where
exactness matters (SP-VLA, arXiv:2506.12723, skips its large model in transit alone), and in any case before
the newest latent is too old.

An arm that moves changes the picture all the time. What belongs to it is one region, from its base on, and
the largest; what changes apart from that is somebody's hand, a belt, a block that was pushed. No calibration
of the camera is needed. While the arm rests, every change counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS
from dualsys.errors import SpecError

if TYPE_CHECKING:
    from dualsys.config import SlowConfig

Reason = Literal["start", "instruction", "gripper", "contact", "scene", "age", "late", "still"]
"""Why System 2 is asked; `still` is why it is not."""

REASONS: Final[tuple[Reason, ...]] = (
    "start",
    "instruction",
    "gripper",
    "contact",
    "scene",
    "age",
    "late",
    "still",
)

CELLS_ALONG: Final = 32
"""Cells along the longer side of an image."""
CHANGED_LEVELS: Final = 8.0
"""Difference of a cell's mean brightness, of 255, that counts as change: beyond the noise of a mean of many
pixels."""
MOVED_M: Final = 0.005
"""Way of the tool, or of the gripper, beyond which the arm counts as having moved."""


@dataclass(frozen=True)
class DemandBounds:
    """When System 2 is asked.

    Attributes:
        pause_ns: Most time between two observations.
        answer_ns: Longest time to an answer while all works.
        scene_cells: Changed cells, apart from the arm, from which on the scene has changed.
        contact_m: Height of the tool above the bottom of its workspace up to which contact is near.

    Raises:
        SpecError: A number is out of range.
    """

    pause_ns: int
    answer_ns: int
    scene_cells: int = 3
    contact_m: float = 0.05

    def __post_init__(self) -> None:
        if self.pause_ns < 1 or self.answer_ns < 1 or self.scene_cells < 1 or not self.contact_m >= 0:
            raise SpecError(
                f"demand: expected positive times and cells and a height of 0 or more, got {self}"
            )


@dataclass(frozen=True, eq=False)
class Situation:
    """What the edge knows when an observation could be made.

    Attributes:
        t_capture_ns: When the images were taken.
        images: Camera name to uint8 `[height, width, 3]`: what System 2 would be shown.
        episode, instruction: What the robot was told.
        tool_m: float64 `[3]`, measured tool.
        opening_m: Measured gripper opening.
        grip: What the gripper is told, +1 or -1.
        height_m: Of the tool above the bottom of its workspace.
        latent_ns: Capture stamp of the newest latent for these words; None while there is none.
    """

    t_capture_ns: int
    images: Mapping[str, NDArray[np.uint8]]
    episode: int
    instruction: str
    tool_m: NDArray[np.float64]
    opening_m: float
    grip: float
    height_m: float
    latent_ns: int | None


@dataclass(frozen=True)
class Decision:
    """Whether System 2 is asked.

    Attributes:
        ask: Whether.
        reason: Why, or why not.
        changed_cells: Cells that have changed, the arm left out, since what System 2 was shown last; -1 if
            nothing of this episode was shown.
    """

    ask: bool
    reason: Reason
    changed_cells: int


class Journal(Protocol):
    """Where decisions are written down."""

    def demand(self, now_ns: int, decision: Decision) -> None:
        """Note a decision."""
        ...


@dataclass(frozen=True)
class DemandStatistics:
    """Totals.

    Attributes:
        asked: Observations that System 2 was sent.
        spared: Observations that it was not.
        reasons: Decisions by reason.
    """

    asked: int
    spared: int
    reasons: Mapping[str, int]


class Demand:
    """Decides, and remembers what System 2 was shown last.

    Args:
        bounds: When it is asked.
        journal: Where decisions are written down; None for nowhere.
    """

    def __init__(self, bounds: DemandBounds, journal: Journal | None = None) -> None:
        self._bounds = bounds
        self._journal = journal
        self._shown: Situation | None = None
        self._shown_cells: dict[str, NDArray[np.float32]] = {}
        self._counts: Counter[str] = Counter()

    def judge(self, situation: Situation) -> Decision:
        """Decide, note it, and take what is asked about for shown."""
        cells = {name: brightness(image) for name, image in situation.images.items()}
        changed = self._changed(situation, cells)
        reason = self._reason(situation, changed)
        decision = Decision(reason != "still", reason, changed)
        if decision.ask:
            self._shown, self._shown_cells = situation, cells
        self._counts[reason] += 1
        if self._journal is not None:
            self._journal.demand(situation.t_capture_ns, decision)
        return decision

    def statistics(self) -> DemandStatistics:
        """Totals since the start."""
        spared = self._counts["still"]
        return DemandStatistics(self._counts.total() - spared, spared, dict(self._counts))

    def _reason(self, now: Situation, changed: int) -> Reason:
        shown, bounds = self._shown, self._bounds
        if shown is None or shown.episode != now.episode:
            return "start"
        since_ns = now.t_capture_ns - shown.t_capture_ns
        if shown.instruction != now.instruction:
            return "instruction"
        if (shown.grip > 0) != (now.grip > 0):
            return "gripper"
        if now.height_m <= bounds.contact_m:
            return "contact"
        if changed >= bounds.scene_cells:
            return "scene"
        if since_ns >= bounds.pause_ns:
            return "age"
        answered = now.latent_ns is not None and now.latent_ns >= shown.t_capture_ns
        if not answered and since_ns >= bounds.answer_ns:
            return "late"
        return "still"

    def _changed(self, now: Situation, cells: Mapping[str, NDArray[np.float32]]) -> int:
        shown = self._shown
        if shown is None or shown.episode != now.episode:
            return -1
        way_m = float(np.linalg.norm(now.tool_m - shown.tool_m))
        moved = max(way_m, abs(now.opening_m - shown.opening_m)) > MOVED_M
        return sum(_changed_between(self._shown_cells.get(name), cells[name], moved) for name in cells)


def brightness(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean brightness of square cells, float32 `[rows, columns]`, 0 to 255; what does not fill a cell at the
    right or at the bottom is left out.

    Args:
        image: uint8 `[height, width, 3]`.
    """
    side = max(1, -(-max(image.shape[:2]) // CELLS_ALONG))
    rows, columns = image.shape[0] // side, image.shape[1] // side
    whole = image[: rows * side, : columns * side].astype(np.float32)
    mean: NDArray[np.float32] = whole.reshape(rows, side, columns, side, 3).mean(axis=(1, 3, 4))
    return mean


def changed_cells(before: NDArray[np.float32], after: NDArray[np.float32], arm_moved: bool) -> int:
    """Cells that have changed; if the arm has moved, without the largest region of them, which is the arm's.

    Args:
        before, after: float32 `[rows, columns]`, from `brightness`.
        arm_moved: Whether the arm has moved in between.
    """
    changed = np.abs(after - before) > CHANGED_LEVELS
    total = int(changed.sum())
    return total - largest_region(changed) if arm_moved else total


def _changed_between(before: NDArray[np.float32] | None, after: NDArray[np.float32], arm_moved: bool) -> int:
    """As `changed_cells`; where there is nothing to compare with, all of them."""
    if before is None or before.shape != after.shape:
        return after.size
    return changed_cells(before, after, arm_moved)


def largest_region(cells: NDArray[np.bool_]) -> int:
    """Size of the largest region of cells that touch, at edges or corners; 0 if there is none.

    Args:
        cells: bool `[rows, columns]`.
    """
    left = {(int(row), int(column)) for row, column in np.argwhere(cells)}
    largest = 0
    while left:
        edge = [left.pop()]
        size = 0
        while edge:
            row, column = edge.pop()
            size += 1
            around = {(row + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
            found = around & left
            left -= found
            edge.extend(found)
        largest = max(largest, size)
    return largest


def demand_bounds(slow: SlowConfig) -> DemandBounds:
    """When System 2 is asked, if only on demand."""
    demand = slow.on_demand
    return DemandBounds(
        pause_ns=round(demand.pause_ms * NS_PER_MS),
        answer_ns=round(slow.patience_ms * NS_PER_MS),
        scene_cells=demand.scene_cells,
        contact_m=demand.contact_m,
    )
