"""The simulated table as a process: its own physics, its own clock, the robot link, two cameras, and a judge.

Physics, judge and cameras share one thread. An image takes a fraction of a tick (about 2.5 ms for the fixed
camera and 1.5 ms for the wrist on one core of a small machine; a physics tick takes 0.1 ms), so at most one
is drawn per tick, after the reading has gone out. A second process with a copy of the scene would take a core
away from inference and show poses that are older than the readings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS
from dualsys.robots.registry import driver_named
from dualsys.robots.tabletop import arm_with
from dualsys_sim.serving import CameraPublisher, RobotLoop, RobotServer, Shutters
from dualsys_sim.table import TICK_NS, TableCore
from dualsys_sim.world import World

if TYPE_CHECKING:
    from dualsys.config import SystemConfig


def serve(config: SystemConfig) -> None:
    """Run the simulated robot in real time until SIGINT or SIGTERM.

    Args:
        config: The whole system.

    Raises:
        ConfigError: The options of the robot name no arm.
        BusError: An address is taken or cannot be used.
    """
    sim = config.sim
    arm = arm_with(driver_named(config.robot.driver).geometry(config.robot.options))
    context = open_context(config.protection())
    try:
        loop = RobotLoop(context, config, TICK_NS)
        cameras = CameraPublisher(context, config.endpoints.robot.cameras)
        with World(gui=sim.gui, arm=arm) as world:
            core = TableCore(world, round(sim.watchdog_ms * NS_PER_MS))
            shutters = Shutters({"fixed": sim.camera_fixed_hz, "wrist": sim.camera_wrist_hz})

            def look() -> None:
                camera = shutters.due(core.time_ns)
                if camera is not None:
                    cameras.send(core.look(camera))

            loop.run(core, RobotServer(core, arm.spec), look)
    finally:
        close_context(context)
