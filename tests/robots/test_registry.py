"""Drivers by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from dualsys.clock import VirtualClock
from dualsys.errors import RobotError
from dualsys.robots import registry
from dualsys.robots.registry import (
    GROUP,
    RobotSettings,
    driver_named,
    open_robot,
    robot_names,
)
from dualsys.robots.simulated import SimulatedRobot


@pytest.fixture
def settings(clock: VirtualClock) -> RobotSettings:
    """Settings of a robot that is not there."""
    return RobotSettings("ipc:///a", "ipc:///b", "ipc:///c", 1.0, clock)


def offer(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])


def test_the_simulated_arm_comes_with_dualsys(settings: RobotSettings) -> None:
    assert "simulated" in robot_names()
    assert isinstance(open_robot("simulated", settings), SimulatedRobot)
    assert driver_named("simulated").simulated


def test_an_unknown_name_lists_the_known_ones(settings: RobotSettings) -> None:
    with pytest.raises(RobotError, match=r"no driver 'toaster'; there are .*simulated"):
        open_robot("toaster", settings)


def test_an_installed_package_can_offer_a_driver(driver_package: str, settings: RobotSettings) -> None:
    assert robot_names() == (driver_package, "simulated")
    assert isinstance(open_robot(driver_package, settings), SimulatedRobot)
    assert not driver_named(driver_package).simulated


def test_a_name_that_two_packages_offer_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: RobotSettings
) -> None:
    offer(monkeypatch, EntryPoint("simulated", "other:make", GROUP))
    with pytest.raises(RobotError, match="other:make and dualsys"):
        open_robot("simulated", settings)


@pytest.mark.parametrize("target", ["no_such_module:make", "dualsys.robots.simulated:no_such_function"])
def test_a_driver_that_cannot_be_loaded_says_why(
    monkeypatch: pytest.MonkeyPatch, settings: RobotSettings, target: str
) -> None:
    offer(monkeypatch, EntryPoint("broken", target, GROUP))
    with pytest.raises(RobotError, match=f"cannot be loaded from {target}"):
        open_robot("broken", settings)


def test_what_is_no_driver_is_refused(monkeypatch: pytest.MonkeyPatch, settings: RobotSettings) -> None:
    offer(monkeypatch, EntryPoint("wrong", "dualsys.robots.simulated:SimulatedRobot", GROUP))
    with pytest.raises(RobotError, match=r"simulated:SimulatedRobot is no RobotDriver but a \w+"):
        open_robot("wrong", settings)
