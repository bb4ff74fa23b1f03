"""The file of an arm: what it may say, and what it means."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dualsys.config import load_config
from dualsys.errors import ConfigError
from dualsys.robots.profiles import SO101
from dualsys.robots.servo_calibration import (
    TICKS_PER_TURN,
    ArmFile,
    JointEntry,
    ProtectionSection,
    TickScale,
    load_arm,
)

from .servo_rig import arm_tree

RAD_PER_TICK = 2 * np.pi / 4096


def so101_tree() -> dict[str, Any]:
    """The file of an SO-101 whose joints reach a little less than its profile allows."""
    joints = [
        {
            "name": name,
            "id": number,
            "model": "sts3215",
            "homing_ticks": 2048,
            "direction": 1,
            "min_ticks": 1000,
            "max_ticks": 3000,
        }
        for number, name in enumerate(SO101.axes, start=1)
    ]
    return {"arm": "so101", "port": "/dev/ttyACM0", "joints": joints}


def faults_of(tree: dict[str, Any], folder: Path) -> str:
    """What is wrong with a file, in words."""
    path = folder / "arm.json"
    path.write_text(json.dumps(tree), "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_arm(path)
    return str(caught.value)


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    arm = ArmFile.model_validate(so101_tree())
    path = tmp_path / "arm.yaml"
    path.write_text(arm.to_yaml(), "utf-8")
    assert load_arm(path) == arm
    path.write_text(json.dumps(so101_tree()), "utf-8")
    assert load_arm(path) == arm


def test_an_arm_may_go_where_its_joints_reach_and_its_profile_allows() -> None:
    tree = so101_tree()
    tree["joints"][0] |= {"min_ticks": 2000, "max_ticks": 4000, "direction": -1}
    limits = ArmFile.model_validate(tree).spec().limits
    assert limits.lower[0] == SO101.limits.lower[0]
    assert limits.upper[0] == pytest.approx(48 * RAD_PER_TICK)
    assert limits.lower[1] == pytest.approx(-1048 * RAD_PER_TICK)
    assert limits.upper[5] == pytest.approx(952 * RAD_PER_TICK)
    assert (limits.velocity == SO101.limits.velocity).all()
    assert limits.joints == 6


def test_a_joint_can_have_slower_limits_than_its_profile() -> None:
    tree = so101_tree()
    tree["joints"][2] |= {"velocity_rad_s": 1.0, "acceleration_rad_s2": 2.0}
    limits = ArmFile.model_validate(tree).spec().limits
    assert (limits.velocity[2], limits.acceleration[2]) == (1.0, 2.0)
    assert (limits.velocity[3], limits.acceleration[3]) == (4.71, 15.0)


@given(
    homing=st.integers(0, TICKS_PER_TURN - 1),
    direction=st.sampled_from((1.0, -1.0)),
    ticks=st.integers(-TICKS_PER_TURN, 2 * TICKS_PER_TURN),
)
def test_positions_and_angles_are_the_same_both_ways(homing: int, direction: float, ticks: int) -> None:
    scale = TickScale(np.array([float(homing)]), np.array([direction]))
    assert scale.to_ticks(scale.to_rad([ticks])).tolist() == [ticks]
    assert scale.to_rad([homing]) == pytest.approx([0.0])
    assert np.sign(scale.to_rad([homing + 1])) == direction


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("homing_ticks", 4096, "joints.1.homing_ticks: got 4096"),
        ("id", 253, "joints.1.id: got 253"),
        ("id", 1, "joints.1.id: got 1, expected a number of its own"),
        ("id", "2", "joints.1.id: got '2'"),
        ("name", "base", "joints.1.name: got 'base', expected a name of its own"),
        ("direction", 0, "joints.1.direction: got 0"),
        ("max_ticks", 1010, "joints.1.max_ticks: got 1010, expected at least 64 more than min_ticks (1000)"),
        ("velocity_rad_s", None, "joints.1.velocity_rad_s: got null, expected a number: there is no profile"),
        ("velocity_rad_s", float("nan"), "joints.1.velocity_rad_s: got 'NaN'"),
        ("colour", "red", "joints.1.colour"),
    ],
)
def test_a_wrong_field_of_a_joint_is_told_with_its_place_and_value(
    tmp_path: Path, field: str, value: object, told: str
) -> None:
    tree: dict[str, Any] = arm_tree("sts3215")
    tree["joints"][1][field] = value
    faults = faults_of(tree, tmp_path)
    assert told in faults
    assert "`dualsys calibrate` makes a new one" in faults


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("on_stop", "fall", "on_stop: got 'fall', expected 'hold' or 'limp'"),
        ("baud_rate", 1, "baud_rate: got 1, expected a whole number, 9600 to 4e+06"),
        ("joints", [], "joints: got []"),
        ("bort", 1, "bort: is not a setting; did you mean port?"),
    ],
)
def test_a_wrong_field_of_an_arm_is_told_with_its_value(
    tmp_path: Path, field: str, value: object, told: str
) -> None:
    assert told in faults_of({**arm_tree("sts3215"), field: value}, tmp_path)


def test_the_joints_of_a_known_arm_have_its_names_in_its_order(tmp_path: Path) -> None:
    tree = so101_tree()
    tree["joints"].reverse()
    assert "expected those of SO-101 in their order: shoulder_pan, shoulder_lift" in faults_of(tree, tmp_path)


def test_a_zero_that_leaves_a_joint_nowhere_to_go_is_told(tmp_path: Path) -> None:
    tree = so101_tree()
    tree["joints"][3] |= {"homing_ticks": 0, "min_ticks": 2000, "max_ticks": 3000}
    faults = faults_of(tree, tmp_path)
    assert "joints.3: reaches 3.068 to 4.602 rad, expected some of -1.65806 to 1.65806 rad" in faults


@pytest.mark.parametrize("text", ["[1, 2]", "arm: [", "arm: a\narm: b"])
def test_what_is_no_file_of_an_arm_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "arm.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=str(path)):
        load_arm(path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_arm(tmp_path / "none.yaml")


def test_the_page_explains_every_field_and_its_example_fits(repository: Path) -> None:
    page = (repository / "docs" / "servo-arms.md").read_text("utf-8")
    fields = {*ArmFile.model_fields, *JointEntry.model_fields, *ProtectionSection.model_fields}
    assert [name for name in sorted(fields) if not re.search(rf"\b{name}\b", page)] == []
    example = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    joint = example.pop("joints")[0]
    rest = [{**joint, "name": name, "id": number} for number, name in enumerate(SO101.axes, start=1)]
    assert ArmFile.model_validate({**example, "joints": rest}).joints[0] == JointEntry(**joint)


def test_the_shipped_configuration_fits_an_so101_that_is_not_there(repository: Path) -> None:
    config = load_config(repository / "configs" / "so101.yaml")
    assert config.robot.driver == "feetech"
    assert list(config.robot.options) == ["arm"]
    assert config.control.rate_hz == ArmFile.model_validate(so101_tree()).rate_hz
