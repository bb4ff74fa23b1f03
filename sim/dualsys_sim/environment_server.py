"""A Gymnasium environment as a process: its own clock, the robot link, and cameras in a process of their own.

Drawing may take longer than a step, and would then hold up the robot. So a second process has a copy of the
environment: it is given the same seeds and the same actions, goes the same way, and draws whenever it has
caught up. What both observe is compared at every step; should they part, both processes end with an error.
"""

from __future__ import annotations

import signal
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import msgspec

from dualsys.bus.codec import to_image
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS
from dualsys.errors import RobotError
from dualsys.messages import CameraFrame
from dualsys.robots.gymnasium import EnvironmentOptions
from dualsys_sim.environment import EnvironmentCore, draw_views, make_environment
from dualsys_sim.environment_moves import Move, follow
from dualsys_sim.serving import CameraPublisher, RobotLoop, RobotServer, Shutters

if TYPE_CHECKING:
    from dualsys.config import SystemConfig

_GRACE_S = 3.0


def serve(config: SystemConfig) -> None:
    """Run the environment of `robot.options` in real time until SIGINT or SIGTERM.

    Args:
        config: The whole system.

    Raises:
        ConfigError: The options do not fit the environment.
        MissingExtraError: Gymnasium is not installed.
        BusError: An address is taken or cannot be used.
        RobotError: The cameras have ended.
    """
    options = EnvironmentOptions.of(config.robot.options)
    spawn = get_context("spawn")
    theirs, ours = spawn.Pipe(duplex=False)

    def tell(move: Move) -> None:
        try:
            ours.send_bytes(msgspec.msgpack.encode(move))
        except OSError as error:
            raise RobotError("the cameras of the environment have ended; see what they wrote") from error

    # What is wrong with the environment is told by this process, before there is another.
    watchdog_ns = round(config.sim.watchdog_ms * NS_PER_MS)
    core = EnvironmentCore(options, watchdog_ns, tell if options.cameras else None)
    cameras = spawn.Process(target=serve_cameras, args=(theirs, config), daemon=True)
    context = open_context(config.protection())
    try:
        loop = RobotLoop(context, config, core.tick_ns)
        if options.cameras:
            cameras.start()
        theirs.close()
        loop.run(core, RobotServer(core, core.spec, f"the environment {core.spec.name}"), lambda: None)
    finally:
        ours.close()
        core.close()
        if cameras.pid is not None:
            cameras.join(_GRACE_S)
            cameras.kill()
        close_context(context)


def serve_cameras(moves: Connection, config: SystemConfig) -> None:
    """Draw what a copy of the environment sees, until there is nobody left to follow.

    Args:
        moves: Where the resets and actions come from.
        config: The whole system.

    Raises:
        RobotError: The copy went another way.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options, sim = EnvironmentOptions.of(config.robot.options), config.sim
    rates_hz = {
        name: sim.camera_wrist_hz if name == "wrist" else sim.camera_fixed_hz for name in options.cameras
    }
    shutters = Shutters(rates_hz)
    context = open_context(config.protection())
    env = make_environment(options)
    numbers = dict.fromkeys(options.cameras, 0)
    try:
        publisher = CameraPublisher(context, config.endpoints.robot.cameras)
        decoder = msgspec.msgpack.Decoder(Move)
        while True:
            # Everything that has happened, and at least one thing.
            move = decoder.decode(moves.recv_bytes())
            follow(env, move)
            while moves.poll():
                move = decoder.decode(moves.recv_bytes())
                follow(env, move)
            camera = shutters.due(move.time_ns)
            if camera is not None:
                image = to_image(draw_views(env, options.cameras[camera]))
                numbers[camera] += 1
                publisher.send(
                    CameraFrame(camera=camera, seq=numbers[camera], t_robot_ns=move.time_ns, image=image)
                )
    except EOFError:
        # The robot has ended.
        return
    finally:
        env.close()
        close_context(context)
