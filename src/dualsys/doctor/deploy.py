"""Looks at an edge machine before anything moves: reads facts, and reaches what must answer."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

import numpy as np

from dualsys.bus.keys import KeyStore
from dualsys.bus.sockets import close_context, open_context
from dualsys.cameras.check import examine as examine_cameras
from dualsys.cameras.registry import CAMERAS, CameraDriver
from dualsys.cameras.wanted import feeds_of, wanted_by
from dualsys.clock import NS_PER_S, WallClock
from dualsys.config import SystemConfig
from dualsys.config_fast import FastConfig
from dualsys.doctor import edge, machine
from dualsys.doctor.findings import Finding
from dualsys.errors import DualsysError, KeyStoreError
from dualsys.fast.chunking.requests import noises_for
from dualsys.fast.chunking.strategy import Overlap, make_strategy, require_offered
from dualsys.fast.policies.onnx import open_system1
from dualsys.fast.policies.policy import System1
from dualsys.fast.policies.sampling import draw
from dualsys.robots.registry import RobotDriver, RobotSettings, driver_named, open_robot
from dualsys.supervisor.peers import Peer

CAMERA_S: Final = 2.0
"""How long cameras are looked through."""

PLAN_S: Final = 2.0
MOST_PLANS: Final = 100
"""How long plans are made, and how many."""

KNOCKS: Final = 8
"""How often System 2 is called; each waits for a quarter of a second."""

_AUDIT: Final = (
    "import sys, dualsys.fast.control.process, dualsys.fast.planner.process, dualsys.fast.policies.onnx\n"
    f"print(*[name for name in {edge.UNWANTED!r} if name in sys.modules])"
)


def examine(config: SystemConfig, rehearsal_s: float) -> Iterator[Finding]:
    """Look at everything, from what needs nothing to what needs the arm. Nothing moves.

    Args:
        config: What is to run here.
        rehearsal_s: How long to rehearse the control loop; 0 to leave that out.
    """
    yield from edge.packages(_packages(config))
    yield _audit()
    yield from machine.system_findings(config)
    yield from keys_found(config)
    yield from machine.addresses_found(
        {
            setting: address
            for setting, address in config.addresses().items()
            if setting.split(".")[1] in ("planner", "control", "recorder", "line")
        }
    )
    fast = config.fast
    yield machine.bundle_found("system1", fast.bundle)
    yield from machine.weak_found(fast)
    try:
        policy = open_system1(fast.bundle, fast.weak_bundle, fast.threads)
    except DualsysError as error:
        yield Finding("plans", "problem", str(error), "see the bundle above")
    else:
        yield _plans(policy, fast)
        yield from _cameras(config, policy)
    yield _system2(config)
    yield from robot_found(config)
    if rehearsal_s > 0:
        yield machine.punctuality_found(config, rehearsal_s)


def _packages(config: SystemConfig) -> list[edge.Package]:
    """What dualsys itself needs, and the libraries of the drivers that are asked for."""
    found: list[edge.Package] = []
    for line in requires("dualsys") or ():
        if "extra ==" in line:
            continue
        name = re.split(r"[^A-Za-z0-9._-]", line)[0]
        try:
            found.append(edge.Package(name, version(name), ""))
        except PackageNotFoundError:
            found.append(edge.Package(name, "", f"pip install '{line.split(';')[0].strip()}'"))
    drivers: list[RobotDriver | CameraDriver] = [driver_named(config.robot.driver)]
    drivers += [CAMERAS.named(camera.driver) for camera in config.cameras.values()]
    for driver in drivers:
        if driver.library:
            found.append(
                edge.Package(driver.library, "(library of a driver)" if driver.usable else "", driver.install)
            )
    return found


def _audit() -> Finding:
    """What the processes next to the arm load, told by a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", _AUDIT], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        return Finding(
            "packages", "problem", f"control and planner cannot be loaded: {last}", "install dualsys again"
        )
    return edge.loaded(done.stdout.split())


def keys_found(config: SystemConfig) -> list[Finding]:
    """Whether the keys that the configuration names can be used, and are allowed."""
    security = config.security
    named = {
        f"security.{whose}": name
        for whose in ("slow", "planner", "control", "robot")
        if (name := security.server_of(whose)) is not None
    }
    store = KeyStore(security.keys)
    try:
        if not named:
            return edge.keys(named, None, (), "")
        return edge.keys(named, store.own().name, tuple(store.allowed()), "")
    except KeyStoreError as error:
        return edge.keys(named, None, (), str(error))


