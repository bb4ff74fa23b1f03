"""One schema for the YAML of a whole system: types, defaults, ranges, units, descriptions.

Names carry units. Paths are relative to the file that names them. Whatever is wrong is reported at once,
every fault with its dotted path, what was given, and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    model_validator,
)

from dualsys.bus.gate import Protection
from dualsys.bus.link_profiles import ProfileName
from dualsys.cameras.fitting import How
from dualsys.cameras.registry import CAMERAS
from dualsys.config_checks import strategy_faults, timing_faults, workspace_faults
from dualsys.config_fast import FastConfig
from dualsys.config_faults import explain
from dualsys.config_file import apply_overrides, parse_yaml
from dualsys.config_line import LineConfig, line_faults
from dualsys.config_links import Endpoints, Folder, Section, SecurityConfig, SlowEndpoints, endpoint_faults
from dualsys.config_uplink import OnDemandConfig, RateControlConfig
from dualsys.errors import ConfigError
from dualsys.messages import LatentCodec, UplinkMode
from dualsys.plugins import Option, Plugins
from dualsys.robots.registry import ROBOTS

_COMPUTING_MS = 200
"""Allowed to System 2 for computing, beyond what is emulated."""


def _driver_of(plugins: Plugins[Any]) -> AfterValidator:
    def check(name: str) -> str:
        if plugins.known(name):
            return name
        raise ValueError(
            f"one of {', '.join(plugins.names())}; an installed package offers others by entry points of the "
            f"group {plugins.group!r}"
        )

    return AfterValidator(check)


class RobotConfig(Section):
    """The arm."""

    name: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_\-]{0,64}$",
        description="what a System 2 that serves several robots calls this one; empty: it serves no other",
    )
    driver: Annotated[str, _driver_of(ROBOTS)] = Field(
        default="pybullet", description="which driver reaches the arm; `dualsys list robots` names them"
    )
    connect_timeout_s: float = Field(
        default=10.0, gt=0, le=300, description="how long to wait for the robot's first answer"
    )
    options: dict[str, Option] = Field(
        default={}, description="what the driver itself wants to be told, such as a serial port"
    )


class CameraConfig(Section):
    """One camera: `wrist`, or one that System 2 is shown."""

    driver: Annotated[str, _driver_of(CAMERAS)] = Field(
        default="link", description="which driver reaches the camera; `dualsys camera list` names them"
    )
    width: int | None = Field(
        default=None, ge=1, le=4096, description="pixels to ask the camera for; null: as it is"
    )
    height: int | None = Field(
        default=None, ge=1, le=4096, description="pixels to ask the camera for; null: as it is"
    )
    rate_hz: float | None = Field(
        default=None, gt=0, le=1000, description="frames per second to ask the camera for; null: as it is"
    )
    fit: How | None = Field(
        default=None,
        description="what to do about another ratio of width to height than the models want; null: refuse",
    )
    max_age_ms: float = Field(default=500.0, gt=0, le=10_000, description="older frames are rejected")
    connect_timeout_s: float = Field(
        default=10.0, gt=0, le=300, description="how long to wait for the camera's first frame"
    )
    options: dict[str, Option] = Field(
        default={}, description="what the driver itself wants to be told, such as a device"
    )


CameraName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,64}$")]


class SlowConfig(Section):
    """System 2: image and text to latent, a few times a second.

    `delay_ms` and `rate_hz` emulate a larger model that runs elsewhere: a latent is published no earlier than
    `delay_ms` after its observation was received, and at most `rate_hz` forward passes start per second.
    """

    bundle: Folder = Field(
        default=Path("../bundles/tabletop/system2"), description="folder of the System 2 bundle"
    )
    rate_hz: float | None = Field(
        default=5.0, gt=0, le=1000, description="most passes started per second; null: no limit"
    )
    delay_ms: float = Field(
        default=200.0, ge=0, le=60_000, description="emulated time from observation to latent; 0: none"
    )
    observation_rate_hz: float = Field(
        default=10.0, gt=0, le=1000, description="observations that the edge sends per second"
    )
    image_encoding: Literal["raw", "jpeg"] = Field(default="raw", description="how images travel to System 2")
    jpeg_quality: int = Field(default=90, ge=1, le=100, description="quality of jpeg images")
    uplink: UplinkMode = Field(
        default="images",
        description="what System 2 is sent: images, or features that its vision tower makes at the edge",
    )
    feature_codec: LatentCodec = Field(
        default="float16", description="how features travel to System 2; both sides need the same"
    )
    latent_codec: LatentCodec = Field(
        default="float32", description="how float32 latents travel to the planner; both sides need the same"
    )
    threads: int = Field(default=1, ge=1, le=64, description="threads of the System 2 runtime")
    rate_control: RateControlConfig = RateControlConfig()
    on_demand: OnDemandConfig = OnDemandConfig()

    @property
    def answer_ms(self) -> float:
        """Longest time from observation to latent while all works, apart from compute and transport."""
        return self.delay_ms + (0.0 if self.rate_hz is None else 1000 / self.rate_hz)

    @property
    def patience_ms(self) -> float:
        """Time without an answer, on a line that takes none, after which something is wrong."""
        return _COMPUTING_MS + self.answer_ms

    @property
    def pause_ms(self) -> float:
        """Most time between two observations while all works."""
        adaptive = self.rate_control.mode == "adaptive"
        period_ms = 1000 / (self.rate_control.least_rate_hz if adaptive else self.observation_rate_hz)
        return period_ms + (self.on_demand.pause_ms if self.on_demand.enabled else 0.0)

    @property
    def worst_age_ms(self) -> float:
        """Greatest age of the newest latent at the edge while all works, apart from compute and transport."""
        return self.answer_ms + self.pause_ms


class FleetConfig(Section):
    """Robots that share one System 2. Each has a `robot.name` of its own, and the same `endpoints.slow`.

    A robot that would make latents too old, its own or another's, is refused when it connects.
    """

    robots: int = Field(default=1, ge=1, le=128, description="robots that System 2 serves at most")
    largest_batch: int = Field(default=8, ge=1, le=128, description="robots in one forward pass, at most")
    wait_ms: float = Field(
        default=5.0, ge=0, le=1000, description="how long a forward pass waits for more robots at most"
    )


class AgesConfig(Section):
    """How old things may get. Past a soft age the arm slows down, past a hard age it holds."""

    latent_soft_ms: float = Field(
        default=1000.0, gt=0, le=120_000, description="age of the latent past which the arm slows down"
    )
    latent_hard_ms: float = Field(
        default=2000.0, gt=0, le=120_000, description="age of the latent past which the arm holds"
    )
    observation_soft_ms: float = Field(
        default=1500.0,
        gt=0,
        le=120_000,
        description="age of what the plan was made from past which the arm slows down",
    )
    observation_hard_ms: float = Field(
        default=3000.0, gt=0, le=120_000, description="age of what the plan was made from past which it holds"
    )
    plan_soft_ms: float = Field(
        default=400.0, gt=0, le=10_000, description="time without a new plan past which the arm slows down"
    )
    plan_hard_ms: float = Field(
        default=500.0, gt=0, le=10_000, description="time without a new plan past which the arm holds"
    )
    reading_soft_ms: float = Field(
        default=50.0, gt=0, le=1000, description="age of the arm's reading past which the arm slows down"
    )
    reading_hard_ms: float = Field(
        default=100.0, gt=0, le=1000, description="age of the arm's reading past which control stops"
    )
    gap_hard_ms: float = Field(
        default=200.0,
        gt=0,
        le=5000,
        description="pause of control, or of its commands, past which the arm holds",
    )


class WorkspaceConfig(Section):
    """Where the tool point may be, in the base frame of the arm. Plans that leave it are refused."""

    x_min_m: float | None = Field(default=None, ge=-10, le=10, description="lowest x; null: no bound")
    x_max_m: float | None = Field(default=None, ge=-10, le=10, description="highest x; null: no bound")
    y_min_m: float | None = Field(default=None, ge=-10, le=10, description="lowest y; null: no bound")
    y_max_m: float | None = Field(default=None, ge=-10, le=10, description="highest y; null: no bound")
    z_min_m: float | None = Field(default=None, ge=-10, le=10, description="lowest z; null: no bound")
    z_max_m: float | None = Field(default=None, ge=-10, le=10, description="highest z; null: no bound")


class LimitsConfig(Section):
    """Fractions of the arm's own limits that commands may use."""

    speed_fraction: float = Field(default=1.0, gt=0, le=1, description="part of the arm's joint speed limits")
    acceleration_fraction: float = Field(
        default=1.0, gt=0, le=1, description="part of the arm's joint acceleration limits"
    )
    slowed_fraction: float = Field(
        default=0.3, gt=0, le=1, description="part of the allowed speed that is left while SLOWED"
    )
    following_rad: float = Field(
        default=0.3,
        gt=0,
        le=3,
        description="a joint that is further from where it is led for 300 ms does not follow: control stops",
    )
    workspace: WorkspaceConfig = WorkspaceConfig()


