"""System 1 from a bundle, with ONNX Runtime: no training framework needed.

The bundle has four graphs: `wrist` runs once per wrist image, `condition` once per plan, and then either
`sampler` or `guided`, whose vector-Jacobian products are part of the graph.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualsys.bundles import Manifest, bundle_file, load_manifest
from dualsys.errors import BundleError
from dualsys.fast.policies.graph import Graph
from dualsys.fast.policies.policy import Capability, Float32Array
from dualsys.specs import ActionSpec, SystemSpecs, TensorSpec

GRAPHS = ("wrist.onnx", "condition.onnx", "sampler.onnx", "guided.onnx")
TOKENS = "tokens"
LATENTS = 2
FRAMES = 2

Context = dict[str, Float32Array]


class OnnxSystem1:
    """A System 1 that reads two latents, two wrist images and the state of the arm.

    Args:
        bundle_dir: Folder of the bundle.
        threads: Threads of the runtime.

    Raises:
        BundleError: The bundle is damaged, or a graph is not what the manifest promises.
    """

    def __init__(self, bundle_dir: str | Path, threads: int = 1) -> None:
        manifest = load_manifest(bundle_dir, "system1")
        sampler = manifest.sampler
        if (
            manifest.action is None
            or sampler is None
            or TOKENS not in manifest.specs.latent.tensors
            or not manifest.context
        ):
            raise BundleError(
                f"{bundle_dir}: expected an action, a sampler, a context and a latent tensor {TOKENS!r}; "
                "export it again"
            )
        self._steps = sampler.steps
        self._manifest = manifest
        self._action = manifest.action
        paths = [bundle_file(bundle_dir, manifest, name) for name in GRAPHS]
        self._wrist, self._condition, self._sampler, self._guided = (Graph(path, threads) for path in paths)
        self._wrist_spec = _check_graphs(
            manifest, manifest.action, self._wrist, self._condition, self._sampler, self._guided
        )
        self._warm_up()

    @property
    def action(self) -> ActionSpec:
        """What a chunk is."""
        return self._action

    @property
    def specs(self) -> SystemSpecs:
        """What System 2 is shown and what it publishes."""
        return self._manifest.specs

    @property
    def wrist(self) -> TensorSpec:
        """The wrist image, uint8 `[height, width, 3]` RGB."""
        return self._wrist_spec

    @property
    def name(self) -> str:
        """What people call it."""
        return self._manifest.name

    @property
    def weights(self) -> str:
        """Short hash of the weights."""
        return self._manifest.weights

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Plain and guided samples."""
        return frozenset({"sampler", "guided"})

    @property
    def steps(self) -> int:
        """Euler steps inside the samplers."""
        return self._steps

    def encode_wrist(self, image: NDArray[np.uint8]) -> Float32Array:
        """Features float32 `[tokens, width]` of one wrist image. Raises PolicyError if it does not fit."""
        return _single(self._wrist.run({"image": image[None]})["features"])

    def condition(
        self,
        tokens: Float32Array,
        latent_age_s: Float32Array,
        wrist: Float32Array,
        proprioception: Float32Array,
    ) -> Context:
        """See `System1.condition`. Raises PolicyError if an array does not fit."""
        return self._condition.run(
            {
                "tokens": tokens[None],
                "latent_age_s": latent_age_s[None],
                "wrist": wrist[None],
                "proprioception": proprioception[None],
            }
        )

    def sample(self, noise: Float32Array, condition: Context) -> Float32Array:
        """See `System1.sample`. Raises PolicyError if an array does not fit."""
        return _single(self._sampler.run({"noise": noise[None], **condition})["chunk"])

    def guided(
        self,
        noise: Float32Array,
        condition: Context,
        previous: Float32Array,
        weights: Float32Array,
        guidance: Float32Array,
    ) -> Float32Array:
        """See `GuidedSampler.guided`. Raises PolicyError if an array does not fit.

        The graph makes the weight of each step itself, capped by beta, which is the weight of the first one.
        """
        followed = {"previous": previous[None], "weights": weights[None], "beta": guidance[:1]}
        return _single(self._guided.run({"noise": noise[None], **followed, **condition})["chunk"])

    def _warm_up(self) -> None:
        """Run every graph once: the first run allocates and is slow, and no plan should wait for it."""
        zeros = {name: np.zeros(spec.shape, np.float32) for name, spec in self._condition.inputs.items()}
        self.encode_wrist(np.zeros(self._wrist_spec.shape, np.uint8))
        context = self._condition.run(zeros)
        chunk = np.zeros(self._action.chunk.shape, np.float32)
        self.sample(chunk, context)
        self.guided(chunk, context, chunk, np.zeros(len(chunk), np.float32), np.ones(self._steps, np.float32))


def _check_graphs(
    manifest: Manifest, action: ActionSpec, wrist: Graph, condition: Graph, sampler: Graph, guided: Graph
) -> TensorSpec:
    """Compare all graphs with the manifest and with each other; returns what a wrist image is."""
    image = wrist.inputs.get("image")
    if image is None or len(image.shape) != 4 or image.shape[0] != 1 or image.shape[3] != 3:
        got = "none of that name" if image is None else image.describe()
        raise BundleError(
            f"{wrist.path}: input 'image': expected uint8[1, height, width, 3], the graph has {got}; "
            "export it again"
        )
    features = wrist.outputs.get("features", TensorSpec((1, 0, 0)))
    wrist.require({"image": TensorSpec(image.shape, "uint8")}, {"features": TensorSpec(features.shape)})
    context = {name: condition.outputs.get(name, TensorSpec(())) for name in manifest.context}
    condition.require(
        {
            "tokens": TensorSpec((1, LATENTS, *manifest.specs.latent.tensors[TOKENS].shape)),
            "latent_age_s": TensorSpec((1, LATENTS)),
            "wrist": TensorSpec((1, FRAMES, *features.shape[1:])),
            "proprioception": TensorSpec((1, *manifest.specs.observation.proprioception.shape)),
        },
        context,
    )
    chunk = TensorSpec((1, *action.chunk.shape))
    sampler.require({"noise": chunk, **context}, {"chunk": chunk})
    guidance = {"previous": chunk, "weights": TensorSpec((1, action.horizon)), "beta": TensorSpec((1,))}
    guided.require({"noise": chunk, **guidance, **context}, {"chunk": chunk})
    return TensorSpec(image.shape[1:], "uint8")


def _single(batch: Float32Array) -> Float32Array:
    """The only element of a batch."""
    single: Float32Array = batch[0]
    return single
