"""When the servos of an arm may not go on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import NS_PER_MS
from dualsys.robots.servo_calibration import ProtectionSection
from dualsys.robots.servo_health import COOLED_C, Health, Losses
from dualsys.robots.servo_registers import ServoSample

FINE = ServoSample(position=2048, velocity=0, load=0, voltage_v=12.0, temperature_c=30)
PROTECTION = ProtectionSection(max_temperature_c=60, max_load=0.8, max_load_s=0.1)


def judge(health: Health, *samples: ServoSample, t_ms: int = 0, loads: tuple[float, ...] = (0.0, 0.0)) -> str:
    """Judge one cycle of two joints."""
    return health.fault(t_ms * NS_PER_MS, [*samples, FINE, FINE][:2], loads)


@given(temperatures=st.lists(st.integers(0, 100), min_size=1, max_size=30))
def test_a_hot_servo_stays_hot_until_it_has_cooled(temperatures: list[int]) -> None:
    health, hot = Health(("a", "b"), PROTECTION), False
    for found in temperatures:
        hot = found > 60 or (hot and found > 60 - COOLED_C)
        assert bool(judge(health, replace(FINE, temperature_c=found))) == hot


@given(loads=st.lists(st.floats(-1.5, 1.5), min_size=1, max_size=40))
def test_a_load_is_too_much_when_it_was_high_without_a_break(loads: list[float]) -> None:
    health, high = Health(("a", "b"), PROTECTION), 0
    for cycle, load in enumerate(loads):
        high = high + 1 if abs(load) > 0.8 else 0
        fault = judge(health, t_ms=20 * cycle, loads=(0.0, load))
        assert bool(fault) == (high > 5)
        assert not fault or fault.startswith("b: load ")


def test_every_fault_of_every_servo_is_told() -> None:
    health = Health(("a", "b"), PROTECTION)
    fault = judge(health, replace(FINE, errors=("overloaded", "overheated")), replace(FINE, temperature_c=61))
    assert fault == "a: overloaded; a: overheated; b: 61 degrees C, at most 60: let it cool to 55"


@pytest.mark.parametrize("tolerated", [0, 1, 5])
def test_silence_is_tolerated_for_as_many_cycles_in_a_row_as_agreed(tolerated: int) -> None:
    losses = Losses(("a", "b"), tolerated)
    for _ in range(3):
        for _ in range(tolerated):
            assert losses.note({"a": True, "b": False}, corrupted=1) == ""
        assert losses.note({"a": True, "b": True}, corrupted=0) == ""
    for _ in range(tolerated):
        losses.note({"a": True, "b": False}, corrupted=0)
    told = losses.note({"a": True, "b": False}, corrupted=0)
    assert told == f"no good answer from b for {tolerated + 1} cycles in a row"
    assert (losses.lost, losses.corrupted) == (4 * tolerated + 1, 3 * tolerated)
    assert losses.cycles == 4 * tolerated + 4
