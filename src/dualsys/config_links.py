"""Where processes talk, and with which keys: the sections `endpoints` and `security` of the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from dualsys.config_faults import fault_at

DEFAULT_KEYS = Path("~/.config/dualsys/keys")

_MAX_IPC_BYTES = 107
_KEY_NAME = r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,63}$"


def _check_endpoint(endpoint: str) -> str:
    tcp = re.fullmatch(r"tcp://([A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\]|\*):(\d{1,5})", endpoint)
    if tcp and 1 <= int(tcp[2]) <= 65535:
        return endpoint
    if endpoint.startswith("ipc:///") and len(endpoint.removeprefix("ipc://").encode()) <= _MAX_IPC_BYTES:
        return endpoint
    raise ValueError(
        "tcp://127.0.0.1:PORT with a port from 1 to 65535, or ipc:///PATH of at most "
        f"{_MAX_IPC_BYTES} bytes; tcp://HOST:PORT with keys only, see `security`"
    )


def _is_private(endpoint: str) -> bool:
    return re.match(r"ipc:|tcp://(localhost|127(\.\d{1,3}){3}|\[::1\]):", endpoint) is not None


def _resolve(path: Path, info: ValidationInfo) -> Path:
    return (info.context["folder"] / path.expanduser()).resolve() if info.context else path


Endpoint = Annotated[str, AfterValidator(_check_endpoint)]
Folder = Annotated[Path, Field(strict=False), AfterValidator(_resolve)]


class Section(BaseModel):
    """Base of all sections: unknown settings are refused, values are never coerced, nothing changes later."""

    # Defaults are validated too, so that default paths are resolved like given ones.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        revalidate_instances="always",
    )


class SlowEndpoints(Section):
    """Bound by System 2."""

    observation: Endpoint = Field(
        default="tcp://127.0.0.1:7400", description="observations, planner to System 2"
    )
    latent: Endpoint = Field(default="tcp://127.0.0.1:7401", description="latents, System 2 to planner")
    service: Endpoint = Field(
        default="tcp://127.0.0.1:7402", description="requests to System 2: handshake, status"
    )


class LineEndpoints(SlowEndpoints):
    """Bound by the emulated line, where there is one. The planner reaches System 2 through them."""

    observation: Endpoint = Field(
        default="tcp://127.0.0.1:7450", description="observations, planner to the emulated line"
    )
    latent: Endpoint = Field(
        default="tcp://127.0.0.1:7451", description="latents, the emulated line to planner"
    )
    service: Endpoint = Field(
        default="tcp://127.0.0.1:7452", description="requests to System 2 through the emulated line"
    )


class PlannerEndpoints(Section):
    """Bound by the planner."""

    plan: Endpoint = Field(default="tcp://127.0.0.1:7410", description="plans, planner to control")
    service: Endpoint = Field(
        default="tcp://127.0.0.1:7411", description="requests to the planner: start_episode, say, status"
    )


class ControlEndpoints(Section):
    """Bound by control."""

    state: Endpoint = Field(
        default="tcp://127.0.0.1:7420", description="what the arm does, control to whoever watches"
    )
    service: Endpoint = Field(
        default="tcp://127.0.0.1:7421", description="requests to control: stop, resume, epoch, status"
    )


class RobotEndpoints(Section):
    """Bound by the robot, simulated or real."""

    state: Endpoint = Field(default="tcp://127.0.0.1:7430", description="arm readings, robot to control")
    command: Endpoint = Field(default="tcp://127.0.0.1:7431", description="joint commands, control to robot")
    service: Endpoint = Field(
        default="tcp://127.0.0.1:7432", description="requests to the robot: reset, verdict, status"
    )
    cameras: Endpoint = Field(
        default="tcp://127.0.0.1:7433", description="camera frames, robot side to planner"
    )


class RecorderEndpoints(Section):
    """Bound by the recorder."""

    input: Endpoint = Field(
        default="tcp://127.0.0.1:7440", description="records, from whoever is recorded to the recorder"
    )


class Endpoints(Section):
    """Every address of the system. All must differ."""

    slow: SlowEndpoints = SlowEndpoints()
    planner: PlannerEndpoints = PlannerEndpoints()
    control: ControlEndpoints = ControlEndpoints()
    robot: RobotEndpoints = RobotEndpoints()
    recorder: RecorderEndpoints = RecorderEndpoints()
    line: LineEndpoints = LineEndpoints()

    def by_setting(self) -> dict[str, str]:
        """Dotted setting, such as `endpoints.slow.latent`, to address."""
        return {
            f"endpoints.{owner}.{channel}": address
            for owner, section in self.model_dump().items()
            for channel, address in section.items()
        }


def _key_name(whose: str) -> Any:
    return Field(
        default=None,
        pattern=_KEY_NAME,
        description=f"key of the machine that serves {whose}; null: no keys, addresses of this machine only",
    )


class SecurityConfig(Section):
    """Keys. What one process serves is protected as soon as the key of its machine is named here.

    A protected address is encrypted, may be reached from other machines, and is used only by machines whose
    keys are allowed on both sides. `dualsys keys` makes and allows keys.
    """

    keys: Folder = Field(default=DEFAULT_KEYS, description="folder of the keys of this machine")
    slow: str | None = _key_name("endpoints.slow")
    planner: str | None = _key_name("endpoints.planner")
    control: str | None = _key_name("endpoints.control")
    robot: str | None = _key_name("endpoints.robot")

    def server_of(self, owner: str) -> str | None:
        """Name of the key that the addresses of an owner are served with; None if they have none."""
        # The emulated line cannot read what it relays: whoever connects there talks to System 2.
        keys = {"slow": self.slow, "line": self.slow, "planner": self.planner}
        return (keys | {"control": self.control, "robot": self.robot}).get(owner)


def endpoint_faults(addresses: Mapping[str, str], security: SecurityConfig) -> Iterator[str]:
    """Addresses that are served twice, or that others could reach without a key; from setting to address."""
    owners: dict[str, str] = {}
    for setting, address in addresses.items():
        if (other := owners.setdefault(address, setting)) != setting:
            yield fault_at(setting, address, f"an address of its own, {other} has the same")
        owner = setting.split(".")[1]
        if _is_private(address) or security.server_of(owner) is not None:
            continue
        expected = "an address of this machine, such as tcp://127.0.0.1:PORT"
        if owner in SecurityConfig.model_fields:
            expected += (
                f", or keys: `dualsys keys new NAME` there, `dualsys keys allow` on both sides, and "
                f"security.{owner}: NAME; whoever reaches an address without keys can move the arm"
            )
        yield fault_at(setting, address, expected)
