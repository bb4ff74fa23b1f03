"""Drivers by name."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from dualsys import plugins
from dualsys.clock import VirtualClock
from dualsys.errors import RobotError
from dualsys.robots import simulated
from dualsys.robots.registry import (
    GROUP,
    ROBOTS,
    RobotDriver,
    RobotSettings,
    driver_named,
    open_robot,
)
from dualsys.robots.simulated import SimulatedRobot


@pytest.fixture
def settings(clock: VirtualClock) -> RobotSettings:
    """Settings of a robot that is not there."""
    return RobotSettings("ipc:///a", "ipc:///b", "ipc:///c", 1.0, clock)


def offer(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: [p for p in points if p.group == group])


def test_the_simulated_arm_comes_with_dualsys(settings: RobotSettings) -> None:
    assert "pybullet" in ROBOTS.names()
    assert isinstance(open_robot("pybullet", settings), SimulatedRobot)
    assert driver_named("pybullet").simulated


def test_an_unknown_name_lists_the_known_ones(settings: RobotSettings) -> None:
    with pytest.raises(RobotError, match=r"no driver 'toaster'; there are .*pybullet"):
        open_robot("toaster", settings)


def test_an_installed_package_can_offer_a_driver(driver_package: str, settings: RobotSettings) -> None:
    assert {driver_package, "link", "pybullet"} <= set(ROBOTS.names())
    assert isinstance(open_robot(driver_package, settings), SimulatedRobot)
    assert not driver_named(driver_package).simulated


def test_a_name_that_two_packages_offer_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: RobotSettings
) -> None:
    offer(monkeypatch, EntryPoint("pybullet", "other:make", GROUP))
    with pytest.raises(RobotError, match="other:make and dualsys"):
        open_robot("pybullet", settings)


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


def test_it_is_told_where_a_driver_comes_from(driver_package: str) -> None:
    assert ROBOTS.origin_of("link") == "dualsys"
    assert ROBOTS.origin_of(driver_package) == "next-room"


def test_a_driver_for_another_contract_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: RobotSettings
) -> None:
    monkeypatch.setattr(simulated, "DRIVER", RobotDriver("old", open=SimulatedRobot, contract=0))
    with pytest.raises(RobotError, match="written for version 0 of the driver contract, this is version 1"):
        open_robot("pybullet", settings)


def test_whether_a_driver_has_its_library_is_found_out_without_loading_it() -> None:
    assert RobotDriver("", open=SimulatedRobot).usable
    assert RobotDriver("", open=SimulatedRobot, library="antigravity").usable
    assert "antigravity" not in sys.modules
    assert not RobotDriver("", open=SimulatedRobot, library="no_such_library").usable


def test_unknown_options_are_refused_by_name(settings: RobotSettings) -> None:
    told = replace(settings, options={"port": "a", "baud": 1})
    told.require_options("port", "baud")
    with pytest.raises(RobotError, match=r"unknown baud; there are port$"):
        told.require_options("port")
    with pytest.raises(RobotError, match=r"unknown baud, port; this driver has none"):
        told.require_options()
