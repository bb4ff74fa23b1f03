"""Rules of what is shown while a run goes."""

from __future__ import annotations

import dataclasses
import io

from rich.console import Console

from dualsys.telemetry.live_view import LiveView, ProcessView, line, table

VIEW = LiveView(
    title="tabletop: pick, strategy rtc",
    emulation="as if a 7B model ran elsewhere: 200 ms at 5 Hz",
    episode="episode 1 (2 of 5)",
    instruction="pick up the [red] cube",
    elapsed_s=3.14,
    processes=(
        ProcessView("slow", "latents", 4.98, 5.0, "computes 9.1 ms"),
        ProcessView("control", "states", 250.0, 250.0, ""),
    ),
    mode="RUNNING",
    reason="",
    latent_age_ms=312.4,
    plan_age_ms=None,
    plan_delay_ms=11.6,
    join_rad_s=0.123,
    missed=3,
    ticks=1000,
    successes=1,
    finished=1,
    says="",
)


def shown(view: LiveView) -> str:
    """The table as text."""
    output = io.StringIO()
    Console(file=output, width=120).print(table(view))
    return output.getvalue()


def test_the_table_says_everything_that_matters() -> None:
    text = shown(VIEW)
    for expected in (
        "as if a 7B model ran elsewhere: 200 ms at 5 Hz",
        "pick up the [red] cube",
        "5.0 Hz",
        "computes 9.1 ms",
        "mode RUNNING",
        "latent age 312 ms",
        "plan age -",
        "join 0.12 rad/s",
        "missed 3 of 1000 ticks",
        "success so far: 1 of 1",
    ):
        assert expected in text


def test_a_process_that_ended_is_shown_as_such() -> None:
    ended = dataclasses.replace(VIEW.processes[0], alive=False)
    view = dataclasses.replace(VIEW, processes=(ended,), mode="HOLDING", reason="latent is 2001 ms old")
    assert "ended" in shown(view)
    assert "mode HOLDING  latent is 2001 ms old" in shown(view)
    assert "slow ended" in line(view)


def test_what_system2_says_is_shown_only_if_it_says_something() -> None:
    assert "System 2 says" not in shown(VIEW)
    assert "System 2 says: no purple block" in shown(dataclasses.replace(VIEW, says="no purple block"))


def test_elsewhere_than_on_a_terminal_it_is_one_line() -> None:
    text = line(VIEW)
    assert "\n" not in text
    assert text.startswith(
        "episode 1 (2 of 5)  3.1 s  slow 5.0 Hz  control 250.0 Hz  RUNNING  latent age 312 ms"
    )
    assert text.endswith("success 1/1")


def test_a_round_trip_is_shown_in_its_parts_once_there_was_one() -> None:
    view = dataclasses.replace(VIEW, round_trip="round trip 280 ms: up 40.2")
    assert "round trip 280 ms: up 40.2" in shown(view)
    assert "  round trip 280 ms: up 40.2  success 1/1" in line(view)
    assert "round trip" not in shown(VIEW) + line(VIEW)


def test_what_goes_up_to_system_2_is_shown_where_it_changes_by_itself() -> None:
    view = dataclasses.replace(VIEW, uplink="uplink 7.5 Hz, JPEG 40")
    assert "uplink 7.5 Hz, JPEG 40" in shown(view)
    assert "uplink 7.5 Hz, JPEG 40" in line(view)
    assert "uplink" not in shown(VIEW)
