from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.fast.planner.track import Box, Chunk, FloatArray, Track

STEP_NS = 40_000_000
SCALE_M = (0.012, 0.012, 0.012)
EVERYWHERE = Box((-9.0, -9.0, -9.0), (9.0, 9.0, 9.0))
TABLE = Box((0.30, -0.34, 0.012), (0.70, 0.34, 0.30))
START_M = np.array([0.42, 0.0, 0.22])


def chunk_of(actions: list[list[float]], t0_ns: int = 0) -> Chunk:
    return Chunk(t0_ns, STEP_NS, np.array(actions, np.float32), SCALE_M)


def random_chunk(rng: np.random.Generator, t0_ns: int, horizon: int) -> Chunk:
    return Chunk(t0_ns, STEP_NS, rng.uniform(-1, 1, (horizon, 4)).astype(np.float32), SCALE_M)


def test_a_holding_track_stays_where_it_is() -> None:
    track = Track.holding(5, START_M, -1.0)
    for time_ns in (0, 5, 10**18):
        position, grip = track.at(time_ns)
        np.testing.assert_array_equal(position, START_M)
        assert grip == -1.0


def test_the_track_is_linear_between_knots_and_holds_after_its_end() -> None:
    track = Track.holding(0, START_M, 1.0).spliced(0, chunk_of([[1, 0, 0, 1], [0, 1, 0, -1]]), EVERYWHERE)
    np.testing.assert_allclose(track.at(STEP_NS // 2)[0], START_M + np.array([0.006, 0, 0]))
    np.testing.assert_allclose(track.at(STEP_NS)[0], START_M + np.array([0.012, 0, 0]))
    np.testing.assert_allclose(track.at(99 * STEP_NS)[0], START_M + np.array([0.012, 0.012, 0]))


def test_the_gripper_takes_the_value_of_the_action_whose_time_it_is() -> None:
    track = Track.holding(0, START_M, 1.0).spliced(0, chunk_of([[0, 0, 0, 0.5], [0, 0, 0, -1]]), EVERYWHERE)
    assert [track.at(time_ns)[1] for time_ns in (0, STEP_NS - 1, STEP_NS, 9 * STEP_NS)] == [0.5, 0.5, -1, -1]


def test_stamps_of_a_machine_that_runs_for_a_year_stay_exact() -> None:
    year_ns = 365 * 24 * 3600 * 10**9
    track = Track.holding(year_ns, START_M, 1.0).spliced(
        year_ns, chunk_of([[1, 0, 0, 1]], year_ns), EVERYWHERE
    )
    assert track.at(year_ns + 1)[0][0] - START_M[0] == pytest.approx(0.012 / STEP_NS, rel=1e-6)


@pytest.mark.parametrize(
    ("t_ns", "tool", "grip"),
    [
        ([], np.zeros((0, 3)), []),
        ([0, 0], np.zeros((2, 3)), [0, 0]),
        ([1, 0], np.zeros((2, 3)), [0, 0]),
        ([0, 1], np.zeros((1, 3)), [0, 0]),
        ([0, 1], np.zeros((2, 3)), [0]),
    ],
)
def test_a_malformed_track_is_refused(t_ns: list[int], tool: FloatArray, grip: list[float]) -> None:
    with pytest.raises(ValueError, match=r"t_ns"):
        Track(np.array(t_ns, np.int64), tool, np.array(grip, np.float64))


@pytest.mark.parametrize("shape", [(0, 4), (16, 3), (16,)])
def test_a_malformed_chunk_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="actions must be"):
        Chunk(0, STEP_NS, np.zeros(shape, np.float32), SCALE_M)


def test_an_empty_box_is_refused() -> None:
    with pytest.raises(ValueError, match="box is empty"):
        Box((0.0, 0.0, 0.0), (1.0, 0.0, 1.0))


@given(st.integers(0, 2**32 - 1), st.integers(1, 16))
def test_resampling_on_its_own_grid_gives_the_actions_back(seed: int, horizon: int) -> None:
    chunk = random_chunk(np.random.default_rng(seed), 0, horizon)
    track = Track.holding(0, START_M, 1.0).spliced(0, chunk, EVERYWHERE)
    actions, valid = track.displacements(0, STEP_NS, horizon, SCALE_M)
    assert valid == horizon
    np.testing.assert_allclose(actions, chunk.actions, atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(0, 20 * STEP_NS))
def test_displacements_on_any_grid_add_up_to_the_track(seed: int, t0_ns: int) -> None:
    track = Track.holding(0, START_M, 1.0).spliced(
        0, random_chunk(np.random.default_rng(seed), 0, 16), EVERYWHERE
    )
    actions, valid = track.displacements(t0_ns, STEP_NS, 16, SCALE_M)
    assert valid == max(0, (16 * STEP_NS - t0_ns) // STEP_NS)
    walked = np.cumsum(actions[:, :3].astype(np.float64) * SCALE_M, axis=0)
    expected = [track.at(t0_ns + (step + 1) * STEP_NS)[0] - track.at(t0_ns)[0] for step in range(16)]
    np.testing.assert_allclose(walked, expected, atol=1e-6)


def test_a_resampled_gripper_is_the_value_in_the_middle_of_the_step() -> None:
    track = Track.holding(0, START_M, 1.0).spliced(0, chunk_of([[0, 0, 0, 1], [0, 0, 0, -1]]), EVERYWHERE)
    assert track.displacements(STEP_NS // 4, STEP_NS, 1, SCALE_M)[0][0, 3] == 1
    assert track.displacements(3 * STEP_NS // 4, STEP_NS, 1, SCALE_M)[0][0, 3] == -1


def test_nothing_is_valid_before_the_track_begins_or_after_it_ends() -> None:
    track = Track.holding(STEP_NS, START_M, 1.0).spliced(
        STEP_NS, chunk_of([[1, 0, 0, 1]], STEP_NS), EVERYWHERE
    )
    assert track.displacements(0, STEP_NS, 16, SCALE_M)[1] == 0
    assert track.displacements(2 * STEP_NS, STEP_NS, 16, SCALE_M)[1] == 0
    assert track.displacements(9 * STEP_NS, STEP_NS, 16, SCALE_M)[1] == 0


def test_the_first_action_of_a_late_chunk_counts_in_proportion_to_what_is_left_of_its_step() -> None:
    track = Track.holding(0, START_M, 1.0).spliced(
        STEP_NS + STEP_NS // 4, chunk_of([[1, 0, 0, 1]] * 3), EVERYWHERE
    )
    assert track.at(2 * STEP_NS)[0][0] - START_M[0] == pytest.approx(0.75 * 0.012)
    assert track.at(3 * STEP_NS)[0][0] - START_M[0] == pytest.approx(1.75 * 0.012)


def test_a_chunk_that_starts_later_joins_at_its_start() -> None:
    old = Track.holding(0, START_M, 1.0).spliced(0, chunk_of([[1, 0, 0, 1]] * 4), EVERYWHERE)
    track = old.spliced(STEP_NS, chunk_of([[-1, 0, 0, 1]], t0_ns=2 * STEP_NS), EVERYWHERE)
    assert track.at(2 * STEP_NS)[0][0] - START_M[0] == pytest.approx(0.024)
    assert track.end_ns == 3 * STEP_NS


def test_a_chunk_that_is_over_returns_the_very_same_track() -> None:
    track = Track.holding(0, START_M, 1.0)
    assert track.spliced(2 * STEP_NS, chunk_of([[1, 0, 0, 1]] * 2), EVERYWHERE) is track


def test_positions_stay_inside_the_box() -> None:
    track = Track.holding(0, START_M, 1.0).spliced(0, chunk_of([[1, 1, -1, 1]] * 200), TABLE)
    np.testing.assert_allclose(track.at(track.end_ns)[0], [0.70, 0.34, 0.012])


def test_a_tool_outside_the_box_comes_in_by_its_actions_only() -> None:
    outside_m = np.array([0.42, 0.0, 0.40])
    track = Track.holding(0, outside_m, 1.0).spliced(0, chunk_of([[0, 0, 1, 1], [0, 0, -0.5, 1]]), TABLE)
    assert track.at(STEP_NS)[0][2] == 0.40
    assert track.at(2 * STEP_NS)[0][2] == pytest.approx(0.394)


def test_dropping_the_past_keeps_the_present_and_the_future() -> None:
    track = Track.holding(0, START_M, 1.0).spliced(0, chunk_of([[1, 0, 0, 1]] * 4), EVERYWHERE)
    cut = track.since(2 * STEP_NS + 1)
    assert list(cut.t_ns) == [2 * STEP_NS, 3 * STEP_NS, 4 * STEP_NS]
    for time_ns in (2 * STEP_NS + 1, 3 * STEP_NS, 9 * STEP_NS):
        np.testing.assert_array_equal(cut.at(time_ns)[0], track.at(time_ns)[0])
    assert list(track.since(9 * STEP_NS).t_ns) == [4 * STEP_NS]


@dataclass(frozen=True)
class Join:
    """One plan job: it starts, takes a while, and its chunk joins the track."""

    gap_ns: int
    delay_ns: int
    horizon: int
    seed: int


JOINS = st.lists(
    st.builds(
        Join,
        gap_ns=st.integers(0, 6 * STEP_NS),
        delay_ns=st.one_of(st.just(0), st.integers(0, 12 * STEP_NS)),
        horizon=st.integers(1, 8),
        seed=st.integers(0, 2**32 - 1),
    ),
    min_size=1,
    max_size=8,
)


def play(joins: list[Join], box: Box) -> list[tuple[int, Track, Chunk]]:
    """Run the jobs in turn: the time of each join, the track from then on, the chunk that joined."""
    now_ns, track, played = 0, Track.holding(0, START_M, 1.0), []
    for join in joins:
        t0_ns = now_ns + join.gap_ns
        now_ns = t0_ns + join.delay_ns
        chunk = random_chunk(np.random.default_rng(join.seed), t0_ns, join.horizon)
        track = track.spliced(now_ns, chunk, box)
        played.append((now_ns, track, chunk))
    return played


@given(JOINS)
def test_no_join_moves_the_past_or_makes_the_position_jump(joins: list[Join]) -> None:
    before = Track.holding(0, START_M, 1.0)
    for now_ns, track, _ in play(joins, TABLE):
        for time_ns in (0, now_ns // 2, now_ns - 1, now_ns):
            np.testing.assert_allclose(track.at(time_ns)[0], before.at(time_ns)[0], atol=1e-9)
        before = track


@given(JOINS)
def test_the_tool_never_moves_faster_than_an_action_of_one(joins: list[Join]) -> None:
    for _, track, _ in play(joins, TABLE):
        speeds = np.abs(np.diff(track.tool, axis=0)) / np.diff(track.t_ns)[:, None]
        assert (speeds <= 0.012 / STEP_NS * (1 + 1e-6)).all()


@given(JOINS)
def test_each_moment_plays_the_newest_action_whose_time_it_is_and_nothing_twice(joins: list[Join]) -> None:
    played = play(joins, EVERYWHERE)
    expected, newest = START_M.copy(), None
    moments = sorted(
        {0}
        | {now_ns for now_ns, _, _ in played}
        | {chunk.t0_ns + step * STEP_NS for _, _, chunk in played for step in range(len(chunk.actions) + 1)}
    )
    arrivals = {now_ns: chunk for now_ns, _, chunk in played}
    final = played[-1][1]
    for start_ns, stop_ns in pairwise(moments):
        arriving = arrivals.get(start_ns)
        # A chunk that is over when it arrives must not displace the one being played.
        if arriving is not None and arriving.end_ns > start_ns:
            newest = arriving
        if newest is not None and newest.t0_ns <= start_ns < newest.end_ns:
            action = newest.actions[(start_ns - newest.t0_ns) // STEP_NS, :3]
            expected = expected + action * np.array(SCALE_M) * ((stop_ns - start_ns) / STEP_NS)
        np.testing.assert_allclose(final.at(stop_ns)[0], expected, atol=1e-7)


@given(JOINS)
def test_the_gripper_follows_the_newest_action_too(joins: list[Join]) -> None:
    for now_ns, track, chunk in play(joins, TABLE):
        for time_ns in range(now_ns, chunk.end_ns, STEP_NS // 3):
            assert track.at(time_ns)[1] == pytest.approx(chunk.actions[(time_ns - chunk.t0_ns) // STEP_NS, 3])
