"""What System 2 is shown: images or features of them, the state of the arm, and the instruction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dualsys.bus.codec import to_image
from dualsys.bus.latent_codec import encode_features
from dualsys.errors import SpecError
from dualsys.fast.planner.records import PlannerSettings
from dualsys.fast.planner.sight import Features, Images
from dualsys.messages import Image, Observation, Tensor
from dualsys.specs import ObservationSpec


class Observer:
    """Makes observations, numbered within the session.

    Args:
        session: Random number of this run.
        spec: What System 2 was made for.
        settings: What travels, images or features, and how.

    Attributes:
        made: How many were made.
    """

    def __init__(self, session: int, spec: ObservationSpec, settings: PlannerSettings) -> None:
        self._session = session
        self._spec = spec
        self._settings = settings
        self.made = 0

    def observe(
        self,
        t_capture_ns: int,
        shown: Images | Features,
        proprioception: NDArray[np.float32],
        episode: int,
        instruction: str,
        jpeg_quality: int | None = None,
    ) -> Observation:
        """Make the next observation.

        Args:
            t_capture_ns: When the images were taken.
            shown: Images or features by camera, exactly the cameras of the specification.
            proprioception: float32 vector of the specification.
            episode: The present episode.
            instruction: What the robot was told.
            jpeg_quality: Where images travel as JPEG, in place of that of the settings.

        Raises:
            SpecError: An image or its features are missing, unknown, or of another size or type.
            MessageError: It cannot be sent.
        """
        settings, uplink = self._settings, self._settings.uplink
        specs = self._spec.cameras if uplink == "images" else settings.features
        if shown.keys() != specs.keys():
            raise SpecError(f"{uplink}: expected cameras {sorted(specs)}, got {sorted(shown)}")
        for name, spec in specs.items():
            spec.validate(shown[name], f"{uplink}.{name}")
        images: dict[str, Image] = {}
        features: dict[str, Tensor] = {}
        if uplink == "images":
            quality = settings.jpeg_quality if jpeg_quality is None else jpeg_quality
            images = {
                name: to_image(np.asarray(image, np.uint8), settings.image_encoding, quality)
                for name, image in shown.items()
            }
        else:
            arrays = {name: np.asarray(array, np.float32) for name, array in shown.items()}
            features = encode_features(arrays, settings.feature_codec)
        observation = Observation(
            session=self._session,
            episode=episode,
            seq=self.made,
            t_capture_ns=t_capture_ns,
            images=images,
            features=features,
            feature_codec=settings.feature_codec if features else "float32",
            proprioception=Tensor.of(proprioception),
            instruction=instruction,
        )
        self.made += 1
        return observation
