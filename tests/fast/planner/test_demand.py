"""System 2 is asked when it matters, and never later than a bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS
from dualsys.errors import SpecError
from dualsys.fast.planner.demand import (
    REASONS,
    Decision,
    Demand,
    DemandBounds,
    Situation,
    brightness,
    changed_cells,
    largest_region,
)

BOUNDS = DemandBounds(pause_ns=400 * NS_PER_MS, answer_ns=600 * NS_PER_MS)
EMPTY = np.full((96, 128, 3), 90, np.uint8)


def at(t_ms: int, **changes: Any) -> Situation:
    """A still scene, an arm high above it, and an answer to everything that was asked."""
    known = Situation(
        t_capture_ns=t_ms * NS_PER_MS,
        images={"fixed": EMPTY},
        episode=0,
        instruction="pick the red block",
        tool_m=np.array([0.5, 0.0, 0.2]),
        opening_m=0.08,
        grip=1.0,
        height_m=0.19,
        latent_ns=t_ms * NS_PER_MS,
    )
    return replace(known, **changes)


def asked(demand: Demand, situation: Situation) -> str:
    """The reason, checked against the decision."""
    decision = demand.judge(situation)
    assert decision.ask == (decision.reason != "still")
    return decision.reason


def with_block(image: NDArray[np.uint8], row: int, column: int, size: int = 9) -> NDArray[np.uint8]:
    """The image with a dark block."""
    changed = image.copy()
    changed[row : row + size, column : column + size] = 10
    return changed


def with_arm(image: NDArray[np.uint8], column: int) -> NDArray[np.uint8]:
    """The image with a white arm that reaches in from the top."""
    changed = image.copy()
    changed[:60, column : column + 16] = 240
    return changed


def test_a_still_scene_is_shown_once_and_then_only_when_the_latent_gets_old() -> None:
    demand = Demand(BOUNDS)
    reasons = [asked(demand, at(100 * number)) for number in range(10)]
    assert reasons == ["start", "still", "still", "still", "age", "still", "still", "still", "age", "still"]
    statistics = demand.statistics()
    assert (statistics.asked, statistics.spared) == (3, 7)
    assert statistics.reasons == {"start": 1, "age": 2, "still": 7}


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("instruction", {"instruction": "pick the blue block"}),
        ("gripper", {"grip": -1.0}),
        ("contact", {"height_m": 0.049}),
        ("scene", {"images": {"fixed": with_block(EMPTY, 40, 60)}}),
        ("start", {"episode": 1}),
    ],
)
def test_what_a_latent_cannot_know_is_shown_at_once(reason: str, changes: dict[str, Any]) -> None:
    demand = Demand(BOUNDS)
    demand.judge(at(0))
    assert asked(demand, at(100, **changes)) == reason
    if reason != "contact":
        assert asked(demand, at(200, **changes)) == "still"


def test_an_arm_that_moves_is_no_other_scene_and_a_block_that_moves_meanwhile_is() -> None:
    demand = Demand(BOUNDS)
    demand.judge(at(0, images={"fixed": with_arm(EMPTY, 50)}))
    moved = {"tool_m": np.array([0.5, 0.03, 0.2])}
    arm = with_arm(EMPTY, 62)
    assert asked(demand, at(100, images={"fixed": arm}, **moved)) == "still"
    assert asked(demand, at(200, images={"fixed": with_block(arm, 70, 10)}, **moved)) == "scene"


def test_while_the_arm_rests_the_largest_change_counts_too() -> None:
    block = brightness(with_block(EMPTY, 40, 60))
    assert changed_cells(brightness(EMPTY), block, arm_moved=True) == 0
    assert changed_cells(brightness(EMPTY), block, arm_moved=False) >= BOUNDS.scene_cells


def test_an_answer_that_does_not_come_is_asked_for_again() -> None:
    patient = Demand(replace(BOUNDS, pause_ns=2000 * NS_PER_MS))
    reasons = [asked(patient, at(100 * number, latent_ns=None)) for number in range(14)]
    assert reasons[0] == "start"
    assert [number for number, reason in enumerate(reasons) if reason == "late"] == [6, 12]


def test_an_image_of_another_size_is_another_scene() -> None:
    demand = Demand(BOUNDS)
    demand.judge(at(0))
    assert asked(demand, at(100, images={"fixed": EMPTY[:50]})) == "scene"


def test_decisions_are_written_down_with_their_reasons() -> None:
    class Notes:
        def __init__(self) -> None:
            self.taken: list[tuple[int, Decision]] = []

        def demand(self, now_ns: int, decision: Decision) -> None:
            self.taken.append((now_ns, decision))

    notes = Notes()
    demand = Demand(BOUNDS, notes)
    demand.judge(at(0))
    demand.judge(at(100))
    assert notes.taken == [
        (0, Decision(True, "start", -1)),
        (100 * NS_PER_MS, Decision(False, "still", 0)),
    ]


images = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
)
situations = st.builds(
    lambda wait_ms, image, words, grip, height_m, answered: (wait_ms, image, words, grip, height_m, answered),
    st.integers(1, 300),
    images,
    st.sampled_from("ab"),
    st.floats(-1, 1),
    st.floats(-0.1, 1),
    st.booleans(),
)


@given(st.lists(situations, max_size=30), st.integers(1, 1000))
def test_whatever_happens_the_bound_holds_and_every_reason_is_known(
    script: list[tuple[int, NDArray[np.uint8], str, float, float, bool]], pause_ms: int
) -> None:
    demand = Demand(DemandBounds(pause_ms * NS_PER_MS, 600 * NS_PER_MS))
    t_ms, shown_ms = 0, None
    for wait_ms, image, words, grip, height_m, answered in script:
        t_ms += wait_ms
        situation = at(
            t_ms,
            images={"fixed": image},
            instruction=words,
            grip=grip,
            height_m=height_m,
            latent_ns=t_ms * NS_PER_MS if answered else None,
        )
        decision = demand.judge(situation)
        assert decision.reason in REASONS
        assert decision.ask or (shown_ms is not None and t_ms - shown_ms < pause_ms)
        shown_ms = t_ms if decision.ask else shown_ms


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_the_largest_region_is_that_of_a_slow_flood(seed: int, rows: int, columns: int) -> None:
    cells = np.random.default_rng(seed).random((rows, columns)) < 0.4
    labels = np.where(cells, np.arange(1, rows * columns + 1).reshape(rows, columns), 0)
    for _ in range(rows * columns):
        padded = np.pad(labels, 1)
        around = [padded[dy : dy + rows, dx : dx + columns] for dy in range(3) for dx in range(3)]
        labels = np.max(around, axis=0) * cells
    sizes = np.bincount(labels.ravel())[1:]
    assert largest_region(cells) == (int(sizes.max()) if sizes.size else 0)


def test_cells_are_square_and_few_and_what_is_left_over_at_the_edge_is_left_out() -> None:
    assert brightness(EMPTY).shape == (24, 32)
    assert brightness(np.zeros((5, 3, 3), np.uint8)).shape == (5, 3)
    assert brightness(np.zeros((1080, 1930, 3), np.uint8)).shape == (17, 31)
    assert float(brightness(EMPTY)[0, 0]) == 90.0


@pytest.mark.parametrize("changes", [{"pause_ns": 0}, {"scene_cells": 0}, {"contact_m": float("nan")}])
def test_bounds_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="demand"):
        replace(BOUNDS, **changes)