class ControlConfig(Section):
    """The loop next to the arm."""

    rate_hz: float = Field(default=250.0, ge=50, le=1000, description="control ticks per second")
    pacing: Literal["periodic", "device_paced"] = Field(
        default="periodic", description="whose clock drives the ticks: our own, or the cycle of the robot"
    )
    state_rate_hz: float = Field(default=250.0, ge=1, le=1000, description="published arm states per second")
    realtime: Literal["off", "best_effort", "enforce"] = Field(
        default="best_effort",
        description="real-time scheduling, locked memory, no garbage collector: off, asked for, or demanded",
    )
    realtime_priority: int = Field(
        default=50, ge=1, le=99, description="SCHED_FIFO priority, where real-time is asked for"
    )
    realtime_cpu: int | None = Field(
        default=None, ge=0, le=1023, description="the only CPU control may use, with real-time; null: any"
    )
    spin_ms: float = Field(default=0.05, ge=0, le=0.5, description="last part of a wait, spent spinning")
    prepare_ms: float = Field(
        default=0.4,
        ge=0,
        le=0.5,
        description="with real-time, awake before each tick: a plan is taken in, caches are filled; 0: none",
    )
    smoothing: Literal["limiter", "ruckig"] = Field(
        default="limiter",
        description="follow plans exactly within the limits, or smoothly with limited jerk (extra ruckig)",
    )
    ages: AgesConfig = AgesConfig()
    limits: LimitsConfig = LimitsConfig()


