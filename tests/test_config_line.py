"""Rules of the section `line`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualsys.bus.link_model import Conditions, Schedule
from dualsys.bus.link_profiles import PROFILES
from dualsys.config import SystemConfig, load_config
from dualsys.config_line import with_script_in
from dualsys.errors import ConfigError


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "system.yaml"
    path.write_text("name: demo\n", encoding="utf-8")
    return path


def faults_of(path: Path, overrides: dict[str, object]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return caught.value.faults


def test_without_it_the_planner_reaches_system2_directly_and_nothing_else_is_served() -> None:
    config = SystemConfig()
    assert (config.line.schedule(), config.line.words(), config.line.emulated) == (None, "", False)
    assert config.way_to_system2() == ("endpoints.slow", config.endpoints.slow)
    assert not any(setting.startswith("endpoints.line") for setting in config.addresses())


def test_a_profile_a_script_or_conditions_lead_the_planner_through_the_line(plain: Path) -> None:
    script = plain.with_name("bad_day.yaml")
    script.write_text("- {at_s: 0, delay_ms: 40}\n- {at_s: 2, blackhole: true}\n", "utf-8")
    steps = [Conditions(delay_ms=40), Conditions(at_s=2, blackhole=True)]
    for overrides, schedule, told in (
        ({"line.profile": "4g"}, PROFILES["4g"].schedule, "emulated: 4g: from 0 s on 21.5 ms each way"),
        (
            {"line.delay_ms": "40", "line.loss": "0.02"},
            Schedule([Conditions(delay_ms=40, loss=0.02)]),
            "emulated: 40 ms each way, 2 % of packets lost",
        ),
        ({"line.script": str(script)}, Schedule(steps), "emulated: bad_day.yaml: from 0 s on 40 ms each way"),
    ):
        config = load_config(plain, overrides)
        assert config.line.schedule() == schedule
        assert told in config.line.words()
        assert config.way_to_system2() == ("endpoints.line", config.endpoints.line)
        assert config.addresses()["endpoints.line.latent"] == "tcp://127.0.0.1:7451"


def test_what_a_file_says_of_the_line_is_read_back_from_the_copy_of_a_run(plain: Path) -> None:
    script = plain.with_name("bad_day.yaml")
    script.write_text("- {at_s: 0, delay_ms: 40}\n", "utf-8")
    plain.write_text("line: {script: bad_day.yaml, seed: 3}\n", "utf-8")
    folder = plain.with_name("run")
    folder.mkdir()
    config = with_script_in(load_config(plain), folder)
    script.unlink()
    again = folder / "config.yaml"
    again.write_text(config.to_yaml(), "utf-8")
    assert load_config(again).line.schedule() == Schedule([Conditions(delay_ms=40)])
    assert load_config(again).line.seed == 3


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ({"line.profile": "6g"}, "line.profile: got '6g', expected '4g' or '5g' or 'wifi-roam' or "),
        ({"line.delay_ms": -3}, "line.delay_ms: got -3 ms, expected a number, 0 to 60000 ms"),
        ({"line.loss": 1.5}, "line.loss: got 1.5, expected a number, 0 to 1"),
        ({"line.burst": 0}, "line.burst: got 0, expected a number, 1 to 1000"),
        (
            {"line.bandwidth_mbit_s": 0},
            "line.bandwidth_mbit_s: got 0 Mbit/s, expected a number, 0.001 to 1e+06 Mbit/s, or null",
        ),
        ({"line.seed": -1}, "line.seed: got -1, expected a whole number, 0 to "),
        ({"line.delay": 3}, "line.delay: is not a setting; did you mean line.delay_ms?"),
        (
            {"line.jitter_ms": 5, "line.jitter_p99_ms": 4},
            "line.jitter_p99_ms: got 4, expected more than jitter_ms (5)",
        ),
        (
            {"line.profile": "4g", "line.delay_ms": 3},
            "line.profile: got '4g', expected null, since line.delay_ms is given as well: leave out",
        ),
        ({"line.script": "/none.yaml"}, "line.script: /none.yaml: cannot be read: "),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_and_told_what_is_expected(
    plain: Path, overrides: dict[str, object], fault: str
) -> None:
    (told,) = faults_of(plain, overrides)
    assert told.startswith(fault)


def test_a_fault_in_a_script_is_told_with_its_step(plain: Path) -> None:
    script = plain.with_name("bad_day.yaml")
    script.write_text("- {at_s: 0, delay_ms: -40}\n", "utf-8")
    (told,) = faults_of(plain, {"line.script": str(script)})
    assert told == f"line.script: {script}: 0.delay_ms: got -40, expected 0 to 60000"


def test_the_line_is_behind_the_key_of_system2_since_it_cannot_read_what_passes(plain: Path) -> None:
    config = load_config(plain, {"line.profile": "4g", "security.slow": "cloud"})
    ends = config.endpoints
    protected = {*ends.slow.model_dump().values(), *ends.line.model_dump().values()}
    assert config.protection().servers == dict.fromkeys(protected, "cloud")


def test_the_addresses_of_the_line_count_only_where_there_is_one(plain: Path) -> None:
    taken = {"endpoints.line.latent": "tcp://127.0.0.1:7400"}
    load_config(plain, taken)
    (told,) = faults_of(plain, {**taken, "line.profile": "4g"})
    assert told.startswith(
        "endpoints.line.latent: got 'tcp://127.0.0.1:7400', expected an address of its own"
    )
