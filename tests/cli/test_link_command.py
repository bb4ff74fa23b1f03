"""Rules of `dualsys link`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualsys.bus.link_model import Conditions
from dualsys.bus.link_profiles import PROFILES
from dualsys.cli import main
from dualsys.cli.arguments import LinkCommand
from dualsys.cli.link_command import link, schedule_of
from dualsys.clock import NS_PER_S
from dualsys.errors import ConfigError

CONFIG = Path("configs/cloud_edge.yaml")


def test_the_options_hold_for_all_time() -> None:
    schedule = schedule_of(LinkCommand(CONFIG, delay_ms=80, loss=0.01, bandwidth_mbit_s=20))
    expected = Conditions(delay_ms=80, loss=0.01, bandwidth_mbit_s=20)
    assert schedule.at(0) == schedule.at(10**6 * NS_PER_S) == expected


def test_a_script_changes_the_conditions_over_time(tmp_path: Path) -> None:
    script = tmp_path / "bad_day.yaml"
    script.write_text("- {at_s: 0, delay_ms: 40}\n- {at_s: 20, blackhole: true}\n- {at_s: 25}\n", "utf-8")
    schedule = schedule_of(LinkCommand(CONFIG, script=script))
    assert [schedule.at(t * NS_PER_S).blackhole for t in (0, 19, 20, 24, 25)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert schedule.at(NS_PER_S).delay_ms == 40


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- {delay: 3}", "unknown field `delay`"),
        ("delay_ms: 3", "Expected `array`"),
        ("- {delay_ms: -3}", "0.delay_ms: got -3, expected 0 to 60000"),
        ("- {at_s: 2}\n- {at_s: 1}", "1.at_s: got 1, expected more than the one before"),
        ("- [", "is not YAML"),
    ],
)
def test_a_script_that_makes_no_sense_is_refused(tmp_path: Path, text: str, told: str) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=told.replace(".", r"\.").replace("`", "`")):
        schedule_of(LinkCommand(CONFIG, script=script))
    with pytest.raises(ConfigError, match="cannot be read"):
        schedule_of(LinkCommand(CONFIG, script=tmp_path / "none.yaml"))


def test_a_line_leads_to_one_place(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["link", str(repository / CONFIG), "--endpoints.slow.observation", "tcp://*:7500"]
    assert main(words) == 2
    assert (
        "endpoints.slow.observation: got 'tcp://*:7500', expected tcp://HOST:PORT or ipc:///PATH, one "
        in (capsys.readouterr().err)
    )


def test_a_profile_is_a_line_by_its_name_and_nothing_else_is_given_with_it(tmp_path: Path) -> None:
    assert schedule_of(LinkCommand(CONFIG, profile="4g")) == PROFILES["4g"].schedule
    with pytest.raises(
        ConfigError, match="profile: got '4g', expected null, since delay_ms is given as well"
    ):
        schedule_of(LinkCommand(CONFIG, profile="4g", delay_ms=3))
    with pytest.raises(ConfigError, match=r"script: got .* since loss is given"):
        schedule_of(LinkCommand(CONFIG, script=tmp_path / "x.yaml", loss=0.1))


@pytest.mark.parametrize("port", [-1, 0, 65534, 70000])
def test_three_ports_in_a_row_have_to_be_there(port: int) -> None:
    with pytest.raises(ConfigError, match=r"--first-port: got -?\d+, expected 1 to 65533"):
        link(LinkCommand(CONFIG, first_port=port), {})
