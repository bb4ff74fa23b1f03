"""`dualsys doctor`: what will not work on this machine, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from dualsys.cli.arguments import DoctorCommand
from dualsys.config import load_config
from dualsys.errors import ConfigError

MAX_JITTER_S = 600.0


def doctor(command: DoctorCommand, overrides: Mapping[str, object]) -> int:
    """Look at the machine, and tell what was found.

    Returns:
        Exit code: 1 if something will not work, else 0.

    Raises:
        ConfigError: The configuration has faults, or the duration is not allowed.
    """
    from dualsys.doctor.findings import closing_line, will_work
    from dualsys.doctor.machine import examine

    if not 0 <= command.jitter_s <= MAX_JITTER_S:
        raise ConfigError(
            "command line", [f"--jitter-s: got {command.jitter_s:g}, expected 0 to {MAX_JITTER_S:g} s"]
        )
    findings = examine(load_config(command.config, overrides), command.jitter_s)
    if command.json:
        print(
            json.dumps({"works": will_work(findings), "findings": [one.tree() for one in findings]}, indent=2)
        )
    else:
        for finding in findings:
            print("\n".join(finding.lines()))
        print(closing_line(findings))
    return 0 if will_work(findings) else 1
