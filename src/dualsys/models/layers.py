"""Building blocks shared by both networks.

Attention is written out as matrix products and a softmax: the tensors are tiny, and plain operations trace
through `make_fx` and export to ONNX without a special case.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`[B, N, D]` to `[B, heads, N, D / heads]`."""
    batch, count, width = x.shape
    return x.reshape(batch, count, heads, width // heads).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention. Query `[B, h, N, d]`, key and value `[B, h, M, d]`; returns `[B, N, h * d]`."""
    scores = torch.matmul(query * (1.0 / math.sqrt(query.shape[-1])), key.transpose(-2, -1))
    mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
    batch, heads, count, depth = mixed.shape
    return mixed.transpose(1, 2).reshape(batch, count, heads * depth)


class SelfAttention(nn.Module):
    """Self-attention over `[B, N, width]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        mixed = attend(
            split_heads(query, self.heads), split_heads(key, self.heads), split_heads(value, self.heads)
        )
        return self.out(mixed)


class CrossAttention(nn.Module):
    """Attention from `[B, N, width]` to keys and values that are computed once by `keys_values`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Project the context `[B, M, width]` to keys and values `[B, heads, M, width / heads]`."""
        key, value = self.key_value(context).chunk(2, dim=-1)
        return split_heads(key, self.heads), split_heads(value, self.heads)

    def forward(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return self.out(attend(split_heads(self.query(x), self.heads), key, value))

    def first_head(self, x: Tensor, key: Tensor) -> Tensor:
        """Attention scores of the first head `[B, N, M]`, before the softmax: where it looks."""
        query = split_heads(self.query(x), self.heads)[:, 0]
        return torch.matmul(query * (1.0 / math.sqrt(query.shape[-1])), key[:, 0].transpose(-2, -1))


def feed_forward(width: int, ratio: int) -> nn.Sequential:
    """Two-layer perceptron with SiLU (cheaper than GELU to run and to differentiate)."""
    return nn.Sequential(nn.Linear(width, ratio * width), nn.SiLU(), nn.Linear(ratio * width, width))


class ConvBlock(nn.Module):
    """Pre-activation residual block of two 3x3 convolutions, group-normalised."""

    def __init__(self, channels: int, groups: int = 8) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, channels), nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(torch.nn.functional.silu(self.norm1(x)))
        return x + self.conv2(torch.nn.functional.silu(self.norm2(hidden)))


def images_to_float(image: Tensor) -> Tensor:
    """uint8 `[B, h, w, 3]` to `[B, 3, h, w]` in [-1, 1], in torch's default type."""
    return image.permute(0, 3, 1, 2).to(torch.get_default_dtype()) * (2.0 / 255.0) - 1.0


def fourier_features(x: Tensor, count: int, max_frequency: float) -> Tensor:
    """Sines and cosines of `[..., ]` at `count` frequencies from 1 to `max_frequency`: `[..., 2 * count]`."""
    steps = torch.linspace(0.0, math.log(max_frequency), count, dtype=torch.float32, device=x.device)
    angles = x.unsqueeze(-1) * torch.exp(steps) * math.pi
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
