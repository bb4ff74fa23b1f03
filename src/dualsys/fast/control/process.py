"""The control process: opens robot and addresses, runs the loop, lets go of everything.

It loads no inference, no event loop and no logging, and has one Python thread: anything else that holds the
interpreter delays a tick.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, Clock, WallClock, period_ns
from dualsys.errors import RobotError
from dualsys.fast.control.core import Ages, ControlCore
from dualsys.fast.control.dry_run import DryRun
from dualsys.fast.control.limits import Limits
from dualsys.fast.control.loop import ControlLoop
from dualsys.fast.control.pacing import PacingDevice, PacingName, make_pacing, spinning
from dualsys.fast.control.readings import Tolerances
from dualsys.fast.control.realtime import freeze_memory, preparation_ns, request_realtime
from dualsys.messages import Plan
from dualsys.recorder.control import recorded_core
from dualsys.recorder.tap import open_service, open_tap
from dualsys.robots.contract import Robot
from dualsys.robots.registry import RobotSettings, open_robot

if TYPE_CHECKING:
    from dualsys.config import AgesConfig, LimitsConfig, SystemConfig


def run_control(config: SystemConfig) -> None:
    """Run control until SIGINT or SIGTERM, which bring the arm to rest first.

    Args:
        config: The whole system.

    Raises:
        RobotError: The robot cannot be reached, real-time was demanded and refused, or a tick failed.
        BusError: An address is taken, or a peer does not answer.
    """
    control, ends = config.control, config.endpoints
    realtime = request_realtime(control.realtime, control.realtime_priority, control.realtime_cpu)
    clock = WallClock()
    context = open_context(config.protection())
    robot: Robot | None = None
    try:
        tap = open_tap(context, config, "control", clock)
        # One in each tick: however much is asked, no tick is late for it, and a stop has its turn.
        service = open_service(
            tap, context, ends.control.service, setting="endpoints.control.service", at_once=1
        )
        service.reserve("planner")
        states = LatestPublisher(context, ends.control.state, bind=True, setting="endpoints.control.state")
        plans = LatestSubscriber(
            context, ends.planner.plan, bind=False, setting="endpoints.planner.plan", types=(Plan,)
        )
        robot = open_robot(
            config.robot.driver,
            RobotSettings(
                state_endpoint=ends.robot.state,
                command_endpoint=ends.robot.command,
                service_endpoint=ends.robot.service,
                connect_timeout_s=config.robot.connect_timeout_s,
                clock=clock,
                protection=config.protection(),
                options=config.robot.options,
            ),
        )
        robot.connect()
        tick_ns = period_ns(control.rate_hz)
        limits = control.limits
        make_core = ControlCore if tap is None else recorded_core(tap, robot.spec, plans, service)
        core = make_core(
            limits_of(limits, robot.spec.limits),
            ages_of(control.ages),
            tick_ns,
            session=secrets.randbits(31) + 1,
            first_epoch=first_epoch(clock.now_ns()),
            latched=True,
            slowed_fraction=limits.slowed_fraction,
            tolerances=Tolerances(following_rad=limits.following_rad),
            smoothing=control.smoothing,
        )
        # A robot's own cycle begins when it begins: there is no deadline to prepare for.
        device_paced = control.pacing == "device_paced"
        prepare_ns = 0 if device_paced else preparation_ns(control.prepare_ms, realtime)
        dry_run = None
        if prepare_ns:
            here, own = robot.read().position, limits_of(limits, robot.spec.limits)
            dry_run = DryRun(context, here, own, tick_ns, control.smoothing)
        loop = ControlLoop(
            core,
            robot,
            plans,
            states,
            service,
            clock,
            make_pacing(control.pacing, tick_ns),
            # Falling asleep again between the preparation and the tick would undo it.
            wait=waiter(control.pacing, robot, clock, max(prepare_ns, round(control.spin_ms * NS_PER_MS))),
            state_every=max(1, round(control.rate_hz / control.state_rate_hz)),
            realtime=freeze_memory(control.realtime, realtime),
            prepare_ns=prepare_ns,
            dry_run=dry_run,
        )
        loop.handle_signals()
        loop.run()
    finally:
        if robot is not None:
            robot.close()
        close_context(context)


def first_epoch(now_ns: int) -> int:
    """The first epoch of a control that starts now: above all of those that ended before on this machine.

    It counts milliseconds, and no control begins a thousand epochs per second as long as it lives.

    Args:
        now_ns: Edge time.
    """
    return now_ns // NS_PER_MS + 1


def waiter(pacing: PacingName, robot: Robot, clock: Clock, spin_ns: int = 0) -> Callable[[int], object]:
    """What waits for the next tick, at most until the edge time that it is given, ns.

    Args:
        pacing: Whose clock drives.
        robot: Waited for if it is the robot's.
        clock: Slept on otherwise.
        spin_ns: See `pacing.spinning`; for a robot's cycle there is no deadline to spin for.

    Raises:
        RobotError: The robot shall set the pace, and its driver cannot.
    """
    if pacing != "device_paced":
        return spinning(clock, spin_ns)
    if not isinstance(robot, PacingDevice):
        raise RobotError(
            f"control.pacing: 'device_paced' needs a driver with wait_cycle(), that of {robot.spec.name!r} "
            "has none: choose 'periodic'"
        )
    return robot.wait_cycle


def limits_of(config: LimitsConfig, own: Limits) -> Limits:
    """The part of an arm's own limits that a configuration leaves, with its workspace.

    Raises:
        SpecError: A workspace was asked for, and the kinematics of the arm are not known.
    """
    box = config.workspace.model_dump()
    scaled = own.scaled(config.speed_fraction, config.acceleration_fraction)
    if all(bound is None for bound in box.values()):
        return scaled
    lowest, highest = (
        [fallback if (bound := box[f"{axis}_{end}_m"]) is None else bound for axis in "xyz"]
        for end, fallback in (("min", -inf), ("max", inf))
    )
    return replace(scaled, workspace=np.array([lowest, highest]))


def ages_of(config: AgesConfig) -> Ages:
    """The ages of a configuration, in ns."""
    return Ages.from_ms(config.model_dump())
