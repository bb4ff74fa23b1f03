"""What is said of the texts that Linux keeps under /proc and /sys."""

from __future__ import annotations

import pytest

from dualsys.doctor import system
from dualsys.doctor.findings import Finding, closing_line, will_work

LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max locked memory         {memlock}              8388608              bytes
Max nice priority         0                    0
Max realtime priority     {rtprio}                    0
Max realtime timeout      unlimited            unlimited            us
"""
STATUS = "Name:\tpython\nCapPrm:\t0000000000000000\nCapEff:\t{caps:016x}\nCapBnd:\t000001fffeffffff\n"
NICE, LOCK = 1 << system.CAP_SYS_NICE, 1 << system.CAP_IPC_LOCK


def limits(memlock: str = "8388608", rtprio: str = "0") -> str:
    """/proc/self/limits."""
    return LIMITS.format(memlock=memlock, rtprio=rtprio)


def status(caps: int = 0) -> str:
    """/proc/self/status."""
    return STATUS.format(caps=caps)


@pytest.mark.parametrize(
    ("version", "realtime", "level"),
    [
        ("Linux version 6.12.1-rt5 (x@y) #1 SMP PREEMPT_RT Mon", "1\n", "ok"),
        ("Linux version 6.12.1 (x@y) #1 SMP PREEMPT Mon", "1\n", "ok"),
        ("Linux version 6.12.1 (x@y) #1 SMP PREEMPT_RT Mon", None, "ok"),
        ("Linux version 6.18.44 (x@y) #1 SMP PREEMPT_DYNAMIC @0", None, "note"),
        ("Linux version 4.4.0 (x@y) #1 SMP Mon", None, "note"),
        ("something else", None, "note"),
    ],
)
def test_a_real_time_kernel_is_told_from_others(version: str, realtime: str | None, level: str) -> None:
    finding = system.kernel(version, realtime)
    assert finding.level == level
    assert bool(finding.remedy) == (level != "ok")


@pytest.mark.parametrize(
    ("caps", "rtprio", "granted"),
    [
        (NICE, "0", True),
        (0, "50", True),
        (0, "99", True),
        (0, "unlimited", True),
        (0, "49", False),
        (LOCK, "0", False),
    ],
)
def test_sched_fifo_needs_the_capability_or_a_limit_as_high_as_the_priority(
    caps: int, rtprio: str, granted: bool
) -> None:
    finding = system.scheduling(limits(rtprio=rtprio), status(caps), "950000\n", "best_effort", 50)
    assert finding.level == ("ok" if granted else "warning")
    assert ("rtprio" in finding.remedy) != granted


@pytest.mark.parametrize(
    ("mode", "level"), [("off", "note"), ("best_effort", "warning"), ("enforce", "problem")]
)
def test_a_missing_privilege_is_as_grave_as_the_configuration_makes_it(
    mode: system.RealtimeMode, level: str
) -> None:
    assert system.scheduling(limits(), status(), None, mode, 50).level == level
    assert system.locked_memory(limits(), status(), mode).level == level


@pytest.mark.parametrize(
    ("caps", "memlock", "granted"),
    [
        (LOCK, "65536", True),
        (0, "unlimited", True),
        (0, str(512 * 2**20), True),
        (0, "8388608", False),
        (NICE, "8388608", False),
    ],
)
def test_memory_can_be_locked_with_the_capability_or_a_limit_above_what_control_needs(
    caps: int, memlock: str, granted: bool
) -> None:
    finding = system.locked_memory(limits(memlock=memlock), status(caps), "best_effort")
    assert finding.level == ("ok" if granted else "warning")


def test_a_system_that_lets_a_hanging_loop_freeze_a_cpu_is_warned_of() -> None:
    finding = system.scheduling(limits(rtprio="99"), status(), "-1\n", "enforce", 50)
    assert (finding.level, finding.remedy) == ("warning", "sysctl -w kernel.sched_rt_runtime_us=950000")


def test_texts_that_say_nothing_grant_nothing() -> None:
    assert system.capabilities("") == 0
    assert system.soft_limit("", "Max locked memory") is None
    assert system.scheduling("", "", None, "enforce", 50).level == "problem"
    assert system.locked_memory("", "", "enforce").level == "problem"


@pytest.mark.parametrize(
    ("current", "available", "level"),
    [
        ("tsc\n", "tsc hpet", "ok"),
        ("arch_sys_counter\n", "arch_sys_counter", "ok"),
        ("kvm-clock\n", "kvm-clock tsc", "note"),
        ("hpet\n", "tsc hpet", "warning"),
        ("acpi_pm\n", "acpi_pm", "warning"),
        (None, None, "note"),
    ],
)
def test_a_slow_clock_source_is_warned_of(current: str | None, available: str | None, level: str) -> None:
    finding = system.clock_source(current, available)
    assert (finding.level, bool(finding.remedy)) == (level, level != "ok"), "it says what to do"


def test_the_tsc_is_advised_only_where_it_is_available() -> None:
    assert "echo tsc" in system.clock_source("hpet", "tsc hpet").remedy
    assert "kernel log" in system.clock_source("hpet", "hpet").remedy


@pytest.mark.parametrize(
    ("governors", "level"),
    [
        ({}, "note"),
        ({0: "performance\n", 1: "performance\n"}, "ok"),
        ({0: "performance\n", 1: "powersave\n"}, "warning"),
    ],
)
def test_a_governor_that_saves_power_is_warned_of(governors: dict[int, str], level: str) -> None:
    finding = system.governor(governors)
    assert (finding.level, bool(finding.remedy)) == (level, level != "ok"), "it says what to do"


@pytest.mark.parametrize(
    ("cpuinfo", "vendor", "level"),
    [
        ("processor : 0\nflags\t\t: fpu vme hypervisor lahf_lm\n", None, "warning"),
        ("processor : 0\nflags\t\t: fpu vme hypervisor\n", None, "warning"),
        ("processor : 0\nflags\t\t: fpu vme\n", "QEMU\n", "warning"),
        ("processor : 0\nflags\t\t: fpu vme\n", "LENOVO\n", "ok"),
        ("processor : 0\nmodel name : hypervisor\n", None, "ok"),
    ],
)
def test_a_virtual_machine_is_recognised(cpuinfo: str, vendor: str | None, level: str) -> None:
    assert system.virtual_machine(cpuinfo, vendor).level == level


@pytest.mark.parametrize(
    ("count", "loadavg", "level"),
    [(1, "0.00 0 0", "warning"), (2, "3.10 2 1", "warning"), (4, "1.20 1 1", "ok"), (4, None, "ok")],
)
def test_too_few_or_busy_processors_are_warned_of(count: int, loadavg: str | None, level: str) -> None:
    assert system.processors(count, loadavg).level == level


def test_a_card_that_the_runtime_cannot_use_is_told() -> None:
    models = {"0000:01:00.0": "Model: \t\t NVIDIA RTX A2000\nIRQ: 12\n"}
    assert system.graphics(None, {}, ("CPUExecutionProvider",)).level == "ok"
    unused = system.graphics("NVRM", models, ("CPUExecutionProvider",))
    assert unused.level == "note"
    assert "NVIDIA RTX A2000" in unused.says
    used = system.graphics("NVRM", models, ("CUDAExecutionProvider", "CPUExecutionProvider"))
    assert (used.level, "CUDA" in used.says) == ("ok", True)


@pytest.mark.parametrize(
    ("wanted", "display", "level"),
    [(False, None, "ok"), (True, ":0", "ok"), (True, None, "problem"), (True, "", "problem")],
)
def test_a_window_needs_a_display(wanted: bool, display: str | None, level: str) -> None:
    assert system.window(wanted, display).level == level


def test_an_old_libzmq_will_not_work_and_one_without_curve_stays_at_home() -> None:
    assert system.messaging((4, 3, 2), (4, 3, 3), True).level == "problem"
    assert system.messaging((4, 3, 5), (4, 3, 3), False).level == "warning"
    assert system.messaging((4, 3, 5), (4, 3, 3), True).level == "ok"


def test_one_problem_is_enough_for_it_not_to_work() -> None:
    findings = [Finding("a", "ok", "fine"), Finding("b", "warning", "slow", "hurry")]
    assert will_work(findings)
    assert closing_line(findings) == "1 warning, 1 ok: it will work"
    assert not will_work([*findings, Finding("c", "problem", "broken", "mend it")])
    assert "something will not work" in closing_line([*findings, Finding("c", "problem", "broken")])
    assert findings[1].lines() == ["warning  b: slow", "         -> hurry"]
