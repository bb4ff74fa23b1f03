"""Who is there, and do both sides mean the same."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from dualsys.bus.handshake import answer_hello, shake_hands
from dualsys.bus.service import ServiceClient
from dualsys.errors import BusError, MismatchError
from dualsys.messages import PROTOCOL_VERSION, Hello, Reply, Request, Welcome
from dualsys.specs import LatentSpec, ObservationSpec, SystemSpecs, TensorSpec


def specs(height: int = 96, tokens: int = 8) -> SystemSpecs:
    return SystemSpecs(
        ObservationSpec({"fixed": TensorSpec((height, 128, 3), "uint8")}, TensorSpec((9,))),
        LatentSpec("latent_sequence", {"tokens": TensorSpec((tokens, 128))}),
    )


class Wire(ServiceClient):
    """A client whose server is a function."""

    def __init__(
        self,
        ours: SystemSpecs | None,
        details: Mapping[str, str] | None = None,
        answer: Reply | Welcome | None = None,
    ) -> None:
        self.endpoint = "inproc://double"
        self._peer_name = "System 2"
        self._ours, self._details, self._answer = ours, details or {}, answer

    def ask(self, message: Hello | Request, timeout_s: float) -> Welcome | Reply:
        assert isinstance(message, Hello)
        assert timeout_s > 0
        return self._answer or answer_hello(message, "system2", self._ours, self._details)


def hello(**changes: object) -> Hello:
    plain = Hello(
        protocol=PROTOCOL_VERSION, role="planner", session=3, digest=specs().digest(), specs=specs()
    )
    return msgspec.structs.replace(plain, **changes)


def test_two_sides_that_agree_are_introduced() -> None:
    answer = shake_hands(Wire(specs(), {"model": "scripted"}), "planner", 1, specs(), 1.0)
    assert answer.details == {"model": "scripted"}
    assert answer.specs == specs()
    assert answer.digest == specs().digest()


def test_different_image_sizes_are_refused_with_both_values() -> None:
    with pytest.raises(MismatchError) as caught:
        shake_hands(Wire(specs(height=224)), "planner", 1, specs(height=96), 1.0)
    assert caught.value.field == "specs.observation.cameras.fixed.shape"
    assert "96" in str(caught.value.ours)
    assert "224" in str(caught.value.theirs)


def test_another_protocol_is_refused_with_both_versions() -> None:
    refused = answer_hello(hello(protocol=99), "system2", None, {})
    assert isinstance(refused, Reply)
    assert not refused.ok
    assert refused.values == {"field": "protocol", "ours": "99", "theirs": str(PROTOCOL_VERSION)}
    newer = Welcome(protocol=PROTOCOL_VERSION + 1, role="system2")
    with pytest.raises(MismatchError, match="protocol differs"):
        shake_hands(Wire(None, answer=newer), "planner", 1, None, 1.0)


def test_a_digest_alone_is_compared() -> None:
    assert isinstance(answer_hello(hello(specs=None), "system2", specs(), {}), Welcome)
    refused = answer_hello(hello(specs=None, digest="0" * 16), "system2", specs(), {})
    assert isinstance(refused, Reply)
    assert refused.values["field"] == "specs.digest"


def test_a_caller_without_specs_is_welcome() -> None:
    answer = shake_hands(Wire(specs()), "operator", 1, None, 1.0)
    assert answer.specs == specs()


def test_a_server_that_lets_a_mismatch_pass_is_caught_by_the_client() -> None:
    careless = Welcome(protocol=PROTOCOL_VERSION, role="system2", specs=specs(tokens=4))
    with pytest.raises(MismatchError, match=r"specs\.latent\.tensors\.tokens\.shape"):
        shake_hands(Wire(None, answer=careless), "planner", 1, specs(), 1.0)


def test_another_refusal_is_told_in_its_words() -> None:
    with pytest.raises(BusError, match="System 2 at inproc://double refused the handshake: busy"):
        shake_hands(Wire(None, answer=Reply(ok=False, text="busy")), "planner", 1, None, 1.0)
