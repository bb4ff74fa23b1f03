from __future__ import annotations

import numpy as np
import pytest

from dualsys.bus.codec import from_image
from dualsys.bus.latent_codec import FeatureReader
from dualsys.errors import MessageError, SpecError
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


FEATURES = {"fixed": TensorSpec((2, 3))}


def test_features_travel_in_place_of_images_and_in_their_codec() -> None:
    made = np.arange(6, dtype=np.float32).reshape(2, 3)
    for codec, error in (("float32", 0), ("float16", 0), ("int8", 0.02)):
        settings = PlannerSettings(features=FEATURES, feature_codec=codec)
        observation = Observer(7, SPEC, settings).observe(5, {"fixed": made}, STATE, 0, "go")
        assert (observation.images, observation.feature_codec) == ({}, codec)
        read = FeatureReader(FEATURES, codec).read(observation.features)["fixed"]
        np.testing.assert_allclose(read, made, atol=error)


@pytest.mark.parametrize(
    ("shown", "error", "fault"),
    [
        ({"fixed": np.zeros((8, 16, 3), np.uint8)}, SpecError, r"features\.fixed: expected float32\[2, 3\]"),
        ({}, SpecError, r"features: expected cameras \['fixed'\], got \[\]"),
        ({"fixed": np.full((2, 3), np.nan, np.float32)}, SpecError, r"features\.fixed: expected finite"),
        ({"fixed": np.full((2, 3), 1e9, np.float32)}, MessageError, r"set slow\.feature_codec to int8"),
    ],
)
def test_what_are_no_features_makes_no_observation(
    shown: dict[str, np.ndarray], error: type[Exception], fault: str
) -> None:
    observer = Observer(7, SPEC, PlannerSettings(features=FEATURES))
    with pytest.raises(error, match=fault):
        observer.observe(5, shown, STATE, 0, "go")
    assert observer.made == 0


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
