"""Whether the servos of an arm may go on: temperature, load, their own errors, silence. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from dualsys.clock import nanoseconds
from dualsys.robots.servo_calibration import ProtectionSection
from dualsys.robots.servo_registers import ServoSample

COOLED_C: Final = 5
"""How far below the limit a servo must have cooled to be fine again, degrees Celsius."""


class Health:
    """Judges the measurements of all servos, cycle by cycle.

    Args:
        names: The joints, in their order.
        protection: When to stop.
    """

    def __init__(self, names: Sequence[str], protection: ProtectionSection) -> None:
        self._names = tuple(names)
        self._protection = protection
        self._hot: set[str] = set()
        self._loaded_since_ns: dict[str, int] = {}

    def fault(self, t_ns: int, samples: Sequence[ServoSample], loads: Sequence[float]) -> str:
        """Why the arm must stop, or nothing.

        Args:
            t_ns: When they were measured.
            samples: One for each joint.
            loads: The same loads, as a part of what each servo can give.
        """
        faults: list[str] = []
        for name, sample, load in zip(self._names, samples, loads, strict=True):
            faults += [f"{name}: {error}" for error in sample.errors]
            if found := self._temperature(name, sample.temperature_c):
                faults.append(found)
            if found := self._load(name, load, t_ns):
                faults.append(found)
        return "; ".join(faults)

    def _temperature(self, name: str, found_c: int) -> str:
        limit_c = self._protection.max_temperature_c
        if found_c > limit_c:
            self._hot.add(name)
        elif found_c <= limit_c - COOLED_C:
            self._hot.discard(name)
        if name not in self._hot:
            return ""
        return f"{name}: {found_c} degrees C, at most {limit_c}: let it cool to {limit_c - COOLED_C}"

    def _load(self, name: str, load: float, t_ns: int) -> str:
        protection = self._protection
        if abs(load) <= protection.max_load:
            self._loaded_since_ns.pop(name, None)
            return ""
        since_ns = self._loaded_since_ns.setdefault(name, t_ns)
        if t_ns - since_ns < nanoseconds(protection.max_load_s):
            return ""
        limits = f"at most {protection.max_load:g} for {protection.max_load_s:g} s"
        return f"{name}: load {abs(load):.2f} of what it can give, {limits}: is something in its way?"


class Losses:
    """Counts answers that did not come, or came damaged.

    Args:
        names: The joints, in their order.
        tolerated: Cycles in a row in which one servo may give no good answer.
    """

    def __init__(self, names: Sequence[str], tolerated: int) -> None:
        self._in_row = dict.fromkeys(names, 0)
        self._tolerated = tolerated
        self.lost = 0
        self.corrupted = 0
        self.cycles = 0

    def note(self, answered: Mapping[str, bool], corrupted: int) -> str:
        """Count one cycle.

        Args:
            answered: Whether each joint gave a good answer.
            corrupted: Answers that came damaged, from whomever.

        Returns:
            Which servos have been silent for too long, or nothing.
        """
        self.cycles += 1
        self.corrupted += corrupted
        for name, good in answered.items():
            self.lost += not good
            self._in_row[name] = 0 if good else self._in_row[name] + 1
        silent = [name for name, cycles in self._in_row.items() if cycles > self._tolerated]
        if not silent:
            return ""
        return f"no good answer from {', '.join(silent)} for {max(self._in_row.values())} cycles in a row"
