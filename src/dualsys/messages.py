"""Everything that crosses a process boundary.

All messages are frozen, tagged, versioned MessagePack maps in single ZeroMQ frames; unknown fields are
refused. Stamps are integer nanoseconds of the *edge* clock unless a name says otherwise; whoever derives
something from an observation echoes the observation's stamp, so that its age needs no second clock.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.errors import MessageError
from dualsys.specs import DTYPES, SystemSpecs

PROTOCOL_VERSION = 6
"""Raised whenever a message or its frame changes shape; both sides of a handshake must have the same."""

MAX_TENSOR_BYTES = 32 * 1024 * 1024
MAX_DIMENSIONS = 6
MAX_TEXT = 2048
MAX_DETAIL = 256
"""Longest text, in characters, of a robot that says why it stopped."""
MAX_AXES = 64
MAX_CAMERAS = 16
MAX_TENSORS = 512
MAX_NUMBER = 2**63 - 1
"""Largest number that is sent as text among details and arguments; each fits into a field for numbers."""
MAX_ENTRIES = 1024
"""Most names in a mapping that people read: details, values, counters."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ITEM_BYTES = {name: dtype.itemsize for name, dtype in DTYPES.items()}

Count = Annotated[int, msgspec.Meta(ge=0)]
Name = Annotated[str, msgspec.Meta(max_length=128)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Axes = Annotated[tuple[float, ...], msgspec.Meta(max_length=MAX_AXES)]
Detail = Annotated[str, msgspec.Meta(max_length=MAX_DETAIL, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]
Texts = Annotated[dict[Name, Text], msgspec.Meta(max_length=MAX_ENTRIES)]

LatentCodec = Literal["float32", "float16", "bfloat16", "int8"]
"""How float32 tensors of a latent travel, and features on their way up; see `bus.latent_codec`."""

UplinkMode = Literal["images", "features"]
"""What System 2 is sent: images, or what its vision tower, which then runs at the edge, made of them."""

if TYPE_CHECKING:
    Blob = bytes | memoryview
else:
    Blob = memoryview
"""Opaque bytes. Written from either type; read as a view into the received frame, without a copy."""


def whole_number(text: str) -> int | None:
    """The number that a detail or an argument is: digits, up to `MAX_NUMBER`; None if it is none."""
    number = int(text) if text.isascii() and text.isdigit() else -1
    return number if 0 <= number <= MAX_NUMBER else None


def clip_text(text: str) -> str:
    """Shorten a text for people to what a `Text` field carries, and show that it was shortened."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 4] + " ..."


def clip_detail(text: str) -> str:
    """Make one line of a text, as short as a `Detail` has to be, and show where it was shortened."""
    line = " ".join(_CONTROL.sub(" ", text).split())
    line = line.encode("utf-8", "replace").decode("utf-8")
    return line if len(line) <= MAX_DETAIL else line[: MAX_DETAIL - 4].rstrip() + " ..."


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """An array on the wire: element type from an allow-list, shape, little-endian C-order bytes.

    Checked when made and when decoded, so a `Tensor` that exists is consistent.

    Raises:
        MessageError: The element type is not allowed, or type, shape and byte count disagree or exceed the
            cap. Within a decoded message this surfaces as the MessageError of the whole message.
    """

    dtype: Name
    shape: Annotated[tuple[Count, ...], msgspec.Meta(max_length=MAX_DIMENSIONS)]
    data: Blob

    def __post_init__(self) -> None:
        item_bytes = _ITEM_BYTES.get(self.dtype)
        if item_bytes is None:
            raise MessageError(f"tensor: dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if len(self.shape) > MAX_DIMENSIONS:
            raise MessageError(f"tensor: {len(self.shape)} dimensions, at most {MAX_DIMENSIONS} are allowed")
        expected = item_bytes
        for size in self.shape:
            expected *= size
        if 0 < expected == len(self.data) <= MAX_TENSOR_BYTES:
            return
        # A size of zero must not hide huge ones next to it: those overflow inside numpy.
        extent = item_bytes * math.prod(max(size, 1) for size in self.shape)
        if extent > MAX_TENSOR_BYTES or expected != len(self.data):
            raise MessageError(
                f"tensor: {self.dtype}{list(self.shape)} takes {expected} bytes, got {len(self.data)} "
                f"(at most {MAX_TENSOR_BYTES})"
            )

    @classmethod
    def of(cls, array: NDArray[np.generic]) -> Tensor:
        """Wrap an array. Raises MessageError for an element type outside the allow-list, or above the cap."""
        name = _NAMES.get(array.dtype)
        if name is not None:
            return cls(name, array.shape, array.tobytes())
        # Of another byte order, if it is allowed at all.
        dtype = DTYPES.get(array.dtype.name)
        if dtype is None:
            raise MessageError(f"tensor: dtype {array.dtype.name!r} is not one of {', '.join(DTYPES)}")
        return cls(array.dtype.name, array.shape, array.astype(dtype).tobytes())

    def array(self) -> NDArray[np.generic]:
        """Unwrap as a read-only view of the bytes."""
        array: NDArray[np.generic] = np.ndarray(self.shape, DTYPES[self.dtype], self.data)
        array.setflags(write=False)
        return array


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    """Base of everything that is sent on its own."""


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One camera frame, RGB.

    Attributes:
        encoding: `raw` (height * width * 3 bytes, row by row) or `jpeg`.
    """

    encoding: Literal["raw", "jpeg"]
    width: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    height: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    data: Blob


class Observation(Message, frozen=True, tag="observation"):
    """Edge to System 2: what the robot sees and was told. It carries images or features, never both.

    Attributes:
        session: Random number of this edge run; anything of another session is dropped.
        episode: Counts episodes within the session.
        seq: Counts observations within the session.
        t_capture_ns: When the images were taken.
        images: By camera; none where features travel.
        features: What the vision tower of System 2 made of the images, as `feature_codec` puts it;
            `bus.latent_codec.FeatureReader` turns it into arrays.
        feature_codec: Must be the one that was agreed on at the handshake.
        proprioception: float32 vector of `ObservationSpec.proprioception`.
        instruction: What the robot was told.
    """

    session: Count
    episode: Count
    seq: Count
    t_capture_ns: Count
    images: Annotated[dict[Name, Image], msgspec.Meta(max_length=MAX_CAMERAS)]
    proprioception: Tensor
    instruction: Text
    features: Annotated[dict[Name, Tensor], msgspec.Meta(max_length=2 * MAX_CAMERAS)] = {}
    feature_codec: LatentCodec = "float32"

    def __post_init__(self) -> None:
        if self.images and self.features:
            raise MessageError("observation: expected images or features, got both")


class LatentPacket(Message, frozen=True, tag="latent"):
    """System 2 to edge: the newest latent.

    Attributes:
        session, episode, observation_seq, t_capture_ns, instruction: Echoed from the observation that it was
            computed from.
        seq: Counts packets of this System 2 process.
        compute_ns: Duration of the forward pass.
        weights: Short hash of the System 2 weights.
        kind: One of `specs.LATENT_KINDS`.
        tensors: The latent, as `codec` puts it; `bus.latent_codec.decode_latent` turns it into arrays.
        codec: Must be the one that was agreed on at the handshake.
        text: What System 2 has to say to people, such as "no purple block in view"; may be empty.
        act: Whether there is anything to do; if not, an arm that has not set off stays where it is.
        t_received_ns, t_sent_ns: When the observation came and when this left, on System 2's own clock; -1 if
            not told. Only for telling where the time went: ages never depend on them.
    """

    session: Count
    episode: Count
    seq: Count
    observation_seq: Count
    t_capture_ns: Count
    instruction: Text
    compute_ns: Count
    weights: Name
    kind: Name
    tensors: Annotated[dict[Name, Tensor], msgspec.Meta(max_length=MAX_TENSORS)]
    codec: LatentCodec = "float32"
    text: Text = ""
    act: bool = True
    t_received_ns: int = -1
    t_sent_ns: int = -1


class Plan(Message, frozen=True, tag="plan"):
    """Planner to control: timestamped joint set-points, linear in between.

    Attributes:
        epoch: Raised when plans made before must no longer be followed (new episode, resume).
        seq: Counts plans within the session.
        t_ns: int64 `[N]`, strictly increasing times of the knots.
        setpoints: float64 `[N, A]`: joints in rad, then gripper opening in m.
        latent_seq: The latent it came from; -1 for none.
        t_latent_ns: Capture stamp behind that latent.
        t_observation_ns: Stamp of the robot state and wrist image that it came from.
        splice_ns: Where it leaves the plan before it.
        delay_ns: From that observation to the moment the plan was ready.
        delay_steps: The delay, in action steps, that the strategy had planned for.
    """

    session: Count
    episode: Count
    epoch: Count
    seq: Count
    t_ns: Tensor
    setpoints: Tensor
    latent_seq: int
    t_latent_ns: int
    t_observation_ns: Count
    splice_ns: Count
    delay_ns: Count
    delay_steps: Count


class ControlState(Message, frozen=True, tag="control_state"):
    """Control to planner and to whoever watches: what the arm does now.

    Attributes:
        seq: Control tick.
        t_ns: Edge stamp of the arm reading.
        position: Measured joints `[A]`: rad, then gripper opening in m.
        velocity: Measured `[A]`: rad/s, then m/s.
        command: Last command sent `[A]`.
        mode: WAITING, RUNNING, SLOWED, HOLDING or STOPPED.
        reason: Why it is in that mode; empty while RUNNING.
        epoch: Plans with a smaller epoch are refused.
        plan_seq: Plan being executed, -1 for none.
        counters: Named totals: ticks, missed, clamped, rejected_plans, starved, ...
    """

    session: Count
    seq: Count
    t_ns: Count
    position: Axes
    velocity: Axes
    command: Axes
    mode: Name
    reason: Text
    epoch: Count
    plan_seq: int
    latent_age_ns: int
    plan_age_ns: int
    counters: Annotated[dict[Name, int], msgspec.Meta(max_length=MAX_ENTRIES)]


class ArmState(Message, frozen=True, tag="arm_state", omit_defaults=True):
    """Robot to control, over the robot link.

    Attributes:
        t_robot_ns: Stamp of the robot's own clock.
        position, velocity: As in `ControlState`.
        status: `ok`, `watchdog` (no command came in time), `protective_stop` or `emergency_stop`.
        command_seq: Last command that the robot received, -1 for none.
        detail: Why it stopped, in its own words, for people: one line, see `clip_detail`; left out if empty.
    """

    seq: Count
    t_robot_ns: Count
    position: Axes
    velocity: Axes
    status: Literal["ok", "watchdog", "protective_stop", "emergency_stop"]
    command_seq: int
    detail: Detail = ""


class ArmCommand(Message, frozen=True, tag="arm_command"):
    """Control to robot: joint set-point for now, `[A]`: rad, then gripper opening in m."""

    seq: Count
    position: Axes


class CameraFrame(Message, frozen=True, tag="camera_frame"):
    """Robot side to planner: one image; stamped by the edge on arrival."""

    camera: Name
    seq: Count
    t_robot_ns: Count
    image: Image


class Hello(Message, frozen=True, tag="hello", forbid_unknown_fields=False):
    """First request on a connection. Every version can read it, so that a mismatch can be named.

    Attributes:
        role: Who calls: `planner`, `control`, `operator`, ...
        digest: `SystemSpecs.digest()`; empty where specs do not matter.
        schema: `schema_digest()`.
        details: What to tell about the caller, such as its model or the order of its axes.
    """

    protocol: int
    role: Name
    session: Count
    digest: Name = ""
    specs: SystemSpecs | None = None
    schema: Name = ""
    details: Texts = {}


class Welcome(Message, frozen=True, tag="welcome", forbid_unknown_fields=False):
    """Answer to `Hello`: who is there. Every version can read it.

    Attributes:
        details: Names the model, its weights, the robot, ...
        t_received_ns, t_sent_ns: When the question came and when this left, on the clock of whoever answers;
            -1 if not told. Only for estimates of the offset between the clocks.
    """

    protocol: int
    role: Name
    digest: Name = ""
    specs: SystemSpecs | None = None
    schema: Name = ""
    details: Texts = {}
    t_received_ns: int = -1
    t_sent_ns: int = -1


class Request(Message, frozen=True, tag="request"):
    """Something an operator or the supervisor asks of a process: `say`, `stop`, `resume`, `reset`, ..."""

    verb: Name
    arguments: Texts = {}


class Reply(Message, frozen=True, tag="reply"):
    """Answer to `Request`; `values` are for machines, `text` is for people."""

    ok: bool
    text: Text = ""
    values: Texts = {}


AnyMessage = (
    Observation
    | LatentPacket
    | Plan
    | ControlState
    | ArmState
    | ArmCommand
    | CameraFrame
    | Hello
    | Welcome
    | Request
    | Reply
)


@functools.cache
def schema_digest() -> str:
    """Short hash of every message: names, fields, types, bounds, defaults. Compared at the handshake.

    It catches what the protocol version should have: two builds whose messages differ without anybody having
    raised the version. The handshake itself is left out, since every version can read it.
    """
    kinds = (Observation, LatentPacket, Plan, ControlState, ArmState, ArmCommand, CameraFrame, Request, Reply)
    text = "\n".join(_described(tree) for tree in msgspec.inspect.multi_type_info(kinds))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _described(tree: object) -> str:
    """A type of msgspec's inspection as text that depends on nothing but the type."""
    if isinstance(tree, msgspec.inspect.Field):
        default = "" if tree.default is msgspec.NODEFAULT else repr(tree.default)
        return f"{tree.encode_name}:{_described(tree.type)}={default}"
    if isinstance(tree, msgspec.inspect.StructType):
        fields = ",".join(_described(field) for field in tree.fields)
        return f"{tree.cls.__name__}/{tree.tag}/{tree.array_like}/{tree.forbid_unknown_fields}({fields})"
    if isinstance(tree, tuple):
        return f"({','.join(_described(part) for part in tree)})"
    if isinstance(tree, msgspec.inspect.Type):
        parts = ",".join(
            f"{name}={_described(getattr(tree, name))}"
            for name in tree.__struct_fields__
            if getattr(tree, name) is not None
        )
        return f"{type(tree).__name__}({parts})"
    return repr(tree)
