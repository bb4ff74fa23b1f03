"""System 1: a flow-matching transformer over action chunks.

It never sees the words. It reads the newest latents of System 2 with their ages, two wrist images (now and
a moment ago, so that it sees motion), and the robot state. Images, state and the newest latents become the
tokens of one context, encoded once per plan; latents that are older still, if it reads any, only tell how
things move. The denoiser then turns noise into a chunk of actions in a few Euler steps, attending to keys and
values that are computed once.

Conventions as in Kinetix: noise at flow time tau = 0, data at tau = 1, x = tau * a + (1 - tau) * eps,
v = a - eps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec
import torch
from torch import Tensor, nn

from dualsys.models.layers import (
    ConvBlock,
    CrossAttention,
    SelfAttention,
    feed_forward,
    fourier_features,
    images_to_float,
)
from dualsys.models.residual import ResidualNet
from dualsys.models.system2 import CENTRE_M, PLACE_UNIT_M, POINTERS

AIM_SCALES = (0.1, 0.3, 1.0)
"""In these units (dm, dm/s) the denoiser is told the aim: finely near the tool, coarsely far from it."""
AIM_SIZE = 9
"""What a plan is about: named object [3] and where it or the tool is to go [3], relative to the tool, the
velocity of the object [2], and whether it is there at all (1) or not (-1)."""

STATE_TOKENS = 2
"""Context tokens that stand for the state of the arm, first of all."""

FARTHEST_DM = 6.0
"""What is farther from the tool than this, or faster per second, is told as this far."""

SHORTEST_RATE_S = 0.05
"""Two latents that are closer in time are taken to be this far apart."""

TIME_FREQUENCIES = 16
AGE_FREQUENCIES = 8
MODULATIONS = 9
"""Shift, scale and gate of each of the three branches of a denoiser block."""


class System1Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of a `System1Net`.

    Attributes:
        horizon, actions: Shape of a chunk, H and A.
        proprioception: Length of the state vector.
        latent_tokens, latent_width: Shape of one latent.
        latents, frames: How many newest latents and wrist frames are read.
        shown: How many of the latents become tokens of the context.
        pointers: How many of a latent's tokens, its first, point at a place each, the first of them at the
            named object. Where these are and how fast they move is told in numbers besides, relative to the
            tool, whose place is the first three of the state. 0: nothing points.
        wrist_px: Wrist image size (square).
        width: Channels of every token.
        context_depth, depth: Transformer blocks of the context encoder and of the denoiser.
    """

    horizon: int = 16
    actions: int = 4
    proprioception: int = 9
    latent_tokens: int = 8
    latent_width: int = 128
    latents: int = 4
    shown: int = 2
    pointers: int = POINTERS
    frames: int = 2
    wrist_px: int = 64
    width: int = 128
    context_depth: int = 2
    depth: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.shown <= self.latents or self.latents < 2:
            raise ValueError(
                f"latents {self.latents}, shown {self.shown}: a rate takes two latents, and of those read at "
                "least one and no more than all become tokens"
            )
        if not 0 <= self.pointers <= self.latent_tokens:
            raise ValueError(
                f"pointers {self.pointers}: expected 0 to {self.latent_tokens}, the tokens of a latent"
            )
        if self.pointers and self.proprioception < 3:
            raise ValueError(
                f"pointers {self.pointers}, proprioception {self.proprioception}: the first three numbers of "
                "the state are the place of the tool, from which places are told"
            )

    @property
    def wrist_tokens(self) -> int:
        """Feature tokens of one wrist image."""
        return (self.wrist_px // 16) ** 2


def latent_rates(tokens: Tensor, latent_age_s: Tensor) -> Tensor:
    """How fast the newest latent came from each before it, per second, `[B, latents - 1, tokens, width]`.

    A place can be read from a latent by a linear map, so a velocity can from its rate; two latents side by
    side leave the subtraction and the division to be learned, which takes far longer than the places do.
    Places are read with an error that does not shrink with time, so a rate over a longer time is the truer
    one of what moves steadily. A latent that is shown twice has none.

    Args:
        tokens: `[B, latents, latent_tokens, width]`, newest first.
        latent_age_s: `[B, latents]`.
    """
    between_s = (latent_age_s[:, 1:] - latent_age_s[:, :1]).clamp(min=SHORTEST_RATE_S)
    return (tokens[:, :1] - tokens[:, 1:]) / between_s.unsqueeze(-1).unsqueeze(-1)


def track_encoder(config: System1Config) -> nn.Sequential:
    """From `System1Net.track` to what is added to the token of the aim; nothing, untrained."""
    places, rates = 3 * config.pointers * config.latents, 2 * (config.latents - 1)
    last = nn.Linear(config.width, config.width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(places + 2 * rates + config.latents, config.width),
        nn.SiLU(),
        nn.Linear(config.width, config.width),
        nn.SiLU(),
        last,
    )


class WristEncoder(nn.Module):
    """uint8 `[B, px, px, 3]` to features `[B, (px/16)^2, width]`; runs once per new frame."""

    def __init__(self, config: System1Config) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 4, stride=4),
            ConvBlock(32),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            ConvBlock(64),
            nn.Conv2d(64, config.width, 3, stride=2, padding=1),
            ConvBlock(config.width),
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.layers(images_to_float(image)).flatten(2).transpose(1, 2))


