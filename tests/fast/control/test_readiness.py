from __future__ import annotations

import numpy as np

from dualsys.clock import NS_PER_MS
from dualsys.fast.control.ages import Ages
from dualsys.fast.control.readiness import faults_of_arm, faults_of_data
from dualsys.fast.control.readings import Tolerances
from dualsys.robots.contract import ArmReading

from .conftest import HOME, JOINT_1

TOLERANCES = Tolerances(moved_rad=0.05, rest_rad_s=0.1)
GRIPPER = np.array([0.0] * 7 + [1.0])
NOW_NS = 10**10


def faults(moved: float = 0.0, speed: float = 0.0, **where: object) -> list[str]:
    reading = ArmReading(0, HOME + moved * JOINT_1 + 0.07 * GRIPPER, speed * JOINT_1 + 0.5 * GRIPPER)
    left = HOME if where.get("known", True) else None
    return faults_of_arm(reading, left, 7, TOLERANCES)


def test_an_arm_at_rest_where_it_was_left_is_ready_whatever_its_gripper_does() -> None:
    assert faults(moved=0.049, speed=0.099) == []


def test_every_fault_of_the_arm_is_told() -> None:
    moving, moved = faults(moved=-0.06, speed=-0.2)
    assert moving == "the arm is still moving at 0.200 rad/s, at most 0.1 rad/s"
    assert moved == "the arm was moved by 0.060 rad from where it was left, at most 0.05 rad"


def test_an_arm_that_came_to_rest_by_its_own_means_is_ready_anywhere() -> None:
    assert faults(moved=1.0, known=False) == []


def test_data_is_fresh_up_to_the_hard_age_of_a_plan_and_the_soft_age_of_a_latent() -> None:
    ages = Ages(plan_hard_ns=500 * NS_PER_MS, latent_soft_ns=1000 * NS_PER_MS)
    plan_ns, latent_ns = NOW_NS - ages.plan_hard_ns, NOW_NS - ages.latent_soft_ns
    assert faults_of_data(NOW_NS, plan_ns, latent_ns, ages) == []
    plan, latent = faults_of_data(NOW_NS, plan_ns - NS_PER_MS, latent_ns - NS_PER_MS, ages)
    assert plan == "the newest plan is 501 ms old, at most 500 ms"
    assert latent == "the newest latent is 1001 ms old, at most 1000 ms"


def test_data_that_never_came_is_not_out_of_date() -> None:
    assert faults_of_data(NOW_NS, -1, -1, Ages()) == []
