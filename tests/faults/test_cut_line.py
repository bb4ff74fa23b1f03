"""System 2 or the line to it dies while the arm moves, and comes back: real processes, keys on, a recording.

The line is the emulated one, a process of its own. Frozen, it carries nothing, and hangs up on nobody. So a
cut lasts until all that has to be seen meanwhile was seen, ten seconds at least, however slow the machine is.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from dualsys.bus.keys import KeyStore
from dualsys.cli import main
from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.fast.control.readings import Tolerances
from dualsys.recorder.chain import verify
from dualsys.recorder.reading import RecordingReader
from dualsys.recorder.records import (
    ControlBegin,
    ControlPlan,
    ControlRequest,
    ControlTick,
    PlannerCall,
    PlannerLatent,
    Record,
    RecorderEnd,
    Rejected,
    vector,
)
from dualsys.recorder.replay import replay

from .harness import CHANNELS, CLOCK, NAMES, PATIENCE_S, System, free_ports, wait_for

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/cloud_edge.yaml"
R = TypeVar("R", bound=Record)

CUT_S = 10
LATENT_HARD_MS = 2500
BRAKING_MS = 500
"""From the decision to hold until the arm is at rest, transport and the simulated arm's own lag included."""

STILL_MS = LATENT_HARD_MS + BRAKING_MS
LED = ("RUNNING", "SLOWED")
STARTS, ATTEMPTS = 10, 3
"""How often a machine may be too busy, while the arm moves, and while the line is cut."""

FRESH = 5
"""Latents after the return that nobody has to fear were left over from before."""

SETTINGS: dict[str, object] = {
    "slow.rate_hz": None,
    "slow.observation_rate_hz": 20.0,
    "fast.plan_hz": 20.0,
    "fast.strategy.name": "naive_async",
    "line.delay_ms": 200.0,
    "control.ages.latent_soft_ms": 1500.0,
    "control.ages.latent_hard_ms": float(LATENT_HARD_MS),
    # A busy machine is not what this is about.
    "control.ages.plan_hard_ms": 10_000.0,
    "control.ages.observation_hard_ms": 10_000.0,
    "control.ages.reading_hard_ms": 1000.0,
    "control.ages.gap_hard_ms": 5000.0,
    "sim.watchdog_ms": 5000.0,
    "sim.camera_wrist_hz": 10.0,
    "sim.camera_fixed_hz": 20.0,
    "control.rate_hz": 125.0,
    "control.state_rate_hz": 125.0,
    "robot.connect_timeout_s": PATIENCE_S,
    "record.enabled": True,
}


@dataclass(frozen=True)
class Cut:
    """When System 2 was cut off, the arm was seen to be at rest, and all was mended; edge time."""

    cut_ns: int
    rest_ns: int
    mended_ns: int


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """Cloud and edge of the shipped configuration, each with its own keys, and a line between them."""
    stores = {name: KeyStore(tmp_path / "keys" / name) for name in ("cloud", "edge")}
    keys = {name: store.create(name).public.hex() for name, store in stores.items()}
    stores["cloud"].allow("edge", keys["edge"])
    stores["edge"].allow("cloud", keys["cloud"])
    places = [f"endpoints.{owner}.{name}" for owner in ("slow", "line") for name in CHANNELS[owner]]
    ports = zip(places, free_ports(len(places)), strict=True)
    network = {place: f"tcp://127.0.0.1:{port}" for place, port in ports}
    own = {"security.keys": str(stores["edge"].folder), "record.file": str(tmp_path / "recording.mcap")}
    cloud = {"security.keys": str(stores["cloud"].folder), "record.enabled": False}
    made = System(tmp_path, SETTINGS | network | own, CONFIG, {"slow": cloud})
    try:
        made.start("recorder", "line", *NAMES)
        yield made
    finally:
        made.close()


def held_by_a_cut(system: System) -> tuple[int, float]:
    """Cut the line while the arm moves; returns when, and after how many ms the arm was at rest."""
    for _ in range(STARTS):
        system.set_moving()
        cut_ns = system.send("line", signal.SIGSTOP)
        system.until(lambda: at_rest(system), "the arm holds")
        still_ms = system.still_after_ms(cut_ns)
        if not stopped(system) and still_ms <= STILL_MS:
            break
    return cut_ns, still_ms


def at_rest(system: System) -> bool:
    """Whether control has decided that the arm is to rest; after a plan that is over it goes on by itself."""
    state = system.state
    if state is None or state.mode == "STOPPED":
        return state is not None
    return state.mode == "HOLDING" and "the plan is over" not in state.reason


def stopped(system: System) -> bool:
    """Whether the machine was too busy: a simulator that stutters stops the arm for a reason of its own."""
    state = system.state
    return state is not None and state.mode == "STOPPED" and "reading" in state.reason


def said(system: System) -> str:
    """What control does, and why."""
    return "" if system.state is None else f"{system.state.mode}: {system.state.reason}"