class ContextBlock(nn.Module):
    """Pre-norm self-attention block over the context tokens."""

    def __init__(self, config: System1Config) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.attention = SelfAttention(config.width, config.heads)
        self.mlp = feed_forward(config.width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class DenoiserBlock(nn.Module):
    """Attention over the chunk, then to the context, then a perceptron, modulated by flow time and state."""

    def __init__(self, config: System1Config) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.self_attention = SelfAttention(width, config.heads)
        self.cross_attention = CrossAttention(width, config.heads)
        self.mlp = feed_forward(width, 3)
        self.modulation = nn.Linear(width, MODULATIONS * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, modulation: Tensor, key: Tensor, value: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2, shift3, scale3, gate3 = modulation.chunk(
            MODULATIONS, dim=-1
        )
        x = x + gate1 * self.self_attention(self.norm(x) * (1 + scale1) + shift1)
        x = x + gate2 * self.cross_attention(self.norm(x) * (1 + scale2) + shift2, key, value)
        return x + gate3 * self.mlp(self.norm(x) * (1 + scale3) + shift3)


class System1Net(nn.Module):
    """Latents, wrist features and state to a velocity field over chunks; see the module docstring."""

    def __init__(self, config: System1Config) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.wrist = WristEncoder(config)
        self.latent_in = nn.Linear(config.latent_width, width)
        self.age_in = nn.Linear(2 * AGE_FREQUENCIES + 1, width)
        self.latent_slot = nn.Parameter(torch.randn(1, config.shown, config.latent_tokens, width) * 0.2)
        self.rate_in = nn.Linear(config.latent_width, width, bias=False)
        nn.init.zeros_(self.rate_in.weight)
        rates = (config.latents - 1) * config.latent_tokens * config.latent_width
        self.motion_in = nn.Linear(rates, width, bias=False)
        nn.init.zeros_(self.motion_in.weight)
        self.wrist_slot = nn.Parameter(torch.randn(1, config.frames, config.wrist_tokens, width) * 0.2)
        self.state_in = nn.Sequential(
            nn.Linear(config.proprioception, width), nn.SiLU(), nn.Linear(width, 2 * width)
        )
        self.context_blocks = nn.ModuleList(ContextBlock(config) for _ in range(config.context_depth))
        self.context_norm = nn.LayerNorm(width)
        if config.pointers:
            self.place_out = nn.Linear(config.latent_width, 3)
            self.track_in = track_encoder(config)
        self.aim_out = nn.Linear(width, AIM_SIZE)
        told = nn.Linear(width, width)
        nn.init.zeros_(told.weight)
        nn.init.zeros_(told.bias)
        self.aim_in = nn.Sequential(nn.Linear(AIM_SIZE * (1 + len(AIM_SCALES)), width), nn.SiLU(), told)
        self.action_in = nn.Linear(config.actions, width)
        self.action_slot = nn.Parameter(torch.randn(1, config.horizon, width) * 0.2)
        self.time_in = nn.Sequential(
            nn.Linear(2 * TIME_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.state_modulation = nn.Linear(width, width)
        blocks = nn.ModuleList(DenoiserBlock(config) for _ in range(config.depth))
        self.blocks = cast("Sequence[DenoiserBlock]", blocks)
        self.norm_out = nn.LayerNorm(width)
        self.action_out = nn.Linear(width, config.actions)
        nn.init.zeros_(self.action_out.weight)
        nn.init.zeros_(self.action_out.bias)
        self.state_mean: Tensor
        self.state_scale: Tensor
        self.register_buffer("state_mean", torch.zeros(config.proprioception))
        self.register_buffer("state_scale", torch.ones(config.proprioception))
        self.residual: ResidualNet | None = None
        """What corrects single actions; attached to a frozen network, see `train.residual`."""

    def encode(self, tokens: Tensor, latent_age_s: Tensor, wrist: Tensor, proprioception: Tensor) -> Tensor:
        """Context tokens `[B, N, width]`: everything that does not depend on the chunk.

        Args:
            tokens: `[B, latents, latent_tokens, latent_width]`, newest first.
            latent_age_s: `[B, latents]`.
            wrist: `[B, frames, wrist_tokens, width]` features, newest first.
            proprioception: `[B, P]`.
        """
        batch, width = tokens.shape[0], self.config.width
        age = torch.cat(
            [latent_age_s.unsqueeze(-1), fourier_features(latent_age_s, AGE_FREQUENCIES, 8.0)], dim=-1
        )
        shown = self.config.shown
        latents = self.latent_in(tokens[:, :shown]) + self.age_in(age[:, :shown]).unsqueeze(2)
        latents = latents + self.latent_slot
        rates = latent_rates(tokens, latent_age_s)
        latents = torch.cat([latents[:, :1] + self.rate_in(rates[:, :1]), latents[:, 1:]], dim=1)
        state = self.state_in((proprioception - self.state_mean) / self.state_scale)
        arm, aim = state.split(width, dim=-1)
        # Straight to where the aim is read: attention alone took thousands of steps to carry a velocity.
        aim = aim + self.motion_in(rates.flatten(1))
        x = torch.cat(
            [
                arm.unsqueeze(1),
                aim.unsqueeze(1),
                latents.reshape(batch, -1, width),
                (wrist + self.wrist_slot).reshape(batch, -1, width),
            ],
            dim=1,
        )
        for block in self.context_blocks:
            x = block(x)
        normed: Tensor = self.context_norm(x)
        if not self.config.pointers:
            return normed
        track = self.track_in(self.track(tokens, latent_age_s, proprioception[:, :3]))
        return torch.cat([normed[:, :1], (normed[:, 1] + track).unsqueeze(1), normed[:, 2:]], dim=1)

    def track(self, tokens: Tensor, latent_age_s: Tensor, tool_m: Tensor) -> Tensor:
        """Where the pointers of each latent point, and how the named object moves.

        In numbers: velocities that were made out of what attention mixes came out wrong by centimetres where
        each place by itself was right to millimetres.

        Args:
            tokens, latent_age_s: As for `encode`.
            tool_m: `[B, 3]`, base frame.

        Returns:
            `[B, track]`, dm and dm/s relative to the tool: places; where the velocity since each earlier
            latent takes the object by now; these velocities; and the ages in s.
        """
        centre = tool_m.new_tensor(CENTRE_M)
        places = 10.0 * PLACE_UNIT_M * self.place_out(tokens[:, :, : self.config.pointers])
        places = places - 10.0 * (tool_m - centre).unsqueeze(1).unsqueeze(1)
        between_s = (latent_age_s[:, 1:] - latent_age_s[:, :1]).clamp(min=SHORTEST_RATE_S)
        seen = places[:, :, 0, :2]
        rates = ((seen[:, :1] - seen[:, 1:]) / between_s.unsqueeze(-1)).clamp(-FARTHEST_DM, FARTHEST_DM)
        by_now = seen[:, :1] + rates * latent_age_s[:, :1].unsqueeze(-1)
        far = torch.cat([places.flatten(1), by_now.flatten(1)], dim=1).clamp(-FARTHEST_DM, FARTHEST_DM)
        return torch.cat([far, rates.flatten(1), latent_age_s], dim=1)

    def condition(self, encoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the denoiser needs of the context tokens, once for all its steps.

        Returns:
            Keys and values `[B, depth, heads, tokens, width / heads]`, and the state vector `[B, width]`.
        """
        encoded = self._with_aim(encoded)
        pairs = [block.cross_attention.keys_values(encoded) for block in self.blocks]
        keys = torch.stack([key for key, _ in pairs], dim=1)
        values = torch.stack([value for _, value in pairs], dim=1)
        return keys, values, self.state_modulation(encoded[:, 0])

    def context(
        self, tokens: Tensor, latent_age_s: Tensor, wrist: Tensor, proprioception: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`condition` of `encode`."""
        return self.condition(self.encode(tokens, latent_age_s, wrist, proprioception))

    def aim(self, encoded: Tensor) -> Tensor:
        """What the context says the plan is about, `[B, AIM_SIZE]`, dm and dm/s.

        Flow matching alone teaches the wrist camera slowly: its target is mostly noise.
        """
        aimed: Tensor = self.aim_out(encoded[:, 1])
        return aimed

    def _with_aim(self, encoded: Tensor) -> Tensor:
        """The two state tokens know where the aim is: from there to what to do is a short way.

        No gradient goes back through it, so that it stays an estimate of the truth.
        """
        state = encoded[:, :2] + self.aim_in(self._told(encoded)).unsqueeze(1)
        return torch.cat([state, encoded[:, 2:]], dim=1)

    def _told(self, encoded: Tensor) -> Tensor:
        """The aim as others are told it, in several units."""
        aim = self.aim(encoded).detach()
        return torch.cat([aim, *(torch.tanh(aim / scale) for scale in AIM_SCALES)], dim=-1)

    @property
    def summary_size(self) -> int:
        """Length of `summary`, F."""
        return STATE_TOKENS * self.config.width + AIM_SIZE * (1 + len(AIM_SCALES))

    def summary(self, encoded: Tensor) -> Tensor:
        """What a residual head is told of the present, `[B, F]`: the tokens of the state, and the aim."""
        return torch.cat([encoded[:, :STATE_TOKENS].flatten(1), self._told(encoded)], dim=-1)

    def correction(self, action: Tensor, phase: Tensor, encoded: Tensor) -> Tensor:
        """What to add to planned actions `[B, A]` at phases `[B, 2]`, given the context tokens of now."""
        if self.residual is None:
            raise ValueError("this System 1 has no residual head")
        corrected: Tensor = self.residual(action, phase, self.summary(encoded))
        return corrected

    def modulations(self, tau: Tensor, state: Tensor) -> list[Tensor]:
        """Modulation of every denoiser block; independent of the chunk.

        Args:
            tau: Flow times `[B, 1]`, or `[B, H]` where every action of the chunk has its own.
            state: `[B, width]`, from `condition`.
        """
        times = self.time_in(fourier_features(tau, TIME_FREQUENCIES, 64.0))
        condition = nn.functional.silu(times + state.unsqueeze(1))
        return [block.modulation(condition) for block in self.blocks]

    def field(self, x: Tensor, modulations: list[Tensor], keys: Tensor, values: Tensor) -> Tensor:
        """Velocity `[B, H, A]` at the noisy chunk `x`, given what `modulations` and `context` returned."""
        hidden = self.action_in(x) + self.action_slot
        for index, block in enumerate(self.blocks):
            hidden = block(hidden, modulations[index], keys[:, index], values[:, index])
        return self.action_out(self.norm_out(hidden))

    def velocity(self, x: Tensor, tau: Tensor, context: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Velocity field v(x, tau | context) for `x` `[B, H, A]` and `tau` `[B, 1]` or `[B, H]`."""
        keys, values, state = context
        return self.field(x, self.modulations(tau, state), keys, values)
