"""Feeds the recorded inputs of the planner to a new planner core, and compares the plans, bit for bit.

What System 1 computed is taken from the recording; images and latents are blank ones of the same shape, which
nothing but System 1 looks into. The track, the strategy and the kinematics are computed again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.errors import DualsysError, PolicyError, RecordingError
from dualsys.fast.chunking.strategy import ChunkStrategy, make_strategy
from dualsys.fast.planner.arm import Kinematics
from dualsys.fast.planner.core import PlannerCore
from dualsys.fast.planner.records import PlanJob, PlannerSettings
from dualsys.fast.planner.sight import Features, Images
from dualsys.fast.policies.policy import CAPABILITIES, Capability
from dualsys.messages import LatentPacket, Plan, Tensor
from dualsys.recorder.geometries import KINEMATICS
from dualsys.recorder.planner import header
from dualsys.recorder.records import (
    SCHEMA_VERSION,
    PlanHeader,
    PlannerBegin,
    PlannerCall,
    PlannerChunk,
    PlannerFrame,
    PlannerJob,
    PlannerLatent,
    PlannerObservation,
    PlannerRepeat,
    PlannerState,
    Record,
)
from dualsys.recorder.verdict import Difference
from dualsys.specs import DTYPES, ActionSpec, SystemSpecs, TensorSpec

_TENSOR = re.compile(r"(\w+)\[([\d, ]*)\]")


class RecordedPolicy:
    """What a planner core asks of a policy before anything is computed; the chunks are in the recording."""

    def __init__(self, begin: PlannerBegin) -> None:
        self.action: ActionSpec = begin.action
        self.specs: SystemSpecs = begin.specs
        self.wrist: TensorSpec = begin.wrist
        self.latents = begin.latents
        self.weights, self.weak_weights = begin.weights, begin.weak_weights
        self.capabilities: frozenset[Capability] = frozenset(
            one for one in CAPABILITIES if one in begin.capabilities
        )
        self.steps = 1
        self.repeat: PlannerRepeat | None = None

    def encode_wrist(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """No features: only a residual head looks at them, and what it said is recorded."""
        del image
        return np.zeros((0, 0), dtype=np.float32)

    def residual(self, *seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the residual head said."""
        del seen
        if self.repeat is None or self.repeat.failed:
            raise PolicyError("no correction was recorded" if self.repeat is None else self.repeat.failed)
        residual: Any = self.repeat.residual.array()
        return residual  # type: ignore[no-any-return]

    def condition(
        self,
        tokens: NDArray[np.float32],
        latent_age_s: NDArray[np.float32],
        wrist: NDArray[np.float32],
        proprioception: NDArray[np.float32],
    ) -> Any:
        """Never called: nothing is computed."""
        raise NotImplementedError

    def sample(self, noise: NDArray[np.float32], condition: Any) -> NDArray[np.float32]:
        """Never called: nothing is computed."""
        raise NotImplementedError

    def sample_weak(self, noise: NDArray[np.float32], condition: Any) -> NDArray[np.float32]:
        """Never called: nothing is computed."""
        raise NotImplementedError


