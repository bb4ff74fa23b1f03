from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import NS_PER_MS
from dualsys.errors import SpecError
from dualsys.fast.planner.frames import FrameHistory
from dualsys.specs import TensorSpec

SPEC = TensorSpec((2, 2, 3), "uint8")
IMAGE = np.zeros((2, 2, 3), np.uint8)


def history_of(*times_ms: int) -> FrameHistory:
    history = FrameHistory(SPEC, 120 * NS_PER_MS)
    for time_ms in times_ms:
        history.add(IMAGE, time_ms * NS_PER_MS)
    return history


@pytest.mark.parametrize(
    ("times_ms", "chosen_ms"),
    [
        ((0,), 0),
        ((0, 40), 0),
        ((0, 40, 80, 120), 0),
        ((0, 40, 80, 120, 160), 40),
        ((0, 33, 67, 100, 133, 167, 200), 67),
        ((0, 1000), 1000),
    ],
)
def test_the_second_image_is_the_one_nearest_to_the_lag(times_ms: tuple[int, ...], chosen_ms: int) -> None:
    newest, before = history_of(*times_ms).pair()
    assert newest.t_ns == times_ms[-1] * NS_PER_MS
    assert before.t_ns == chosen_ms * NS_PER_MS


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_forgetting_old_images_never_changes_which_is_nearest(gaps_ms: list[int]) -> None:
    times_ms = np.cumsum(gaps_ms).tolist()
    wanted_ms = times_ms[-1] - 120
    newest, before = history_of(*times_ms).pair()
    assert newest.t_ns == times_ms[-1] * NS_PER_MS
    assert abs(before.t_ns // NS_PER_MS - wanted_ms) == min(abs(time - wanted_ms) for time in times_ms)


def test_features_are_asked_for_once() -> None:
    asked = []

    def encode(image: np.ndarray) -> np.ndarray:
        asked.append(image)
        return np.zeros((16, 128), np.float32)

    newest, _ = history_of(0).pair()
    assert newest.features(encode) is newest.features(encode)
    assert len(asked) == 1


def test_an_image_is_copied() -> None:
    image = IMAGE.copy()
    history = FrameHistory(SPEC, 1)
    history.add(image, 0)
    image[:] = 9
    assert history.newest is not None
    assert history.newest.image.max() == 0


def test_an_image_of_another_size_or_type_is_refused() -> None:
    history = FrameHistory(SPEC, 1)
    with pytest.raises(SpecError, match=r"wrist image: expected uint8\[2, 2, 3\]"):
        history.add(np.zeros((2, 3, 3), np.uint8), 0)


@pytest.mark.parametrize("t_ns", [0, 5])
def test_an_image_that_is_not_newer_is_refused(t_ns: int) -> None:
    history = FrameHistory(SPEC, 1)
    history.add(IMAGE, 5)
    with pytest.raises(SpecError, match="expected a stamp after 5 ns"):
        history.add(IMAGE, t_ns)


def test_after_a_new_episode_there_is_no_image() -> None:
    history = history_of(0, 40)
    history.clear()
    assert history.newest is None
