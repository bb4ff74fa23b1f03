"""System 1 from a bundle, with ONNX Runtime: no training framework needed.

`wrist` runs once per wrist image, `condition` once per plan, and then one of the samplers: `sampler`;
`guided`, whose vector-Jacobian products are part of the graph; `prefix`, which continues given actions; or
`velocity`, one evaluation of the network, for those who take the steps themselves. Bundles of format 1 lack
the last two, and their guided sampler makes the weights of its steps itself from their cap. A bundle may
also have a `residual` graph, which corrects a single action by what is seen now.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualsys.bundles import Manifest, bundle_file, load_manifest, require_finite
from dualsys.errors import BundleError, PolicyError
from dualsys.fast.policies.graph import Graph
from dualsys.fast.policies.offer import RESIDUAL, offered_by
from dualsys.fast.policies.policy import TOKENS, Capability, Float32Array, System1
from dualsys.fast.policies.weak import WithWeak, told_of_weak
from dualsys.specs import ActionSpec, SystemSpecs, TensorSpec

WRIST, CONDITION, SAMPLER, GUIDED = "wrist.onnx", "condition.onnx", "sampler.onnx", "guided.onnx"
VELOCITY, PREFIX = "velocity.onnx", "prefix.onnx"
MOST_LATENTS = 16
"""A graph that wants to read more of them at once is refused."""
FRAMES = 2
PHASES = 2
"""Numbers that tell a residual head which action of the chunk it is: a sine and a cosine."""

Context = dict[str, Float32Array]


class OnnxSystem1:
    """A System 1 that reads the newest latents, two wrist images and the state of the arm.

    Args:
        bundle_dir: Folder of the bundle.
        threads: Threads of the runtime.

    Raises:
        BundleError: The bundle is damaged, a graph is not what the manifest promises, or what it computes is
            not finite.
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
        self._cap_only = manifest.format == 1
        required = (WRIST, CONDITION, SAMPLER, GUIDED)
        names = required if self._cap_only else (*required, VELOCITY, PREFIX)
        if RESIDUAL in manifest.files:
            names = (*names, RESIDUAL)
        self._graphs = {name: Graph(bundle_file(bundle_dir, manifest, name), threads) for name in names}
        self._wrist_spec = _check_graphs(manifest, manifest.action, self._graphs)
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
    def latents(self) -> int:
        """How many of the newest latents it reads, K: as many as its condition graph takes."""
        return self._graphs[CONDITION].inputs["latent_age_s"].shape[1]

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
        """What the format of the bundle offers, and a residual head if it has one."""
        return offered_by(self._manifest)

    @property
    def steps(self) -> int:
        """Euler steps inside the samplers."""
        return self._steps

    def encode_wrist(self, image: NDArray[np.uint8]) -> Float32Array:
        """Features float32 `[tokens, width]` of one wrist image. Raises PolicyError if it does not fit."""
        return _single(self._graphs[WRIST].run({"image": image[None]})["features"])

    def condition(
        self,
        tokens: Float32Array,
        latent_age_s: Float32Array,
        wrist: Float32Array,
        proprioception: Float32Array,
    ) -> Context:
        """See `System1.condition`. Raises PolicyError if an array does not fit."""
        return self._graphs[CONDITION].run(_seen(tokens, latent_age_s, wrist, proprioception))

    def sample(self, noise: Float32Array, condition: Context) -> Float32Array:
        """See `System1.sample`. Raises PolicyError if an array does not fit."""
        return _single(self._graphs[SAMPLER].run({"noise": noise[None], **condition})["chunk"])

    def guided(
        self,
        noise: Float32Array,
        condition: Context,
        previous: Float32Array,
        weights: Float32Array,
        guidance: Float32Array,
    ) -> Float32Array:
        """See `GuidedSampler.guided`. Raises PolicyError if an array does not fit."""
        followed = {"noise": noise[None], "previous": previous[None], "weights": weights[None]}
        pull = {"beta": guidance[:1]} if self._cap_only else {"guidance": guidance}
        return _single(self._graphs[GUIDED].run({**followed, **pull, **condition})["chunk"])

    def velocity(self, x: Float32Array, tau: Float32Array, condition: Context) -> Float32Array:
        """See `VelocityField.velocity`. Raises PolicyError as `sample_prefix` does."""
        feed = {"x": x[None], "tau": tau[None], **condition}
        return _single(self._optional(VELOCITY).run(feed)["velocity"])

    def sample_prefix(
        self, noise: Float32Array, prefix: Float32Array, given: Float32Array, condition: Context
    ) -> Float32Array:
        """See `PrefixSampler.sample_prefix`; the given actions come back to the bit.

        Raises PolicyError if an array does not fit, or without the capability.
        """
        feed = {"noise": noise[None], "prefix": prefix[None], "given": given[None], **condition}
        return _single(self._optional(PREFIX).run(feed)["chunk"])

    def residual(
        self,
        action: Float32Array,
        phase: Float32Array,
        tokens: Float32Array,
        latent_age_s: Float32Array,
        wrist: Float32Array,
        proprioception: Float32Array,
    ) -> Float32Array:
        """See `ResidualHead.residual`. Raises PolicyError as `sample_prefix` does."""
        seen = _seen(tokens, latent_age_s, wrist, proprioception)
        feed = {"action": action[None], "phase": phase[None], **seen}
        return _single(self._optional(RESIDUAL).run(feed)["residual"])

    def _optional(self, name: str) -> Graph:
        if name not in self._graphs:
            version = self._manifest.format
            raise PolicyError(f"{self.name}: its bundle, of format {version}, has no {name}; export it again")
        return self._graphs[name]

    def _warm_up(self) -> None:
        """Run every graph once: the first run allocates and is slow, and no plan should wait for it.

        Raises:
            BundleError: What comes out of zeros is not finite: then nor are the weights.
        """
        for graph in self._graphs.values():
            zeros = {name: np.zeros(spec.shape, spec.dtype) for name, spec in graph.inputs.items()}
            for name, values in graph.run(zeros).items():
                require_finite(graph.path, name, values, "zeros")


