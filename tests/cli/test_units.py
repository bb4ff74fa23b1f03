"""Rules of durations and rates on the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.cli.units import duration_ms, rate_hz
from dualsys.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("200ms", 200),
        ("0.2s", 200),
        ("200 ms", 200),
        (".5 S", 500),
        ("1e3us", 1),
        ("1µs", 0.001),
        ("0", 0),
        ("2min", 120_000),
    ],
)
def test_durations_have_a_unit(text: str, expected_ms: float) -> None:
    assert duration_ms(text, "--x") == pytest.approx(expected_ms)


@pytest.mark.parametrize(
    ("text", "expected_hz"), [("5Hz", 5), ("0.5 hz", 0.5), ("1kHz", 1000), ("max", None)]
)
def test_rates_have_a_unit_or_no_limit(text: str, expected_hz: float | None) -> None:
    assert rate_hz(text, "--x") == expected_hz


@pytest.mark.parametrize("text", ["200", "-1ms", "fast", "", "5Hz", "1e999s", "nan ms", "1,5s", "0.2.1s"])
def test_a_wrong_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"--system2-delay: got .*expected a duration such as 200ms or 0.2s"
    ):
        duration_ms(text, "--system2-delay")


@pytest.mark.parametrize("text", ["5", "0Hz", "-5Hz", "200ms", "infHz"])
def test_a_wrong_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--system2-rate: got .*expected a rate such as 5Hz"):
        rate_hz(text, "--system2-rate")


def test_a_missing_unit_is_named() -> None:
    with pytest.raises(ConfigError, match="add a unit: us, ms, s, min"):
        duration_ms("200", "--x")


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (duration_ms, rate_hz):
        try:
            value = read(text, "--x")
        except ConfigError:
            continue
        assert value is None or value >= 0
