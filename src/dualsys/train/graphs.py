"""The graphs of the bundles: what is traced, and what it has to compute.

Whatever does not depend on the chunk is outside the sampling loop: the context (keys, values, state) is a
graph of its own, and the modulations of all Euler steps are one matrix product before the first.

Each graph comes with what it has to compute, in the words of the network itself (`System1Net.velocity`,
automatic differentiation), and with inputs from the domain that it is meant for: see `agreement`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualsys.bundles import FEATURES, LANGUAGE, VISION, WHOLE
from dualsys.fast.chunking.masks import guidance_schedule, soft_mask
from dualsys.models.denoiser import Denoiser
from dualsys.models.flow import (
    Field,
    LinearField,
    PullBack,
    differentiated,
    sample,
    sample_guided,
    sample_prefix,
)
from dualsys.models.system1 import System1Net
from dualsys.models.system2 import System2Net
from dualsys.train.action import LARGEST_AGE_S, LARGEST_GAP_S

Inputs = dict[str, Tensor]
"""The inputs of a graph, by name."""


@dataclass(frozen=True)
class Graph:
    """One graph to be.

    Attributes:
        function: What is traced; takes the inputs in order, returns one tensor or a tuple.
        reference: What it must compute, given a network of the kind and the inputs in order.
        draw: Inputs from the domain of the graph, by seed; their shapes are those of the graph.
        outputs: Names of the outputs.
        batched: The first axis of every input and output is a batch, of any size that inputs of one call
            share; what becomes of one element does not depend on the others. Inputs are drawn in several
            sizes, with seed 0 in batches of one.
    """

    function: Callable[..., Any]
    reference: Callable[..., Any]
    draw: Callable[[int], Inputs]
    outputs: tuple[str, ...]
    batched: bool = False


CONTEXT = ("keys", "values", "state")
"""Names of the tensors that the condition graph hands to the samplers."""

EULER_STEPS = 5
"""Of the samplers that are shipped."""

BETA = 5.0
"""Largest guidance weight, of the paper."""

LARGEST_DRAWN_BATCH = 3
"""Most elements of a batch among the inputs on which a batched graph is compared with its network."""


class ChunkSampler:
    """The samplers of one chunk as they are exported: `Denoiser` under the samplers of `flow`.

    All tensors as the bundle's graphs take them: float32 with a leading batch dimension of 1.
    """

    def __init__(self, net: System1Net, steps: int) -> None:
        self._denoiser = Denoiser(net)
        self._steps = steps
        tau = torch.arange(steps + 1, dtype=net.action_in.weight.dtype) / steps
        self._times = self._denoiser.time_features(tau)
        """Of the Euler steps, and of flow time 1."""

    def plain(self, noise: Tensor, keys: Tensor, values: Tensor, state: Tensor) -> Tensor:
        """A chunk from noise, both `[1, H, A]`."""
        field = self._linear(keys, values, state)
        return sample(lambda x, step: field(x, step)[0], noise.squeeze(0), self._steps).unsqueeze(0)

    def guided(
        self,
        noise: Tensor,
        previous: Tensor,
        weights: Tensor,
        guidance: Tensor,
        keys: Tensor,
        values: Tensor,
        state: Tensor,
    ) -> Tensor:
        """See `flow.sample_guided`; the guidance `[n]` has no batch dimension."""
        field = self._linear(keys, values, state)
        chunks = (noise.squeeze(0), previous.squeeze(0), weights.squeeze(0))
        return sample_guided(field, *chunks, guidance).unsqueeze(0)

    def prefix(
        self, noise: Tensor, prefix: Tensor, given: Tensor, keys: Tensor, values: Tensor, state: Tensor
    ) -> Tensor:
        """See `flow.sample_prefix`; `given` `[1, H]` is 1 where an action is given, else 0."""
        fixed = given.squeeze(0) > 0.5
        modulations = self._denoiser.modulations(self._times, state.squeeze(0))
        by_block = self._denoiser.by_block(keys), self._denoiser.by_block(values)
        clean = modulations[self._steps]

        def field(x: Tensor, step: int) -> Tensor:
            own = torch.where(fixed.unsqueeze(-1), clean, modulations[step])
            return self._denoiser.forward(x, self._denoiser.single(own), *by_block)[0]

        return sample_prefix(field, noise.squeeze(0), prefix.squeeze(0), fixed, self._steps).unsqueeze(0)

    def velocity(self, x: Tensor, tau: Tensor, keys: Tensor, values: Tensor, state: Tensor) -> Tensor:
        """Velocity `[1, H, A]` at `x` `[1, H, A]` and the flow times `[1, H]` of its actions."""
        times = self._denoiser.time_features(tau.squeeze(0))
        modulations = self._denoiser.single(self._denoiser.modulations(times, state.squeeze(0)))
        by_block = self._denoiser.by_block(keys), self._denoiser.by_block(values)
        return self._denoiser.forward(x.squeeze(0), modulations, *by_block)[0].unsqueeze(0)

    def _linear(self, keys: Tensor, values: Tensor, state: Tensor) -> LinearField:
        modulations = self._denoiser.modulations(self._times[: self._steps], state.squeeze(0))
        shared = self._denoiser.shared(modulations)
        by_block = self._denoiser.by_block(keys), self._denoiser.by_block(values)

        def field(x: Tensor, step: int) -> tuple[Tensor, PullBack]:
            velocity, passed = self._denoiser.forward(x, shared[step], *by_block)
            return velocity, lambda gradient: self._denoiser.pull_back(passed, gradient)

        return field


def field_of(net: System1Net, context: tuple[Tensor, Tensor, Tensor], steps: int) -> Field:
    """The velocity field of one context, straight from the network: `[B, H, A]` at flow time step / steps."""

    def field(x: Tensor, step: int) -> Tensor:
        return net.velocity(x, torch.full((len(x), 1), step / steps, dtype=x.dtype), context)

    return field


def prefix_field_of(
    net: System1Net, context: tuple[Tensor, Tensor, Tensor], given: Tensor, steps: int
) -> Field:
    """As `field_of`, with the given actions (bool `[B, H]`) at flow time 1."""

    def field(x: Tensor, step: int) -> Tensor:
        tau = torch.where(given, torch.ones((), dtype=x.dtype), torch.full_like(x[..., 0], step / steps))
        return net.velocity(x, tau, context)

    return field


def system1_graphs(net: System1Net, steps: int) -> dict[str, Graph]:
    """The graphs of a System 1 bundle, by file name; with a residual head, that too."""
    samplers, domain = ChunkSampler(net, steps), Domain(net, steps)

    def plain(net: System1Net, noise: Tensor, *context: Tensor) -> Tensor:
        return sample(field_of(net, _triple(context), steps), noise, steps)

    def guided(
        net: System1Net,
        noise: Tensor,
        previous: Tensor,
        weights: Tensor,
        guidance: Tensor,
        *context: Tensor,
    ) -> Tensor:
        field = differentiated(field_of(net, _triple(context), steps))
        return sample_guided(field, noise, previous, weights, guidance)

    def prefix(net: System1Net, noise: Tensor, prefix: Tensor, given: Tensor, *context: Tensor) -> Tensor:
        fixed = given > 0.5
        field = prefix_field_of(net, _triple(context), fixed, steps)
        return sample_prefix(field, noise, prefix, fixed, steps)

    def velocity(net: System1Net, x: Tensor, tau: Tensor, *context: Tensor) -> Tensor:
        return net.velocity(x, tau, _triple(context))

    def residual(net: System1Net, action: Tensor, phase: Tensor, *seen: Tensor) -> Tensor:
        return net.correction(action, phase, net.encode(*seen))

    head = {
        "residual.onnx": Graph(lambda *given: residual(net, *given), residual, domain.residual, ("residual",))
    }
    return {
        "wrist.onnx": Graph(net.wrist, lambda net, image: net.wrist(image), domain.wrist, ("features",)),
        "condition.onnx": Graph(net.context, lambda net, *seen: net.context(*seen), domain.seen, CONTEXT),
        "sampler.onnx": Graph(samplers.plain, plain, domain.plain, ("chunk",)),
        "guided.onnx": Graph(samplers.guided, guided, domain.guided, ("chunk",)),
        "prefix.onnx": Graph(samplers.prefix, prefix, domain.prefix, ("chunk",)),
        "velocity.onnx": Graph(samplers.velocity, velocity, domain.velocity, ("velocity",)),
        **({} if net.residual is None else head),
    }


def phase_of(step: Tensor, horizon: int) -> Tensor:
    """Phases `[B, 2]` of the actions k `[B]` of a chunk: sine and cosine of 2 pi k / H, H the horizon."""
    angle = 2.0 * math.pi * step / horizon
    return torch.stack([angle.sin(), angle.cos()], dim=-1)


class Domain:
    """Draws inputs that System 1 is meant for.

    Images are any; wrist features come from the encoder; latents are layer-normalised, as those of System 2
    are; ages are those of training; the state lies around the recorded mean, in its recorded spread; noise is
    standard normal; actions of previous chunks lie in [-1, 1]; the weights are a soft mask of real-time
    chunking.
    """

    def __init__(self, net: System1Net, steps: int) -> None:
        self._net, self._steps = net, steps

    def wrist(self, seed: int) -> Inputs:
        """Of `wrist.onnx`."""
        px = self._net.config.wrist_px
        size, random = (1, px, px, 3), torch.Generator().manual_seed(seed)
        return {"image": torch.randint(0, 256, size, generator=random, dtype=torch.uint8)}

    def seen(self, seed: int) -> Inputs:
        """Of `condition.onnx`."""
        config, random = self._net.config, torch.Generator().manual_seed(seed)
        tokens = torch.randn(1, config.latents, config.latent_tokens, config.latent_width, generator=random)
        ages = torch.rand(1, config.latents, generator=random) * LARGEST_GAP_S
        ages[:, 0] *= LARGEST_AGE_S / LARGEST_GAP_S
        state = torch.randn(1, config.proprioception, generator=random)
        with torch.no_grad():
            frames = [self._net.wrist(self.wrist(seed + frame)["image"]) for frame in range(config.frames)]
        return {
            "tokens": torch.nn.functional.layer_norm(tokens, tokens.shape[-1:]),
            "latent_age_s": ages.cumsum(dim=1),
            "wrist": torch.stack(frames, dim=1),
            "proprioception": self._net.state_mean + self._net.state_scale * state.clamp(-3.0, 3.0),
        }

    def plain(self, seed: int) -> Inputs:
        """Of `sampler.onnx`."""
        return {"noise": self._chunk(seed)} | self._context(seed)

    def guided(self, seed: int) -> Inputs:
        """Of `guided.onnx`: sigma_d is 1 and 0.2 in turn, see `masks.guidance_weight`."""
        horizon, random = self._net.config.horizon, torch.Generator().manual_seed(seed)
        frozen, overlap = (int(torch.randint(horizon + 1, (), generator=random)) for _ in range(2))
        guidance = guidance_schedule(BETA, self._steps, 0.2 if seed % 2 else 1.0)
        following = {
            "noise": self._chunk(seed),
            "previous": self._actions(seed),
            "weights": torch.from_numpy(soft_mask(frozen, overlap, horizon))[None],
            "guidance": torch.from_numpy(guidance),
        }
        return following | self._context(seed)

    def prefix(self, seed: int) -> Inputs:
        """Of `prefix.onnx`: any number of given actions."""
        horizon, random = self._net.config.horizon, torch.Generator().manual_seed(seed)
        count = torch.randint(horizon + 1, (), generator=random)
        given = (torch.arange(horizon) < count).float()[None]
        beginning = {"prefix": self._actions(seed), "given": given}
        return {"noise": self._chunk(seed)} | beginning | self._context(seed)

    def velocity(self, seed: int) -> Inputs:
        """Of `velocity.onnx`: every action at its own flow time."""
        tau = torch.rand(1, self._net.config.horizon, generator=torch.Generator().manual_seed(seed))
        mix = tau.unsqueeze(-1)
        x = mix * self._actions(seed) + (1.0 - mix) * self._chunk(seed)
        return {"x": x, "tau": tau} | self._context(seed)

    def residual(self, seed: int) -> Inputs:
        """Of `residual.onnx`: any action of a chunk."""
        config, random = self._net.config, torch.Generator().manual_seed(seed)
        step = torch.randint(config.horizon, (1,), generator=random)
        planned = {"action": self._actions(seed)[:, 0], "phase": phase_of(step, config.horizon)}
        return planned | self.seen(seed)

    def _context(self, seed: int) -> Inputs:
        with torch.no_grad():
            context = self._net.context(*self.seen(seed).values())
        return dict(zip(CONTEXT, context, strict=True))

    def _chunk(self, seed: int) -> Tensor:
        config = self._net.config
        return torch.randn(1, config.horizon, config.actions, generator=torch.Generator().manual_seed(seed))

    def _actions(self, seed: int) -> Tensor:
        config, random = self._net.config, torch.Generator().manual_seed(seed + 1)
        return 2.0 * torch.rand(1, config.horizon, config.actions, generator=random) - 1.0


def system2_graphs(net: System2Net) -> dict[str, Graph]:
    """As `system1_graphs`, for a System 2 bundle. Any image, any words, and any number of such pairs.

    Besides the whole there are its two halves: the vision tower, which can run at the edge, one image at a
    time, and all that comes behind it. The features between them are those of images.
    """
    config = net.config

    def draw_image(seed: int, batch: int = 1) -> Inputs:
        random = torch.Generator().manual_seed(seed)
        size = (batch, config.height_px, config.width_px, 3)
        return {"image": torch.randint(0, 256, size, generator=random, dtype=torch.uint8)}

    def draw_words(seed: int, batch: int) -> Inputs:
        random, size = torch.Generator().manual_seed(seed + 1), (batch, config.max_words)
        return {"words": torch.randint(1, config.vocabulary, size, generator=random)}

    def draw(seed: int) -> Inputs:
        batch = 1 + seed % LARGEST_DRAWN_BATCH
        return draw_image(seed, batch) | draw_words(seed, batch)

    def draw_features(seed: int) -> Inputs:
        drawn = draw(seed)
        with torch.no_grad():
            return {FEATURES: net.vision(drawn["image"]), "words": drawn["words"]}

    def encode(image: Tensor, words: Tensor) -> tuple[Tensor, ...]:
        return net(image, words)

    def reference(net: System2Net, image: Tensor, words: Tensor) -> tuple[Tensor, ...]:
        return net(image, words)

    def answer(features: Tensor, words: Tensor) -> tuple[Tensor, ...]:
        return net.answer(net.index(features), words)

    def reference_answer(net: System2Net, features: Tensor, words: Tensor) -> tuple[Tensor, ...]:
        return net.answer(net.index(features), words)

    outputs = ("tokens", "position", "presence", "goal")
    return {
        WHOLE: Graph(encode, reference, draw, outputs, batched=True),
        VISION: Graph(net.vision, lambda net, image: net.vision(image), draw_image, (FEATURES,)),
        LANGUAGE: Graph(answer, reference_answer, draw_features, outputs, batched=True),
    }


def _triple(context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    keys, values, state = context
    return keys, values, state
