"""System 2 from a bundle, with ONNX Runtime: no training framework needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualsys.bundles import (
    FEATURES,
    LANGUAGE,
    WHOLE,
    Manifest,
    bundle_file,
    half_file,
    load_manifest,
    require_finite,
)
from dualsys.errors import BundleError, PolicyError
from dualsys.runtime import ELEMENT_TYPES, open_graph
from dualsys.slow.backend import System2Input, System2Output
from dualsys.slow.vocabulary import Vocabulary
from dualsys.specs import SystemSpecs, TensorSpec

IMAGE = "image"

_IN_VIEW = 0.5
_GROUNDING = {"position": (3,), "presence": (), "goal": (3,)}


class _OnnxModel:
    """A graph that reads words about one camera, whichever half of System 2 is in it.

    It maps what is seen and `words` int64 `[B, max_words]` to the tensors of the latent, and to where it
    believes that the named object is: `position` and `goal` float32 `[B, 3]` (base frame, m), `presence`
    float32 `[B]` (probability that the object is in view). The latter are told to people, as text. B, the
    size of the batch, is open, or 1 in the graphs of older bundles.
    """

    def __init__(self, manifest: Manifest, path: Path, threads: int, seen: str) -> None:
        self._manifest = manifest
        self._path = path
        self._vocabulary = Vocabulary(self._manifest.vocabulary, self._manifest.max_words)
        self._camera = self._only_camera(path)
        self._session = open_graph(path, threads)
        self._seen = seen
        self._outputs = [*self.specs.latent.tensors, *_GROUNDING]
        self._any_batch = False

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

    def batch_sizes(self, largest: int) -> tuple[int, ...]:
        """The sizes of a batch that one pass can have: all of them, or 1 alone in an older bundle."""
        return tuple(range(1, largest + 1)) if self._any_batch else (1,)

    def encode_batch(self, inputs: Sequence[System2Input]) -> list[System2Output]:
        """Run the graph once, as `encode` does for one input.

        Raises:
            InstructionError: An instruction cannot be understood.
            PolicyError: The runtime failed, or the graph takes no batch of that size.
        """
        seen = np.stack([one.images[self._camera] for one in inputs])
        words = np.stack([self._vocabulary.encode(one.instruction) for one in inputs])
        outputs = self._forward(seen, words)
        return [
            System2Output(
                {name: outputs[name][row] for name in self.specs.latent.tensors},
                _describe(one.instruction, {name: outputs[name][row] for name in _GROUNDING}),
                act=bool(outputs["presence"][row] >= _IN_VIEW),
            )
            for row, one in enumerate(inputs)
        ]

    def rehearse(self, size: int) -> None:
        """Run the graph once on nothing to be seen and no words.

        Raises:
            PolicyError: As `encode_batch`.
        """
        blank = np.zeros((size, *self._blank.shape), self._blank.dtype)
        self._forward(blank, np.zeros((size, self._manifest.max_words), np.int64))

    def _forward(self, seen: NDArray[Any], words: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        try:
            values = self._session.run(self._outputs, {self._seen: seen, "words": words})
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

    def _prepare(self, spec: TensorSpec) -> None:
        """Compare what the graph takes and makes with what the manifest promises, and try every word.

        Args:
            spec: Of what is seen.

        Raises:
            BundleError: The graph is another one, or what it computes is not finite.
            PolicyError: The runtime failed.
        """
        self._any_batch = self._require_interface(spec)
        self._blank = spec
        # The first pass allocates and is slow; no observation should wait for it. And a word whose row of
        # weights is not finite would be noticed only by the first who says it.
        blank = np.zeros((1, *spec.shape), spec.dtype)
        words, at_once = self._manifest.vocabulary, self._manifest.max_words
        for start in range(0, len(words), at_once):
            indices = np.arange(start, min(start + at_once, len(words)))
            said = np.zeros((1, at_once), np.int64)
            said[0, : len(indices)] = indices
            given = "nothing seen and the words " + ", ".join(repr(words[index]) for index in indices)
            for name, values in self._forward(blank, said).items():
                require_finite(self._path, name, values, given)

    def _require_interface(self, spec: TensorSpec) -> bool:
        """Returns whether the size of the batch is open."""
        inputs = {self._seen: (spec.dtype, spec.shape), "words": ("int64", (self._manifest.max_words,))}
        latent = {name: (spec.dtype, spec.shape) for name, spec in self.specs.latent.tensors.items()}
        outputs = latent | {name: ("float32", shape) for name, shape in _GROUNDING.items()}
        session = self._session
        nodes = [*session.get_inputs(), *session.get_outputs()]
        found = {node.name: (ELEMENT_TYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes}
        # An axis of open size has a name in place of a number; all must have the same.
        first = found[self._seen][1][:1] if self._seen in found else ()
        batch = first if first and isinstance(first[0], str) else (1,)
        for name, (dtype, shape) in (inputs | outputs).items():
            wanted = dtype, (*batch, *shape)
            if found.get(name) != wanted:
                got = found.get(name, "nothing of that name")
                raise BundleError(
                    f"{self._path}: {name}: expected {wanted}, the graph has {got}; export it again"
                )
        return batch != (1,)


class OnnxSystem2(_OnnxModel):
    """A whole System 2: its graph sees `image` uint8 `[B, height, width, 3]`. See `_OnnxModel` for the rest.

    Args:
        bundle_dir: Folder of the bundle.
        threads: Threads of the runtime.

    Raises:
        BundleError: The bundle is damaged, or its graph is not what its manifest promises.
    """

    def __init__(self, bundle_dir: str | Path, threads: int = 1) -> None:
        manifest = load_manifest(bundle_dir, "system2")
        super().__init__(manifest, bundle_file(bundle_dir, manifest, WHOLE), threads, IMAGE)
        self._prepare(self.specs.observation.cameras[self._camera])

    def encode(
        self, images: Mapping[str, NDArray[np.uint8]], proprioception: NDArray[np.float32], instruction: str
    ) -> System2Output:
        """Run the graph. `proprioception` is not used: what it shows, the camera shows too.

        Raises:
            InstructionError: The instruction cannot be understood.
            PolicyError: The runtime failed.
        """
        return self.encode_batch([System2Input(images, proprioception, instruction)])[0]


class OnnxLanguage(_OnnxModel):
    """The language half of System 2: its graph is given `features` float32 `[B, tokens, width]`.

    Args:
        bundle_dir: Folder of the bundle.
        threads: Threads of the runtime.

    Raises:
        BundleError: The bundle is damaged or has no halves, or its graph is not what its manifest promises.
    """

    def __init__(self, bundle_dir: str | Path, threads: int = 1) -> None:
        manifest = load_manifest(bundle_dir, "system2")
        super().__init__(manifest, half_file(bundle_dir, manifest, LANGUAGE), threads, FEATURES)
        shapes = [tuple(node.shape) for node in self._session.get_inputs() if node.name == FEATURES]
        size = shapes[0][1:] if shapes else ()
        if len(size) != 2 or not all(isinstance(one, int) for one in size):
            got = shapes[0] if shapes else "nothing of that name"
            raise BundleError(
                f"{self._path}: {FEATURES}: expected (batch, tokens, width), the graph has {got}; "
                "export it again"
            )
        self._features = {self._camera: TensorSpec(size)}
        self._prepare(self._features[self._camera])

    @property
    def features(self) -> Mapping[str, TensorSpec]:
        """What it is given of each camera, float32 `[tokens, width]`."""
        return self._features

    def encode(
        self,
        features: Mapping[str, NDArray[np.float32]],
        proprioception: NDArray[np.float32],
        instruction: str,
    ) -> System2Output:
        """As `OnnxSystem2.encode`, from what the vision tower made of each camera's image."""
        return self.encode_batch([System2Input(features, proprioception, instruction)])[0]


def _describe(instruction: str, outputs: Mapping[str, NDArray[Any]]) -> str:
    presence = float(outputs["presence"])
    if not presence >= _IN_VIEW:
        return f"nothing in view fits {instruction!r} (probability {presence:.2f})"
    places = (", ".join(f"{part_m:.3f}" for part_m in outputs[name]) for name in ("position", "goal"))
    return "object at ({}) m, goal ({}) m".format(*places)
