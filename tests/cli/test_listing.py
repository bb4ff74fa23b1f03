from __future__ import annotations

import pytest
from rich.console import Console

from dualsys.bus.link_profiles import PROFILES
from dualsys.cli import main
from dualsys.cli.listing import in_yaml, show
from dualsys.fast.chunking.strategy import STRATEGIES, default_options, strategy_class
from dualsys.fast.planner.correction import ABOUT


def listed(what: str, width: int) -> str:
    """What is printed on a screen of that width."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        show(console, what)
    return capture.get()


def test_each_strategy_is_listed_with_its_paper_its_needs_its_cost_and_its_options() -> None:
    heading, *lines = listed("strategies", 400).splitlines()
    assert heading.split("  ")[0] == "name"
    for word in ("from", "needs of System 1", "evaluations of n steps"):
        assert word in heading
    rows = [line for line in lines if not line.startswith(" ")]
    assert [row.split()[0] for row in rows] == list(STRATEGIES)
    for name, row in zip(STRATEGIES, rows, strict=True):
        about = strategy_class(name).about
        for text in (about.summary, about.paper, about.needs or "plain samples", about.cost):
            assert f"  {text}" in row
        after = lines[lines.index(row) + 1]
        for option, value in default_options(name).items():
            assert f"{option}: {in_yaml(value)}" in after
        assert "options: " in after


def test_the_correction_that_any_strategy_can_have_is_listed_after_them() -> None:
    *_, told, setting = (line for line in listed("strategies", 400).splitlines() if line.strip())
    for text in (ABOUT.summary, ABOUT.paper, "residual", ABOUT.cost):
        assert f"  {text}" in told
    assert "fast.strategy.residual: false" in setting


def test_names_are_whole_on_a_narrow_screen() -> None:
    words = listed("strategies", 80).split()
    assert [word for word in words if word in STRATEGIES] == list(STRATEGIES)


def test_papers_are_whole_and_nothing_is_cut_on_a_narrow_screen() -> None:
    text = listed("strategies", 80)
    words = text.split()
    papers = [*(strategy_class(name).about.paper for name in STRATEGIES), ABOUT.paper]
    numbers = [word for paper in papers for word in paper.split() if "arXiv:" in word]
    assert len(numbers) >= 10
    assert [word for word in words if "arXiv:" in word] == numbers
    assert "…" not in text


def test_each_profile_of_a_line_is_listed_with_what_it_does_and_who_published_its_figures() -> None:
    lines = listed("lines", 400).splitlines()
    for name, profile in PROFILES.items():
        (row,) = (line for line in lines if line.split("  ")[0] == name)
        assert profile.says in row
        assert profile.schedule.words() in row
        for source in profile.sources:
            assert f"{name}: {source}" in lines


def test_the_command_prints_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "strategies"]) == 0
    words = capsys.readouterr().out.split()
    assert set(STRATEGIES) <= set(words)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), (5.0, "5.0"), (16, "16"), ("exp", "exp")]
)
def test_defaults_are_written_as_in_a_configuration(value: object, text: str) -> None:
    assert in_yaml(value) == text
