"""Where the time of a control tick goes: read, plan, decide, write, publish; over a robot link.

`python -m dualsys.bench.tick` runs the core of control at its rate, with the driver of the simulated arm and
real sockets; the arm at the other end is in the same process, and its part is not counted. What is counted is
the time that the thread computes, so that other programs do not count; on an idle machine it is the time that
passes.
"""

from __future__ import annotations

import gc
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import tyro
from numpy.typing import NDArray

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.handshake import answer_hello
from dualsys.bus.service import ServiceServer
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, Clock, CpuClock, WallClock, period_ns
from dualsys.errors import RobotError
from dualsys.fast.control.core import Ages, ControlCore
from dualsys.fast.control.limiter import Smoothing
from dualsys.messages import ArmCommand, ArmState, Hello, Plan, Reply, Request, Tensor, Welcome
from dualsys.robots.registry import RobotSettings
from dualsys.robots.simulated import SIMULATED_PANDA, SimulatedRobot

STAGES: Final = ("read", "plan", "decide", "write", "publish")
HOME: Final = np.array([0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08])
WARM_UP_TICKS: Final = 200
TICKS_PER_PLAN: Final = 5
SWAY_RAD: Final = 0.1


@dataclass(frozen=True)
class TickCost:
    """What ticks cost.

    Attributes:
        stage_us: float64 [N, 5], us of each stage of `STAGES` at N ticks; without a plan, that is nearly 0.
        kept_blocks: Memory blocks that each tick left behind, on average.
    """

    stage_us: NDArray[np.float64]
    kept_blocks: float

    def lines(self) -> list[str]:
        """As text: median, 99th percentile and greatest time of each stage and of their sum, in us."""
        rows = dict(zip(STAGES, self.stage_us.T, strict=True))
        rows["plan, when there is one"] = rows.pop("plan")[::TICKS_PER_PLAN]
        rows["read to write"] = self.stage_us[:, :-1].sum(axis=1)
        lines = [f"{'':24}{'p50':>8}{'p99':>8}{'max':>8}  us"]
        for name, times in rows.items():
            p50, p99, most = np.percentile(times, (50, 99, 100))
            lines.append(f"{name:24}{p50:8.0f}{p99:8.0f}{most:8.0f}")
        return [*lines, f"memory blocks kept per tick: {self.kept_blocks:.3f}"]


