"""The pages about robots name everything that there is to say and to check."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualsys.clock import VirtualClock
from dualsys.messages import ArmCommand, ArmState, Hello, Message, Reply, Request
from dualsys.robots.kit import Bench, examine
from dualsys.robots.link import LINK_VERSION, spec_details
from dualsys.robots.scripted import SCRIPTED_SPEC, ScriptedArm, ScriptedRobot


@pytest.fixture(scope="module")
def link_page() -> str:
    """The page of the robot link."""
    return (Path(__file__).resolve().parents[2] / "docs" / "robot-link.md").read_text("utf-8")


@pytest.mark.parametrize("message", [ArmState, ArmCommand, Hello, Request, Reply])
def test_every_field_of_the_robot_link_is_described(link_page: str, message: type[Message]) -> None:
    assert f"`{message.__struct_config__.tag}`" in link_page
    assert [name for name in message.__struct_fields__ if f"`{name}`" not in link_page] == []


def test_everything_that_a_robot_tells_about_itself_is_described(link_page: str) -> None:
    assert [name for name in spec_details(SCRIPTED_SPEC) if f"`{name}`" not in link_page] == []
    assert f"# The robot link, version {LINK_VERSION}\n" in link_page


def test_every_check_is_described(clock: VirtualClock, repository: Path) -> None:
    page = (repository / "docs" / "robots.md").read_text("utf-8")
    arm = ScriptedArm(clock)
    report = examine(Bench(lambda: ScriptedRobot(arm), clock))
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    first = ", ".join(row.split("|")[1].strip() for row in rows).split(", ")
    assert [one.check for one in report.outcomes if one.check not in first] == []
