"""The handshake: who is there, and do both sides mean the same.

It runs once per connection, before anything moves. Protocol version first, then the schema of all messages,
then specs: by digest, and field by field where the digests differ; then details such as the order of the
axes. The error names the first that differs, both values, and what to change.
"""

from __future__ import annotations

from collections.abc import Mapping

from dualsys.bus.service import ServiceClient, refusal
from dualsys.errors import BusError, MismatchError
from dualsys.messages import (
    PROTOCOL_VERSION,
    Hello,
    LatentCodec,
    Reply,
    UplinkMode,
    Welcome,
    clip_text,
    schema_digest,
)
from dualsys.specs import SystemSpecs

AGREED = {
    "link": "both sides must speak the same version of the robot link: docs/robot-link.md",
    "robot": "connect to that robot, or choose the driver that is made for it",
    "latent_codec": "set slow.latent_codec to the same on both sides",
    "uplink": "set slow.uplink to the same on both sides",
    "feature_codec": "set slow.feature_codec to the same on both sides",
    "split_weights": "put the same System 2 bundle on both sides: one half of it runs on each",
    "axes": "both sides must mean the same axes in the same order: choose the robot of this System 1",
}
"""Details that must be equal wherever both sides tell them, and what to do where they are not."""

PROCESS_ID = "pid"
"""Detail in which a process tells its process id. Who has started it knows by that whether it is the one that
answers; it means nothing on another machine."""

_UPGRADE = "run the same version of dualsys on both sides"
_TRAINED_TOGETHER = "use a System 1 and a System 2 bundle that were trained together"


def uplink_details(uplink: UplinkMode, feature_codec: LatentCodec, weights: str) -> dict[str, str]:
    """What the planner and System 2 tell each other of what goes up.

    Args:
        uplink: What System 2 is sent.
        feature_codec: How features travel; not told where images do.
        weights: Of the System 2 bundle, one half of which each side has; likewise.
    """
    if uplink == "images":
        return {"uplink": uplink}
    return {"uplink": uplink, "feature_codec": feature_codec, "split_weights": weights}


def answer_hello(
    hello: Hello, role: str, specs: SystemSpecs | None, details: Mapping[str, str]
) -> Welcome | Reply:
    """Answer a handshake.

    Args:
        hello: The question.
        role: What this process is.
        specs: What this process works with; None where specs do not matter.
        details: What to tell about this process: model, weights, robot, ...

    Returns:
        A welcome, or a refusal whose `values` name the field that differs and both values.
    """
    try:
        _require_same_protocol(hello.protocol, hello.schema)
        _require_agreement(details, hello.details)
        if specs is not None:
            _require_same_specs(specs, hello.specs, hello.digest)
    except MismatchError as error:
        # Seen from the other side: their value is ours.
        values = {"field": error.field, "ours": str(error.theirs), "theirs": str(error.ours)}
        values["remedy"] = error.remedy
        return refusal(str(error), values)
    return Welcome(
        protocol=PROTOCOL_VERSION,
        role=role,
        digest="" if specs is None else specs.digest(),
        specs=specs,
        schema=schema_digest(),
        details=_clipped(details),
    )


def shake_hands(
    client: ServiceClient,
    role: str,
    session: int,
    specs: SystemSpecs | None,
    timeout_s: float,
    details: Mapping[str, str] | None = None,
) -> Welcome:
    """Introduce this process to a server, and check that both sides agree.

    Args:
        client: Connected to the server.
        role: What this process is.
        session: Random number of this run.
        specs: What this process works with; None where specs do not matter.
        timeout_s: How long to wait for the server to come up and answer.
        details: What to tell about this process.

    Raises:
        MismatchError: Protocol, messages, specs or details differ; names the field and both values.
        PeerTimeoutError: No answer in time.
        BusError: The server refused for another reason.
    """
    digest = "" if specs is None else specs.digest()
    told = _clipped(details or {})
    hello = Hello(
        protocol=PROTOCOL_VERSION,
        role=role,
        session=session,
        digest=digest,
        specs=specs,
        schema=schema_digest(),
        details=told,
    )
    answer = client.ask(hello, timeout_s)
    if isinstance(answer, Reply):
        if "field" in answer.values:
            values = answer.values
            ours, theirs = values.get("ours", "unknown"), values.get("theirs", "unknown")
            remedy = values.get("remedy", "")
            raise MismatchError(values["field"], ours, theirs, f"{client.peer_name} refused: {remedy}")
        raise BusError(f"{client.peer_name} at {client.endpoint} refused the handshake: {answer.text}")
    # A server may be older or newer than its own idea of what to refuse, so both sides check.
    _require_same_protocol(answer.protocol, answer.schema)
    _require_agreement(told, answer.details)
    if specs is not None:
        _require_same_specs(specs, answer.specs, answer.digest)
    return answer


def _require_same_protocol(theirs: int, their_schema: str) -> None:
    if theirs != PROTOCOL_VERSION:
        raise MismatchError("protocol", PROTOCOL_VERSION, theirs, _UPGRADE)
    # Drivers and tools in other languages may not know it.
    if their_schema and their_schema != schema_digest():
        raise MismatchError("schema", schema_digest(), their_schema, _UPGRADE)


def _require_agreement(ours: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    for name, remedy in AGREED.items():
        if name in ours and name in theirs and ours[name] != theirs[name]:
            raise MismatchError(name, ours[name], theirs[name], remedy)


def _clipped(details: Mapping[str, str]) -> dict[str, str]:
    return {name: clip_text(text) for name, text in details.items()}


def _require_same_specs(ours: SystemSpecs, theirs: SystemSpecs | None, their_digest: str) -> None:
    """Compare specs. A peer without any (an operator, a monitor) does not care, and is welcome."""
    if theirs is not None:
        ours.require_equal(theirs)
    elif their_digest and their_digest != ours.digest():
        raise MismatchError("specs.digest", ours.digest(), their_digest, _TRAINED_TOGETHER)
