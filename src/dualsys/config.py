"""One schema for the YAML of a whole system: types, defaults, ranges, units, descriptions.

Names carry units. Paths are relative to the file that names them. Whatever is wrong is reported at once, every fault with
its dotted path, what was given, and what is allowed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from dualsys.errors import ConfigError

STRATEGIES = ("synchronous", "naive_async", "temporal_ensemble", "rtc")
"""Chunk strategies that `fast.strategy.name` can choose."""

DRIVERS = ("simulated",)
"""Robot drivers that `robot.driver` can choose."""

_MAX_IPC_BYTES = 107
_UNITS = {"ms": "ms", "s": "s", "hz": "Hz", "m": "m", "rad": "rad", "steps": "steps"}


def _check_endpoint(endpoint: str) -> str:
    tcp = re.fullmatch(r"tcp://([A-Za-z0-9_.\-]+|\*|\[[0-9a-fA-F:]+\]):(\d{1,5})", endpoint)
    if tcp and 1 <= int(tcp.group(2)) <= 65535:
        return endpoint
    if endpoint.startswith("ipc:///") and len(endpoint.removeprefix("ipc://").encode()) <= _MAX_IPC_BYTES:
        return endpoint
    raise ValueError(f"tcp://HOST:PORT with a port from 1 to 65535, or ipc:///PATH of at most {_MAX_IPC_BYTES} bytes")


Endpoint = Annotated[str, AfterValidator(_check_endpoint)]
Bundle = Annotated[Path, Field(strict=False)]


class Section(BaseModel):
    """Base of all sections: unknown settings are refused, values are never coerced, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SlowEndpoints(Section):
    """Bound by System 2."""

    observation: Endpoint = Field("tcp://127.0.0.1:7400", description="observations, planner to System 2")
    latent: Endpoint = Field("tcp://127.0.0.1:7401", description="latents, System 2 to planner")
    service: Endpoint = Field("tcp://127.0.0.1:7402", description="requests to System 2: handshake, status")


class PlannerEndpoints(Section):
    """Bound by the planner."""

    plan: Endpoint = Field("tcp://127.0.0.1:7410", description="plans, planner to control")
    service: Endpoint = Field("tcp://127.0.0.1:7411", description="requests to the planner: start_episode, say, status")


class ControlEndpoints(Section):
    """Bound by control."""

    state: Endpoint = Field("tcp://127.0.0.1:7420", description="what the arm does, control to whoever watches")
    service: Endpoint = Field("tcp://127.0.0.1:7421", description="requests to control: stop, resume, epoch, status")


class RobotEndpoints(Section):
    """Bound by the robot, simulated or real."""

    state: Endpoint = Field("tcp://127.0.0.1:7430", description="arm readings, robot to control")
    command: Endpoint = Field("tcp://127.0.0.1:7431", description="joint commands, control to robot")
    service: Endpoint = Field("tcp://127.0.0.1:7432", description="requests to the robot: reset, verdict, status")
    cameras: Endpoint = Field("tcp://127.0.0.1:7433", description="camera frames, robot side to planner")


class Endpoints(Section):
    """Every address of the system. All must differ."""

    slow: SlowEndpoints = SlowEndpoints()
    planner: PlannerEndpoints = PlannerEndpoints()
    control: ControlEndpoints = ControlEndpoints()
    robot: RobotEndpoints = RobotEndpoints()

    def by_setting(self) -> dict[str, str]:
        """Dotted setting, such as `endpoints.slow.latent`, to address."""
        return {
            f"endpoints.{owner}.{channel}": address
            for owner, section in self.model_dump().items()
            for channel, address in section.items()
        }


class RobotConfig(Section):
    """The arm."""

    driver: Literal["simulated"] = Field("simulated", description="which driver reaches the arm")
    connect_timeout_s: float = Field(10.0, gt=0, le=300, description="how long to wait for the robot's first answer")


