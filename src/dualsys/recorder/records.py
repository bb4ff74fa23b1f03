"""What the flight recorder writes down: one frozen struct for each topic, see `topics`.

Control and the planner are pure functions of what they take in. So a record of every input in the order in
which it was taken, with what came of it, is enough to compute every decision again, to the bit.

A field that may be missing is empty or -1 instead of null, so that a null in the file can only be a number
that is not finite; those are written as texts, as in the JSON mapping of Protocol Buffers.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.messages import ControlState, LatentCodec, Plan, Tensor
from dualsys.specs import ActionSpec, SystemSpecs, TensorSpec

SCHEMA_VERSION: Final = 3
"""Raised whenever a record changes so that older ones cannot be replayed."""

Number = float | Literal["NaN", "Infinity", "-Infinity"]
"""A float64. In a file a number that is not finite is a text."""

Numbers = tuple[Number, ...]
"""A float64 vector; empty for none."""


def vector(values: Numbers) -> NDArray[np.float64]:
    """The vector that was recorded, float64."""
    return np.array([float(value) for value in values], dtype=np.float64)


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """Base of all records.

    Attributes:
        t_ns: Edge time at which it was taken in.
    """

    t_ns: int


class ControlBegin(Record, frozen=True, tag="control_begin"):
    """A control core was made: everything that it was made from.

    Attributes:
        robot, axes: Model of the arm, and the names of its axes.
        period_ns: Of a tick.
        limits, joints: `control.limits.Limits` by field, rad and s, then m and s; and the number of joints.
        ages, tolerances: The other structures that `control.core.ControlCore` was given, by field.
        settings: Whatever else it was given, by name.
        versions: Of dualsys, numpy and Python, and the processor: a replay elsewhere may round differently.
    """

    schema: int
    robot: str
    axes: list[str]
    period_ns: int
    limits: dict[str, Numbers]
    joints: int
    ages: dict[str, int]
    tolerances: dict[str, int | float]
    settings: dict[str, bool | int | float | str]
    versions: dict[str, str]


class ControlTick(Record, frozen=True, tag="control_tick"):
    """One control tick: reading in, command out. `t_ns` is the tick's time.

    Attributes:
        tick: Number of the tick.
        missed: Ticks skipped just before.
        fresh: Whether the reading is another one than at the tick before.
        reading_t_ns, position, velocity, status, detail: The reading; rad and rad/s, then m and m/s.
        setpoint: What the plan says for now; empty unless a plan is followed.
        command: What was sent; empty if nothing was.
        clamped_position, clamped_velocity, clamped_acceleration: Limits that the set-point would have broken.
        failed: The error that ended the tick; then nothing after `detail` was decided.
    """

    tick: int
    missed: int
    fresh: bool
    reading_t_ns: int
    position: Numbers
    velocity: Numbers
    status: str
    detail: str = ""
    setpoint: Numbers = ()
    command: Numbers = ()
    mode: str = ""
    reason: str = ""
    epoch: int = -1
    plan_seq: int = -1
    latent_age_ns: int = -1
    plan_age_ns: int = -1
    clamped_position: bool = False
    clamped_velocity: bool = False
    clamped_acceleration: bool = False
    failed: str = ""


class ControlPlan(Record, frozen=True, tag="control_plan"):
    """Control read a plan, and followed or refused it."""

    plan: Plan
    accepted: bool
    refusal: str


class ControlRequest(Record, frozen=True, tag="control_request"):
    """Control was told something.

    Attributes:
        kind: What.
        reason, session: With `stop`; with `begin_session`.
        epoch: The epoch afterwards.
        refusal: Why it was refused; empty if it was not.
    """

    kind: Literal["stop", "new_epoch", "begin_session", "resume"]
    epoch: int
    reason: str = ""
    session: int = -1
    refusal: str = ""


class ModeChange(Record, frozen=True, tag="mode"):
    """The mode of control changed, or the reason for it. Derived from the ticks by the recorder."""

    mode: str
    before: str
    reason: str


class Question(Record, frozen=True, tag="question"):
    """A process was asked something, and answered.

    Attributes:
        process, caller: Who was asked; with a handshake, by whom.
        verb: `hello` for a handshake.
        ok, text: The answer.
    """

    process: str
    verb: str
    caller: str
    arguments: dict[str, str]
    ok: bool
    text: str


class Rejected(Record, frozen=True, tag="rejected"):
    """Something that arrived was no valid message, or of no use.

    Attributes:
        process, channel: Where it arrived.
        total: How many so far.
        fault: What was wrong with the last.
    """

    process: str
    channel: str
    total: int
    fault: str


class PlannerBegin(Record, frozen=True, tag="planner_begin"):
    """A planner core was made: everything that it was made from, apart from the weights.

    Attributes:
        weights, weak_weights: Of System 1, and of the weak policy that the strategy draws from; empty: none.
        capabilities, latents: What System 1 offers, and how many latents it reads: two, before it was told.
        options, settings: Of the chunk strategy; `planner.records.PlannerSettings`, by field.
    """

    schema: int
    action: ActionSpec
    specs: SystemSpecs
    wrist: TensorSpec
    weights: str
    capabilities: list[str]
    kinematics: str
    strategy: str
    options: dict[str, Any]
    session: int
    seed: int
    settings: dict[str, Any]
    latents: int = 2
    weak_weights: str = ""


class PlannerCall(Record, frozen=True, tag="planner_call"):
    """The planner was told something; see the methods of `PlannerCore` with those names."""

    name: Literal["start_episode", "end_episode", "instruct", "adopt_epoch"]
    episode: int = -1
    epoch: int = -1
    instruction: str = ""
    refusal: str = ""


class PlannerState(Record, frozen=True, tag="planner_state"):
    """The planner read a state of control; its counters are left out."""

    state: ControlState
    accepted: bool


class PlannerFrame(Record, frozen=True, tag="planner_frame"):
    """The planner read a wrist image of this shape; its content matters to System 1 only."""

    camera: str
    shape: list[int]
    accepted: bool


class PlannerObservation(Record, frozen=True, tag="planner_observation"):
    """The planner had something to show System 2. `t_ns` is when the images were taken.

    Attributes:
        seq: Number of the observation; -1 if none was made.
        shapes: Shape of the image of each camera, or of its features where `PlannerBegin.settings` has any.
        sizes: Bytes of each image, or of each tensor of features, as it was sent.
    """

    seq: int
    episode: int
    instruction: str
    shapes: dict[str, list[int]]
    sizes: dict[str, int]


class PlannerRate(Record, frozen=True, tag="planner_rate"):
    """What goes to System 2 was adapted to the line; see `rate_control.RateChoice`."""

    jpeg_quality: int
    rate_hz: float
    reason: str
    queue_ns: int
    budget_bytes_s: int


class PlannerDemand(Record, frozen=True, tag="planner_demand"):
    """Whether System 2 was shown the images taken then, and why; see `demand.Decision`."""

    asked: bool
    reason: str
    changed_cells: int


class PlannerLatent(Record, frozen=True, tag="planner_latent"):
    """The planner read a latent: all of it but the numbers.

    Attributes:
        tensors: Element type and shape of each tensor on the wire, such as `float32[8, 128]`.
        codec, act, t_received_ns, t_sent_ns: As in `LatentPacket`; older recordings have the defaults.
        refusal: The counter of what was wrong with it; empty if it was accepted.
    """

    session: int
    episode: int
    seq: int
    observation_seq: int
    t_capture_ns: int
    instruction: str
    compute_ns: int
    weights: str
    kind: str
    tensors: dict[str, str]
    text: str
    t_received_ns: int
    t_sent_ns: int
    refusal: str
    codec: LatentCodec = "float32"
    act: bool = True


class PlannerJob(Record, frozen=True, tag="planner_job"):
    """The planner began to plan, or could not. `t_ns` is the start of the chunk's grid.

    Attributes:
        number: Counts jobs within the episode; -1 if none was begun.
        waiting_for: Why none was begun.
        overlap_steps: Steps of the chunk that the motion planned before still covers.
        delay_steps: Delay, in action steps, that is planned for.
    """

    number: int
    episode: int
    epoch: int
    waiting_for: str
    latent_seq: int
    t_observation_ns: int
    overlap_steps: int
    delay_steps: int


class PlannerChunk(Record, frozen=True, tag="planner_chunk"):
    """The chunk of a job was ready, and joined to the motion. `t_ns` is when it was ready.

    Attributes:
        number, episode: Which job.
        chunk: float32 `[H, 4]`; empty if computing failed.
        failed: Why computing failed.
        plan: What was published; -1 in `seq` if nothing was.
    """

    number: int
    episode: int
    chunk: Tensor
    failed: str
    plan: PlanHeader


class PlannerRepeat(Record, frozen=True, tag="planner_repeat"):
    """Between two jobs, the newest plan was corrected, or published once more.

    Attributes:
        residual: float32 `[4]`, what the residual head of System 1 added; empty if it was not asked.
        failed: Why the head failed.
        plan: What was published; -1 in `seq` if nothing was.
    """

    residual: Tensor
    failed: str
    plan: PlanHeader


class PlanHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan without its numbers, which are those of `ControlPlan`.

    Attributes:
        knots: How many knots.
        digest: SHA-256 of the bytes of its times and set-points.
    """

    session: int
    episode: int
    epoch: int
    seq: int
    latent_seq: int
    t_latent_ns: int
    t_observation_ns: int
    splice_ns: int
    delay_ns: int
    delay_steps: int
    knots: int
    digest: str


class Event(Record, frozen=True, tag="event"):
    """Something that the supervisor noted: an episode, a verdict, a process that started or ended."""

    kind: str
    details: dict[str, Any]


class Lost(Record, frozen=True, tag="lost"):
    """Records that a process took but that never arrived: the recorder was slow or away.

    Attributes:
        source: Which process.
        first: Number of the first one.
        count: How many.
    """

    source: str
    first: int
    count: int


class RecorderEnd(Record, frozen=True, tag="recorder_end"):
    """The last record of a recorder that was told to end.

    Attributes:
        received, lost: Records by process.
        rejected, fault: Frames that were no record, and what was wrong with the last of those.
    """

    received: dict[str, int]
    lost: dict[str, int]
    rejected: int
    fault: str
