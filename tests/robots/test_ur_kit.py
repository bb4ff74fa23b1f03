"""The UR driver keeps the driver contract, by the conformance kit, with the real client library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from dualsys.robots.kit import Bench, RobotContract

from .ur_double import ur_double
from .ur_rig import UrRig

pytest.importorskip("rtde_control", reason="needs ur-rtde: pip install 'dualsys[ur]'")

NOBODY = "127.0.42.254"


class TestUr(RobotContract):
    rig: ClassVar[UrRig]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _serve(cls) -> Iterator[None]:
        with ur_double("127.0.42.2") as double:
            cls.rig = UrRig(double)
            yield

    @classmethod
    def make_bench(cls) -> Bench:
        rig = cls.rig
        return Bench(
            # At 50 set-points per second: each costs several switches between two processes.
            lambda: rig.open(rate_hz=50),
            rig.clock,
            may_move=True,
            drop=rig.double.kill,
            absent=lambda: rig.open(NOBODY),
        )
