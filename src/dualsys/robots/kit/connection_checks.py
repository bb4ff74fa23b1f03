"""Checks of the connection: made, refused, closed, made again, and lost. Nothing is moved."""

from __future__ import annotations

from typing import Final

from dualsys.clock import NS_PER_MS, NS_PER_S, period_ns, seconds
from dualsys.errors import DualsysError, RobotError
from dualsys.robots.kit.bench import PACE_HZ, WATCH_S, Bench
from dualsys.robots.kit.judging import ended, named, raised, skipped
from dualsys.robots.kit.outcomes import Outcome

LOST_NS: Final = NS_PER_S
"""How long a lost connection is watched."""

HANG_S: Final = 0.25
"""Longest call while the connection is lost."""


def absence(bench: Bench) -> Outcome:
    """A robot that is not there is an error, in time."""
    passed, failed = named("absence")
    if bench.absent is None:
        return Outcome("absence", "skipped", "no way to point the driver at a robot that is not there")
    robot = bench.absent()
    error, took_s = raised(bench, robot.connect)
    robot.close()
    longest_s = bench.connect_timeout_s + 2.0
    if not isinstance(error, DualsysError):
        return failed(
            f"connect() {ended(error)} although no robot is there",
            "a RobotError, or a BusError",
            "raise RobotError from `connect` when the robot does not answer, with address and remedy",
        )
    if took_s > longest_s:
        return failed(
            f"connect() gave up after {took_s:.1f} s",
            f"at most {longest_s:.1f} s",
            "bound every wait in `connect`",
        )
    return passed(f"connect() gave up after {took_s:.1f} s: {error}")


def connection(bench: Bench) -> Outcome:
    """The robot connects, and its first reading is there."""
    passed, failed = named("connection")
    trial = bench.watched
    if trial.spec is None:
        return failed(
            trial.fault,
            f"connect() and read() within {bench.connect_timeout_s:g} s",
            "look at address, power and cable, and whether another control has the robot",
        )
    if trial.fault:
        return failed(trial.fault, f"readings for {WATCH_S:g} s", "see what the driver raised")
    return passed(f"{trial.spec.name} is connected")


def close(bench: Bench) -> Outcome:
    """Closing twice does nothing, and what is closed says so."""
    passed, failed = named("close")
    if bench.watched.spec is None:
        return skipped("close", bench.watched)
    robot = bench.open()
    robot.connect()
    for count in ("first", "second"):
        error, _ = raised(bench, robot.close)
        if error is not None:
            return failed(
                f"the {count} close() {ended(error)}", "nothing", "let `close` forget what it has let go of"
            )
    error, _ = raised(bench, robot.read)
    if not isinstance(error, RobotError):
        return failed(
            f"read() after close() {ended(error)}",
            "a RobotError",
            "raise RobotError from `read` and `write` while there is no connection",
        )
    error, _ = raised(bench, lambda: robot.stop("a check"))
    if error is not None:
        return failed(f"stop() after close() {ended(error)}", "nothing", "allow `stop` at any time")
    return passed("closing twice does nothing, and a closed robot cannot be read")


def reconnection(bench: Bench) -> Outcome:
    """A robot that was let go of can be connected again, and its readings are new."""
    passed, failed = named("reconnection")
    if bench.watched.spec is None or bench.watched.fault:
        return skipped("reconnection", bench.watched)
    with bench.connected() as session:
        robot = session.robot
        robot.close()
        closed_ns = bench.clock.now_ns()
        error, took_s = raised(bench, robot.connect)
        if error is not None:
            return failed(
                f"connect() after close() {ended(error)}",
                "a connection",
                "make sockets and files in `connect`, not in `__init__`",
            )
        if robot.read().t_ns < closed_ns:
            return failed(
                "the first reading after connecting again is from before",
                "a new reading",
                "forget the last reading in `close`, and wait for a new one in `connect`",
            )
    return passed(f"connected again within {took_s:.2f} s")


def lost_connection(bench: Bench) -> Outcome:
    """A connection that is lost shows: by an error, or by readings that grow old. Nothing hangs."""
    passed, failed = named("lost connection")
    if bench.drop is None:
        return Outcome("lost connection", "skipped", "no way to cut the connection from here")
    if bench.watched.spec is None or bench.watched.fault:
        return skipped("lost connection", bench.watched)
    clock = bench.clock
    with bench.connected() as session:
        robot, period = session.robot, period_ns(min(session.spec.rate_hz, PACE_HZ))
        bench.drop()
        lost_ns, slowest_s, age_ns = clock.now_ns(), 0.0, 0
        error: Exception | None = None
        stamps: list[int] = []
        while error is None and clock.now_ns() - lost_ns < LOST_NS:
            error, took_s = raised(bench, lambda: stamps.append(robot.read().t_ns))
            slowest_s = max(slowest_s, took_s)
            age_ns = clock.now_ns() - stamps[-1] if stamps else 0
            clock.sleep_until_ns(clock.now_ns() + period)
        error_of_stop, took_s = raised(bench, lambda: robot.stop("lost"))
        slowest_s = max(slowest_s, took_s)
    if slowest_s > HANG_S:
        return failed(
            f"a call took {slowest_s:.2f} s after the connection was lost",
            f"at most {HANG_S:g} s",
            "never wait in `read` or `stop`",
        )
    if error_of_stop is not None:
        return failed(f"stop() {ended(error_of_stop)}", "nothing", "allow `stop` at any time")
    if error is not None and not isinstance(error, RobotError):
        return failed(f"read() {ended(error)}", "a RobotError", "turn errors of the library into RobotError")
    if error is None and age_ns < LOST_NS // 2:
        return failed(
            f"{seconds(LOST_NS):g} s after the connection was lost, read() gives a reading that is "
            f"{age_ns / NS_PER_MS:.0f} ms old",
            "an error, or a stamp that grows old",
            "stamp a reading when it comes, never when it is asked for",
        )
    return passed(f"read() {ended(error)}" if error else f"readings grow old: {seconds(age_ns):.1f} s by now")
