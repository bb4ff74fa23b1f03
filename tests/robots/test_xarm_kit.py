"""The xArm driver keeps the driver contract, by the conformance kit, with the maker's own SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from dualsys.robots.kit import Bench, RobotContract

pytest.importorskip("xarm", reason="needs xarm-python-sdk: pip install 'dualsys[xarm]'")

from .xarm_rig import XarmRig, xarm_rig

NOBODY = "127.0.43.254"


class TestXarm(RobotContract):
    rig: ClassVar[XarmRig]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _serve(cls) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch, xarm_rig(patch, "127.0.43.1") as cls.rig:
            yield

    @classmethod
    def make_bench(cls) -> Bench:
        rig = cls.rig
        return Bench(
            lambda: rig.open(rate_hz=50),
            rig.clock,
            may_move=True,
            drop=rig.server.close,
            absent=lambda: rig.open(NOBODY),
        )