class SlowConfig(Section):
    """System 2: image and text to latent, a few times a second.

    `delay_ms` and `rate_hz` emulate a larger model that runs elsewhere: a latent is published no earlier than `delay_ms`
    after its observation was received, and at most `rate_hz` forward passes start per second.
    """

    bundle: Bundle = Field(Path("../bundles/tabletop/system2"), description="folder of the System 2 bundle")
    rate_hz: float | None = Field(5.0, gt=0, le=1000, description="most passes started per second; null: no limit")
    delay_ms: float = Field(200.0, ge=0, le=60_000, description="emulated time from observation to latent; 0: as fast as it is")
    observation_rate_hz: float = Field(10.0, gt=0, le=1000, description="observations that the edge sends per second")
    image_encoding: Literal["raw", "jpeg"] = Field("raw", description="how images travel to System 2")
    jpeg_quality: int = Field(90, ge=1, le=100, description="quality of jpeg images")
    threads: int = Field(1, ge=1, le=64, description="threads of the System 2 runtime")

    @property
    def worst_age_ms(self) -> float:
        """Greatest age of the newest latent at the edge while everything works, apart from compute and transport."""
        period_ms = 0.0 if self.rate_hz is None else 1000 / self.rate_hz
        return self.delay_ms + period_ms + 1000 / self.observation_rate_hz


class StrategyConfig(Section):
    """How a new chunk joins the track that is being executed."""

    name: Literal["synchronous", "naive_async", "temporal_ensemble", "rtc"] = Field("rtc", description="the chunk strategy")
    beta: float = Field(5.0, ge=0, le=100, description="rtc: greatest guidance weight")
    mask: Literal["exp", "linear", "ones", "zeros"] = Field("exp", description="rtc: weights of the overlap after the frozen part")
    ensemble_decay: float = Field(0.01, ge=0, le=10, description="temporal_ensemble: m of the weights exp(-m * age in plans)")


class FastConfig(Section):
    """System 1 in the planner: latent, wrist camera and arm state to plans, tens of times a second."""

    bundle: Bundle = Field(Path("../bundles/tabletop/system1"), description="folder of the System 1 bundle")
    plan_hz: float = Field(50.0, gt=0, le=1000, description="plans started per second, at most")
    delay_ms: float = Field(0.0, ge=0, le=2000, description="emulated extra time that a plan takes")
    threads: int = Field(1, ge=1, le=64, description="threads of the System 1 runtime")
    strategy: StrategyConfig = StrategyConfig()


class AgesConfig(Section):
    """How old things may get. Past a soft age the arm slows down, past a hard age it holds."""

    latent_soft_ms: float = Field(1000.0, gt=0, le=120_000, description="age of the latent past which the arm slows down")
    latent_hard_ms: float = Field(2000.0, gt=0, le=120_000, description="age of the latent past which the arm holds")
    plan_hard_ms: float = Field(500.0, gt=0, le=10_000, description="time without a new plan past which the arm holds")
    reading_hard_ms: float = Field(20.0, gt=0, le=1000, description="time without an arm reading past which control stops")


class LimitsConfig(Section):
    """Fractions of the arm's own limits that commands may use."""

    speed_fraction: float = Field(1.0, gt=0, le=1, description="part of the arm's joint speed limits")
    acceleration_fraction: float = Field(1.0, gt=0, le=1, description="part of the arm's joint acceleration limits")
    slowed_fraction: float = Field(0.3, gt=0, le=1, description="part of the allowed speed that is left while SLOWED")


class ControlConfig(Section):
    """The loop next to the arm."""

    rate_hz: float = Field(250.0, ge=10, le=1000, description="control ticks per second")
    state_rate_hz: float = Field(250.0, ge=1, le=1000, description="published arm states per second")
    realtime: Literal["off", "best_effort", "enforce"] = Field(
        "best_effort", description="real-time scheduling and locked memory: not asked for, asked for, or demanded"
    )
    realtime_priority: int = Field(50, ge=1, le=99, description="SCHED_FIFO priority, where real-time is asked for")
    ages: AgesConfig = AgesConfig()
    limits: LimitsConfig = LimitsConfig()


class SimConfig(Section):
    """The simulated robot."""

    gui: bool = Field(False, description="open a window on the simulated world")
    camera_fixed_hz: float = Field(15.0, gt=0, le=120, description="frames per second of the fixed camera")
    camera_wrist_hz: float = Field(25.0, gt=0, le=120, description="frames per second of the wrist camera")
    watchdog_ms: float = Field(50.0, gt=0, le=5000, description="time without a command past which the robot stops by itself")


