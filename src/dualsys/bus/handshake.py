"""The handshake: who is there, and do both sides mean the same.

It runs once per connection, before anything moves. Protocol version first, then specs: by digest, and field
by field where the digests differ, so that the error names the first field and both values.
"""

from __future__ import annotations

from collections.abc import Mapping

from dualsys.bus.service import ServiceClient, refusal
from dualsys.errors import BusError, MismatchError
from dualsys.messages import PROTOCOL_VERSION, Hello, Reply, Welcome, clip_text
from dualsys.specs import SystemSpecs

_UPGRADE = "run the same version of dualsys on both sides"
_TRAINED_TOGETHER = "use a System 1 and a System 2 bundle that were trained together"


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
        _require_same_protocol(hello.protocol)
        if specs is not None:
            _require_same_specs(specs, hello.specs, hello.digest)
    except MismatchError as error:
        # Seen from the other side: their value is ours.
        values = {"field": error.field, "ours": str(error.theirs), "theirs": str(error.ours)}
        return refusal(str(error), values)
    return Welcome(
        protocol=PROTOCOL_VERSION,
        role=role,
        digest="" if specs is None else specs.digest(),
        specs=specs,
        details={name: clip_text(text) for name, text in details.items()},
    )


def shake_hands(
    client: ServiceClient, role: str, session: int, specs: SystemSpecs | None, timeout_s: float
) -> Welcome:
    """Introduce this process to a server, and check that both sides agree.

    Args:
        client: Connected to the server.
        role: What this process is.
        session: Random number of this run.
        specs: What this process works with; None where specs do not matter.
        timeout_s: How long to wait for the server to come up and answer.

    Raises:
        MismatchError: Protocol or specs differ; names the field and both values.
        PeerTimeoutError: No answer in time.
        BusError: The server refused for another reason.
    """
    digest = "" if specs is None else specs.digest()
    hello = Hello(protocol=PROTOCOL_VERSION, role=role, session=session, digest=digest, specs=specs)
    answer = client.ask(hello, timeout_s)
    if isinstance(answer, Reply):
        if "field" in answer.values:
            values = answer.values
            ours, theirs = values.get("ours", "unknown"), values.get("theirs", "unknown")
            raise MismatchError(values["field"], ours, theirs, f"{client.peer_name} refused")
        raise BusError(f"{client.peer_name} at {client.endpoint} refused the handshake: {answer.text}")
    # A server may be older or newer than its own idea of what to refuse, so both sides check.
    _require_same_protocol(answer.protocol)
    if specs is not None:
        _require_same_specs(specs, answer.specs, answer.digest)
    return answer


def _require_same_protocol(theirs: int) -> None:
    if theirs != PROTOCOL_VERSION:
        raise MismatchError("protocol", PROTOCOL_VERSION, theirs, _UPGRADE)


def _require_same_specs(ours: SystemSpecs, theirs: SystemSpecs | None, their_digest: str) -> None:
    """Compare specs. A peer without any (an operator, a monitor) does not care, and is welcome."""
    if theirs is not None:
        ours.require_equal(theirs)
    elif their_digest and their_digest != ours.digest():
        raise MismatchError("specs.digest", ours.digest(), their_digest, _TRAINED_TOGETHER)