class RecordConfig(Section):
    """The flight recorder. It needs the extra `record`."""

    enabled: bool = Field(
        default=False, description="write all that control and the planner take in and decide into one file"
    )
    file: Folder | None = Field(
        default=None, description="the MCAP file, which must be new; null: recording.mcap in the run folder"
    )


class SimConfig(Section):
    """The simulated robot."""

    gui: bool = Field(default=False, description="open a window on the simulated world")
    camera_fixed_hz: float = Field(
        default=15.0, ge=0.1, le=120, description="frames per second of the fixed camera"
    )
    camera_wrist_hz: float = Field(
        default=25.0, ge=0.1, le=120, description="frames per second of the wrist camera"
    )
    watchdog_ms: float = Field(
        default=50.0, gt=0, le=5000, description="time without a command past which the robot stops"
    )


class RunConfig(Section):
    """What `dualsys run` does."""

    task: str = Field(default="pick", min_length=1, max_length=64, description="task of the simulated world")
    instruction: str | None = Field(
        default=None, min_length=1, max_length=500, description="what to say; null: the task says it"
    )
    episodes: int = Field(default=5, ge=1, le=100_000, description="episodes to run")
    seed: int = Field(
        default=10_000_000,
        ge=0,
        le=2**31 - 1,
        description="seed of the first episode, then counting up; by default far from training",
    )
    phrasing: Literal["seen", "unseen"] = Field(
        default="seen", description="wordings of training, or such as were kept from it"
    )
    event: Literal["moved", "changed", "absent"] | None = Field(
        default=None, description="what happens on the way: object moved, words changed, object absent"
    )
    episode_timeout_s: float = Field(
        default=25.0,
        gt=0,
        le=3600,
        description="longest episode; one without a verdict by then does not count",
    )
    stopped_timeout_s: float = Field(
        default=300.0, ge=0, le=86_400, description="how long a stopped arm is waited for to be resumed"
    )
    line: ProfileName | None = Field(
        default=None,
        description="the line to System 2 where `dualsys run` has both on one machine; `line` comes first",
    )
    folder: Folder = Field(default=Path("../runs"), description="where run folders are made")
    report: bool = Field(default=True, description="draw figures and film when the run is over")
    video_hz: float = Field(
        default=12.5, ge=0.1, le=60, description="frames per second of the recorded video"
    )
    startup_timeout_s: float = Field(
        default=30.0, gt=0, le=600, description="how long all processes may take to get ready"
    )