class RunConfig(Section):
    """What `dualsys run` does."""

    task: str = Field("pick", min_length=1, max_length=64, description="task of the simulated world")
    instruction: str | None = Field(None, min_length=1, max_length=500, description="what to say; null: the task says it")
    episodes: int = Field(5, ge=1, le=100_000, description="episodes to run")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="seed of the first episode; each next one adds 1")
    episode_timeout_s: float = Field(25.0, gt=0, le=3600, description="longest episode, robot time")
    folder: Bundle = Field(Path("../runs"), description="where run folders are made")
    video_hz: float = Field(12.5, gt=0, le=60, description="frames per second of the recorded video")
    startup_timeout_s: float = Field(30.0, gt=0, le=600, description="how long all processes may take to get ready")


class SystemConfig(Section):
    """One ready-to-run system."""

    name: str = Field("tabletop", pattern=r"^[A-Za-z0-9_\-]{1,64}$", description="names run folders and reports")
    endpoints: Endpoints = Endpoints()
    robot: RobotConfig = RobotConfig()
    slow: SlowConfig = SlowConfig()
    fast: FastConfig = FastConfig()
    control: ControlConfig = ControlConfig()
    sim: SimConfig = SimConfig()
    run: RunConfig = RunConfig()
    _source: Path | None = PrivateAttr(None)

    @property
    def source(self) -> Path | None:
        """The file that this was loaded from, if any."""
        return self._source

    @model_validator(mode="after")
    def _check_across_sections(self) -> Self:
        if faults := cross_faults(self):
            raise ValueError("\n".join(faults))
        return self


def cross_faults(config: SystemConfig) -> list[str]:
    """Everything that is wrong between settings that are each fine on their own, one line each."""
    ages, slow, fast, control = config.control.ages, config.slow, config.fast, config.control
    faults: list[str] = []

    def require(holds: bool, path: str, value: object, expected: str) -> None:
        if not holds:
            faults.append(f"{path}: got {_show(path, value)}, expected {expected}")

    rules: list[tuple[bool, str, float, str]] = [
        (
            ages.latent_soft_ms > slow.delay_ms,
            "control.ages.latent_soft_ms",
            ages.latent_soft_ms,
            f"more than slow.delay_ms ({slow.delay_ms:g} ms), or the arm is always slowed",
        ),
        (
            ages.latent_hard_ms > ages.latent_soft_ms,
            "control.ages.latent_hard_ms",
            ages.latent_hard_ms,
            f"more than control.ages.latent_soft_ms ({ages.latent_soft_ms:g} ms)",
        ),
        (
            ages.latent_hard_ms > slow.worst_age_ms,
            "control.ages.latent_hard_ms",
            ages.latent_hard_ms,
            f"more than {slow.worst_age_ms:g} ms, which slow.delay_ms, slow.rate_hz and slow.observation_rate_hz "
            "lead to while all works",
        ),
        (
            ages.plan_hard_ms > fast.delay_ms + 2000 / fast.plan_hz,
            "control.ages.plan_hard_ms",
            ages.plan_hard_ms,
            f"more than fast.delay_ms and two periods of fast.plan_hz ({fast.delay_ms + 2000 / fast.plan_hz:g} ms)",
        ),
        (
            ages.reading_hard_ms >= 2000 / control.rate_hz,
            "control.ages.reading_hard_ms",
            ages.reading_hard_ms,
            f"at least two periods of control.rate_hz ({2000 / control.rate_hz:g} ms)",
        ),
        (
            control.rate_hz >= fast.plan_hz,
            "fast.plan_hz",
            fast.plan_hz,
            f"at most control.rate_hz ({control.rate_hz:g} Hz)",
        ),
        (
            control.state_rate_hz <= control.rate_hz,
            "control.state_rate_hz",
            control.state_rate_hz,
            f"at most control.rate_hz ({control.rate_hz:g} Hz)",
        ),
        (
            slow.rate_hz is None or slow.rate_hz <= slow.observation_rate_hz,
            "slow.rate_hz",
            slow.rate_hz or 0.0,
            f"at most slow.observation_rate_hz ({slow.observation_rate_hz:g} Hz)",
        ),
        (
            config.sim.watchdog_ms >= 2000 / control.rate_hz,
            "sim.watchdog_ms",
            config.sim.watchdog_ms,
            f"at least two periods of control.rate_hz ({2000 / control.rate_hz:g} ms)",
        ),
    ]
    for rule in rules:
        require(*rule)
    owners: dict[str, str] = {}
    for setting, address in config.endpoints.by_setting().items():
        other = owners.setdefault(address, setting)
        require(other == setting, setting, address, f"an address of its own, {other} has the same")
    return faults


