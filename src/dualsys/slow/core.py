"""The pure core of System 2: observation in, latent packet out. No socket, no clock, no thread.

Nothing that comes from outside is believed: session and order, images or features, proprioception, words, and
what the model itself produced are checked in that order. What fails is refused with an error and counted by
kind; a latent is never made from half an observation, nor for an instruction that was not understood.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dualsys.bus.latent_codec import encode_latent, wire_specs
from dualsys.errors import DualsysError, MessageError, PolicyError, SpecError
from dualsys.messages import LatentCodec, LatentPacket, Observation, Tensor, UplinkMode, clip_text
from dualsys.slow.backend import LanguageModel, System2, System2Input, System2Output
from dualsys.slow.sight import sight_of

Kind = Literal["session", "order", "images", "features", "proprioception", "instruction", "model"]
"""What an observation can fail on, in the order of the checks."""

_LOG = logging.getLogger(__name__)
_REMEMBERED_SESSIONS = 64


@dataclass(frozen=True)
class SlowStatistics:
    """Totals of one core.

    Attributes:
        processed: Observations that became a latent.
        rejected: Observations that did not, by kind; kinds without any are absent.
        last_fault: Why the last of them was rejected; empty while there is none.
        session: The edge run that is being served, -1 before the first.
    """

    processed: int
    rejected: Mapping[str, int]
    last_fault: str
    session: int


class SlowCore:
    """Turns observations of one robot into latent packets.

    Args:
        system2: The model, or its language half: that decides what observations have to carry.
        codec: How its latents travel.
        feature_codec: How features travel to it, if it is the language half.

    Raises:
        SpecError: A codec does not suit the specification of the latent or of the features.
    """

    def __init__(
        self,
        system2: System2 | LanguageModel,
        codec: LatentCodec = "float32",
        feature_codec: LatentCodec = "float16",
    ) -> None:
        wire_specs(system2.specs.latent, codec)
        self._system2 = system2
        self._sight = sight_of(system2, feature_codec)
        # It takes what its sight makes.
        self._encode: Callable[[Any, NDArray[np.float32], str], System2Output] = system2.encode
        self._codec: LatentCodec = codec
        self._session = -1
        self._last_seq = -1
        self._ended: deque[int] = deque(maxlen=_REMEMBERED_SESSIONS)
        self._processed = 0
        self._rejected: Counter[str] = Counter()
        self._last_fault = ""

    @property
    def uplink(self) -> UplinkMode:
        """What observations have to carry."""
        return self._sight.uplink

    def process(self, observation: Observation, compute_ns: int = 0) -> LatentPacket:
        """Compute the latent of one observation. All stamps and numbers of the observation are echoed.

        Args:
            observation: What the edge sent.
            compute_ns: What to state as the duration of the forward pass. A shell that measures it replaces
                it.

        Raises:
            MessageError: An older session or observation, or an image that is not what it states.
            SpecError: Cameras, sizes, features or proprioception are not those of the specs.
            InstructionError: The instruction cannot be understood.
            PolicyError: The model failed, or produced something that cannot be used.
        """
        given = self.take_in(observation)
        try:
            output = self._encode(given.images, given.proprioception, given.instruction)
        except DualsysError as error:
            self.blame_model(error)
            raise
        return self.give_out(observation, output, compute_ns)

    def take_in(self, observation: Observation) -> System2Input:
        """The first half of `process`: check an observation, and make of it what the model is given.

        Raises:
            MessageError, SpecError, InstructionError: As in `process`.
        """
        with self._counting("session"):
            self._follow_session(observation.session)
        with self._counting("order"):
            self._require_newer(observation.seq)
        with self._counting(self._sight.uplink):
            seen = self._sight.look(observation)
        with self._counting("proprioception"):
            proprioception = self._proprioception(observation)
        with self._counting("instruction"):
            self._system2.check_instruction(observation.instruction)
        return System2Input(seen, proprioception, observation.instruction)

    def blame_model(self, error: DualsysError) -> None:
        """Count a failure of the model, which ran for this observation and maybe for others."""
        self._count("model", error)

    def give_out(self, observation: Observation, output: System2Output, compute_ns: int = 0) -> LatentPacket:
        """The second half of `process`: check what the model made of an observation, and pack it.

        Raises:
            PolicyError: It cannot be used.
        """
        with self._counting("model"):
            tensors = self._checked(output)
        self._processed += 1
        return LatentPacket(
            session=observation.session,
            episode=observation.episode,
            seq=self._processed - 1,
            observation_seq=observation.seq,
            t_capture_ns=observation.t_capture_ns,
            instruction=observation.instruction,
            compute_ns=compute_ns,
            weights=self._system2.weights,
            kind=self._system2.specs.latent.kind,
            tensors=tensors,
            codec=self._codec,
            text=clip_text(output.text),
            act=output.act,
        )

    def statistics(self) -> SlowStatistics:
        """Return totals since it was made."""
        return SlowStatistics(self._processed, dict(self._rejected), self._last_fault, self._session)

    @contextmanager
    def _counting(self, kind: Kind) -> Iterator[None]:
        try:
            yield
        except DualsysError as error:
            self._count(kind, error)
            raise

    def _count(self, kind: Kind, error: DualsysError) -> None:
        self._rejected[kind] += 1
        self._last_fault = f"{kind}: {error}"
        if self._rejected[kind] == 1:
            _LOG.warning("observation rejected, %s; more of this kind are only counted", self._last_fault)

    def _follow_session(self, session: int) -> None:
        """Follow the newest session. Session numbers are random, so the ended ones are remembered."""
        if session == self._session:
            return
        if session in self._ended:
            raise MessageError(f"observation of session {session}, which ended when {self._session} began")
        if self._session >= 0:
            self._ended.append(self._session)
        self._session, self._last_seq = session, -1

    def _require_newer(self, seq: int) -> None:
        if seq <= self._last_seq:
            raise MessageError(f"observation {seq} came again, or after {self._last_seq}")
        self._last_seq = seq

    def _proprioception(self, observation: Observation) -> NDArray[np.float32]:
        spec = self._system2.specs.observation.proprioception
        return spec.validate(observation.proprioception.array(), "proprioception").astype(
            np.float32, copy=False
        )

    def _checked(self, output: System2Output) -> dict[str, Tensor]:
        specs = self._system2.specs.latent.tensors
        if output.tensors.keys() != specs.keys():
            expected, got = ", ".join(sorted(specs)), ", ".join(sorted(output.tensors)) or "none"
            raise PolicyError(f"latent: System 2 should make the tensors {expected}, it made {got}")
        try:
            for name, spec in specs.items():
                spec.validate(output.tensors[name], f"latent.{name}")
            return encode_latent({name: output.tensors[name] for name in specs}, self._codec)
        except (SpecError, MessageError) as error:
            raise PolicyError(f"System 2 made something that cannot be used: {error}") from error
