"""The denoiser of System 1 for one chunk, arranged so that a plan takes few operations.

The same function as `System1Net.velocity` with the same weights, for a batch of one: `[H, width]` throughout,
the modulations of all Euler steps in one matrix product, scale and shift inside the normalisation. What heads
give is `[heads, width / heads, H]`, channels before actions: the next matrix product takes that transposed,
and nothing has to be moved. The transpose of its Jacobian is written out by hand: `pull_back` carries a
gradient to the chunk only, never to weights, keys or values of the context, and reuses what the forward pass
has computed.

Layer normalisation y = (x - mean) / s of D channels has the Jacobian (1 - 1 1^T / D - y y^T / D) / s, which
is symmetric; softmax p has diag(p) - p p^T; SiLU u = h sigma(h) has the slope u + sigma(h) (1 - u).

The hidden state is only ever read through a normalisation, which does not see its mean. So the gradient by it
may carry any mean from one branch to the next, as long as it is centred where it enters one: the Jacobians
leave the projection 1 1^T / D out, and `_enter` makes up for it in one operation together with the gate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, silu

from dualsys.models.layers import CrossAttention, SelfAttention, fourier_features
from dualsys.models.system1 import MODULATIONS, TIME_FREQUENCIES, DenoiserBlock, System1Net

_EPSILON = 1e-5
"""Of every layer normalisation, as in torch."""
_LARGE = 2.0**20
"""See `_enter`."""


class _Linear:
    """`x @ weight + bias` with the weight `[in, out]` in the layout of both ways."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._bias, self._weight, self._back = bias, weight.T.contiguous(), weight.contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addmm(self._bias, x, self._weight)

    def from_heads(self, x: Tensor) -> Tensor:
        """From `[heads, in / heads, H]` to `[H, out]`."""
        return self(x.reshape(-1, x.shape[-1]).T)

    def pull_back(self, gradient: Tensor) -> Tensor:
        return gradient @ self._back

    def pull_back_from_heads(self, gradient: Tensor) -> Tensor:
        """From `[heads, out / heads, H]` to `[H, in]`."""
        return self.pull_back(gradient.reshape(-1, gradient.shape[-1]).T)


class _Normed(NamedTuple):
    """What a normalisation keeps: its output before the scale, and one over its deviation."""

    plain: Tensor
    inverse_deviation: Tensor

    def pull_back(self, gradient: Tensor) -> Tensor:
        """From the output before the scale to the input, up to the mean."""
        scaled = gradient * self.inverse_deviation
        return scaled - self.plain * (scaled * self.plain).mean(dim=-1, keepdim=True)


class _SelfAttention:
    """Self-attention over `[H, width]`."""

    def __init__(self, attention: SelfAttention) -> None:
        self._heads = attention.heads
        self._qkv = _Linear(attention.qkv.weight, attention.qkv.bias)
        self._out = _Linear(attention.out.weight, attention.out.bias)

    def __call__(self, x: Tensor) -> tuple[Tensor, _Attended]:
        query, key, value = (
            part.permute(1, 2, 0) for part in _heads(self._qkv(x), 3 * self._heads).split(self._heads, dim=1)
        )
        attended = _attend(query, key, value)
        return self._out.from_heads(attended.mixed), attended

    def pull_back(self, kept: _Attended, gradient: Tensor) -> Tensor:
        """The gradient is `_LARGE` times too small."""
        mixed = _heads(self._out.pull_back(gradient), self._heads).permute(1, 2, 0)
        scores = kept.pull_back_scores(mixed)
        query = kept.scale * torch.bmm(kept.key, scores.transpose(1, 2))
        key = kept.scale * torch.bmm(kept.query, scores)
        value = _LARGE * torch.bmm(mixed, kept.weights)
        return self._qkv.pull_back_from_heads(torch.cat([query, key, value]))


class _CrossAttention:
    """Attention of `[H, width]` to keys and values `[heads, N, width / heads]`."""

    def __init__(self, attention: CrossAttention) -> None:
        self._heads = attention.heads
        self._query = _Linear(attention.query.weight, attention.query.bias)
        self._out = _Linear(attention.out.weight, attention.out.bias)

    def __call__(self, x: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, _Attended]:
        query = _heads(self._query(x), self._heads).permute(1, 2, 0)
        attended = _attend(query, key.transpose(1, 2), value.transpose(1, 2))
        return self._out.from_heads(attended.mixed), attended

    def pull_back(self, kept: _Attended, gradient: Tensor) -> Tensor:
        """The gradient is `_LARGE` times too small."""
        mixed = _heads(self._out.pull_back(gradient), self._heads).permute(1, 2, 0)
        scores = kept.pull_back_scores(mixed)
        query = kept.scale * torch.bmm(kept.key, scores.transpose(1, 2))
        return self._query.pull_back_from_heads(query)


