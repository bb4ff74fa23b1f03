"""Judgements of an edge machine."""

from __future__ import annotations

import pytest

from dualsys.doctor import edge
from dualsys.doctor.edge import Package


def test_a_missing_package_is_a_problem_with_the_line_that_installs_it() -> None:
    missing, there = edge.packages([Package("numpy", "2.1", ""), Package("cv2", "", "pip install it")])
    assert (missing.level, missing.says, missing.remedy) == (
        "problem",
        "cv2 is not installed",
        "pip install it",
    )
    assert (there.level, there.says) == ("ok", "numpy 2.1")


def test_a_simulator_or_torch_next_to_the_arm_is_a_problem() -> None:
    assert edge.loaded([]).level == "ok"
    found = edge.loaded(["torch"])
    assert (found.level, found.says) == ("problem", "control and planner load torch")


def test_without_keys_there_is_nothing_to_say_about_them() -> None:
    assert [one.level for one in edge.keys({}, None, (), "no store")] == ["ok"]


def test_a_key_that_cannot_be_read_or_is_not_allowed_is_a_problem() -> None:
    named = {"security.slow": "cloud"}
    assert [one.says for one in edge.keys(named, None, (), "own.key has mode 644")] == [
        "own.key has mode 644"
    ]
    (unknown,) = edge.keys(named, "edge", ("other",), "")
    assert unknown.level == "problem"
    assert "`dualsys keys allow cloud KEY`" in unknown.remedy
    assert [one.level for one in edge.keys(named, "edge", ("cloud",), "")] == ["ok"]
    assert [one.level for one in edge.keys({"security.robot": "edge"}, "edge", (), "")] == ["ok"]


def test_what_runs_here_is_served_with_the_key_of_this_machine_and_no_other() -> None:
    named = {"security.planner": "edge", "security.control": "cloud", "security.robot": "arm"}
    control, robot = edge.keys(named, "edge", ("cloud",), "")
    assert control.says == "security.control names 'cloud', but runs here, where the key is 'edge'"
    assert control.remedy.startswith("set security.control to 'edge'")
    assert (
        robot.remedy == "on the machine 'arm' run `dualsys keys show`, and here `dualsys keys allow arm KEY`"
    )


@pytest.mark.parametrize(("median_s", "level"), [(0.005, "ok"), (0.016, "warning"), (0.021, "problem")])
def test_plans_that_take_longer_than_their_period_are_a_problem(median_s: float, level: str) -> None:
    assert edge.plans(median_s, 0.03, 50.0).level == level


def test_a_robot_must_have_the_axes_that_plans_are_made_for() -> None:
    led = ("a", "b")
    assert [one.level for one in edge.robot("arm", ("a", "b"), 250.0, led, 250.0)] == ["ok"]
    (swapped,) = edge.robot("arm", ("b", "a"), 250.0, led, 250.0)
    assert (swapped.level, "b, a; plans are made for a, b" in swapped.says) == ("problem", True)
    assert [one.level for one in edge.robot("arm", led, 100.0, led, 250.0)] == ["warning"]