def _plans(policy: System1, fast: FastConfig) -> Finding:
    """Make plans for a while, as the strategy asks for them while the arm moves, of images and latents that
    mean nothing: they take as long."""
    clock, rng = WallClock(), np.random.default_rng(0)
    latent = next(iter(policy.specs.latent.tensors.values()))
    tokens = rng.standard_normal((policy.latents, *latent.shape)).astype(np.float32)
    image = rng.integers(0, 256, policy.wrist.shape, dtype=np.uint8)
    state = np.zeros(policy.specs.observation.proprioception.shape, np.float32)
    ages_s = np.zeros(policy.latents, np.float32)
    strategy = make_strategy(fast.strategy.name, **fast.strategy.options)
    chunk = policy.action.chunk.shape
    request = strategy.request(Overlap(np.zeros(chunk, np.float32), chunk[0], 1))
    noise = rng.standard_normal((noises_for(request), *chunk)).astype(np.float32)
    took_ns: list[int] = []
    try:
        require_offered(strategy, policy.capabilities, f"the bundle {fast.bundle}")
        while sum(took_ns) < PLAN_S * NS_PER_S and len(took_ns) < MOST_PLANS:
            before_ns = clock.now_ns()
            features = policy.encode_wrist(image)
            condition = policy.condition(tokens, ages_s, np.stack([features, features]), state)
            draw(policy, request, noise, condition)
            took_ns.append(clock.now_ns() - before_ns)
    except DualsysError as error:
        return Finding("plans", "problem", str(error), "another strategy, or copy the bundle again")
    return edge.plans(float(np.median(took_ns)) / NS_PER_S, max(took_ns) / NS_PER_S, fast.plan_hz)


def _cameras(config: SystemConfig, policy: System1) -> list[Finding]:
    clock, context = WallClock(), None
    try:
        context = open_context(config.protection())
        feeds = feeds_of(config, wanted_by(policy.specs.observation, policy.wrist), context, clock)
        return examine_cameras(feeds, clock, CAMERA_S)
    except DualsysError as error:
        return [
            Finding("cameras", "problem", str(error), _remedy(error, "docs/cameras.md tells what can be set"))
        ]
    finally:
        if context is not None:
            close_context(context)


def _system2(config: SystemConfig) -> Finding:
    endpoint = config.endpoints.slow.service
    context = None
    try:
        context = open_context(config.protection())
        peer = Peer(context, endpoint, "System 2")
        welcome = next((found for _ in range(KNOCKS) if (found := peer.knock()) is not None), None)
        peer.close()
    except DualsysError as error:
        return Finding("system 2", "problem", str(error), edge.KEY_STEPS)
    finally:
        if context is not None:
            close_context(context)
    if welcome is None:
        return Finding(
            "system 2", "warning", f"nobody answers at {endpoint}",
            "start `dualsys slow` there; look at its firewall, and whether it allows this key",
        )  # fmt: skip
    return Finding(
        "system 2", "ok", f"answers at {endpoint}, weights {welcome.details.get('weights', 'unknown')}"
    )


def robot_found(config: SystemConfig) -> list[Finding]:
    """Connect to the robot, ask what it is, and let it go: it does not move."""
    ends = config.endpoints.robot
    settings = RobotSettings(
        ends.state, ends.command, ends.service, config.robot.connect_timeout_s, WallClock(),
        config.protection(), config.robot.options,
    )  # fmt: skip
    try:
        robot = open_robot(config.robot.driver, settings)
        try:
            robot.connect()
            robot.read()
            spec = robot.spec
        finally:
            robot.close()
    except DualsysError as error:
        remedy = "switch it on, start whoever speaks for it (`dualsys sim`), end another control"
        return [Finding("robot", "problem", str(error), _remedy(error, remedy))]
    led = driver_named(config.robot.driver).geometry(config.robot.options).axes
    return edge.robot(spec.name, spec.axes, spec.rate_hz, led, config.control.rate_hz)


def _remedy(error: DualsysError, otherwise: str) -> str:
    """What to do about a fault: where it is the keys, no look at a device will help."""
    return edge.KEY_STEPS if isinstance(error, KeyStoreError) else otherwise
