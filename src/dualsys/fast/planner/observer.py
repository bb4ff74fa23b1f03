"""What System 2 is shown: images, the state of the arm, and the instruction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dualsys.bus.codec import to_image
from dualsys.errors import SpecError
from dualsys.fast.planner.records import PlannerSettings
from dualsys.messages import Observation, Tensor
from dualsys.specs import ObservationSpec


class Observer:
    """Makes observations, numbered within the session.

    Args:
        session: Random number of this run.
        spec: What System 2 was made for.
        settings: How images travel.

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
        images: Mapping[str, NDArray[np.uint8]],
        proprioception: NDArray[np.float32],
        episode: int,
        instruction: str,
        jpeg_quality: int | None = None,
    ) -> Observation:
        """Make the next observation.

        Args:
            t_capture_ns: When the images were taken.
            images: Camera name to uint8 `[height, width, 3]`, exactly the cameras of the specification.
            proprioception: float32 vector of the specification.
            episode: The present episode.
            instruction: What the robot was told.
            jpeg_quality: Where images travel as JPEG, in place of that of the settings.

        Raises:
            SpecError: An image is missing, unknown, or of another size or type.
            MessageError: It cannot be sent.
        """
        cameras = self._spec.cameras
        if images.keys() != cameras.keys():
            raise SpecError(f"images: expected cameras {sorted(cameras)}, got {sorted(images)}")
        for name, spec in cameras.items():
            spec.validate(images[name], f"images.{name}")
        encoding = self._settings.image_encoding
        quality = self._settings.jpeg_quality if jpeg_quality is None else jpeg_quality
        observation = Observation(
            session=self._session,
            episode=episode,
            seq=self.made,
            t_capture_ns=t_capture_ns,
            images={name: to_image(image, encoding, quality) for name, image in images.items()},
            proprioception=Tensor.of(proprioception),
            instruction=instruction,
        )
        self.made += 1
        return observation
