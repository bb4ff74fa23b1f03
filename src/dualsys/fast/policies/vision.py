"""The vision tower of System 2, run at the edge with ONNX Runtime, so that no image has to leave it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualsys.bundles import FEATURES, VISION, half_file, load_manifest, require_finite
from dualsys.errors import BundleError
from dualsys.fast.policies.graph import Graph
from dualsys.specs import SystemSpecs, TensorSpec

IMAGE = "image"


class OnnxVision:
    """The half of a System 2 bundle that makes features of images.

    Args:
        bundle_dir: Folder of the bundle: the same as System 2 has, which runs the other half.
        threads: Threads of the runtime.

    Raises:
        BundleError: The bundle is damaged, has no halves or more than one camera, or its graph is not what
            its manifest promises.
    """

    def __init__(self, bundle_dir: str | Path, threads: int = 1) -> None:
        self._manifest = load_manifest(bundle_dir, "system2")
        self._graph = Graph(half_file(bundle_dir, self._manifest, VISION), threads)
        cameras = self._manifest.specs.observation.cameras
        if len(cameras) != 1:
            listed = ", ".join(sorted(cameras)) or "none"
            raise BundleError(f"{self._graph.path}: expected one camera, got {listed}; export it again")
        ((self._camera, image),) = cameras.items()
        # Whatever its shape is: System 2 compares it with what its own half takes.
        made = self._graph.outputs.get(FEATURES, TensorSpec((1, 0, 0)))
        self._graph.require({IMAGE: TensorSpec((1, *image.shape), image.dtype)}, {FEATURES: made})
        self._features = {self._camera: TensorSpec(made.shape[1:])}
        # The first run allocates and is slow: no observation should wait for it.
        first = self.encode({self._camera: np.zeros(image.shape, np.uint8)})[self._camera]
        require_finite(self._graph.path, FEATURES, first, "a black image")

    @property
    def specs(self) -> SystemSpecs:
        """What its System 2 is shown and what it publishes."""
        return self._manifest.specs

    @property
    def weights(self) -> str:
        """Short hash of the weights of the whole System 2."""
        return self._manifest.weights

    @property
    def features(self) -> Mapping[str, TensorSpec]:
        """What it makes of each camera's image, float32 `[tokens, width]`."""
        return self._features

    def encode(self, images: Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Features of each camera's image.

        Args:
            images: Camera name to uint8 `[height, width, 3]` RGB, as `specs.observation.cameras` says.

        Raises:
            PolicyError: An image does not fit, or the runtime failed.
        """
        made = self._graph.run({IMAGE: images[self._camera][None]})[FEATURES]
        return {self._camera: made[0]}