def load_config(path: str | Path, overrides: Mapping[str, object] | None = None) -> SystemConfig:
    """Read, override and check one YAML file.

    Args:
        path: The file. Relative paths inside it are relative to its folder.
        overrides: Dotted setting to value; a text value is read as YAML, so `"5"` is a number. Paths given here are
            relative to the working folder.

    Raises:
        ConfigError: Lists every fault.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(str(path), [f"cannot be read: {reason}; give the path of a YAML file"]) from error
    tree = _parse_yaml(text, str(path))
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(str(path), [f"expected settings such as 'name: tabletop', got {type(tree).__name__}"])
    _resolve_paths(tree, SystemConfig, path.resolve().parent)
    return build_config(tree, overrides, source=path)


def build_config(
    tree: Mapping[str, object], overrides: Mapping[str, object] | None = None, source: Path | None = None
) -> SystemConfig:
    """Check a tree of settings, such as one that was read from YAML.

    Raises:
        ConfigError: Lists every fault.
    """
    merged = _copy(tree)
    faults = _apply_overrides(merged, overrides or {})
    if source is None:
        _resolve_paths(merged, SystemConfig, Path.cwd())
    else:
        _resolve_defaults(merged, SystemConfig, source.resolve().parent)
    try:
        config = SystemConfig.model_validate(merged)
    except ValidationError as error:
        faults += [line for detail in error.errors() for line in _explain(detail)]
        raise ConfigError(str(source or "settings"), faults) from None
    if faults:
        raise ConfigError(str(source or "settings"), faults)
    config._source = source
    return config


def field_at(path: tuple[str | int, ...]) -> FieldInfo | None:
    """The schema of a setting, or None if there is none at that path."""
    model: type[BaseModel] | None = SystemConfig
    found: FieldInfo | None = None
    for part in path:
        if model is None or part not in model.model_fields:
            return None
        found = model.model_fields[str(part)]
        model = _section(found)
    return found


def settings() -> dict[str, FieldInfo]:
    """Every setting: dotted path to its schema, in the order of the file."""
    return dict(_walk(SystemConfig, ""))


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML silently keeps the last of two equal keys; a configuration must not."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"setting {key!r} is not a name", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"setting {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def _parse_yaml(text: str, source: str) -> object:
    try:
        return yaml.load(text, _UniqueKeyLoader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(source, [f"is not YAML that can be read: {' '.join(str(error).split())}"]) from error


def _copy(tree: object) -> Any:
    return {key: _copy(value) for key, value in tree.items()} if isinstance(tree, Mapping) else tree


def _apply_overrides(tree: dict[str, Any], overrides: Mapping[str, object]) -> list[str]:
    faults: list[str] = []
    for dotted, given in overrides.items():
        parts = tuple(dotted.split("."))
        field = field_at(parts)
        if field is None or _section(field) is not None:
            faults.append(f"{dotted}: is not a setting{_suggest(dotted, settings())}")
            continue
        value = _parse_yaml(given, f"--{dotted}") if isinstance(given, str) else given
        if isinstance(given, str) and field.annotation in (str, str | None) and value is not None:
            value = given
        if _is_path(field) and isinstance(given, str):
            value = str(Path(given).resolve())
        branch = tree
        for part in parts[:-1]:
            below = branch.setdefault(part, {})
            branch[part] = below if isinstance(below, dict) else {}
            branch = branch[part]
        branch[parts[-1]] = value
    return faults


def _resolve_paths(tree: Mapping[str, Any], model: type[BaseModel], folder: Path) -> None:
    for name, field in model.model_fields.items():
        value = tree.get(name)
        section = _section(field)
        if section is not None and isinstance(value, dict):
            _resolve_paths(value, section, folder)
        elif _is_path(field) and isinstance(value, str | Path) and isinstance(tree, dict):
            tree[name] = str((folder / value).resolve())


def _resolve_defaults(tree: dict[str, Any], model: type[BaseModel], folder: Path) -> None:
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is not None:
            below = tree.setdefault(name, {})
            if isinstance(below, dict):
                _resolve_defaults(below, section, folder)
        elif _is_path(field) and name not in tree:
            tree[name] = str((folder / field.default).resolve())


def _section(field: FieldInfo) -> type[Section] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _is_path(field: FieldInfo) -> bool:
    return field.annotation is Path


def _walk(model: type[BaseModel], prefix: str) -> list[tuple[str, FieldInfo]]:
    found: list[tuple[str, FieldInfo]] = []
    for name, field in model.model_fields.items():
        section = _section(field)
        found += [(prefix + name, field)] if section is None else _walk(section, f"{prefix}{name}.")
    return found


def _explain(detail: ErrorDetails) -> list[str]:
    location, kind = detail["loc"], detail["type"]
    path = ".".join(str(part) for part in location)
    if not location:
        return detail["msg"].removeprefix("Value error, ").splitlines()
    if kind == "extra_forbidden":
        return [f"{path}: is not a setting{_suggest(path, settings())}"]
    field = field_at(location)
    if field is None:
        return [f"{path}: got {detail['input']!r}: {detail['msg']}"]
    if (section := _section(field)) is not None:
        return [f"{path}: got {detail['input']!r}, expected a section with {', '.join(section.model_fields)}"]
    if kind == "value_error":
        expected = detail["msg"].removeprefix("Value error, ")
    else:
        expected = allowed(path, field)
    return [f"{path}: got {_show(path, detail['input'])}, expected {expected} ({field.description})"]


def allowed(path: str, field: FieldInfo) -> str:
    """What a setting accepts, in words: `0 to 60000 ms`, `raw or jpeg`."""
    annotation, optional = field.annotation, False
    if type(None) in get_args(annotation):
        optional = True
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    bounds = {key: getattr(item, key) for item in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(item, key)}
    if get_origin(annotation) is Literal:
        text = " or ".join(repr(value) for value in get_args(annotation))
    elif annotation is bool:
        text = "true or false"
    elif annotation in (int, float):
        low = f"{bounds['ge']:g}" if "ge" in bounds else f"more than {bounds['gt']:g}" if "gt" in bounds else "any"
        high = f" to {bounds['le']:g}" if "le" in bounds else ""
        unit = unit_of(path)
        text = f"{'a whole number' if annotation is int else 'a number'}, {low}{high}{' ' + unit if unit else ''}"
    else:
        pattern = next((item.pattern for item in field.metadata if getattr(item, "pattern", None)), None)
        text = f"text that matches {pattern}" if pattern else "a path" if annotation is Path else "text"
    return f"{text}, or null" if optional else text


def unit_of(path: str) -> str:
    """Unit that the name of a setting ends in, or nothing."""
    return _UNITS.get(path.rsplit("_", 1)[-1], "") if "_" in path.rsplit(".", 1)[-1] else ""


def _show(path: str, value: object) -> str:
    unit = unit_of(path)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g} {unit}".rstrip() if number else repr(value)


def _suggest(path: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(path, known, n=1, cutoff=0.6)
    if not close:
        leaf = path.rsplit(".", 1)[-1]
        close = [name for name in known if name.rsplit(".", 1)[-1] == leaf][:1]
    if close:
        return f"; did you mean {close[0]}?"
    siblings = [name for name in known if name.startswith(path.rsplit(".", 1)[0] + ".")] if "." in path else []
    if siblings:
        return f"; settings there: {', '.join(name.rsplit('.', 1)[-1] for name in siblings)}"
    return f"; sections: {', '.join(SystemConfig.model_fields)}"