class SystemConfig(Section):
    """One ready-to-run system."""

    name: str = Field(
        default="tabletop", pattern=r"^[A-Za-z0-9_\-]{1,64}$", description="names run folders and reports"
    )
    endpoints: Endpoints = Endpoints()
    security: SecurityConfig = SecurityConfig()
    robot: RobotConfig = RobotConfig()
    cameras: dict[CameraName, CameraConfig] = Field(
        default={}, description="cameras by name; frames of others come from endpoints.robot.cameras"
    )
    slow: SlowConfig = SlowConfig()
    line: LineConfig = LineConfig()
    fleet: FleetConfig = FleetConfig()
    fast: FastConfig = FastConfig()
    control: ControlConfig = ControlConfig()
    sim: SimConfig = SimConfig()
    run: RunConfig = RunConfig()
    record: RecordConfig = RecordConfig()

    @model_validator(mode="after")
    def _check_across_sections(self) -> Self:
        faults = [*timing_faults(self), *endpoint_faults(self.addresses(), self.security)]
        faults += [*workspace_faults(self.control.limits.workspace), *line_faults(self.line)]
        if faults := [*faults, *strategy_faults(self.fast)]:
            raise ValueError("\n".join(faults))
        return self

    def addresses(self) -> dict[str, str]:
        """Dotted setting to address, of everything that is served: the line's only where it is emulated."""
        return {
            setting: address
            for setting, address in self.endpoints.by_setting().items()
            if self.line.emulated or not setting.startswith("endpoints.line.")
        }

    def way_to_system2(self) -> tuple[str, SlowEndpoints]:
        """Where the planner reaches System 2, after the setting of these addresses."""
        if self.line.emulated:
            return "endpoints.line", self.endpoints.line
        return "endpoints.slow", self.endpoints.slow

    def protection(self) -> Protection:
        """Which addresses are protected, and by which keys; for `bus.sockets.open_context`."""
        servers = {
            address: server
            for setting, address in self.addresses().items()
            if (server := self.security.server_of(setting.split(".")[1])) is not None
        }
        return Protection(self.security.keys, servers)

    def to_yaml(self) -> str:
        """All settings, defaults and overrides included, as a file that `load_config` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_config(path: str | Path, overrides: Mapping[str, object] | None = None) -> SystemConfig:
    """Read, override and check one YAML file.

    Args:
        path: The file. Relative paths inside it are relative to its folder.
        overrides: Dotted setting to value; a text value is read as YAML, so `"5"` is a number. Paths
            given here are relative to the working folder.

    Raises:
        ConfigError: Lists every fault.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(str(path), [f"cannot be read: {reason}; give the path of a YAML file"]) from error
    tree = parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        found = "found none" if tree is None else f"got a {type(tree).__name__}"
        raise ConfigError(str(path), [f"expected settings such as 'name: tabletop', and {found}"])
    faults = apply_overrides(SystemConfig, tree, overrides or {})
    try:
        config = SystemConfig.model_validate(tree, context={"folder": path.resolve().parent})
    except ValidationError as error:
        faults += [line for detail in error.errors() for line in explain(SystemConfig, detail)]
        raise ConfigError(str(path), faults) from None
    if faults:
        raise ConfigError(str(path), faults)
    return config
