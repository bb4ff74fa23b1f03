"""`dualsys camera list | check`: drivers, and whether cameras deliver what the models want."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from dualsys.bus.sockets import close_context, open_context
from dualsys.cameras.check import examine
from dualsys.cameras.registry import CAMERAS
from dualsys.cameras.wanted import Size, feeds_of, wanted_by
from dualsys.cli.arguments import CameraCommand
from dualsys.cli.robot_command import simulator
from dualsys.cli.world import simulated_cameras
from dualsys.clock import WallClock
from dualsys.config import SystemConfig, load_config
from dualsys.doctor.findings import closing_line, will_work
from dualsys.errors import ConfigError

if TYPE_CHECKING:
    from dualsys.doctor.findings import Finding

MOST_SECONDS: Final = 600.0


def camera(command: CameraCommand, overrides: Mapping[str, object]) -> int:
    """Carry out one of them.

    Returns:
        Exit code: 1 if a camera does not deliver, else 0.

    Raises:
        ConfigError: The configuration or an option is wrong.
        CameraError: A driver cannot be used.
        BundleError: The models that say which images they want cannot be loaded.
    """
    if command.action == "list":
        print("\n".join(CAMERAS.listing()))
        return 0
    if not 0 < command.seconds <= MOST_SECONDS:
        raise ConfigError(
            "command line",
            [f"--seconds: got {command.seconds:g}, expected more than 0 to {MOST_SECONDS:g} s"],
        )
    findings = check(command, overrides)
    if command.json:
        tree = {"works": will_work(findings), "findings": [one.tree() for one in findings]}
        print(json.dumps(tree, indent=2))
    else:
        for finding in findings:
            print("\n".join(finding.lines()))
        print(closing_line(findings))
    return 0 if will_work(findings) else 1


def check(command: CameraCommand, overrides: Mapping[str, object]) -> list[Finding]:
    """Look at the cameras of a configuration, or at one that is named by its driver."""
    clock = WallClock()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="dualsys-")))
        by_name = command.config.suffix not in (".yaml", ".yml") and not command.config.exists()
        if by_name:
            config, wanted = _of_driver(str(command.config), overrides, folder)
        else:
            config = load_config(command.config, overrides)
            wanted = wanted_of(config)
        if by_name and str(command.config) == "simulated":
            stack.enter_context(simulator(config, folder))
        context = open_context(config.protection())
        stack.callback(close_context, context)
        return examine(feeds_of(config, wanted, context, clock), clock, command.seconds)


def wanted_of(config: SystemConfig) -> dict[str, Size | None]:
    """The cameras that the models of a configuration look through. Raises BundleError."""
    from dualsys.fast.policies.onnx import OnnxSystem1

    policy = OnnxSystem1(config.fast.bundle, config.fast.threads)
    return {**wanted_by(policy.specs.observation, policy.wrist)}


def _of_driver(
    driver: str, overrides: Mapping[str, object], folder: Path
) -> tuple[SystemConfig, dict[str, Size | None]]:
    """A configuration with one camera, which is called as its driver; the simulated table has its own two."""
    blank = folder / "camera.yaml"
    blank.write_text("name: camera\n", encoding="utf-8")
    if driver == "simulated":
        ends = ("state", "command", "service", "cameras")
        own = {f"endpoints.robot.{name}": f"ipc://{folder}/{name}" for name in ends}
        return load_config(blank, {**own, **overrides}), {**simulated_cameras()}
    try:
        config = load_config(blank, {f"cameras.{driver}.driver": driver, **overrides})
    except ConfigError as error:
        # The file is ours, and nobody else's business.
        raise ConfigError(f"camera {driver}", error.faults) from error
    return config, dict.fromkeys(config.cameras)
