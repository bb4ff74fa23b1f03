"""What the commands make of a configuration before they start anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualsys.bus.link_profiles import PROFILES
from dualsys.cli import main
from dualsys.cli.commands import DONE
from dualsys.config import SystemConfig, load_config

ROOT = Path(__file__).parents[2]
CLOUD_EDGE = ROOT / "configs/cloud_edge.yaml"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[SystemConfig]:
    """The configurations that `dualsys run` would have run."""
    found: list[SystemConfig] = []

    class Finished:
        state = "finished"

    class Run:
        def __init__(self, config: SystemConfig, *_: object) -> None:
            found.append(config)

        def execute(self) -> Finished:
            return Finished()

    monkeypatch.setattr("dualsys.supervisor.run.Run", Run)
    return found


def test_a_run_of_both_machines_on_one_goes_through_the_line_that_the_file_names(
    ran: list[SystemConfig],
) -> None:
    assert main(["run", str(CLOUD_EDGE)]) == DONE
    assert ran[0].line.schedule() == PROFILES["4g"].schedule
    assert ran[0].way_to_system2()[0] == "endpoints.line"


@pytest.mark.parametrize(
    ("words", "profile", "delay_ms"),
    [
        (("--run.line", "null"), None, 0.0),
        (("--run.line", "5g"), "5g", 0.0),
        (("--line.profile", "wifi-roam"), "wifi-roam", 0.0),
        (("--line.delay_ms", "40"), None, 40.0),
    ],
)
def test_whoever_runs_it_has_the_last_word_on_the_line(
    ran: list[SystemConfig], words: tuple[str, ...], profile: str | None, delay_ms: float
) -> None:
    assert main(["run", str(CLOUD_EDGE), *words]) == DONE
    assert (ran[0].line.profile, ran[0].line.delay_ms) == (profile, delay_ms)


def test_processes_on_two_machines_do_not_look_at_it() -> None:
    config = load_config(CLOUD_EDGE)
    assert config.run.line == "4g"
    assert config.way_to_system2()[0] == "endpoints.slow"
