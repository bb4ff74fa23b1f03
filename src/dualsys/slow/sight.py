"""How System 2 gets to see: from the images of an observation, or from what a vision tower made of them.

The tower is the first half of System 2. It can run at the edge, so that images never leave it; then this side
has the language half only, and no image is ever read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dualsys.bus.codec import from_image
from dualsys.bus.latent_codec import FeatureReader
from dualsys.errors import SpecError
from dualsys.messages import LatentCodec, Observation, UplinkMode
from dualsys.slow.backend import LanguageModel, System2

Seen: TypeAlias = Mapping[str, NDArray[np.uint8]] | Mapping[str, NDArray[np.float32]]
"""By camera: images, or features of them; whichever the model takes."""

_REMEDY = "set slow.uplink to the same on both sides"


class Sight(Protocol):
    """What the core asks of either way to see."""

    @property
    def uplink(self) -> UplinkMode:
        """What observations have to carry."""
        ...

    def look(self, observation: Observation) -> Seen:
        """Check and unwrap what the observation carries.

        Raises:
            MessageError: An image is not what it states.
            SpecError: It carries something else than was agreed on, or of another name, size or type.
        """
        ...


class ImageSight:
    """Of the whole model, which is shown images.

    Args:
        system2: The model.
    """

    uplink: UplinkMode = "images"

    def __init__(self, system2: System2) -> None:
        self._cameras = system2.specs.observation.cameras

    def look(self, observation: Observation) -> Seen:
        """See `Sight.look`."""
        if observation.features:
            raise SpecError(f"observation: expected images, got features; {_REMEDY}")
        specs = self._cameras
        if observation.images.keys() != specs.keys():
            raise SpecError(f"images: expected cameras {_listed(specs)}, got {_listed(observation.images)}")
        images: dict[str, NDArray[np.uint8]] = {}
        for name, spec in specs.items():
            image = observation.images[name]
            stated = (image.height, image.width, 3)
            if stated != spec.shape:
                # Before decoding: a wrong size costs nothing.
                raise SpecError(f"images.{name}: expected {spec.describe()}, got {list(stated)}")
            images[name] = from_image(image)
            spec.validate(images[name], f"images.{name}")
        return images


class FeatureSight:
    """Of the language half, which is given features.

    Args:
        language: The language half.
        codec: How features travel.

    Raises:
        SpecError: The codec does not suit the features.
    """

    uplink: UplinkMode = "features"

    def __init__(self, language: LanguageModel, codec: LatentCodec) -> None:
        self._codec: LatentCodec = codec
        self._reader = FeatureReader(language.features, codec)

    def look(self, observation: Observation) -> Seen:
        """See `Sight.look`."""
        if observation.images:
            raise SpecError(f"observation: expected features, got images; {_REMEDY}")
        if observation.feature_codec != self._codec:
            raise SpecError(
                f"observation.feature_codec: expected {self._codec!r}, got {observation.feature_codec!r}; "
                "set slow.feature_codec to the same on both sides"
            )
        read = self._reader.read(observation.features)
        return {name: array.astype(np.float32, copy=False) for name, array in read.items()}


def sight_of(model: System2 | LanguageModel, codec: LatentCodec) -> ImageSight | FeatureSight:
    """The way to see that suits a model; `codec` is that of features.

    Raises:
        SpecError: The codec does not suit the features.
    """
    return FeatureSight(model, codec) if isinstance(model, LanguageModel) else ImageSight(model)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
