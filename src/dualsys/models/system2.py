"""System 2: a small vision-language model.

One image becomes tokens; the words of the instruction and a few learned queries go through one transformer
that attends to them; the queries that come out are the latent. Auxiliary heads read from the latent where the
named object and the goal are, whether the object is there at all, and what is to be done, so that the latent
is about the scene and not an echo of the text (a latent that only re-encodes the instruction is the known
failure of dual systems: OpenHelix, arXiv 2505.03912).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import msgspec
import torch
from torch import Tensor, nn

from dualsys.models.layers import ConvBlock, CrossAttention, SelfAttention, feed_forward, images_to_float

CENTRE_M = (0.5, 0.0, 0.05)
"""Positions are read relative to here, the middle of the table, base frame."""

PLACE_UNIT_M = 0.2
"""In this unit the linear head of the pointers tells places."""

POINTERS = 2
"""Queries whose first attention head is taught to look at the named object and at its goal."""


class System2Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of a `System2Net`.

    Attributes:
        vocabulary: Number of words, padding (index 0) included.
        max_words: Longest instruction.
        height_px, width_px: Image size; multiples of 8.
        width: Channels of every token.
        queries: Latent tokens.
        depth: Transformer blocks.
        tasks, directions, colours, shapes: Classes of the auxiliary heads.
    """

    vocabulary: int
    max_words: int
    tasks: int
    directions: int
    colours: int
    shapes: int
    height_px: int = 96
    width_px: int = 128
    width: int = 128
    queries: int = 8
    depth: int = 3
    heads: int = 4


class Reading(NamedTuple):
    """What the auxiliary heads read from the latent of B instructions.

    Attributes:
        position: `[B, 3]` named object, m, base frame.
        goal: `[B, 3]` where it is to go (the bowl), m, base frame.
        presence: `[B]` logit: is the named object in view?
        task, direction, colour, shape: Logits.
    """

    position: Tensor
    goal: Tensor
    presence: Tensor
    task: Tensor
    direction: Tensor
    colour: Tensor
    shape: Tensor


class VisionTower(nn.Module):
    """uint8 `[B, h, w, 3]` to tokens `[B, h/8 * w/8, width]`."""

    def __init__(self, config: System2Config, channels: int = 48) -> None:
        super().__init__()
        self.patchify = nn.Conv2d(3, channels, 4, stride=4)
        self.fine = ConvBlock(channels)
        self.downsample = nn.Conv2d(channels, config.width, 3, stride=2, padding=1)
        self.coarse = nn.Sequential(ConvBlock(config.width), ConvBlock(config.width))
        places = (config.height_px // 8) * (config.width_px // 8)
        self.place = nn.Parameter(torch.randn(1, places, config.width) * 0.2)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, image: Tensor) -> Tensor:
        features = self.coarse(self.downsample(self.fine(self.patchify(images_to_float(image)))))
        return self.norm(features.flatten(2).transpose(1, 2) + self.place)


class Block(nn.Module):
    """Words and queries attend to each other, then to the image, then think."""

    def __init__(self, config: System2Config) -> None:
        super().__init__()
        width = config.width
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = SelfAttention(width, config.heads)
        self.cross_attention = CrossAttention(width, config.heads)
        self.mlp = feed_forward(width, 3)

    def forward(self, x: Tensor, key: Tensor, value: Tensor, looks: list[Tensor] | None = None) -> Tensor:
        x = x + self.self_attention(self.norm1(x))
        asking = self.norm2(x)
        images, batch, width = key.shape[0], x.shape[0], x.shape[-1]
        if looks is not None:
            pointers = asking[:, :POINTERS].reshape(images, -1, width)
            looks.append(self.cross_attention.first_head(pointers, key).reshape(batch, POINTERS, -1))
        # All instructions about one image ask it together: its keys are not copied for each of them.
        answer = self.cross_attention(asking.reshape(images, -1, width), key, value)
        x = x + answer.reshape(x.shape)
        return x + self.mlp(self.norm3(x))


