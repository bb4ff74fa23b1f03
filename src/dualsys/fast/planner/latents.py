"""Which latents are accepted, and the last few of those."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualsys.bus.latent_codec import LatentReader
from dualsys.clock import NS_PER_S
from dualsys.errors import SpecError
from dualsys.fast.policies.policy import TOKENS
from dualsys.messages import LatentCodec, LatentPacket, Observation
from dualsys.specs import LatentSpec

SET_OFF_LATENTS = 3
"""So many latents that say there is something to do set the arm off for good, until new words come.

One alone may be mistaken. Later on the arm itself hides things, so that a latent which then says that nothing
is there is for System 1 to weigh.
"""

_REMEMBERED_OBSERVATIONS = 1024


@dataclass(frozen=True)
class Latent:
    """An accepted latent.

    Attributes:
        seq: Its number, given by System 2.
        t_capture_ns: When the images behind it were taken.
        instruction: What it was computed for.
        tokens: float32 `[tokens, width]`.
        act: Whether there is anything to do.
    """

    seq: int
    t_capture_ns: int
    instruction: str
    tokens: NDArray[np.float32]
    act: bool = True


class LatentHistory:
    """The newest latents of this session, episode and instruction.

    The other side is not trusted: a latent counts only if it answers an observation that was sent, with the
    stamp that it was sent with. Otherwise an old or invented latent could pass for a fresh one.

    Args:
        session: Latents of other sessions are dropped.
        spec: What a latent must look like.
        codec: The only one that is accepted: what both sides agreed on.
        count: How many System 1 reads, K.

    Raises:
        SpecError: The spec lacks what System 1 reads, or does not suit the codec; or the count is below 1.
    """

    def __init__(
        self, session: int, spec: LatentSpec, codec: LatentCodec = "float32", count: int = 2
    ) -> None:
        if count < 1:
            raise SpecError(f"latents: expected System 1 to read at least 1, got {count}")
        if TOKENS not in spec.tensors:
            names = ", ".join(spec.tensors) or "none"
            raise SpecError(f"latent: expected a tensor named {TOKENS!r}, the specification has {names}")
        self._session = session
        self._spec = spec
        self._codec: LatentCodec = codec
        self._reader = LatentReader(spec, codec)
        self._sent: dict[int, int] = {}
        self._newest_observation = -1
        self._count = count
        self._kept: deque[Latent] = deque(maxlen=max(count, 2))
        self._to_act = 0
        self.counts: Counter[str] = Counter()
        self.last_fault = ""

    @property
    def newest(self) -> Latent | None:
        """The newest accepted latent of this episode."""
        return self._kept[-1] if self._kept else None

    @property
    def resting(self) -> bool:
        """Whether the arm is to stay: the newest latent says that there is nothing to do, and the arm has not
        set off for this instruction.

        LCB (arXiv 2405.04798) has a token for acting; this is its counterpart.
        """
        newest = self.newest
        return newest is not None and not newest.act and self._to_act < SET_OFF_LATENTS

    @property
    def said(self) -> tuple[bool, ...]:
        """Whether there is anything to do, by each of the newest latents for one instruction, two at most."""
        return tuple(latent.act for latent in self._kept)[-2:]

    def clear(self) -> None:
        """Forget all latents, for a new episode. Answers to earlier observations will not be accepted."""
        self._kept.clear()
        self._to_act = 0
        self._sent.clear()

    def expect(self, observation: Observation) -> None:
        """Remember an observation that is about to be sent."""
        self._sent[observation.seq] = observation.t_capture_ns
        if len(self._sent) > _REMEMBERED_OBSERVATIONS:
            del self._sent[next(iter(self._sent))]

    def offer(self, packet: LatentPacket, episode: int, instruction: str) -> bool:
        """Accept a latent, or count why not. Returns whether it was accepted."""
        reason = self._objection(packet, episode, instruction)
        if reason is not None:
            self.counts[reason] += 1
            return False
        try:
            tokens = self._tokens(packet)
        except SpecError as error:
            self.last_fault = str(error)
            self.counts["latents_rejected"] += 1
            return False
        if self._kept and self._kept[-1].instruction != packet.instruction:
            # A latent for other words is not the past of this one.
            self._kept.clear()
            self._to_act = 0
        self._kept.append(Latent(packet.seq, packet.t_capture_ns, packet.instruction, tokens, packet.act))
        self._to_act += packet.act
        self._newest_observation = packet.observation_seq
        self.counts["latents_accepted"] += 1
        return True

    def read(self, t0_ns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What System 1 reads; where there are fewer, the oldest stands for those before it.

        Args:
            t0_ns: When the chunk starts.

        Returns:
            Tokens float32 `[K, tokens, width]`, newest first, and their ages float32 `[K]` in s.
        """
        newest_first = list(reversed(self._kept))[: self._count]
        newest_first += newest_first[-1:] * (self._count - len(newest_first))
        ages_ns = [t0_ns - latent.t_capture_ns for latent in newest_first]
        tokens = np.stack([latent.tokens for latent in newest_first])
        return tokens, np.array(ages_ns, np.float32) / np.float32(NS_PER_S)

    def _objection(self, packet: LatentPacket, episode: int, instruction: str) -> str | None:
        """Name of the counter of what makes a well-formed latent useless, or None."""
        if packet.session != self._session:
            return "latents_other_session"
        if packet.episode != episode:
            return "latents_other_episode"
        if packet.instruction != instruction:
            return "latents_other_instruction"
        if packet.observation_seq <= self._newest_observation:
            return "latents_not_newer"
        if self._sent.get(packet.observation_seq) != packet.t_capture_ns:
            return "latents_unknown_observation"
        return None

    def _tokens(self, packet: LatentPacket) -> NDArray[np.float32]:
        """What System 1 reads. Raises SpecError if the content does not fit the specification."""
        if packet.kind != self._spec.kind:
            raise SpecError(f"latent.kind: expected {self._spec.kind!r}, got {packet.kind!r}")
        if packet.codec != self._codec:
            raise SpecError(f"latent.codec: expected {self._codec!r}, got {packet.codec!r}")
        return self._reader.read(packet.tensors)[TOKENS].astype(np.float32)