class Arm:
    """The far end of the robot link: says where it was last told to be."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.context = open_context()
        self.clock = clock
        self.settings = RobotSettings(
            f"ipc://{folder}/state", f"ipc://{folder}/command", f"ipc://{folder}/service", 10.0, clock
        )
        ends = self.settings
        self._states = LatestPublisher(self.context, ends.state_endpoint, bind=True, setting="state")
        self._commands = LatestSubscriber(
            self.context, ends.command_endpoint, bind=True, setting="command", types=(ArmCommand,)
        )
        self._service = ServiceServer(self.context, ends.service_endpoint, setting="service")
        self._position = tuple(HOME.tolist())
        self._seq = 0

    def tell(self) -> None:
        """Send a reading of where the newest command says."""
        command = self._commands.receive()
        if command is not None:
            self._position = command.position
        self._seq += 1
        rest = (0.0,) * len(self._position)
        now_ns = self.clock.now_ns()
        self._states.send(
            ArmState(
                seq=self._seq,
                t_robot_ns=now_ns,
                position=self._position,
                velocity=rest,
                status="ok",
                command_seq=-1,
            )
        )

    def welcome(self, robot: SimulatedRobot) -> None:
        """Let the driver connect."""
        connecting = threading.Thread(target=robot.connect)
        connecting.start()
        while connecting.is_alive():
            self._service.serve(self._on_hello, self._on_request)
            self.tell()
            self.clock.sleep_until_ns(self.clock.now_ns() + 5 * NS_PER_MS)

    def _on_hello(self, hello: Hello) -> Welcome | Reply:
        return answer_hello(hello, "robot", None, {"robot": SIMULATED_PANDA.name})

    def _on_request(self, request: Request) -> Reply:
        raise RobotError(f"no request is answered here, not {request.verb!r}")


def measure(ticks: int, rate_hz: float, smoothing: Smoothing) -> TickCost:
    """Run the core for some ticks and time its stages.

    Raises:
        RobotError: Control stopped following the plan: this machine is too busy to measure anything.
    """
    clock, cpu = WallClock(), CpuClock()
    tick_ns = period_ns(rate_hz)
    stage_ns = np.zeros((WARM_UP_TICKS + ticks, len(STAGES)), dtype=np.int64)
    with TemporaryDirectory() as name:
        arm = Arm(Path(name), clock)
        publisher = LatestPublisher(arm.context, f"ipc://{name}/control", bind=True, setting="control")
        robot = SimulatedRobot(arm.settings)
        try:
            arm.welcome(robot)
            ages = Ages(**dict.fromkeys(Ages.__dataclass_fields__, 10**10))
            core = ControlCore(SIMULATED_PANDA.limits, ages, tick_ns, session=1, smoothing=smoothing)
            gc.collect()
            gc.disable()
            blocks = 0
            begun_ns = clock.now_ns()
            for tick in range(WARM_UP_TICKS + ticks):
                if tick == WARM_UP_TICKS:
                    blocks = sys.getallocatedblocks()
                arm.tell()
                clock.sleep_until_ns(begun_ns + (tick + 1) * tick_ns)
                plan = _plan(tick, clock.now_ns()) if tick % TICKS_PER_PLAN == 0 else None
                times = _tick(core, robot, publisher, plan, clock.now_ns(), cpu)
                stage_ns[tick] = np.diff(times)
            kept = (sys.getallocatedblocks() - blocks) / ticks
            if core.statistics()["held"] or core.statistics()["stopped"]:
                raise RobotError(f"control did not follow the plan throughout: it is {core.mode}")
        finally:
            gc.enable()
            robot.close()
            close_context(arm.context)
    return TickCost(stage_ns[WARM_UP_TICKS:] / 1000, kept)


def _tick(
    core: ControlCore,
    robot: SimulatedRobot,
    publisher: LatestPublisher,
    plan: Plan | None,
    now_ns: int,
    cpu: CpuClock,
) -> tuple[int, ...]:
    begun_ns = cpu.now_ns()
    reading = robot.read()
    read_ns = cpu.now_ns()
    if plan is not None:
        core.on_plan(plan, now_ns)
    planned_ns = cpu.now_ns()
    output = core.step(now_ns, reading)
    decided_ns = cpu.now_ns()
    if output.command is not None:
        robot.write(output.command)
    written_ns = cpu.now_ns()
    publisher.send(output.state)
    return begun_ns, read_ns, planned_ns, decided_ns, written_ns, cpu.now_ns()


def _plan(tick: int, now_ns: int) -> Plan:
    """A slow sway of all joints, for the next 0.64 s in knots of 40 ms."""
    times = now_ns + 40 * NS_PER_MS * np.arange(17, dtype=np.int64)
    sway = SWAY_RAD * np.sin(times * 1e-9)[:, None] * np.array([1.0] * 7 + [0.0])
    return Plan(
        session=1,
        episode=0,
        epoch=0,
        seq=tick + 1,
        t_ns=Tensor.of(times),
        setpoints=Tensor.of(HOME + sway),
        latent_seq=1,
        t_latent_ns=now_ns,
        t_observation_ns=now_ns,
        splice_ns=now_ns,
        delay_ns=0,
        delay_steps=0,
    )


def main(ticks: int = 2000, rate_hz: float = 250.0, smoothing: Smoothing = "limiter") -> None:
    """Print where the time of a control tick goes.

    Args:
        ticks: Ticks to measure.
        rate_hz: Ticks per second.
        smoothing: How commands are led along the plan.
    """
    print(f"{ticks} ticks at {rate_hz:g} Hz, 7 joints and a gripper, smoothing by {smoothing}")
    print("\n".join(measure(ticks, rate_hz, smoothing).lines()))


if __name__ == "__main__":
    tyro.cli(main)
