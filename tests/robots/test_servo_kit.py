"""Arms of scripted servos keep the driver contract, by the conformance kit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from dualsys.robots import servo_arm
from dualsys.robots.kit import Bench, RobotContract
from dualsys.robots.servo_arm import ServoArm
from dualsys.robots.servo_calibration import ArmFile

from .servo_double import ServoDouble
from .servo_rig import KINDS, Kind, arm_tree, settings_of


class ServoContract(RobotContract):
    """The contract for an arm of two joints, the second of which turns the other way."""

    kind: ClassVar[Kind]
    folder: ClassVar[Path]
    double: ClassVar[ServoDouble | None] = None

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        type(self).folder = tmp_path_factory.mktemp("arm")
        double = type(self).double or ServoDouble(self.kind.wire(), dict.fromkeys((1, 2), self.kind.number))
        type(self).double = double
        monkeypatch.setattr(servo_arm, "SerialPort", double.port_class())

    @classmethod
    def make_bench(cls) -> Bench:
        double = cls.double
        assert double is not None
        tree: dict[str, Any] = arm_tree(cls.kind.model)
        path = cls.folder / "arm.yaml"
        path.write_text(ArmFile.model_validate({**tree, "joints": tree["joints"][:2]}).to_yaml(), "utf-8")

        def open_at(port: str) -> ServoArm:
            return ServoArm(settings_of(double.clock, arm=str(path), port=port), cls.kind.family)

        return Bench(
            lambda: open_at(double.port),
            double.clock,
            may_move=True,
            drop=double.close,
            absent=lambda: open_at("/dev/ttyNOBODY"),
        )


class TestDynamixel(ServoContract):
    kind = KINDS["dynamixel"]


class TestFeetech(ServoContract):
    kind = KINDS["feetech"]
