"""The simulated arm keeps the contract of a robot, in simulated time: without sockets and other load."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS, NS_PER_S, VirtualClock
from dualsys.errors import PeerTimeoutError, RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.messages import ArmCommand
from dualsys.robots.contract import ArmReading, RobotSpec
from dualsys.robots.kit import Bench, RobotContract
from dualsys.robots.tabletop import TABLE_IIWA14, TABLE_PANDA, TABLE_XARM6, TabletopArm

pytest.importorskip("pybullet")

from dualsys_sim.table import TICK_NS, TableCore
from dualsys_sim.world import World


class Table:
    """The simulated table on a clock, with a line to it that can be cut."""

    def __init__(self, world: World, clock: VirtualClock) -> None:
        self.core = TableCore(world, 50 * NS_PER_MS)
        self.clock = clock
        self.there = True
        self.began_ns = clock.now_ns()
        self.state = self.core.tick()

    def newest(self) -> ArmReading:
        while self.there and self.core.time_ns < self.clock.now_ns() - self.began_ns:
            self.state = self.core.tick()
        t_ns = self.began_ns + self.state.t_robot_ns - TICK_NS
        return ArmReading(
            t_ns, np.array(self.state.position), np.array(self.state.velocity), self.state.status
        )


class TableRobot:
    """A driver without a transport."""

    def __init__(self, arm: TabletopArm, table: Table | None, clock: VirtualClock) -> None:
        self.spec: RobotSpec = arm.spec
        self._table = table
        self._clock = clock
        self._connected = False
        self._seq = 0

    def connect(self) -> None:
        if self._table is None:
            self._clock.advance_ns(NS_PER_S)
            raise PeerTimeoutError("the table", "nowhere", 1.0)
        self._clock.advance_ns(TICK_NS)
        self._connected = True

    def read(self) -> ArmReading:
        if not self._connected or self._table is None:
            raise RobotError("not connected")
        return self._table.newest()

    def write(self, command: FloatArray) -> None:
        if not self._connected or self._table is None:
            raise RobotError("not connected")
        position = tuple(self.spec.require_command(command).tolist())
        self._seq += 1
        assert self._table.core.on_command(ArmCommand(seq=self._seq, position=position))

    def stop(self, reason: str) -> None:
        del reason

    def close(self) -> None:
        self._connected = False


class TestSimulatedArm(RobotContract):
    """Every check but that of a cycle, which belongs to the transport."""

    arm: TabletopArm = TABLE_PANDA
    bench: Bench

    @classmethod
    def make_bench(cls) -> Bench:
        return cls.bench

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def table(cls) -> Iterator[None]:
        clock = VirtualClock(NS_PER_S)
        with World(arm=cls.arm) as world:
            table = Table(world, clock)

            def drop() -> None:
                table.there = False

            cls.bench = Bench(
                lambda: TableRobot(cls.arm, table, clock),
                clock,
                may_move=True,
                drop=drop,
                absent=lambda: TableRobot(cls.arm, None, clock),
            )
            yield


class TestSimulatedIiwa14(TestSimulatedArm):
    """The same."""

    arm = TABLE_IIWA14


class TestSimulatedXarm6(TestSimulatedArm):
    """The same, with an axis less."""

    arm = TABLE_XARM6
