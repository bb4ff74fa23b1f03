"""What System 2 accepts to see: images or features, whichever was agreed on, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualsys.bus.codec import decode, encode
from dualsys.bus.latent_codec import encode_features
from dualsys.errors import SpecError
from dualsys.messages import LatentCodec, Observation, Tensor
from dualsys.slow.backends.onnx import OnnxLanguage, OnnxSystem2
from dualsys.slow.core import SlowCore

Observe = Callable[..., Observation]
MakeBundle = Callable[..., Path]
FEATURES = np.linspace(-1, 1, 144, dtype=np.float32).reshape(12, 12)
CODECS: dict[LatentCodec, float] = {"float32": 1e-7, "float16": 1e-3, "bfloat16": 1e-2, "int8": 1e-2}


def features(codec: LatentCodec = "float16", **changes: Any) -> dict[str, Any]:
    """The changes that make an observation one of features."""
    parts: Mapping[str, Tensor] = encode_features({"fixed": FEATURES}, codec)
    return {"images": {}, "features": parts, "feature_codec": codec} | changes


@pytest.mark.parametrize("codec", CODECS)
def test_features_reach_the_language_half_as_exactly_as_their_codec_is(
    split_bundle: MakeBundle, observe: Observe, codec: LatentCodec
) -> None:
    core = SlowCore(OnnxLanguage(split_bundle()), feature_codec=codec)
    assert core.uplink == "features"
    sent = decode(encode(observe(**features(codec))), Observation)
    tokens = core.process(sent).tensors["tokens"].array()
    np.testing.assert_allclose(tokens, 1 + FEATURES.mean(), atol=CODECS[codec])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"images": {}, "feature_codec": "float16"}, r"features: expected \['fixed'\] as float16, got \[\]"),
        (features("int8"), r"feature_codec: expected 'float16', got 'int8'; set slow\.feature_codec"),
        (features("int8", feature_codec="float16"), r"features: expected \['fixed'\] as float16, got"),
        (
            features(features={"fixed": Tensor.of(np.zeros((12, 13), np.float16))}),
            r"features\.fixed: expected float16\[12, 12\] as float16, got float16\[12, 13\]",
        ),
        (
            features(features={"fixed": Tensor.of(np.zeros((12, 12), np.uint8))}),
            r"features\.fixed: expected float16\[12, 12\] as float16, got uint8\[12, 12\]",
        ),
        (
            features(features={"fixed": Tensor.of(np.full((12, 12), np.nan, np.float16))}),
            r"features\.fixed: expected finite numbers",
        ),
        (
            features(features={"wrist": Tensor.of(np.zeros((12, 12), np.float16))}),
            r"features: expected \['fixed'\] as float16, got \['wrist'\]",
        ),
        ({}, "expected features, got images; set slow.uplink to the same on both sides"),
    ],
)
def test_what_are_not_the_agreed_features_is_refused_and_counted(
    split_bundle: MakeBundle, observe: Observe, changes: dict[str, Any], fault: str
) -> None:
    core = SlowCore(OnnxLanguage(split_bundle()))
    with pytest.raises(SpecError, match=fault):
        core.process(observe(**changes))
    assert core.statistics().rejected == {"features": 1}


def test_a_whole_system2_refuses_features(split_bundle: MakeBundle, observe: Observe) -> None:
    core = SlowCore(OnnxSystem2(split_bundle()))
    assert core.uplink == "images"
    with pytest.raises(SpecError, match=r"expected images, got features; set slow\.uplink"):
        core.process(observe(**features()))
    assert core.statistics().rejected == {"images": 1}


def test_scales_of_int8_features_must_be_finite(split_bundle: MakeBundle, observe: Observe) -> None:
    core = SlowCore(OnnxLanguage(split_bundle()), feature_codec="int8")
    parts = encode_features({"fixed": FEATURES}, "int8")
    broken = parts | {"fixed.scale": Tensor.of(np.full(12, np.inf, np.float32))}
    with pytest.raises(SpecError, match=r"features\.fixed\.scale: expected finite numbers >= 0"):
        core.process(observe(**features("int8", features=broken)))
