"""Judges an edge machine: packages, keys, the rate of plans, the robot. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dualsys.doctor.findings import Finding

UNWANTED: Final = ("torch", "pybullet", "dualsys_sim.world")
"""What a process next to the arm must not load."""

GOOD_SHARE: Final = 0.7
"""Part of the period of plans that computing one may take."""

KEY_STEPS: Final = "docs/security.md has the steps"
"""What to do about a key store that cannot be used, wherever that was noticed."""

SERVED_HERE: Final = ("security.planner", "security.control")
"""Whose addresses an edge machine serves itself, and so with its own key and no other."""


@dataclass(frozen=True)
class Package:
    """A package that the configuration needs.

    Attributes:
        name: Of the distribution, or of the library of a driver.
        version: Empty if it is not installed.
        install: How to get it.
    """

    name: str
    version: str
    install: str


def packages(needed: Sequence[Package]) -> list[Finding]:
    """Judge what is installed: one finding for what is there, one for each package that is not."""
    missing = [one for one in needed if not one.version]
    findings = [
        Finding("packages", "problem", f"{one.name} is not installed", one.install) for one in missing
    ]
    if there := [f"{one.name} {one.version}" for one in needed if one.version]:
        findings.append(Finding("packages", "ok", ", ".join(there)))
    return findings


def loaded(names: Sequence[str]) -> Finding:
    """Judge which of `UNWANTED` control and planner load, as a process of their own told."""
    if names:
        return Finding(
            "packages", "problem", f"control and planner load {', '.join(names)}",
            "a driver or a plug-in imports it: load libraries in `open` of the driver, or install another",
        )  # fmt: skip
    return Finding("packages", "ok", "control and planner load neither torch nor a simulator")


def keys(named: Mapping[str, str], own: str | None, allowed: Sequence[str], fault: str) -> list[Finding]:
    """Judge the keys.

    Args:
        named: Setting, such as `security.slow`, to the name of a key.
        own: Name of the key of this machine, if it can be read.
        allowed: Names of the machines that are allowed.
        fault: Why the store cannot be used; empty if it can.
    """
    if not named:
        return [Finding("keys", "ok", "no keys are asked for: every address is private to this machine")]
    if fault:
        return [Finding("keys", "problem", fault, KEY_STEPS)]
    findings = [
        _wrong_key(setting, name, own)
        for setting, name in named.items()
        if name != own and (setting in SERVED_HERE or name not in allowed)
    ]
    if not findings:
        findings.append(Finding("keys", "ok", f"own key {own!r}; allowed: {', '.join(allowed) or 'nobody'}"))
    return findings


def _wrong_key(setting: str, name: str, own: str | None) -> Finding:
    if setting in SERVED_HERE:
        return Finding(
            "keys", "problem", f"{setting} names {name!r}, but runs here, where the key is {own!r}",
            f"set {setting} to {own!r}; or look at the machine {name!r}, if that is the edge",
        )  # fmt: skip
    return Finding(
        "keys", "problem", f"{setting} names {name!r}, which is not allowed here",
        f"on the machine {name!r} run `dualsys keys show`, and here `dualsys keys allow {name} KEY`",
    )  # fmt: skip


def plans(median_s: float, slowest_s: float, plan_hz: float) -> Finding:
    """Judge whether plans can be made at their rate.

    Args:
        median_s, slowest_s: How long a plan took.
        plan_hz: How many are wanted per second.
    """
    took = f"a plan takes {1000 * median_s:.1f} ms, at most {1000 * slowest_s:.1f} ms"
    says = f"{took}; {plan_hz:g} per second are asked for"
    remedy = (
        f"fast.plan_hz of {GOOD_SHARE / median_s:.0f} or less, fewer other processes, or a faster machine"
    )
    if median_s * plan_hz > 1:
        return Finding("plans", "problem", says, remedy)
    if median_s * plan_hz > GOOD_SHARE:
        return Finding("plans", "warning", says, remedy)
    return Finding("plans", "ok", says)


def robot(
    name: str, axes: Sequence[str], rate_hz: float, led: Sequence[str], control_hz: float
) -> list[Finding]:
    """Judge a robot that was reached.

    Args:
        name, axes, rate_hz: What it says that it is.
        led: The axes that plans are made for.
        control_hz: Set-points per second that control sends.
    """
    if tuple(axes) != tuple(led):
        says = f"{name} has the axes {', '.join(axes)}; plans are made for {', '.join(led)}"
        remedy = (
            "connect the arm that the bundle of System 1 was trained for, or use a driver whose geometry is "
            "that of this one: docs/your-own-robot.md"
        )
        return [Finding("robot", "problem", says, remedy)]
    says = f"{name} answers: {len(axes)} axes, {rate_hz:g} readings per second"
    if rate_hz < control_hz:
        remedy = f"control.rate_hz of {rate_hz:g}: more ticks than readings only repeat what is known"
        return [Finding("robot", "warning", f"{says}; control ticks at {control_hz:g} Hz", remedy)]
    return [Finding("robot", "ok", says)]
