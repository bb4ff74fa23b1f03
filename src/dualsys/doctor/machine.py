"""Reads what the judgements need from this machine. No judgement here."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import zmq

from dualsys.bus.sockets import OLDEST_SAFE_LIBZMQ
from dualsys.config import SystemConfig
from dualsys.config_fast import FastConfig
from dualsys.doctor import ports, punctual, system
from dualsys.doctor.findings import Finding
from dualsys.errors import DualsysError, RobotError
from dualsys.fast.control.rehearsal import read_rehearsed, rehearsal_command

_CLOCK = Path("/sys/devices/system/clocksource/clocksource0")
_NVIDIA = Path("/proc/driver/nvidia")


def examine(config: SystemConfig, jitter_s: float) -> list[Finding]:
    """Look at everything.

    Args:
        config: What is to run here.
        jitter_s: How long to rehearse the control loop; 0 to leave that out.
    """
    findings = [
        *system_findings(config),
        system.window(config.sim.gui, os.environ.get("DISPLAY")),
        bundle_found("system1", config.fast.bundle),
        *weak_found(config.fast),
        bundle_found("system2", config.slow.bundle, split=config.slow.uplink == "features"),
        *addresses_found(config.addresses()),
    ]
    if jitter_s > 0:
        findings.append(punctuality_found(config, jitter_s))
    return findings


def system_findings(config: SystemConfig) -> list[Finding]:
    """What is to be said about the machine itself, for what is to run here."""
    control = config.control
    limits, status = _text("/proc/self/limits"), _text("/proc/self/status")
    return [
        system.kernel(_text("/proc/version"), _read("/sys/kernel/realtime")),
        system.virtual_machine(_text("/proc/cpuinfo"), _read("/sys/class/dmi/id/sys_vendor")),
        system.processors(_cpus(), _read("/proc/loadavg")),
        system.scheduling(
            limits, status, _read("/proc/sys/kernel/sched_rt_runtime_us"), control.realtime,
            control.realtime_priority,
        ),
        system.locked_memory(limits, status, control.realtime),
        system.clock_source(_read(_CLOCK / "current_clocksource"), _read(_CLOCK / "available_clocksource")),
        system.governor(_governors()),
        system.messaging(_libzmq(), OLDEST_SAFE_LIBZMQ, bool(zmq.has("curve"))),
        system.graphics(_read(_NVIDIA / "version"), _cards(), _providers()),
    ]  # fmt: skip


def machine_facts() -> dict[str, str]:
    """What a page of measurements tells about the machine: name to value."""
    cpuinfo = _text("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    judged = [
        system.kernel(_text("/proc/version"), _read("/sys/kernel/realtime")),
        system.virtual_machine(cpuinfo, _read("/sys/class/dmi/id/sys_vendor")),
        system.clock_source(_read(_CLOCK / "current_clocksource"), None),
        system.governor(_governors()),
    ]
    load = (_read("/proc/loadavg") or "unknown").split()[0]
    return {
        "processor": f"{model[1] if model else 'unknown'}, {_cpus()} CPUs, load {load} at the end",
        **{finding.name: finding.says for finding in judged},
    }


def _read(path: str | Path) -> str | None:
    """A file of the kernel's; None where it is not there or may not be read."""
    with suppress(OSError):
        return Path(path).read_text("utf-8", errors="replace")
    return None


def _text(path: str) -> str:
    return _read(path) or ""


def _cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return os.cpu_count() or 1 if affinity is None else len(affinity(0))


def _governors() -> dict[int, str]:
    found: dict[int, str] = {}
    for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"):
        name = _read(path)
        if name is not None:
            found[int(path.parts[-3].removeprefix("cpu"))] = name
    return found


def _libzmq() -> tuple[int, int, int]:
    major, minor, patch = zmq.zmq_version_info()
    return int(major), int(minor), int(patch)


def _cards() -> dict[str, str]:
    return {path.parent.name: _text(str(path)) for path in _NVIDIA.glob("gpus/*/information")}


def _providers() -> tuple[str, ...]:
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())


def bundle_found(kind: Literal["system1", "system2"], folder: Path, *, split: bool = False) -> Finding:
    """Whether a bundle is whole: its manifest, the hash of every file; both halves if it is to be split."""
    from dualsys.bundles import LANGUAGE, VISION, half_file, load_manifest

    try:
        manifest = load_manifest(folder, kind)
        for half in (VISION, LANGUAGE) if split else ():
            half_file(folder, manifest, half)
    except DualsysError as error:
        section = "fast" if kind == "system1" else "slow"
        return Finding("bundle", "problem", str(error), f"name another folder with {section}.bundle")
    return Finding("bundle", "ok", f"{kind}: {manifest.name}, weights {manifest.weights}")


def weak_found(fast: FastConfig) -> list[Finding]:
    """Whether the bundle of the weak policy, where there is one, is whole and fits that of System 1."""
    from dualsys.bundles import load_manifest
    from dualsys.fast.policies.weak import SETTING, weak_manifest

    if fast.weak_bundle is None:
        return []
    try:
        strong = load_manifest(fast.bundle, "system1")
    except DualsysError:
        # That was found already, and there is nothing to compare with.
        return []
    try:
        manifest = weak_manifest(fast.weak_bundle, strong)
    except DualsysError as error:
        return [Finding("bundle", "problem", str(error), f"name another folder with {SETTING}")]
    return [Finding("bundle", "ok", f"weak policy: {manifest.name}, weights {manifest.weights}")]


def addresses_found(addresses: Mapping[str, str]) -> list[Finding]:
    """Which addresses are held, and by whom. `addresses`: setting to address."""
    tcp = _text("/proc/net/tcp") + _text("/proc/net/tcp6")
    held = ports.taken(addresses, tcp, _text("/proc/net/unix"))
    wanted = {inode for inodes in held.values() for inode in inodes}
    return ports.addresses_found(addresses, held, _owners(wanted))


def _owners(inodes: Iterable[int]) -> dict[int, ports.Owner]:
    """Which of the processes that may be looked at holds which socket."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, ports.Owner] = {}
    if not wanted:
        return found
    for process in Path("/proc").glob("[0-9]*"):
        # A process may end while it is looked at, and those of other users may not be looked at.
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                inode = wanted.get(os.readlink(descriptor))
                if inode is not None:
                    command = _text(str(process / "cmdline")).replace("\0", " ").strip()
                    found[inode] = ports.Owner(int(process.name), command or "unknown")
    return found


def punctuality_found(config: SystemConfig, jitter_s: float) -> Finding:
    """Rehearse the control loop in a process of its own, and judge how punctual it was."""
    control = config.control
    command = rehearsal_command(
        control.rate_hz,
        jitter_s,
        control.realtime,
        control.realtime_priority,
        1000 * control.spin_ms,
        0.0 if control.pacing == "device_paced" else 1000 * control.prepare_ms,
    )
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60 + 10 * jitter_s
        )
        if done.returncode != 0:
            raise RobotError(done.stderr.strip().removeprefix("error: "))
        return punctual.punctuality(read_rehearsed(done.stdout), control.rate_hz)
    except (RobotError, subprocess.TimeoutExpired) as error:
        return Finding("punctuality", "problem", str(error), "see the findings above")
