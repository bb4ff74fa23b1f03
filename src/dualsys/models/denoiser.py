"""The denoiser of System 1 for one chunk, arranged so that a plan takes few operations.

The same function as `System1Net.velocity` with the same weights, for a batch of one: `[H, width]` throughout,
the modulations of all Euler steps in one matrix product, scale and shift inside the normalisation. The
transpose of its Jacobian is written out by hand: `pull_back` carries a gradient to the chunk only, never to
weights, keys or values of the context, and reuses what the forward pass has computed.

Layer normalisation y = (x - mean) / s of D channels has the Jacobian (1 - 1 1^T / D - y y^T / D) / s, which
is symmetric; softmax p has diag(p) - p p^T; SiLU u = h sigma(h) has the slope u + sigma(h) (1 - u).
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


class _Linear:
    """`x @ weight + bias` with the weight `[in, out]` in the layout of both ways."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._bias, self._weight, self._back = bias, weight.T.contiguous(), weight.contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addmm(self._bias, x, self._weight)

    def pull_back(self, gradient: Tensor) -> Tensor:
        return gradient @ self._back


class _Normed(NamedTuple):
    """What a normalisation keeps: its output before the scale, one over its deviation, the scale."""

    plain: Tensor
    inverse_deviation: Tensor
    scale: Tensor

    def pull_back(self, gradient: Tensor) -> Tensor:
        scaled = gradient * self.scale
        along = (scaled * self.plain).mean(dim=-1, keepdim=True)
        centred = scaled - self.plain * along - scaled.mean(dim=-1, keepdim=True)
        return centred * self.inverse_deviation


class _SelfAttention:
    """Self-attention over `[H, width]`."""

    def __init__(self, attention: SelfAttention) -> None:
        self._heads = attention.heads
        self._qkv = _Linear(attention.qkv.weight, attention.qkv.bias)
        self._out = _Linear(attention.out.weight, attention.out.bias)

    def __call__(self, x: Tensor) -> tuple[Tensor, _Attended]:
        horizon = x.shape[0]
        heads = self._qkv(x).reshape(horizon, 3 * self._heads, -1).transpose(0, 1)
        query, key, value = heads.split(self._heads)
        attended = _attend(query, key, value)
        return self._out(_merge(attended.mixed)), attended

    def pull_back(self, kept: _Attended, gradient: Tensor) -> Tensor:
        mixed = _split(self._out.pull_back(gradient), self._heads)
        scores = kept.pull_back_scores(mixed)
        query = kept.scale * torch.bmm(scores, kept.key)
        key = kept.scale * torch.bmm(scores.transpose(1, 2), kept.query)
        value = torch.bmm(kept.weights.transpose(1, 2), mixed)
        return self._qkv.pull_back(_merge(torch.cat([query, key, value])))


class _CrossAttention:
    """Attention of `[H, width]` to keys and values `[heads, N, width / heads]`."""

    def __init__(self, attention: CrossAttention) -> None:
        self._heads = attention.heads
        self._query = _Linear(attention.query.weight, attention.query.bias)
        self._out = _Linear(attention.out.weight, attention.out.bias)

    def __call__(self, x: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, _Attended]:
        attended = _attend(_split(self._query(x), self._heads), key, value)
        return self._out(_merge(attended.mixed)), attended

    def pull_back(self, kept: _Attended, gradient: Tensor) -> Tensor:
        scores = kept.pull_back_scores(_split(self._out.pull_back(gradient), self._heads))
        return self._query.pull_back(_merge(kept.scale * torch.bmm(scores, kept.key)))


class _Attended(NamedTuple):
    """What an attention keeps, by head; `mixed` is its output."""

    query: Tensor
    key: Tensor
    value: Tensor
    weights: Tensor
    mixed: Tensor

    @property
    def scale(self) -> float:
        return 1.0 / math.sqrt(self.query.shape[-1])

    def pull_back_scores(self, mixed: Tensor) -> Tensor:
        weights = torch.bmm(mixed, self.value.transpose(1, 2))
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
        sigmoid, active = kept
        return self._up.pull_back(self._down.pull_back(gradient) * (active + sigmoid * (1.0 - active)))


class _BlockPassed(NamedTuple):
    """What a block keeps of its forward pass."""

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
        gates, normed = (gate1, gate2, gate3), (first, second, third)
        return x + gate3 * out, _BlockPassed(gates, normed, self_attended, cross_attended, perceptron)

    def pull_back(self, kept: _BlockPassed, gradient: Tensor) -> Tensor:
        gate1, gate2, gate3 = kept.gates
        first, second, third = kept.normed
        branch = self._perceptron.pull_back(kept.perceptron, gradient * gate3)
        gradient = gradient + third.pull_back(branch)
        branch = self._cross_attention.pull_back(kept.cross_attended, gradient * gate2)
        gradient = gradient + second.pull_back(branch)
        branch = self._self_attention.pull_back(kept.self_attended, gradient * gate1)
        return gradient + first.pull_back(branch)


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
        self._norm_out = (net.norm_out.weight, net.norm_out.bias)
        self._action_out = _Linear(net.action_out.weight, net.action_out.bias)

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

    def forward(
        self, x: Tensor, modulations: Sequence[Tensor], keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Passed]:
        """Velocity `[H, A]` at the noisy chunk `x` `[H, A]`, and what `pull_back` needs.

        Args:
            modulations: From `shared` or `single`.
            keys, values: `[depth, heads, tokens, width / heads]`, from `System1Net.condition`.
        """
        hidden = self._action_in(x)
        passed = []
        for index, block in enumerate(self._blocks):
            own = modulations[MODULATIONS * index : MODULATIONS * (index + 1)]
            hidden, kept = block(hidden, own, keys[index], values[index])
            passed.append(kept)
        normed, last = _modulate(hidden, *self._norm_out)
        return self._action_out(normed), Passed(tuple(passed), last)

    def pull_back(self, passed: Passed, gradient: Tensor) -> Tensor:
        """J^T applied to `[H, A]`, J the Jacobian of the velocity by the chunk: `[H, A]`."""
        hidden = passed.last.pull_back(self._action_out.pull_back(gradient))
        for block, kept in zip(reversed(self._blocks), reversed(passed.blocks), strict=True):
            hidden = block.pull_back(kept, hidden)
        return self._action_in.pull_back(hidden)


def _modulate(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, _Normed]:
    """Normalised `x` `[H, width]`, scaled and shifted."""
    plain, _, inverse_deviation = torch.native_layer_norm(x, x.shape[-1:], None, None, _EPSILON)
    normed = _Normed(plain, inverse_deviation, scale)
    if scale.ndim > 1:
        return plain * scale + shift, normed
    # With scale and shift inside the normalisation it is one operation, cheaper than two after it.
    return layer_norm(x, x.shape[-1:], scale, shift, _EPSILON), normed


def _attend(query: Tensor, key: Tensor, value: Tensor) -> _Attended:
    scores = torch.bmm(query, key.transpose(1, 2)) / math.sqrt(query.shape[-1])
    weights = torch.softmax(scores, dim=-1)
    return _Attended(query, key, value, weights, torch.bmm(weights, value))


def _split(x: Tensor, heads: int) -> Tensor:
    """`[H, h * d]` to `[h, H, d]`."""
    return x.reshape(x.shape[0], heads, -1).transpose(0, 1)


def _merge(x: Tensor) -> Tensor:
    """`[h, H, d]` to `[H, h * d]`."""
    return x.transpose(0, 1).reshape(x.shape[1], -1)
