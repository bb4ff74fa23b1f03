"""Rules of rates on the command line."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.cli.rates import parse_rate_hz
from dualsys.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected_hz"), [("5Hz", 5), ("0.5 hz", 0.5), ("0.1kHz", 100), (" .5 HZ ", 0.5)]
)
def test_rates_have_a_unit(text: str, expected_hz: float) -> None:
    assert parse_rate_hz(text, "--x") == expected_hz


@pytest.mark.parametrize("text", ["5", "0Hz", "-5Hz", "200ms", "infHz", "2kHz", "", "fast"])
def test_a_wrong_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--system2-rate: got .*expected a positive rate such as 5Hz"):
        parse_rate_hz(text, "--system2-rate")


def test_a_missing_unit_is_named() -> None:
    with pytest.raises(ConfigError, match="add the unit: Hz or kHz"):
        parse_rate_hz("5", "--x")


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ConfigError):
        assert 0 < parse_rate_hz(text, "--x") <= 1000