class System2Net(nn.Module):
    """Image and words to latent tokens; see the module docstring."""

    def __init__(self, config: System2Config) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.vision = VisionTower(config)
        self.nowhere = nn.Parameter(torch.randn(1, 1, width) * 0.5)
        self.words = nn.Embedding(config.vocabulary, width, padding_idx=0)
        self.order = nn.Parameter(torch.randn(1, config.max_words, width) * 0.2)
        self.queries = nn.Parameter(torch.randn(1, config.queries, width) * 0.5)
        self.blocks = cast("Sequence[Block]", nn.ModuleList(Block(config) for _ in range(config.depth)))
        self.gist = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.point = nn.Linear(width, 3)
        self.kind = nn.Linear(width, config.colours + config.shapes)
        outputs = 3 + 3 + 1 + config.tasks + config.directions + config.colours + config.shapes
        self.read = nn.Sequential(
            nn.Linear(config.queries * width, 256),
            nn.SiLU(),
            nn.Linear(256, 128),
            nn.SiLU(),
            nn.Linear(128, outputs),
        )

    def see(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the image tokens for every block: once per image, for all instructions."""
        return self.index(self.vision(image))

    def index(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of image tokens `[N, tokens, width]` and of one more, `nowhere`, for every block.

        Attention must go somewhere: without that token a query for what is not in the image would get a
        mixture of what is.
        """
        tokens = torch.cat([tokens, self.nowhere.expand(tokens.shape[0], -1, -1)], dim=1)
        return [block.cross_attention.keys_values(tokens) for block in self.blocks]

    def kinds(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Colour and shape, as logits, that image tokens `[B, width]` show. For training.

        Which block is meant is mostly told by its colour alone: what the words say seldom teaches shapes.
        """
        colour, shape = self.kind(tokens).split([self.config.colours, self.config.shapes], dim=-1)
        return colour, shape

    def think(
        self, seen: list[tuple[Tensor, Tensor]], words: Tensor, looks: list[Tensor] | None = None
    ) -> Tensor:
        """Latent tokens of B instructions about N images.

        Args:
            seen: From `see`.
            words: Word indices `[B, max_words]`, 0 is padding; B is a multiple of N, and the first B / N
                instructions are about the first image.
            looks: Filled with where the first head of the first `POINTERS` queries looks in each block:
                scores `[B, POINTERS, image tokens]`. For training, which tells them where to look.

        Returns:
            `[B, queries, width]`.
        """
        batch = words.shape[0]
        text = self.words(words) + self.order
        gist = self.gist(self.words(words).sum(dim=1, keepdim=True))
        x = torch.cat([self.queries.expand(batch, -1, -1) + gist, text], dim=1)
        for block, (key, value) in zip(self.blocks, seen, strict=True):
            x = block(x, key, value, looks)
        return self.norm(x[:, : self.config.queries])

    def pointed(self, latent: Tensor) -> Tensor:
        """Where the first `POINTERS` latent tokens point, `[B, POINTERS, 3]`, m, base frame. For training.

        One linear map per token: what is so easily read is easily read by System 1 too.
        """
        places: Tensor = self.point(latent[:, :POINTERS])
        return places.new_tensor(CENTRE_M) + PLACE_UNIT_M * places

    def reading(self, latent: Tensor) -> Reading:
        """What the auxiliary heads read from latent tokens `[B, queries, width]`."""
        config = self.config
        sizes = [3, 3, 1, config.tasks, config.directions, config.colours, config.shapes]
        position, goal, presence, task, direction, colour, shape = self.read(latent.flatten(1)).split(
            sizes, dim=-1
        )
        centre = position.new_tensor(CENTRE_M)
        return Reading(
            centre + 0.2 * position, centre + 0.2 * goal, presence.squeeze(-1), task, direction, colour, shape
        )

    def forward(self, image: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The exported graph: tokens, position of the named object, probability of its presence, goal."""
        return self.answer(self.see(image), words)

    def answer(
        self, seen: list[tuple[Tensor, Tensor]], words: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `forward` returns, from what was seen; arguments as for `think`."""
        latent = self.think(seen, words)
        reading = self.reading(latent)
        # Not `sigmoid`: the runtime's has an absolute error that is much of a small probability.
        presence = 1.0 / (1.0 + torch.exp(-reading.presence))
        return latent, reading.position, presence, reading.goal
