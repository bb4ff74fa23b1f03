"""Judgements of the texts that Linux keeps under /proc and /sys. Pure: text in, findings out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from dualsys.doctor.findings import Finding, Level

RealtimeMode = Literal["off", "best_effort", "enforce"]

CAP_IPC_LOCK: Final = 14
CAP_SYS_NICE: Final = 23
ENOUGH_LOCKED_BYTES: Final = 256 * 1024 * 1024
"""What the control process has mapped, with room to spare."""

_LIMITS_HELP: Final = (
    "add to /etc/security/limits.d/dualsys.conf the lines '@realtime - rtprio 90' and '@realtime - memlock "
    "unlimited', join that group (usermod -aG realtime USER), and log in anew"
)
_ABSENT_LEVEL: Final[Mapping[RealtimeMode, Level]] = {
    "off": "note",
    "best_effort": "warning",
    "enforce": "problem",
}
"""How grave it is that a privilege is missing, by what the configuration asks for."""


def kernel(version: str, realtime: str | None) -> Finding:
    """Judge the kernel.

    Args:
        version: /proc/version.
        realtime: /sys/kernel/realtime, which only a PREEMPT_RT kernel has.
    """
    match = re.search(r"Linux version (\S+)", version)
    release = match[1] if match else "of unknown version"
    if (realtime or "").strip() == "1" or "PREEMPT_RT" in version:
        return Finding("kernel", "ok", f"Linux {release} with PREEMPT_RT")
    kind = next((word for word in ("PREEMPT_DYNAMIC", "PREEMPT") if word in version), "no preemption")
    return Finding(
        "kernel",
        "note",
        f"Linux {release}, {kind}: not a real-time kernel, so ticks can be late by milliseconds",
        "above 250 Hz use a kernel with PREEMPT_RT (in mainline since 6.12; Debian: linux-image-rt)",
    )


def capabilities(status: str) -> int:
    """The effective capabilities in /proc/self/status, as a bit mask; 0 if it does not say."""
    match = re.search(r"^CapEff:\s*([0-9a-fA-F]+)\s*$", status, re.MULTILINE)
    return int(match[1], 16) if match else 0


def soft_limit(limits: str, name: str) -> int | None:
    """A soft limit in /proc/self/limits; -1 for unlimited, None if it is not there."""
    match = re.search(rf"^{re.escape(name)}\s+(unlimited|\d+)\s", limits, re.MULTILINE)
    if match is None:
        return None
    return -1 if match[1] == "unlimited" else int(match[1])


def scheduling(limits: str, status: str, throttle: str | None, mode: RealtimeMode, priority: int) -> Finding:
    """Judge whether SCHED_FIFO will be granted.

    Args:
        limits: /proc/self/limits.
        status: /proc/self/status.
        throttle: /proc/sys/kernel/sched_rt_runtime_us.
        mode: What the configuration asks for.
        priority: Which priority it asks for.
    """
    allowed = soft_limit(limits, "Max realtime priority")
    if capabilities(status) >> CAP_SYS_NICE & 1:
        granted = "CAP_SYS_NICE is held"
    elif allowed is not None and (allowed == -1 or allowed >= priority):
        granted = f"rtprio allows {'any' if allowed == -1 else allowed}"
    else:
        shown = "unknown" if allowed is None else allowed
        return Finding(
            "scheduling",
            _ABSENT_LEVEL[mode],
            f"SCHED_FIFO {priority} will be refused: no CAP_SYS_NICE, and rtprio is {shown}",
            _LIMITS_HELP,
        )
    if throttle is not None and throttle.strip() == "-1":
        return Finding(
            "scheduling",
            "warning",
            f"SCHED_FIFO will be granted ({granted}); nothing keeps a loop that hangs from freezing a CPU",
            "sysctl -w kernel.sched_rt_runtime_us=950000",
        )
    return Finding("scheduling", "ok", f"SCHED_FIFO {priority} will be granted: {granted}")


def locked_memory(limits: str, status: str, mode: RealtimeMode) -> Finding:
    """Judge whether memory can be locked; arguments as for `scheduling`."""
    allowed = soft_limit(limits, "Max locked memory")
    if capabilities(status) >> CAP_IPC_LOCK & 1:
        return Finding("memory", "ok", "memory can be locked: CAP_IPC_LOCK is held")
    if allowed is not None and (allowed == -1 or allowed >= ENOUGH_LOCKED_BYTES):
        shown = "is unlimited" if allowed == -1 else f"allows {allowed // 2**20} MiB"
        return Finding("memory", "ok", f"memory can be locked: memlock {shown}")
    shown = "unknown" if allowed is None else f"{allowed // 1024} KiB"
    return Finding(
        "memory",
        _ABSENT_LEVEL[mode],
        f"memory cannot be locked: no CAP_IPC_LOCK, and memlock is {shown}, "
        f"expected {ENOUGH_LOCKED_BYTES // 2**20} MiB or more",
        _LIMITS_HELP,
    )


def clock_source(current: str | None, available: str | None) -> Finding:
    """Judge what the kernel reads time from; both texts of /sys/devices/system/clocksource/clocksource0."""
    name = (current or "").strip()
    if not name:
        told = "look for it in the kernel log (dmesg), or outside of the container that hides it"
        return Finding("clock", "note", "the clock source is not told", told)
    if name in ("tsc", "arch_sys_counter"):
        return Finding("clock", "ok", f"clock source {name}")
    fast = {"kvm-clock", "hyperv_clocksource_tsc_page", "xen"}
    if name in fast:
        says = f"clock source {name}: fast enough, and depends on the host"
        return Finding("clock", "note", says, "do not have the virtual machine moved while an arm moves")
    has_tsc = "tsc" in (available or "").split()
    return Finding(
        "clock",
        "warning",
        f"clock source {name}: reading it takes about a microsecond, and a tick reads it several times",
        "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"
        if has_tsc
        else "look into the kernel log why the kernel has given up the TSC",
    )


def governor(governors: Mapping[int, str]) -> Finding:
    """Judge the frequency governor of each CPU that has one: /sys/.../cpufreq/scaling_governor."""
    if not governors:
        return Finding(
            "governor",
            "note",
            "the frequency of the CPUs is not controlled from here",
            "choose full speed in the firmware or, for a virtual machine, at its host",
        )
    slow = sorted(cpu for cpu, name in governors.items() if name.strip() != "performance")
    if not slow:
        return Finding("governor", "ok", "all CPUs run with the governor performance")
    names = ", ".join(sorted({governors[cpu].strip() for cpu in slow}))
    return Finding(
        "governor",
        "warning",
        f"{len(slow)} of {len(governors)} CPUs have the governor {names}: they wake up 50 to 200 us later",
        "cpupower frequency-set --governor performance",
    )


def virtual_machine(cpuinfo: str, vendor: str | None) -> Finding:
    """Judge whether this is a virtual machine: /proc/cpuinfo, and /sys/class/dmi/id/sys_vendor or None."""
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    known = ("QEMU", "VMware", "innotek", "Xen", "Amazon EC2", "Google", "Microsoft Corporation")
    by_vendor = next((name for name in known if name in (vendor or "")), "")
    if (flags and " hypervisor" in f"{flags[1]} ") or by_vendor:
        return Finding(
            "machine",
            "warning",
            f"a virtual machine{f' ({by_vendor})' if by_vendor else ''}: its host can take a CPU away for ms",
            "simulate here; drive an arm from a machine of its own",
        )
    return Finding("machine", "ok", "no sign of a virtual machine")


def processors(count: int, loadavg: str | None) -> Finding:
    """Judge whether there are CPUs to spare: those of this process, and /proc/loadavg."""
    load = float(loadavg.split()[0]) if loadavg and re.match(r"\d+\.\d+\s", loadavg) else 0.0
    if count < 2:
        return Finding(
            "processors",
            "warning",
            "one CPU for four processes",
            "give it two at least: plans will be late, and the arm will hold",
        )
    if load > count:
        return Finding(
            "processors",
            "warning",
            f"{count} CPUs with {load:g} processes that want to run",
            "end what else runs here; figures measured now are worthless",
        )
    return Finding("processors", "ok", f"{count} CPUs, load {load:g}")


def graphics(driver: str | None, models: Mapping[str, str], providers: tuple[str, ...]) -> Finding:
    """Say what can compute besides the CPU.

    Args:
        driver: /proc/driver/nvidia/version, if it is there.
        models: Name of each card to its /proc/driver/nvidia/gpus/*/information.
        providers: Execution providers of ONNX Runtime.
    """
    names = [
        match[1].strip() for text in models.values() if (match := re.search(r"^Model:(.*)$", text, re.M))
    ]
    usable = [name.removesuffix("ExecutionProvider") for name in providers if not name.startswith("CPU")]
    if not names and driver is None:
        return Finding("graphics", "ok", "no NVIDIA card; the shipped models run on the CPU")
    cards = ", ".join(names) or "an NVIDIA driver without a card"
    if usable:
        return Finding("graphics", "ok", f"{cards}; ONNX Runtime can use {', '.join(usable)}")
    return Finding(
        "graphics",
        "note",
        f"{cards}; ONNX Runtime can use the CPU only, which is enough for the shipped models",
        "for a large model, pip install onnxruntime-gpu in place of onnxruntime",
    )


def window(wanted: bool, display: str | None) -> Finding:
    """Judge whether the window on the simulated world can open: `sim.gui`, and the variable DISPLAY."""
    if not wanted:
        return Finding("window", "ok", "no window on the simulated world is asked for")
    if display:
        return Finding("window", "ok", f"the window on the simulated world opens on display {display}")
    return Finding(
        "window",
        "problem",
        "sim.gui asks for a window, and there is no display",
        "set DISPLAY (ssh -X, or xvfb-run before the command), or leave --gui out",
    )


def messaging(version: tuple[int, int, int], oldest: tuple[int, int, int], curve: bool) -> Finding:
    """Judge libzmq: its version, the oldest one without known holes, and whether it can encrypt (CURVE)."""
    shown = ".".join(map(str, version))
    if version < oldest:
        needed = ".".join(map(str, oldest))
        return Finding(
            "messaging", "problem", f"libzmq {shown} has known security holes, {needed} or newer is needed",
            "pip install --upgrade pyzmq",
        )  # fmt: skip
    if not curve:
        return Finding(
            "messaging",
            "warning",
            f"libzmq {shown} without CURVE: nothing can leave this machine",
            "install pyzmq from its wheels, whose libzmq has CURVE",
        )
    return Finding("messaging", "ok", f"libzmq {shown} with CURVE")
