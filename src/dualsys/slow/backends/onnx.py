"""System 2 from a bundle, with ONNX Runtime: no training framework needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dualsys.bundles import bundle_file, load_manifest
from dualsys.errors import BundleError, PolicyError
from dualsys.slow.backend import System2Input, System2Output
from dualsys.slow.vocabulary import Vocabulary
from dualsys.specs import SystemSpecs

GRAPH = "system2.onnx"

_IN_VIEW = 0.5
_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}
_GROUNDING = {"position": (3,), "presence": (), "goal": (3,)}


class OnnxSystem2:
    """A System 2 that sees one camera and reads words.

    Its graph maps `image` uint8 `[B, height, width, 3]` and `words` int64 `[B, max_words]` to the tensors of
    the latent, and to where it believes that the named object is: `position` and `goal` float32 `[B, 3]`
    (base frame, m), `presence` float32 `[B]` (probability that the object is in view). The latter are told to
    people, as text. B, the size of the batch, is open, or 1 in the graphs of older bundles.

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
        self._any_batch = self._require_interface(path)
        self._outputs = [*self.specs.latent.tensors, *_GROUNDING]
        # The first pass allocates and is slow; no observation should wait for it.
        image = np.zeros(self.specs.observation.cameras[self._camera].shape, np.uint8)
        self._forward(image[None], np.zeros((1, self._manifest.max_words), np.int64))

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
        return self.encode_batch([System2Input(images, proprioception, instruction)])[0]

    def batch_sizes(self, largest: int) -> tuple[int, ...]:
        """The sizes of a batch that one pass can have: all of them, or 1 alone in an older bundle."""
        return tuple(range(1, largest + 1)) if self._any_batch else (1,)

    def encode_batch(self, inputs: Sequence[System2Input]) -> list[System2Output]:
        """Run the graph once, as `encode` does for one input.

        Raises:
            InstructionError: An instruction cannot be understood.
            PolicyError: The runtime failed, or the graph takes no batch of that size.
        """
        image = np.stack([one.images[self._camera] for one in inputs])
        words = np.stack([self._vocabulary.encode(one.instruction) for one in inputs])
        outputs = self._forward(image, words)
        return [
            System2Output(
                {name: outputs[name][row] for name in self.specs.latent.tensors},
                _describe(one.instruction, {name: outputs[name][row] for name in _GROUNDING}),
            )
            for row, one in enumerate(inputs)
        ]

    def _forward(self, image: NDArray[np.uint8], words: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        try:
            values = self._session.run(self._outputs, {"image": image, "words": words})
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

    def _require_interface(self, path: Path) -> bool:
        """Compare what the graph takes and makes with what the manifest promises.

        Returns:
            Whether the size of the batch is open.
        """
        camera = self.specs.observation.cameras[self._camera]
        inputs = {"image": (camera.dtype, camera.shape), "words": ("int64", (self._manifest.max_words,))}
        latent = {name: (spec.dtype, spec.shape) for name, spec in self.specs.latent.tensors.items()}
        outputs = latent | {name: ("float32", shape) for name, shape in _GROUNDING.items()}
        session = self._session
        nodes = [*session.get_inputs(), *session.get_outputs()]
        found = {node.name: (_DTYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes}
        # An axis of open size has a name in place of a number; all must have the same.
        first = found["image"][1][:1] if "image" in found else ()
        batch = first if first and isinstance(first[0], str) else (1,)
        for name, (dtype, shape) in (inputs | outputs).items():
            wanted = dtype, (*batch, *shape)
            if found.get(name) != wanted:
                got = found.get(name, "nothing of that name")
                raise BundleError(f"{path}: {name}: expected {wanted}, the graph has {got}; export it again")
        return batch != (1,)


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
    presence = float(outputs["presence"])
    if not presence >= _IN_VIEW:
        return f"nothing in view fits {instruction!r} (probability {presence:.2f})"
    places = (", ".join(f"{part_m:.3f}" for part_m in outputs[name]) for name in ("position", "goal"))
    return "object at ({}) m, goal ({}) m".format(*places)
