"""Which processes a run has."""

from __future__ import annotations

from typing import Final

from dualsys.config import SystemConfig
from dualsys.recorder.extra import PROCESS as RECORDER
from dualsys.supervisor.line import PROCESS as LINE

PROCESSES: Final = ("sim", "slow", "control", "planner")
"""In the order of their start; they are stopped in the opposite order. `sim` only if the arm is simulated.
`line` comes after `slow` where the line between the two machines is emulated."""

LEADS_TO_SYSTEM2: Final = {"slow": "System 2", LINE: "the emulated line"}
"""What the edge can lose without harm: the arm goes on until its latent is too old, then it holds."""


def processes_of(config: SystemConfig, simulated: bool) -> tuple[str, ...]:
    """The processes of a run, in the order of their start."""
    names = [name for name in PROCESSES if simulated or name != "sim"]
    if config.line.emulated:
        names.insert(names.index("slow") + 1, LINE)
    return (RECORDER, *names) if config.record.enabled else tuple(names)
