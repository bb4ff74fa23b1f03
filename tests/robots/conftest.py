"""Arms of scripted servos, of both makers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dualsys.robots import servo_arm
from dualsys.robots.servo_arm import ServoArm
from dualsys.robots.servo_calibration import ArmFile

from .servo_double import ServoDouble
from .servo_rig import KINDS, Kind, arm_tree, settings_of


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each maker's servos."""
    return KINDS[request.param]


@pytest.fixture
def double(kind: Kind) -> Iterator[ServoDouble]:
    """Three servos, ids 1 to 3."""
    bus = ServoDouble(kind.wire(), dict.fromkeys((1, 2, 3), kind.number))
    yield bus
    bus.close()


@pytest.fixture
def build(
    kind: Kind, double: ServoDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ServoArm]]:
    """Makes the arm; it is closed after the test."""
    monkeypatch.setattr(servo_arm, "SerialPort", double.port_class())
    made: list[ServoArm] = []

    def make(**changes: object) -> ServoArm:
        path = tmp_path / "arm.yaml"
        path.write_text(ArmFile.model_validate(arm_tree(kind.model, **changes)).to_yaml(), "utf-8")
        made.append(ServoArm(settings_of(double.clock, arm=str(path), port=double.port), kind.family))
        return made[-1]

    yield make
    for arm in made:
        arm.close()
