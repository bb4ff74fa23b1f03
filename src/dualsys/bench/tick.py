"""Where the time of a control tick goes: read, plan, decide, write, publish; over a robot link.

`python -m dualsys.bench.tick` runs the core of control at its rate, with the driver of the simulated arm and
real sockets; the arm at the other end is in the same process, and its part is not counted. What is counted is
the time that the thread computes, so that other programs do not count; on an idle machine it is the time that
passes. Each rate is measured without and with `control.prepare_ms`.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.handshake import answer_hello
from dualsys.bus.service import ServiceServer
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, Clock, CpuClock, WallClock, period_ns
from dualsys.command_line import read
from dualsys.errors import RobotError
from dualsys.fast.control.core import Ages, ControlCore
from dualsys.fast.control.dry_run import DryRun
from dualsys.fast.control.limiter import Smoothing
from dualsys.fast.control.pacing import MAX_RATE_HZ, MIN_RATE_HZ, spinning
from dualsys.messages import ArmCommand, ArmState, Hello, Plan, Reply, Request, Tensor, Welcome
from dualsys.robots.registry import RobotSettings
from dualsys.robots.simulated import SIMULATED_PANDA, SimulatedRobot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

STAGES: Final = ("prepare", "read", "plan", "decide", "write", "publish")
TICK: Final = slice(1, 5)
"""From the deadline on, until the command is sent: read, plan, decide, write."""
HOME: Final = np.array([0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08])
WARM_UP_TICKS: Final = 200
COUNTED_TICKS: Final = 100
TICKS_PER_PLAN: Final = 5
SWAY_RAD: Final = 0.1
MOST_PREPARE_MS: Final = 0.5
"""The most that `control.prepare_ms` may be."""
SPIN_NS: Final = 50_000
"""The default of `control.spin_ms`."""


@dataclass(frozen=True)
class TickCost:
    """What ticks cost.

    Attributes:
        rate_hz: Ticks per second.
        prepare_ms: Time before each deadline in which it was prepared; 0 for not at all.
        stage_us: float64 [N, 6], us of each stage of `STAGES` at N ticks. A plan is taken in by the first
            tick of every five, or where it is prepared, in its preparation.
        kept_blocks: Memory blocks that each tick left behind, on average.
        calls: Calls of Python functions and of C functions in a tick without a plan, from reading to command.
    """

    rate_hz: float
    prepare_ms: float
    stage_us: NDArray[np.float64]
    kept_blocks: float
    calls: tuple[float, float]

    def rows(self) -> dict[str, NDArray[np.float64]]:
        """Times, us, of each stage that there is, and of read to write, by name."""
        times = dict(zip(STAGES, self.stage_us.T, strict=True))
        at_plans = times.pop("plan")[::TICKS_PER_PLAN]
        prepared = times.pop("prepare")
        whole = self.stage_us[:, TICK].sum(axis=1)
        with_plan = np.arange(len(whole)) % TICKS_PER_PLAN == 0
        if self.prepare_ms:
            return {**times, "read to write": whole, "before the deadline": prepared}
        return {
            **times,
            "plan, when there is one": at_plans,
            "read to write": whole,
            "the same without a plan": whole[~with_plan],
        }

    def lines(self) -> list[str]:
        """As text: median, 99th percentile and greatest time of each row, in us."""
        lines = [f"{'':24}{'p50':>8}{'p99':>8}{'max':>8}  us"]
        for name, times in self.rows().items():
            p50, p99, most = np.percentile(times, (50, 99, 100))
            lines.append(f"{name:24}{p50:8.0f}{p99:8.0f}{most:8.0f}")
        python, c = self.calls
        return [
            *lines,
            f"calls of Python functions: {python:.0f}, of C functions: {c:.0f}",
            f"memory blocks kept per tick: {self.kept_blocks:.3f}",
        ]


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


def measure(
    ticks: int, rate_hz: float, smoothing: Smoothing = "limiter", prepare_ms: float = 0.0
) -> TickCost:
    """Run the core for some ticks and time its stages.

    Args:
        ticks: How many.
        rate_hz: Ticks per second.
        smoothing: How commands are led along the plan.
        prepare_ms: As `control.prepare_ms`.

    Raises:
        RobotError: Control stopped following the plan: this machine is too busy to measure anything.
    """
    clock = WallClock()
    tick_ns, prepare_ns = period_ns(rate_hz), round(prepare_ms * NS_PER_MS)
    wait = spinning(clock, max(prepare_ns, SPIN_NS))
    first, last = WARM_UP_TICKS, WARM_UP_TICKS + ticks
    stage_ns = np.zeros((last + COUNTED_TICKS, len(STAGES)), dtype=np.int64)
    calls: list[str] = []
    with TemporaryDirectory() as name:
        arm = Arm(Path(name), clock)
        publisher = LatestPublisher(arm.context, f"ipc://{name}/control", bind=True, setting="control")
        robot = SimulatedRobot(arm.settings)
        try:
            arm.welcome(robot)
            ages = Ages(**dict.fromkeys(Ages.__dataclass_fields__, 10**10))
            limits = SIMULATED_PANDA.limits
            core = ControlCore(limits, ages, tick_ns, session=1, smoothing=smoothing)
            dry_run = DryRun(arm.context, HOME, limits, tick_ns, smoothing) if prepare_ns else None
            gc.collect()
            gc.disable()
            begun_ns, blocks, kept = clock.now_ns(), 0, 0
            for tick in range(last + COUNTED_TICKS):
                if tick == first:
                    blocks = sys.getallocatedblocks()
                if tick == last:
                    kept = sys.getallocatedblocks() - blocks
                arm.tell()
                due_ns = begun_ns + (tick + 1) * tick_ns
                clock.sleep_until_ns(due_ns - max(prepare_ns, SPIN_NS))
                plan = _plan(tick, clock.now_ns()) if tick % TICKS_PER_PLAN == 0 else None
                counted = tick >= last and plan is None
                stages = _Stages(core, robot, publisher, clock)
                if dry_run is not None:
                    stages.prepare(plan, dry_run)
                wait(due_ns)
                with _counting(calls) if counted else nullcontext():
                    stages.tick(None if prepare_ns else plan)
                stages.publish()
                stage_ns[tick] = stages.spent_ns
            if core.statistics()["held"] or core.statistics()["stopped"]:
                raise RobotError(f"control did not follow the plan throughout: it is {core.mode}")
        finally:
            gc.enable()
            robot.close()
            close_context(arm.context)
    without_plan = COUNTED_TICKS * (TICKS_PER_PLAN - 1) / TICKS_PER_PLAN
    python, c = (calls.count(kind) / without_plan for kind in ("call", "c_call"))
    return TickCost(rate_hz, prepare_ms, stage_ns[first:last] / 1000, kept / ticks, (python, c))


class _Stages:
    """One tick, stage by stage; `spent_ns` is what each has taken."""

    def __init__(
        self, core: ControlCore, robot: SimulatedRobot, publisher: LatestPublisher, clock: Clock
    ) -> None:
        self._core = core
        self._robot = robot
        self._publisher = publisher
        self._clock = clock
        self._cpu = CpuClock()
        self.spent_ns = [0] * len(STAGES)

    def prepare(self, plan: Plan | None, dry_run: Callable[[int], None]) -> None:
        """Take in a plan, and go through the motions, as the loop does."""
        begun_ns = self._cpu.now_ns()
        if plan is not None:
            self._core.on_plan(plan, self._clock.now_ns())
        dry_run(self._clock.now_ns())
        self.spent_ns[0] = self._cpu.now_ns() - begun_ns

    def tick(self, plan: Plan | None) -> None:
        """Read, take in a plan if there is one, decide, write."""
        cpu = self._cpu
        begun_ns = cpu.now_ns()
        reading = self._robot.read()
        read_ns = cpu.now_ns()
        now_ns = self._clock.now_ns()
        if plan is not None:
            self._core.on_plan(plan, now_ns)
        planned_ns = cpu.now_ns()
        output = self._core.step(now_ns, reading)
        decided_ns = cpu.now_ns()
        if output.command is not None:
            self._robot.write(output.command)
        written_ns = cpu.now_ns()
        self._state = output.state
        self.spent_ns[TICK] = [
            read_ns - begun_ns, planned_ns - read_ns, decided_ns - planned_ns, written_ns - decided_ns
        ]  # fmt: skip

    def publish(self) -> None:
        """Tell others."""
        begun_ns = self._cpu.now_ns()
        self._publisher.send(self._state)
        self.spent_ns[-1] = self._cpu.now_ns() - begun_ns


@contextmanager
def _counting(calls: list[str]) -> Iterator[None]:
    """Note every call: `call` of a Python function, `c_call` of one in C."""

    def note(frame: FrameType, event: str, argument: object) -> None:
        del frame, argument
        calls.append(event)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


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


def main(
    ticks: int = 2000,
    rates: tuple[float, ...] = (250.0, 500.0),
    prepare_ms: float = 0.4,
    smoothing: Smoothing = "limiter",
    output: Path | None = None,
) -> None:
    """Print where the time of a control tick goes, and write a page of the documentation if asked to.

    Args:
        ticks: Ticks to measure.
        rates: Ticks per second.
        prepare_ms: `control.prepare_ms` of the measurements with a preparation.
        smoothing: How commands are led along the plan.
        output: Folder of the page; none is written without it.
    """
    faults = [f"--rates: got {rate:g}, expected {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g}" for rate in rates
              if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ]  # fmt: skip
    if not 0 <= prepare_ms <= MOST_PREPARE_MS:
        faults.append(f"--prepare-ms: got {prepare_ms:g}, expected 0 to {MOST_PREPARE_MS:g}")
    if ticks < 1:
        faults.append(f"--ticks: got {ticks}, expected at least 1")
    if faults:
        sys.exit(f"error: bench tick: {'; '.join(faults)}")
    costs = []
    for rate_hz in rates:
        for prepared_ms in dict.fromkeys((0.0, prepare_ms)):
            prepared = f"prepared for {prepared_ms:g} ms" if prepared_ms else "not prepared"
            print(f"{ticks} ticks at {rate_hz:g} Hz, 7 joints and a gripper, {smoothing}, {prepared}")
            costs.append(measure(ticks, rate_hz, smoothing, prepared_ms))
            print("\n".join(costs[-1].lines()), flush=True)
    if output is not None:
        from dualsys.bench.tick_page import write_page

        for path in write_page(output, costs, ticks, smoothing):
            print(path)


if __name__ == "__main__":
    read(main)