class _Attended(NamedTuple):
    """What an attention keeps, by head.

    Query `[h, d, H]`, key and value `[h, d, N]`, weights `[h, H, N]`, and its output, mixed `[h, d, H]`.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    weights: Tensor
    mixed: Tensor

    @property
    def scale(self) -> float:
        return 1.0 / math.sqrt(self.query.shape[1])

    def pull_back_scores(self, mixed: Tensor) -> Tensor:
        """The gradient is `_LARGE` times too small."""
        weights = _LARGE * torch.bmm(mixed.transpose(1, 2), self.value)
        return self.weights * (weights - (self.weights * weights).sum(dim=-1, keepdim=True))


class _Perceptron:
    """Two layers with SiLU between them."""

    def __init__(self, layers: torch.nn.Sequential) -> None:
        up, _, down = layers
        assert isinstance(up, torch.nn.Linear)
        assert isinstance(down, torch.nn.Linear)
        self._up, self._down = _Linear(up.weight, up.bias), _Linear(down.weight, down.bias)

    def __call__(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        up = self._up(x)
        sigmoid = torch.sigmoid(up)
        active = up * sigmoid
        return self._down(active), (sigmoid, active)

    def pull_back(self, kept: tuple[Tensor, Tensor], gradient: Tensor) -> Tensor:
        """The gradient is `_LARGE` times too small."""
        sigmoid, active = kept
        slope = active + sigmoid * (1.0 - active)
        return _LARGE * self._up.pull_back(self._down.pull_back(gradient) * slope)


class _BlockPassed(NamedTuple):
    """What a block keeps of its forward pass."""

    scales: tuple[Tensor, Tensor, Tensor]
    gates: tuple[Tensor, Tensor, Tensor]
    normed: tuple[_Normed, _Normed, _Normed]
    self_attended: _Attended
    cross_attended: _Attended
    perceptron: tuple[Tensor, Tensor]


class _Block:
    """One denoiser block."""

    def __init__(self, block: DenoiserBlock) -> None:
        self._self_attention = _SelfAttention(block.self_attention)
        self._cross_attention = _CrossAttention(block.cross_attention)
        self._perceptron = _Perceptron(block.mlp)

    def __call__(
        self, x: Tensor, modulations: Sequence[Tensor], key: Tensor, value: Tensor
    ) -> tuple[Tensor, _BlockPassed]:
        shift1, scale1, gate1, shift2, scale2, gate2, shift3, scale3, gate3 = modulations
        y, first = _modulate(x, scale1, shift1)
        out, self_attended = self._self_attention(y)
        x = x + gate1 * out
        y, second = _modulate(x, scale2, shift2)
        out, cross_attended = self._cross_attention(y, key, value)
        x = x + gate2 * out
        y, third = _modulate(x, scale3, shift3)
        out, perceptron = self._perceptron(y)
        return x + gate3 * out, _BlockPassed(
            (scale1, scale2, scale3),
            (gate1, gate2, gate3),
            (first, second, third),
            self_attended,
            cross_attended,
            perceptron,
        )

    def pull_back(self, kept: _BlockPassed, gradient: Tensor) -> Tensor:
        scale1, scale2, scale3 = kept.scales
        gate1, gate2, gate3 = kept.gates
        first, second, third = kept.normed
        branch = self._perceptron.pull_back(kept.perceptron, _enter(gradient, gate3))
        gradient = gradient + third.pull_back(branch * scale3)
        branch = self._cross_attention.pull_back(kept.cross_attended, _enter(gradient, gate2))
        gradient = gradient + second.pull_back(branch * scale2)
        branch = self._self_attention.pull_back(kept.self_attended, _enter(gradient, gate1))
        return gradient + first.pull_back(branch * scale1)


class Passed(NamedTuple):
    """What a forward pass keeps for `Denoiser.pull_back`."""

    blocks: tuple[_BlockPassed, ...]
    last: _Normed


class Denoiser:
    """See the module. Holds copies of the weights, in the precision of the network."""

    def __init__(self, net: System1Net) -> None:
        self._width, self._depth = net.config.width, net.config.depth
        self._time = net.time_in
        weight = torch.cat([block.modulation.weight for block in net.blocks])
        bias = torch.cat([block.modulation.bias for block in net.blocks])
        # A scale multiplies by one plus what the layer says: the one goes into the bias.
        bias.view(self._depth, MODULATIONS, self._width)[:, 1::3] += 1.0
        self._modulation = _Linear(weight, bias)
        self._action_in = _Linear(net.action_in.weight, net.action_in.bias + net.action_slot[0])
        self._blocks = [_Block(block) for block in net.blocks]
        # The mean of a gradient by the hidden state means nothing, see the module.
        self._action_in_back = net.action_in.weight - net.action_in.weight.mean(dim=0)
        # The last normalisation has its scale and shift in the layer behind it.
        out = net.action_out
        self._action_out = _Linear(out.weight * net.norm_out.weight, out(net.norm_out.bias))

    def time_features(self, tau: Tensor) -> Tensor:
        """What the modulations see of flow times `[N]`: `[N, width]`. Depends on nothing else."""
        return self._time(fourier_features(tau, TIME_FREQUENCIES, 64.0))

    def modulations(self, time_features: Tensor, state: Tensor) -> Tensor:
        """Modulations `[N, depth * 9 * width]` at N flow times, of all blocks.

        Args:
            time_features: `[N, width]`.
            state: `[width]`, from `System1Net.condition`.
        """
        return self._modulation(silu(time_features + state))

    def shared(self, modulations: Tensor) -> list[Sequence[Tensor]]:
        """Take `modulations` apart where a chunk has one flow time: for each, `depth * 9` of `[width]`."""
        parts = modulations.reshape(-1).split(self._width)
        count = self._depth * MODULATIONS
        return [parts[start : start + count] for start in range(0, len(parts), count)]

    def single(self, modulations: Tensor) -> Sequence[Tensor]:
        """Take `modulations` apart where each of H actions has its own: `depth * 9` of `[H, width]`."""
        return modulations.split(self._width, dim=1)

    def by_block(self, context: Tensor) -> Sequence[Tensor]:
        """Keys or values of `System1Net.condition` by block, each `[heads, tokens, width / heads]`.

        Args:
            context: `[1, depth, heads, tokens, width / heads]`.
        """
        return context.reshape(-1, *context.shape[-2:]).split(context.shape[2])

    def forward(
        self, x: Tensor, modulations: Sequence[Tensor], keys: Sequence[Tensor], values: Sequence[Tensor]
    ) -> tuple[Tensor, Passed]:
        """Velocity `[H, A]` at the noisy chunk `x` `[H, A]`, and what `pull_back` needs.

        Args:
            modulations: From `shared` or `single`.
            keys, values: From `by_block`.
        """
        hidden = self._action_in(x)
        passed = []
        for index, block in enumerate(self._blocks):
            own = modulations[MODULATIONS * index : MODULATIONS * (index + 1)]
            hidden, kept = block(hidden, own, keys[index], values[index])
            passed.append(kept)
        last = _normalise(hidden)
        return self._action_out(last.plain), Passed(tuple(passed), last)

    def pull_back(self, passed: Passed, gradient: Tensor) -> Tensor:
        """J^T applied to `[H, A]`, J the Jacobian of the velocity by the chunk: `[H, A]`."""
        hidden = passed.last.pull_back(self._action_out.pull_back(gradient))
        for block, kept in zip(reversed(self._blocks), reversed(passed.blocks), strict=True):
            hidden = block.pull_back(kept, hidden)
        return hidden @ self._action_in_back


def _normalise(x: Tensor) -> _Normed:
    plain, _, inverse_deviation = torch.native_layer_norm(x, x.shape[-1:], None, None, _EPSILON)
    return _Normed(plain, inverse_deviation)


def _modulate(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, _Normed]:
    """Normalised `x` `[H, width]`, scaled and shifted."""
    normed = _normalise(x)
    if scale.ndim > 1:
        return normed.plain * scale + shift, normed
    # With scale and shift inside the normalisation it is one operation, cheaper than two after it.
    return layer_norm(x, x.shape[-1:], scale, shift, _EPSILON), normed


def _enter(gradient: Tensor, gate: Tensor) -> Tensor:
    """The gradient by what a branch adds to the hidden state, divided by `_LARGE`.

    It is centred and multiplied by the gate, and a layer normalisation does both at once: its epsilon, the
    square of `_LARGE`, is so large beside the variance of the gradient that what it divides by is constant,
    but for half their quotient. Who pulls back multiplies by a constant within a matrix product anyway.
    """
    if gate.ndim > 1:
        return (gradient - gradient.mean(dim=-1, keepdim=True)) * gate / _LARGE
    return layer_norm(gradient, gradient.shape[-1:], gate, None, _LARGE**2)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> _Attended:
    scores = torch.bmm(query.transpose(1, 2), key) / math.sqrt(query.shape[1])
    weights = torch.softmax(scores, dim=-1)
    return _Attended(query, key, value, weights, torch.bmm(value, weights.transpose(1, 2)))


def _heads(x: Tensor, heads: int) -> Tensor:
    """`[H, h * d]` to `[H, h, d]`."""
    return x.reshape(len(x), heads, -1)