def go_on(system: System) -> None:
    """Resume the arm as an operator does, and see it move."""
    told_ns = CLOCK.now_ns()
    wait_for(lambda: resume(system), "an operator resumes")
    system.until(lambda: system.moved_since(told_ns), "the arm moves again")


def planner(system: System) -> dict[str, str]:
    """The status of the planner."""
    return system.peers["planner"].ask("status", timeout_s=PATIENCE_S)


def connected(system: System) -> bool:
    """Whether the planner has shaken hands with System 2, and has heard nothing but good of it since."""
    return planner(system)["slow.connected"] == "True"


def dropped(system: System) -> int:
    """How many latents were dropped because hands were not shaken with whoever sent them."""
    return int(planner(system)["loop.latents_dropped"])


def until_missed(system: System, least_ns: int = 0) -> None:
    """Look on until the planner knows that System 2 is silent, and at least to a time."""
    system.until(lambda: CLOCK.now_ns() >= least_ns and not connected(system), "System 2 is missed")


def accepted(system: System) -> int:
    """How many latents the planner has accepted."""
    return int(planner(system)["core.latents_accepted"])


def resume(system: System) -> bool:
    """Enter `dualsys robot resume`; returns whether that was done, and not refused."""
    return main(["robot", "resume", str(system.path)]) == 0


def until_healed(system: System, mend: Callable[[], object]) -> None:
    """Mend what is broken, and look on until hands were shaken anew, and fresh latents came."""
    before = planner(system)
    mend()

    def healed() -> bool:
        now = planner(system)
        again = now["slow.connected"] == "True"
        again = again and int(now["slow.handshakes"]) > int(before["slow.handshakes"])
        return again and int(now["core.latents_accepted"]) >= int(before["core.latents_accepted"]) + FRESH

    system.until(healed, "hands are shaken again, and fresh latents come")


def still_held(system: System, since_ns: int) -> bool:
    """Whether the arm has not moved, and control holds it for the age of its latent, now and for a while."""
    modes = system.modes_during(700)
    assert system.state is not None
    return not system.moved_since(since_ns) and modes == {"HOLDING"} and "latent is" in system.state.reason


@pytest.mark.fault_row(3, 28, 50)
def test_a_line_cut_in_motion_holds_the_arm_heals_by_handshake_and_resumes_on_command_with_all_on_record(
    system: System,
) -> None:
    for _ in range(ATTEMPTS):
        cut_ns, still_ms = held_by_a_cut(system)
        rest_ns = CLOCK.now_ns()
        refused = not resume(system)
        until_missed(system, cut_ns + CUT_S * NS_PER_S)
        held = still_held(system, rest_ns)
        mended_ns = CLOCK.now_ns()
        until_healed(system, lambda: system.send("line", signal.SIGCONT))
        held_on = still_held(system, rest_ns)
        if not stopped(system):
            break
    print(f"line cut: the arm is still after {still_ms:.0f} ms, at most {STILL_MS} ms")
    assert still_ms <= STILL_MS
    assert refused, "there was nothing to go on by"
    assert held, said(system)
    assert held_on, f"nobody resumed it: {said(system)}"
    assert all(process.poll() is None for process in system.running.values()), "nothing was restarted"
    go_on(system)

    records = recorded(system)
    cut = Cut(cut_ns, rest_ns, mended_ns)
    check_the_hold(records, cut)
    check_the_return(records, cut)


@pytest.mark.fault_row(5, 6, 28)
def test_latents_of_a_system2_that_was_killed_are_dropped_and_counted_and_its_successor_is_greeted(
    system: System,
) -> None:
    late, refused, held, held_on = 0, False, False, False
    for _ in range(STARTS):
        system.set_moving()
        before = dropped(system)
        # Frozen for a moment, the line keeps what is under way until System 2 is missed.
        system.send("line", signal.SIGSTOP)
        killed_ns = system.send("slow", signal.SIGKILL)
        until_missed(system)
        missed_ns = system.send("line", signal.SIGCONT)
        system.until(lambda: at_rest(system), "the arm holds")
        system.still_after_ms(killed_ns)
        rest_ns, late = CLOCK.now_ns(), dropped(system) - before
        # On a busy machine the connection was given up first, and what was under way with it.
        if stopped(system) or not late:
            continue
        refused = not resume(system)
        held, started_ns = still_held(system, rest_ns), CLOCK.now_ns()
        until_healed(system, lambda: system.start("slow"))
        held_on = still_held(system, rest_ns)
        if not stopped(system):
            break
    print(f"{late} latents of before were dropped")
    assert late
    assert refused, "there is nothing to go on by"
    assert held, said(system)
    assert held_on, f"nobody resumed it: {said(system)}"
    go_on(system)

    records = recorded(system)
    cut = Cut(killed_ns, rest_ns, started_ns)
    check_the_hold(records, cut)
    check_the_return(records, cut)
    since = [latent for latent in taken(records) if latent.t_ns > missed_ns]
    assert min(latent.t_sent_ns for latent in since) > started_ns, "none of before counts"
    assert "strangers" in {record.channel for record in of_kind(records, Rejected, missed_ns)}


