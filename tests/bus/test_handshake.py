"""Who is there, and do both sides mean the same."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from dualsys import messages
from dualsys.bus.codec import decode
from dualsys.bus.handshake import AGREED, answer_hello, shake_hands, uplink_details
from dualsys.bus.service import ServiceClient
from dualsys.errors import BusError, MismatchError
from dualsys.messages import PROTOCOL_VERSION, Hello, Reply, Request, Welcome, schema_digest
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


@pytest.mark.fault_row(47)
def test_another_protocol_is_refused_with_both_versions() -> None:
    refused = answer_hello(hello(protocol=99), "system2", None, {})
    assert isinstance(refused, Reply)
    assert not refused.ok
    assert refused.values == {
        "field": "protocol",
        "ours": "99",
        "theirs": str(PROTOCOL_VERSION),
        "remedy": "run the same version of dualsys on both sides",
    }
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


def test_messages_of_another_shape_are_refused_even_if_nobody_raised_the_version() -> None:
    refused = answer_hello(hello(schema="0" * 16), "system2", None, {})
    assert isinstance(refused, Reply)
    assert refused.values["field"] == "schema"
    assert refused.values["theirs"] == schema_digest()
    other = Welcome(protocol=PROTOCOL_VERSION, role="system2", schema="0" * 16)
    with pytest.raises(MismatchError, match=r"schema differs.*run the same version of dualsys"):
        shake_hands(Wire(None, answer=other), "planner", 1, None, 1.0)


def test_a_peer_that_knows_no_schema_is_judged_by_the_version_alone() -> None:
    assert isinstance(answer_hello(hello(schema=""), "robot", None, {}), Welcome)
    plain = Welcome(protocol=PROTOCOL_VERSION, role="robot")
    assert shake_hands(Wire(None, answer=plain), "control", 1, None, 1.0) == plain


def test_an_older_or_newer_hello_is_read_so_that_the_versions_can_be_named() -> None:
    tree = {"type": "hello", "protocol": 99, "role": "planner", "session": 1, "from_the_future": [1, 2]}
    question = decode(msgspec.msgpack.encode(tree), Hello)
    refused = answer_hello(question, "system2", specs(), {})
    assert isinstance(refused, Reply)
    assert refused.values["ours"] == "99"


@pytest.mark.fault_row(21)
@pytest.mark.parametrize(
    "field", ["axes", "robot", "latent_codec", "uplink", "feature_codec", "split_weights"]
)
def test_axes_in_another_order_are_refused_by_both_sides(field: str) -> None:
    ours, theirs = {field: "elbow wrist"}, {field: "wrist elbow"}
    with pytest.raises(MismatchError, match="System 2 refused") as caught:
        shake_hands(Wire(None, theirs), "planner", 1, None, 1.0, ours)
    assert (caught.value.field, caught.value.ours, caught.value.theirs) == (
        field,
        "elbow wrist",
        "wrist elbow",
    )
    assert AGREED[field] in str(caught.value)
    careless = Welcome(protocol=PROTOCOL_VERSION, role="control", details=theirs)
    with pytest.raises(MismatchError, match=AGREED[field]):
        shake_hands(Wire(None, answer=careless), "planner", 1, None, 1.0, ours)


def test_codec_and_weights_of_features_are_compared_only_where_features_travel() -> None:
    assert uplink_details("images", "int8", "abc") == {"uplink": "images"}
    told = uplink_details("features", "int8", "abc")
    assert told == {"uplink": "features", "feature_codec": "int8", "split_weights": "abc"}
    assert told.keys() <= AGREED.keys()


def test_details_that_only_one_side_tells_need_not_agree() -> None:
    details = {"axes": "a b", "model": "x"}
    assert shake_hands(Wire(None, details), "planner", 1, None, 1.0, {"model": "y"}).details == details


def test_the_schema_covers_fields_types_and_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    before = schema_digest()
    schema_digest.cache_clear()
    assert schema_digest() == before

    class Reply2(msgspec.Struct, frozen=True, tag="reply", tag_field="type"):
        ok: bool
        text: str = ""

    schema_digest.cache_clear()
    monkeypatch.setattr(messages, "Reply", Reply2)
    assert schema_digest() != before
    schema_digest.cache_clear()
