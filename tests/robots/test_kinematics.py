"""The kinematics of the arms: against PyBullet, against finite differences, and against themselves."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.robots.kinematics import PANDA, TOOL_DOWN, KinematicsError, rotation_from_rpy
from dualsys.robots.tabletop import ARMS

WORK_AREA_M = ((0.30, -0.30, 0.012), (0.68, 0.30, 0.30))


@pytest.mark.parametrize("name", ARMS)
def test_forward_agrees_with_pybullet(rng: np.random.Generator, name: str) -> None:
    pybullet = pytest.importorskip("pybullet")
    from dualsys_sim.arms import load_arm

    chain = ARMS[name].chain
    client = pybullet.connect(pybullet.DIRECT)
    try:
        arm = load_arm(client, ARMS[name])
        for q in rng.uniform(chain.lower_rad, chain.upper_rad, (50, chain.joints)):
            for joint, angle in zip(arm.joints, q, strict=True):
                pybullet.resetJointState(arm.body, joint, angle, physicsClientId=client)
            link = pybullet.getLinkState(
                arm.body, arm.tool, computeForwardKinematics=True, physicsClientId=client
            )
            position, rotation = chain.forward(q)
            turned = np.reshape(pybullet.getMatrixFromQuaternion(link[5]), (3, 3))
            assert np.abs(position - link[4]).max() < 1e-4
            assert np.abs(rotation - turned).max() < 1e-4
    finally:
        pybullet.disconnect(client)


def test_forward_takes_any_leading_shape(rng: np.random.Generator) -> None:
    q = rng.uniform(-0.5, 0.5, (2, 3, 7))
    position, rotation = PANDA.forward(q)
    assert position.shape == (2, 3, 3)
    assert rotation.shape == (2, 3, 3, 3)
    np.testing.assert_array_equal(position[1, 2], PANDA.forward(q[1, 2])[0])


def test_jacobian_is_the_derivative_of_forward(rng: np.random.Generator) -> None:
    q = rng.uniform(-1.0, 1.0, 7)
    jacobian = PANDA.jacobian(q)
    _, rotation = PANDA.forward(q)
    for joint in range(7):
        step = np.zeros(7)
        step[joint] = 1e-6
        (after, turned), (before, unturned) = PANDA.forward(q + step), PANDA.forward(q - step)
        spin = (turned - unturned) / 2e-6 @ rotation.T
        np.testing.assert_allclose(jacobian[:3, joint], (after - before) / 2e-6, atol=1e-7)
        np.testing.assert_allclose(jacobian[3:, joint], [spin[2, 1], spin[0, 2], spin[1, 0]], atol=1e-7)


def test_inverse_is_exact_everywhere_in_the_work_area(rng: np.random.Generator) -> None:
    wanted = rng.uniform(*WORK_AREA_M, (400, 3))
    position, rotation = PANDA.forward(PANDA.inverse(wanted, TOOL_DOWN, PANDA.rest_rad))
    assert np.abs(position - wanted).max() < 1e-4
    assert np.abs(rotation - TOOL_DOWN).max() < 1e-3


def test_inverse_is_exact_along_a_warm_started_path() -> None:
    start = PANDA.inverse((0.45, 0.0, 0.2), TOOL_DOWN, PANDA.rest_rad)[0]
    path = np.array([0.45, 0.0, 0.2]) + np.outer(np.arange(1, 17), (0.005, 0.009, -0.006))
    knots = PANDA.inverse(path, TOOL_DOWN, start)
    assert np.linalg.norm(PANDA.forward(knots)[0] - path, axis=1).max() < 5e-4
    assert np.abs(np.diff(knots, axis=0)).max() < 0.08


def test_inverse_does_not_depend_on_the_way_there(rng: np.random.Generator) -> None:
    wanted = rng.uniform(*WORK_AREA_M, (60, 3))
    from_rest = PANDA.inverse(wanted, TOOL_DOWN, PANDA.rest_rad)
    for index in range(1, len(wanted)):
        from_last = PANDA.inverse(wanted[index], TOOL_DOWN, from_rest[index - 1])[0]
        assert np.abs(from_last - from_rest[index]).max() < 0.02


def test_inverse_respects_the_joint_limits_even_out_of_reach(rng: np.random.Generator) -> None:
    far = rng.uniform((-1.5, -1.5, -0.5), (1.5, 1.5, 1.5), (50, 3))
    q = PANDA.inverse(far, TOOL_DOWN, PANDA.rest_rad)
    assert np.isfinite(q).all()
    assert (q >= PANDA.lower_rad).all()
    assert (q <= PANDA.upper_rad).all()


def test_inverse_gives_the_same_bits_twice(rng: np.random.Generator) -> None:
    wanted = rng.uniform(*WORK_AREA_M, (16, 3))
    first = PANDA.inverse(wanted, TOOL_DOWN, PANDA.rest_rad)
    np.testing.assert_array_equal(first, PANDA.inverse(wanted, TOOL_DOWN, PANDA.rest_rad))


def test_inverse_takes_a_rotation_for_each_pose() -> None:
    turned = TOOL_DOWN @ rotation_from_rpy(0.0, 0.0, 0.3)
    q = PANDA.inverse([(0.5, 0.0, 0.2)] * 2, np.stack([TOOL_DOWN, turned]), PANDA.rest_rad)
    _, rotation = PANDA.forward(q)
    assert np.abs(rotation[0] - TOOL_DOWN).max() < 1e-3
    assert np.abs(rotation[1] - turned).max() < 1e-3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_by_name(bad: float) -> None:
    with pytest.raises(KinematicsError, match="position_m"):
        PANDA.inverse((0.4, bad, 0.2), TOOL_DOWN, PANDA.rest_rad)
    with pytest.raises(KinematicsError, match="q_rad"):
        PANDA.forward([0.0, bad, 0.0, 0.0, 0.0, 0.0, 0.0])


def test_wrong_shapes_are_refused_with_both_shapes() -> None:
    with pytest.raises(KinematicsError, match=r"\(7,\).*\(6,\)"):
        PANDA.forward(np.zeros(6))