def recorded(system: System) -> list[Record]:
    """Close the recording, and check that it is whole, and has every latent that was accepted."""
    path = Path(str(system.config.record.file))
    # Once System 2 is missed, none is accepted any more: what is counted then is final.
    system.send("slow", signal.SIGKILL)
    until_missed(system)
    count = accepted(system)
    wait_for(lambda: len(taken(list(read(path)))) >= count, "the latents are on record")
    system.send("recorder", signal.SIGTERM)

    verdict, again, records = verify(path), replay(path), list(read(path))
    print(f"{len(records)} records, {verdict.links} links, {count} latents accepted")
    assert verdict.intact, verdict.lines()
    assert again.reproduced, [part.lines(again.start_ns) for part in again.parts]
    end = records[-1]
    assert isinstance(end, RecorderEnd)
    assert (end.lost, end.rejected) == ({}, 0)
    assert len(taken(records)) == count
    return records


def read(path: Path) -> Iterator[Record]:
    """What is on record by now."""
    return (entry.record for entry in RecordingReader(path))


def of_kind(records: list[Record], kind: type[R], since_ns: int = 0, before_ns: int | None = None) -> list[R]:
    """Those of one kind, in a span of time."""
    found = [record for record in records if isinstance(record, kind) and record.t_ns >= since_ns]
    return [record for record in found if before_ns is None or record.t_ns < before_ns]


def taken(records: list[Record]) -> list[PlannerLatent]:
    """The latents that the planner accepted."""
    return [record for record in of_kind(records, PlannerLatent) if not record.refusal]


def check_the_hold(records: list[Record], cut: Cut) -> None:
    """Check, by the stamps of the recording alone, that the arm was led no longer than it may, and braked."""
    (begin,) = of_kind(records, ControlBegin)
    hard_ns = begin.ages["latent_hard_ns"]
    assert hard_ns == LATENT_HARD_MS * NS_PER_MS
    led = [tick for tick in of_kind(records, ControlTick) if tick.mode in LED]
    assert max(tick.latent_age_ns for tick in led) <= hard_ns

    silent_ns = cut.cut_ns + hard_ns
    passed = [latent for latent in taken(records) if silent_ns < latent.t_ns < cut.mended_ns]
    assert passed == [], "the line was cut"
    held = of_kind(records, ControlTick, cut.cut_ns, cut.mended_ns)
    held = [tick for tick in held if tick.mode == "HOLDING" and "latent is" in tick.reason]
    last = held[-1]
    braking = [tick for tick in held if tick.command != last.command]
    # Commands are as if no tick were ever late: that many periods, however long they took.
    braking_ms = len(braking) * begin.period_ns / NS_PER_MS
    print(f"held at {held[0].latent_age_ns / NS_PER_MS:.0f} ms, braked for {braking_ms:.0f} ms")
    assert braking_ms <= BRAKING_MS
    assert braking == held[: len(braking)], "it brakes once, then stays"


def check_the_return(records: list[Record], cut: Cut) -> None:
    """Check that fresh latents and plans moved nothing until the command, and that all went on after it."""
    asked = of_kind(records, ControlRequest, cut.rest_ns)
    assert {ask.kind for ask in asked} == {"resume"}
    *refused, resumed = asked
    assert not resumed.refusal
    assert [ask for ask in refused if not ask.refusal] == []
    assert "the newest latent is" in refused[0].refusal

    latents = [latent for latent in taken(records) if cut.mended_ns <= latent.t_ns < resumed.t_ns]
    fresh_ns = latents[0].t_capture_ns
    plans = of_kind(records, ControlPlan, cut.mended_ns, resumed.t_ns)
    plans = [record for record in plans if record.plan.t_latent_ns >= fresh_ns]
    assert len(latents) >= FRESH
    assert plans != []
    assert {record.accepted for record in plans} == {False}, "fresh plans are refused"
    held = of_kind(records, ControlTick, cut.rest_ns, resumed.t_ns)
    assert {tick.mode for tick in held} == {"HOLDING"}
    assert len({tick.command for tick in held}) == 1, "the arm was told to stay"
    (begin,) = of_kind(records, ControlBegin)
    away_rad = np.ptp([vector(tick.position)[: begin.joints] for tick in held], axis=0).max()
    print(f"held for {(resumed.t_ns - cut.rest_ns) / NS_PER_S:.1f} s within {away_rad:.1g} rad")
    assert away_rad <= Tolerances().moved_rad, "the arm stayed"

    led = [tick for tick in of_kind(records, ControlTick, resumed.t_ns) if tick.mode in LED]
    assert {tick.epoch for tick in led} == {resumed.epoch}
    assert min(tick.t_ns - tick.latent_age_ns for tick in led) > cut.mended_ns, "by what was seen since"
    assert of_kind(records, PlannerCall, cut.cut_ns) == [], "the episode goes on"
