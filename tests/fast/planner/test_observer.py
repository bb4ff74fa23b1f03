from __future__ import annotations

import numpy as np
import pytest

from dualsys.bus.codec import from_image
from dualsys.errors import SpecError
from dualsys.fast.planner.observer import Observer
from dualsys.fast.planner.records import PlannerSettings
from dualsys.specs import ObservationSpec, TensorSpec

SPEC = ObservationSpec({"fixed": TensorSpec((8, 16, 3), "uint8")}, TensorSpec((9,)))
STATE = np.arange(9, dtype=np.float32)


def test_an_observation_carries_what_it_was_made_of() -> None:
    image = np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3)
    observer = Observer(7, SPEC, PlannerSettings())
    observer.observe(5, {"fixed": image}, STATE, 2, "go")
    observation = observer.observe(6, {"fixed": image}, STATE, 2, "go")
    assert (observation.session, observation.episode, observation.seq) == (7, 2, 1)
    assert (observation.t_capture_ns, observation.instruction) == (6, "go")
    np.testing.assert_array_equal(from_image(observation.images["fixed"]), image)
    np.testing.assert_array_equal(observation.proprioception.array(), STATE)
    assert observer.made == 2


def test_images_travel_as_jpeg_if_that_is_chosen() -> None:
    observer = Observer(7, SPEC, PlannerSettings(image_encoding="jpeg"))
    observation = observer.observe(5, {"fixed": np.full((8, 16, 3), 90, np.uint8)}, STATE, 0, "go")
    assert observation.images["fixed"].encoding == "jpeg"
    assert np.abs(from_image(observation.images["fixed"]).astype(int) - 90).max() <= 2


@pytest.mark.parametrize(
    ("images", "fault"),
    [
        ({}, r"expected cameras \['fixed'\], got \[\]"),
        ({"fixed": np.zeros((8, 15, 3), np.uint8)}, r"images\.fixed: expected uint8\[8, 16, 3\]"),
    ],
)
def test_wrong_images_make_no_observation(images: dict[str, np.ndarray], fault: str) -> None:
    observer = Observer(7, SPEC, PlannerSettings())
    with pytest.raises(SpecError, match=fault):
        observer.observe(5, images, STATE, 0, "go")
    assert observer.made == 0
