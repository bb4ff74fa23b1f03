"""`dualsys doctor` and `dualsys deploy check`: what will not work here, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dualsys.cli.arguments import DeployCommand, DoctorCommand
from dualsys.config import load_config
from dualsys.errors import ConfigError

if TYPE_CHECKING:
    from dualsys.doctor.findings import Finding

MAX_JITTER_S = 600.0


def doctor(command: DoctorCommand, overrides: Mapping[str, object]) -> int:
    """Look at the machine, and tell what was found.

    Returns:
        Exit code: 1 if something will not work, else 0.

    Raises:
        ConfigError: The configuration has faults, or the duration is not allowed.
    """
    from dualsys.doctor.machine import examine

    _require_duration("--jitter-s", command.jitter_s)
    return _told(examine(load_config(command.config, overrides), command.jitter_s), command.json)


def deploy(command: DeployCommand, overrides: Mapping[str, object]) -> int:
    """Look at an edge machine, and tell what was found as it is found.

    Returns:
        Exit code: 1 if something will not work, else 0.

    Raises:
        ConfigError: The configuration has faults, or the duration is not allowed.
        RobotError: The driver of the robot cannot be used.
        CameraError: The driver of a camera cannot be used.
    """
    from dualsys.doctor.deploy import examine

    _require_duration("--rehearsal-s", command.rehearsal_s)
    return _told(examine(load_config(command.config, overrides), command.rehearsal_s), command.json)


def _require_duration(option: str, duration_s: float) -> None:
    if not 0 <= duration_s <= MAX_JITTER_S:
        raise ConfigError("command line", [f"{option}: got {duration_s:g}, expected 0 to {MAX_JITTER_S:g} s"])


def _told(findings: Iterable[Finding], as_json: bool) -> int:
    """Print findings, each as it comes; returns the exit code."""
    from dualsys.doctor.findings import closing_line, will_work

    found: list[Finding] = []
    for finding in findings:
        found.append(finding)
        if not as_json:
            print("\n".join(finding.lines()), flush=True)
    if as_json:
        print(json.dumps({"works": will_work(found), "findings": [one.tree() for one in found]}, indent=2))
    else:
        print(closing_line(found))
    return 0 if will_work(found) else 1