class PlannerReplay:
    """Replays the planner's records of one recording, in their order.

    Args:
        kinematics: Geometries by the name that they are recorded under, see `recorder.geometries`.
    """

    def __init__(self, kinematics: Mapping[str, Kinematics] = KINEMATICS) -> None:
        self._kinematics = kinematics
        self._core: PlannerCore | None = None
        self._policy: RecordedPolicy | None = None
        self._job: PlanJob | None = None
        self._features = False
        self._compared = {"jobs": 0, "plans": 0, "chunks": 0, "inputs": 0}

    def compared(self) -> dict[str, int]:
        """How many decisions of each kind were compared."""
        return dict(self._compared)

    def take(self, record: Record) -> Difference | None:
        """Replay one record; records of others are passed over.

        Returns:
            The first field that comes out differently, or None.

        Raises:
            RecordingError: It cannot be replayed: there is no beginning, or it is of another version.
        """
        if isinstance(record, PlannerBegin):
            self._core, self._job = self._core_of(record), None
            return None
        if not isinstance(record, _INPUTS):
            return None
        if self._core is None:
            raise RecordingError(
                "planner: the record of its beginning is missing, so nothing can be replayed"
            )
        if isinstance(record, PlannerJob):
            return self._begin(self._core, record)
        if isinstance(record, PlannerChunk):
            return self._finish(self._core, record)
        if isinstance(record, PlannerRepeat):
            plan = self._repeat(self._core, record)
            return _plan_difference("a plan between two jobs", record.t_ns, record.plan, header(plan))
        self._compared["inputs"] += 1
        recorded, replayed = self._input(self._core, record)
        if recorded == replayed:
            return None
        where = f"{type(record).__name__} at the planner"
        return Difference(where, record.t_ns, "outcome", str(recorded), str(replayed))

    def _input(self, core: PlannerCore, record: Record) -> tuple[object, object]:
        """Recorded and replayed outcome of an input."""
        if isinstance(record, PlannerState):
            return record.accepted, core.on_state(record.state)
        if isinstance(record, PlannerFrame):
            return record.accepted, core.on_frame(record.camera, _image(record.shape), record.t_ns)
        if isinstance(record, PlannerObservation):
            made = core.observation(record.t_ns, self._blank(record.shapes))
            return record.seq, -1 if made is None else made.seq
        if isinstance(record, PlannerLatent):
            # A refused latent leaves no trace, and what was wrong with its numbers is not recorded.
            return True, bool(record.refusal) or core.on_latent(_packet(record))
        if isinstance(record, PlannerCall):
            return record.refusal, _call(core, record)
        raise TypeError(f"not an input of the planner: {type(record).__name__}")

    def _blank(self, shapes: Mapping[str, list[int]]) -> Images | Features:
        """What the planner was shown, without content."""
        if self._features:
            return {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
        return {name: _image(shape) for name, shape in shapes.items()}

    def _repeat(self, core: PlannerCore, record: PlannerRepeat) -> Plan | None:
        if self._policy is not None:
            self._policy.repeat = record
        plan = core.repeat(record.t_ns)
        if self._policy is not None:
            self._policy.repeat = None
        self._compared["plans"] += plan is not None
        return plan

    def _begin(self, core: PlannerCore, record: PlannerJob) -> Difference | None:
        self._compared["jobs"] += 1
        job = core.begin(record.t_ns)
        self._job = job or self._job
        replayed = (-1, -1, -1, -1, -1)
        if job is not None:
            overlap = job.overlap
            seen_ns, latent = job.t_observation_ns, job.latent.seq
            replayed = (job.number, latent, seen_ns, overlap.valid, overlap.delay_steps)
        names = ("number", "latent_seq", "t_observation_ns", "overlap_steps", "delay_steps")
        for name, value in zip(names, replayed, strict=True):
            if getattr(record, name) != value:
                where = f"plan job {record.number} of episode {record.episode}"
                return Difference(where, record.t_ns, name, str(getattr(record, name)), str(value))
        return None

    def _finish(self, core: PlannerCore, record: PlannerChunk) -> Difference | None:
        self._compared["chunks"] += 1
        where = f"the chunk of job {record.number} of episode {record.episode}"
        job = self._job
        if job is None or (job.number, job.episode) != (record.number, record.episode):
            begun = "none" if job is None else f"job {job.number} of episode {job.episode}"
            return Difference(where, record.t_ns, "job", f"job {record.number}", begun)
        if record.failed:
            core.abandon(job, record.failed)
            return None
        chunk: Any = record.chunk.array()
        plan = core.finish(job, chunk, record.t_ns)
        self._compared["plans"] += plan is not None
        return _plan_difference(where, record.t_ns, record.plan, header(plan))

    def _core_of(self, begin: PlannerBegin) -> PlannerCore:
        if begin.schema != SCHEMA_VERSION:
            raise RecordingError(
                f"planner: records of version {begin.schema}, this dualsys replays version {SCHEMA_VERSION}"
            )
        if begin.kinematics not in self._kinematics:
            known = ", ".join(self._kinematics)
            raise RecordingError(f"planner: kinematics {begin.kinematics!r} is not one of {known}")
        try:
            self._policy = RecordedPolicy(begin)
            # Before there was a switch, a head was always listened to.
            told = {"residual": "residual" in begin.capabilities} | begin.settings
            settings = msgspec.convert(told, PlannerSettings)
            self._features = settings.uplink == "features"
            strategy = make_strategy(begin.strategy, **begin.options)
            _require_weak(begin, strategy)
            return PlannerCore(
                self._policy,
                strategy,
                self._kinematics[begin.kinematics],
                begin.session,
                begin.seed,
                settings,
            )
        except (DualsysError, ValueError) as error:
            raise RecordingError(f"planner: its beginning cannot be replayed: {error}") from error


_INPUTS = (
    PlannerCall,
    PlannerState,
    PlannerFrame,
    PlannerObservation,
    PlannerLatent,
    PlannerJob,
    PlannerChunk,
    PlannerRepeat,
)


def _require_weak(begin: PlannerBegin, strategy: ChunkStrategy) -> None:
    """Raise RecordingError unless a weak policy is named just where the strategy draws from one."""
    wanted = "weak" in strategy.needs
    if wanted != bool(begin.weak_weights):
        expected = "a hash" if wanted else "none"
        raise RecordingError(
            f"weak_weights: got {begin.weak_weights!r}, expected {expected} with strategy {begin.strategy} "
            f"and options {begin.options}; replay the file as it was written"
        )


def _call(core: PlannerCore, record: PlannerCall) -> str:
    """Tell the core what it was told; returns why it refused."""
    try:
        if record.name == "start_episode":
            epoch = None if record.epoch < 0 else record.epoch
            core.start_episode(record.episode, record.instruction, epoch)
        elif record.name == "end_episode":
            core.end_episode()
        elif record.name == "instruct":
            core.instruct(record.instruction)
        else:
            core.adopt_epoch(record.epoch)
    except DualsysError as error:
        return str(error)
    return ""


def _plan_difference(where: str, t_ns: int, recorded: PlanHeader, replayed: PlanHeader) -> Difference | None:
    for name in PlanHeader.__struct_fields__:
        before, after = getattr(recorded, name), getattr(replayed, name)
        if before != after:
            return Difference(where, t_ns, f"plan {name}", str(before), str(after))
    return None


def _image(shape: list[int]) -> NDArray[np.uint8]:
    return np.zeros(shape, dtype=np.uint8)


def _packet(record: PlannerLatent) -> LatentPacket:
    """A latent with the recorded head and blank tensors."""
    tensors: dict[str, Tensor] = {}
    for name, text in record.tensors.items():
        match = _TENSOR.fullmatch(text)
        if match is None or match[1] not in DTYPES:
            raise RecordingError(f"planner: latent {record.seq}: tensor {name!r} is {text!r}, not a tensor")
        shape = tuple(int(size) for size in match[2].split(",") if size.strip())
        tensors[name] = Tensor.of(np.zeros(shape, dtype=DTYPES[match[1]]))
    return LatentPacket(
        session=record.session,
        episode=record.episode,
        seq=record.seq,
        observation_seq=record.observation_seq,
        t_capture_ns=record.t_capture_ns,
        instruction=record.instruction,
        compute_ns=record.compute_ns,
        t_received_ns=record.t_received_ns,
        t_sent_ns=record.t_sent_ns,
        weights=record.weights,
        kind=record.kind,
        tensors=tensors,
        codec=record.codec,
        text=record.text,
        act=record.act,
    )
