"""The section `line` of the configuration: a bad network line to System 2, to try things on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from pydantic import Field

from dualsys.bus.link_model import MOST_MS, Conditions, Schedule
from dualsys.bus.link_profiles import PROFILES, ProfileName
from dualsys.config_faults import fault_at
from dualsys.config_file import parse_yaml
from dualsys.config_links import Folder, Section
from dualsys.errors import ConfigError

if TYPE_CHECKING:
    from dualsys.config import SystemConfig

_SCRIPT_NAME = "line.yaml"


class LineConfig(Section):
    """The line between the edge and System 2, where it is emulated: by a profile, a script, or conditions.

    With none of them, the line is what it is.
    """

    profile: ProfileName | None = Field(
        default=None, description="a line that has a name; `dualsys list lines` tells what they are like"
    )
    script: Folder | None = Field(
        default=None, description="YAML list of conditions over time, such as {at_s: 20, blackhole: true}"
    )
    delay_ms: float = Field(default=0.0, ge=0, le=MOST_MS, description="time on the way, each way")
    jitter_ms: float = Field(
        default=0.0, ge=0, le=MOST_MS, description="up to so much more; with jitter_p99_ms: in the median"
    )
    jitter_p99_ms: float | None = Field(
        default=None,
        gt=0,
        le=MOST_MS,
        description="99 of 100 wait at most so much more; null: jitter_ms is all",
    )
    loss: float = Field(
        default=0.0, ge=0, le=1, description="probability that a burst of losses begins with a packet"
    )
    burst: float = Field(default=1.0, ge=1, le=1000, description="mean number of packets lost in a row")
    bandwidth_mbit_s: float | None = Field(
        default=None, ge=0.001, le=1e6, description="rate in each direction; null: no limit"
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="of jitter and losses")

    @property
    def conditions(self) -> Conditions:
        """The conditions that are given one by one."""
        return Conditions(
            delay_ms=self.delay_ms,
            jitter_ms=self.jitter_ms,
            jitter_p99_ms=self.jitter_p99_ms,
            loss=self.loss,
            burst=self.burst,
            bandwidth_mbit_s=self.bandwidth_mbit_s,
        )

    @property
    def emulated(self) -> bool:
        """Whether the line is anything but what it is."""
        return self.profile is not None or self.script is not None or self.conditions != Conditions()

    def schedule(self) -> Schedule | None:
        """What the line is like over time; None where it is what it is.

        Raises:
            ConfigError: More than one of profile, script and conditions is given, or the script is wrong.
        """
        if not self.emulated:
            return None
        return chosen_schedule(self.profile, self.script, self.conditions, "line.")

    def words(self) -> str:
        """That the line is emulated, and what it is like; empty where it is what it is."""
        schedule = self.schedule()
        if schedule is None:
            return ""
        name = self.profile or (self.script.name if self.script is not None else "")
        return f"the line to System 2 is emulated: {name}{': ' if name else ''}{schedule.words()}"


def chosen_schedule(
    profile: ProfileName | None, script: Path | None, conditions: Conditions, prefix: str = ""
) -> Schedule:
    """What a line is like: that of the profile, the script, or the conditions for all time.

    Args:
        profile: Name of a profile.
        script: A YAML list of conditions.
        conditions: Those given one by one.
        prefix: What the names of these settings begin with, for errors.

    Raises:
        ConfigError: More than one is given, the script cannot be read, or a value is out of range.
    """
    given = {"profile": profile, "script": script} | {
        name: value
        for name, value in msgspec.structs.asdict(conditions).items()
        if value != getattr(Conditions(), name)
    }
    names = [prefix + name for name, value in given.items() if value is not None]
    if len(names) > 1 and (profile is not None or script is not None):
        value = given[names[0].removeprefix(prefix)]
        expected = f"null, since {', '.join(names[1:])} is given as well: leave out one or the other"
        raise ConfigError("line", [fault_at(names[0], str(value), expected)])
    if profile is not None:
        return PROFILES[profile].schedule
    if script is not None:
        return read_script(script)
    if faults := conditions.faults():
        raise ConfigError("line", [prefix + fault for fault in faults])
    return Schedule([conditions])


def read_script(path: Path) -> Schedule:
    """Read conditions over time.

    Raises:
        ConfigError: The file cannot be read, or a value is out of range.
    """
    try:
        return Schedule(msgspec.convert(parse_yaml(path.read_text("utf-8"), str(path)), list[Conditions]))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error
    except msgspec.ValidationError as error:
        raise ConfigError(str(path), [str(error)]) from error


def line_faults(line: LineConfig) -> Iterator[str]:
    """What is wrong with the line as a whole."""
    try:
        line.schedule()
    except ConfigError as error:
        where = "" if line.script is None or error.source == "line" else f"line.script: {line.script}: "
        yield from (f"{where}{fault}" for fault in error.faults)


def with_script_in(config: SystemConfig, folder: Path) -> SystemConfig:
    """The configuration of a run whose script of the line is copied to its folder, so that it stays true."""
    if config.line.script is None:
        return config
    copy = folder / _SCRIPT_NAME
    shutil.copyfile(config.line.script, copy)
    return config.model_copy(update={"line": config.line.model_copy(update={"script": copy})})
