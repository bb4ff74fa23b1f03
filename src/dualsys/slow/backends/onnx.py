"""System 2 from a bundle, with ONNX Runtime: no training framework needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dualsys.bundles import bundle_file, load_manifest
from dualsys.errors import BundleError, PolicyError
from dualsys.slow.backend import System2Output
from dualsys.slow.vocabulary import Vocabulary
from dualsys.specs import SystemSpecs

GRAPH = "system2.onnx"

_IN_VIEW = 0.5
_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}
_GROUNDING = {"position": (1, 3), "presence": (1,), "goal": (1, 3)}


class OnnxSystem2:
    """A System 2 that sees one camera and reads words.

    Its graph maps `image` uint8 `[1, height, width, 3]` and `words` int64 `[1, max_words]` to the tensors of
    the latent, and to where it believes that the named object is: `position` and `goal` float32 `[1, 3]`
    (base frame, m), `presence` float32 `[1]` (probability that the object is in view). The latter are told to
    people, as text.

    Args:
        bundle_dir: Folder of the bundle.
        threads: Threads of the runtime.

    Raises:
        BundleError: The bundle is damaged, or its graph is not what its manifest promises.
    """

    def __init__(self, bundle_dir: str | Path, threads: int = 1) -> None:
        self._manifest = load_manifest(bundle_dir, "system2")
        self._vocabulary = Vocabulary(self._manifest.vocabulary, self._manifest.max_words)
        path = bundle_file(bundle_dir, self._manifest, GRAPH)
        self._camera = self._only_camera(path)
        self._session = _open(path, threads)
        self._require_interface(path)
        self._outputs = [*self.specs.latent.tensors, *_GROUNDING]
        # The first pass allocates and is slow; no observation should wait for it.
        image = np.zeros(self.specs.observation.cameras[self._camera].shape, np.uint8)
        self._forward(image, np.zeros(self._manifest.max_words, np.int64))

    @property
    def specs(self) -> SystemSpecs:
        """What it is shown and what it publishes."""
        return self._manifest.specs

    @property
    def name(self) -> str:
        """What people call it."""
        return self._manifest.name

    @property
    def weights(self) -> str:
        """Short hash of the weights."""
        return self._manifest.weights

    @property
    def words(self) -> tuple[str, ...]:
        """The words that it understands."""
        return self._vocabulary.words

    def check_instruction(self, text: str) -> None:
        """Return if the instruction can be understood.

        Raises:
            InstructionError: It cannot; lists the unknown words and the known ones.
        """
        self._vocabulary.encode(text)

    def encode(
        self, images: Mapping[str, NDArray[np.uint8]], proprioception: NDArray[np.float32], instruction: str
    ) -> System2Output:
        """Run the graph. `proprioception` is not used: what it shows, the camera shows too.

        Raises:
            InstructionError: The instruction cannot be understood.
            PolicyError: The runtime failed.
        """
        del proprioception
        outputs = self._forward(images[self._camera], self._vocabulary.encode(instruction))
        tensors = {name: outputs[name][0] for name in self.specs.latent.tensors}
        return System2Output(tensors, _describe(instruction, outputs))

    def _forward(self, image: NDArray[np.uint8], words: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        try:
            values = self._session.run(self._outputs, {"image": image[None], "words": words[None]})
        except Exception as error:
            # The runtime's own exceptions have no common base apart from Exception.
            raise PolicyError(f"System 2 {self.name!r} failed: {error}") from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}

    def _only_camera(self, path: Path) -> str:
        cameras = self.specs.observation.cameras
        if len(cameras) != 1:
            listed = ", ".join(sorted(cameras)) or "none"
            raise BundleError(
                f"{path}: specs.observation.cameras: expected one camera, got {listed}; export it again"
            )
        return next(iter(cameras))

    def _require_interface(self, path: Path) -> None:
        """Compare what the graph takes and makes with what the manifest promises."""
        camera = self.specs.observation.cameras[self._camera]
        inputs = {
            "image": (camera.dtype, (1, *camera.shape)),
            "words": ("int64", (1, self._manifest.max_words)),
        }
        latent = {name: (spec.dtype, (1, *spec.shape)) for name, spec in self.specs.latent.tensors.items()}
        outputs = latent | {name: ("float32", shape) for name, shape in _GROUNDING.items()}
        for expected, nodes in ((inputs, self._session.get_inputs()), (outputs, self._session.get_outputs())):
            found = {node.name: (_DTYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes}
            for name, wanted in expected.items():
                if found.get(name) != wanted:
                    got = found.get(name, "nothing of that name")
                    raise BundleError(
                        f"{path}: {name}: expected {wanted}, the graph has {got}; export it again"
                    )


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # The runtime's own exceptions have no common base apart from Exception.
        raise BundleError(f"{path}: not a graph that can be run: {error}; export it again") from error


def _describe(instruction: str, outputs: Mapping[str, NDArray[Any]]) -> str:
    presence = float(outputs["presence"][0])
    if not presence >= _IN_VIEW:
        return f"nothing in view fits {instruction!r} (probability {presence:.2f})"
    places = (", ".join(f"{part_m:.3f}" for part_m in outputs[name][0]) for name in ("position", "goal"))
    return "object at ({}) m, goal ({}) m".format(*places)