def open_system1(bundle_dir: Path, weak_bundle_dir: Path | None = None, threads: int = 1) -> System1:
    """Load System 1, and a weak policy beside it where one is given.

    Args:
        bundle_dir, weak_bundle_dir: The settings `fast.bundle` and `fast.weak_bundle`.
        threads: Threads of the runtime.

    Raises:
        BundleError: A bundle is damaged or not what it says, or the two are not of one kind.
    """
    strong = OnnxSystem1(bundle_dir, threads)
    if weak_bundle_dir is None:
        return strong
    with told_of_weak():
        weak = OnnxSystem1(weak_bundle_dir, threads)
    return WithWeak(strong, weak, str(weak_bundle_dir))


def _check_graphs(manifest: Manifest, action: ActionSpec, graphs: Mapping[str, Graph]) -> TensorSpec:
    """Compare all graphs with the manifest and with each other; returns what a wrist image is."""
    wrist, condition = graphs[WRIST], graphs[CONDITION]
    image = wrist.inputs.get("image")
    if image is None or len(image.shape) != 4 or image.shape[0] != 1 or image.shape[3] != 3:
        got = "none of that name" if image is None else image.describe()
        raise BundleError(
            f"{wrist.path}: input 'image': expected uint8[1, height, width, 3], the graph has {got}; "
            "export it again"
        )
    features = wrist.outputs.get("features", TensorSpec((1, 0, 0)))
    wrist.require({"image": TensorSpec(image.shape, "uint8")}, {"features": TensorSpec(features.shape)})
    latents = _latents(condition)
    context = {name: condition.outputs.get(name, TensorSpec(())) for name in manifest.context}
    seen = {
        "tokens": TensorSpec((1, latents, *manifest.specs.latent.tensors[TOKENS].shape)),
        "latent_age_s": TensorSpec((1, latents)),
        "wrist": TensorSpec((1, FRAMES, *features.shape[1:])),
        "proprioception": TensorSpec((1, *manifest.specs.observation.proprioception.shape)),
    }
    condition.require(seen, context)
    single = TensorSpec((1, *action.chunk.shape[1:]))
    if RESIDUAL in graphs:
        phase = TensorSpec((1, PHASES))
        graphs[RESIDUAL].require({"action": single, "phase": phase, **seen}, {"residual": single})
    chunk = TensorSpec((1, *action.chunk.shape))
    by_action = TensorSpec((1, action.horizon))
    graphs[SAMPLER].require({"noise": chunk, **context}, {"chunk": chunk})
    guided = {"noise": chunk, "previous": chunk, "weights": by_action, **context}
    if manifest.format == 1:
        graphs[GUIDED].require({"beta": TensorSpec((1,)), **guided}, {"chunk": chunk})
        return TensorSpec(image.shape[1:], "uint8")
    steps = 0 if manifest.sampler is None else manifest.sampler.steps
    graphs[GUIDED].require({"guidance": TensorSpec((steps,)), **guided}, {"chunk": chunk})
    graphs[VELOCITY].require({"x": chunk, "tau": by_action, **context}, {"velocity": chunk})
    graphs[PREFIX].require({"noise": chunk, "prefix": chunk, "given": by_action, **context}, {"chunk": chunk})
    return TensorSpec(image.shape[1:], "uint8")


def _latents(condition: Graph) -> int:
    """How many latents a condition graph takes."""
    ages = condition.inputs.get("latent_age_s")
    if ages is None or len(ages.shape) != 2 or ages.shape[0] != 1 or not 1 <= ages.shape[1] <= MOST_LATENTS:
        got = "none of that name" if ages is None else ages.describe()
        raise BundleError(
            f"{condition.path}: input 'latent_age_s': expected float32[1, K], K from 1 to {MOST_LATENTS}, "
            f"the graph has {got}; export it again"
        )
    return ages.shape[1]


def _seen(
    tokens: Float32Array, latent_age_s: Float32Array, wrist: Float32Array, proprioception: Float32Array
) -> dict[str, Float32Array]:
    """What is seen, as the graphs take it: as a batch of one."""
    arrays = {
        "tokens": tokens,
        "latent_age_s": latent_age_s,
        "wrist": wrist,
        "proprioception": proprioception,
    }
    return {name: array[None] for name, array in arrays.items()}


def _single(batch: Float32Array) -> Float32Array:
    """The only element of a batch."""
    single: Float32Array = batch[0]
    return single
