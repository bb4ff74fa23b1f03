from __future__ import annotations

import sys

import pytest
from rich.console import Console

from dualsys.bus.link_profiles import PROFILES
from dualsys.cli import main
from dualsys.cli.listing import show
from dualsys.config_faults import in_yaml
from dualsys.fast.chunking.strategy import STRATEGIES, default_options, strategy_class
from dualsys.fast.planner.correction import ABOUT


def listed(what: str, width: int) -> str:
    """What is printed on a screen of that width."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        show(console, what)
    return capture.get()


def test_each_strategy_is_listed_with_its_paper_its_needs_its_cost_and_its_options() -> None:
    lines = listed("strategies", 400).splitlines()
    names = [line.split(": ")[0] for line in lines if not line.startswith(" ")]
    assert names[:-1] == list(STRATEGIES)
    for name in STRATEGIES:
        about = strategy_class(name).about
        first = lines.index(f"{name}: {about.summary}")
        paper, needs, cost, options = lines[first + 1 : first + 5]
        assert paper == f"    from: {about.paper}"
        assert needs == f"    needs of System 1: {about.needs or 'plain samples'}"
        assert cost == f"    evaluations, of n steps: {about.cost}"
        assert options.startswith("    options: ")
        for option, value in default_options(name).items():
            assert f"{option}: {in_yaml(value)}" in options


def test_the_correction_that_any_strategy_can_have_is_listed_after_them() -> None:
    told, paper, needs, cost, setting = listed("strategies", 400).splitlines()[-5:]
    assert told == f"with any of them: {ABOUT.summary}"
    assert paper.endswith(ABOUT.paper)
    assert needs.endswith(ABOUT.needs)
    assert cost.endswith(ABOUT.cost)
    assert setting.endswith("fast.strategy.residual: false")


@pytest.mark.parametrize("what", ["strategies", "lines", "settings"])
def test_a_narrow_screen_or_a_pipe_is_told_the_same_words_as_a_wide_one(what: str) -> None:
    assert listed(what, 80) == listed(what, 400)
    assert "…" not in listed(what, 80)


def test_each_setting_is_one_line_that_a_search_finds_with_its_default_and_what_is_allowed() -> None:
    (line,) = (line for line in listed("settings", 80).splitlines() if line.startswith("control.rate_hz:"))
    assert line == "control.rate_hz: 250.0  # a number, 50 to 1000 Hz: control ticks per second"
    assert "record.enabled: false  # true or false: " in listed("settings", 80)


def test_each_profile_of_a_line_is_listed_with_what_it_does_and_who_published_its_figures() -> None:
    lines = listed("lines", 400).splitlines()
    for name, profile in PROFILES.items():
        first = lines.index(f"{name}: {profile.says}")
        assert lines[first + 1] == f"    {profile.schedule.words()}"
        sources = [f"    source: {source}" for source in profile.sources]
        assert lines[first + 2 : first + 2 + len(sources)] == sources


def test_tasks_without_the_simulator_are_an_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] in ("dualsys_sim", "pybullet")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pybullet", None)
    assert main(["list", "tasks"]) == 2
    told = capsys.readouterr().err
    assert told == "error: the simulated world needs 'pybullet': pip install 'dualsys[sim]'\n"


def test_the_command_prints_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "strategies"]) == 0
    words = capsys.readouterr().out.replace(":", " ").split()
    assert set(STRATEGIES) <= set(words)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), (5.0, "5.0"), (16, "16"), ("exp", "exp")]
)
def test_defaults_are_written_as_in_a_configuration(value: object, text: str) -> None:
    assert in_yaml(value) == text
