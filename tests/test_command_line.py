"""Every program reads its command line in one place, and tells what is wrong in our words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dualsys.command_line import read


@dataclass(frozen=True)
class Options:
    """What a program may be told."""

    count: int = 3
    most: int | None = None
    share: float = 0.5
    limit: float | None = None
    rates: tuple[float, ...] = (250.0, 500.0)
    folder: Path | None = None
    smoke: bool = False
    plots: bool = True


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--count", "many"], "--count: got 'many', expected a whole number"),
        (["--count", "1.5"], "--count: got '1.5', expected a whole number"),
        (["--most", "None"], "--most: got 'None', expected a whole number"),
        (["--share", "0,1"], "--share: got '0,1', expected a number"),
        (["--share", "3ms"], "--share: got '3ms', expected a number"),
        (["--share", "nan"], "--share: got 'nan', expected a number"),
        (["--limit", "inf"], "--limit: got 'inf', expected a number"),
        (["--limit", "None"], "--limit: got 'None', expected a number"),
        (["--rates", "250", "fast"], "--rates: got 'fast', expected a number"),
    ],
)
def test_what_is_no_number_is_told_with_the_option_the_value_and_what_was_expected(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        read(Options, arguments, prog="program")
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"Error parsing {told}" in said
    assert "no type matching" not in said


def test_numbers_are_read_and_what_is_left_out_is_none() -> None:
    assert read(Options, []) == Options()
    typed = ["--count", "4", "--most", "-1", "--share", "3", "--limit", "1e1", "--rates", "5", "6.5"]
    assert read(Options, typed) == Options(4, -1, 3.0, 10.0, (5.0, 6.5))


def test_the_command_line_of_the_process_is_read_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["program", "--count", "9"])
    assert read(Options) == Options(count=9)


def test_a_function_is_called_with_its_options() -> None:
    def add(first: int, second: float = 0.5) -> float:
        return first + second

    assert read(add, ["--first", "2"]) == 2.5


def test_none_is_nothing_to_type_and_a_switch_goes_one_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert read(Options, ["--folder", "None"]).folder == Path("None")
    assert read(Options, ["--smoke", "--no-plots"]) == Options(smoke=True, plots=False)
    for option in ("--no-smoke", "--plots"):
        with pytest.raises(SystemExit):
            read(Options, [option])
        assert option in capsys.readouterr().err
