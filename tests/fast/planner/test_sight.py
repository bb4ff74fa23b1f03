"""From camera images to what System 2 is shown, beside planning."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.clock import NS_PER_S, VirtualClock, WallClock
from dualsys.errors import PolicyError
from dualsys.fast.planner.sight import FeatureSight, ImageSight, Seen
from dualsys.specs import LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

IMAGE = TensorSpec((6, 8, 3), "uint8")


class GatedVision:
    """Makes of an image its first byte, but not before it is let; images of 13 make it fail."""

    specs = SystemSpecs(
        ObservationSpec({"fixed": IMAGE}, TensorSpec((9,))), LatentSpec("latent_sequence", {})
    )
    weights = "gated"
    features: Mapping[str, TensorSpec] = {"fixed": TensorSpec((1, 1))}

    def __init__(self) -> None:
        self.may_go = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.fault: Exception = PolicyError("the tower failed")

    def encode(self, images: Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        self.begun.release()
        assert self.may_go.acquire(timeout=10)
        level = images["fixed"][0, 0, 0]
        if level == 13:
            raise self.fault
        return {"fixed": np.full((1, 1), level, np.float32)}


def grey(level: int) -> dict[str, NDArray[np.uint8]]:
    return {"fixed": np.full(IMAGE.shape, level, np.uint8)}


@pytest.fixture
def vision() -> GatedVision:
    return GatedVision()


@pytest.fixture
def sight(vision: GatedVision, clock: VirtualClock) -> Iterator[FeatureSight]:
    made = FeatureSight(vision, clock)
    yield made
    vision.may_go.release(9)
    made.close()


def wait_for(sight: FeatureSight) -> Seen:
    """What is seen next; the tower is at work in another thread."""
    clock = WallClock()
    deadline_ns = clock.now_ns() + 10 * NS_PER_S
    while (seen := sight.seen()) is None:
        assert clock.now_ns() < deadline_ns, "nothing was seen"
        clock.sleep_until_ns(clock.now_ns() + 1_000_000)
    return seen


def test_images_are_shown_as_they_are_and_once() -> None:
    sight, image = ImageSight(), grey(1)
    assert sight.seen() is None
    sight.look(grey(0), 4)
    sight.look(image, 5)
    assert sight.seen() == Seen(5, image)
    assert sight.seen() is None
    assert sight.statistics().encoded == 0


def test_features_are_shown_once_with_the_stamp_of_their_images(
    sight: FeatureSight, vision: GatedVision
) -> None:
    sight.look(grey(7), 5)
    assert vision.begun.acquire(timeout=10)
    assert sight.seen() is None
    vision.may_go.release()
    seen = wait_for(sight)
    assert (seen.t_ns, seen.shown["fixed"].item()) == (5, 7)
    assert sight.seen() is None
    assert (sight.statistics().encoded, sight.statistics().superseded) == (1, 0)


def test_what_waits_for_the_tower_is_replaced_by_newer_images_and_never_queued(
    sight: FeatureSight, vision: GatedVision
) -> None:
    sight.look(grey(1), 1)
    assert vision.begun.acquire(timeout=10)
    for level in (2, 3, 4):
        sight.look(grey(level), level)
    vision.may_go.release(2)
    first = wait_for(sight)
    last = first if first.t_ns == 4 else wait_for(sight)
    assert (last.t_ns, last.shown["fixed"].item()) == (4, 4)
    assert (sight.statistics().encoded, sight.statistics().superseded) == (2, 2)


def test_a_tower_that_fails_is_counted_and_goes_on(sight: FeatureSight, vision: GatedVision) -> None:
    vision.may_go.release(2)
    sight.look(grey(13), 1)
    assert vision.begun.acquire(timeout=10)
    sight.look(grey(2), 2)
    assert wait_for(sight).t_ns == 2
    told = sight.statistics()
    assert (told.failed, told.last_fault, told.encoded) == (1, "the tower failed", 1)


def test_a_fault_of_the_program_in_the_tower_ends_the_loop_that_asks(
    sight: FeatureSight, vision: GatedVision
) -> None:
    vision.fault = KeyError("fixed")
    vision.may_go.release()
    sight.look(grey(13), 1)
    with pytest.raises(KeyError, match="fixed"):
        wait_for(sight)
