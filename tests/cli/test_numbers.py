"""Numbers on the command line."""

from __future__ import annotations

import pytest

from dualsys.cli.arguments import LinkCommand, RunCommand, TwinCommand, parse


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "x.yaml", "--episodes", "many"], "--episodes: got 'many', expected a whole number"),
        (["twin", "--workers", "1.5"], "--workers: got '1.5', expected a whole number"),
        (["robot", "jog", "feetech", "--by-rad", "0,1"], "--by-rad: got '0,1', expected a number"),
        (["link", "x.yaml", "--delay-ms", "3ms"], "--delay-ms: got '3ms', expected a number"),
        (["link", "x.yaml", "--loss", "nan"], "--loss: got 'nan', expected a number"),
        (["link", "x.yaml", "--bandwidth-mbit-s", "None"], "--bandwidth-mbit-s: got 'None', expected a num"),
    ],
)
def test_what_is_no_number_is_told_with_the_option_the_value_and_what_was_expected(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"Error parsing {told}" in said
    assert "no type matching" not in said


def test_numbers_are_read_and_what_is_left_out_is_none() -> None:
    run, _ = parse(["run", "x.yaml", "--episodes", "3"])
    assert isinstance(run, RunCommand)
    assert (run.episodes, run.seed) == (3, None)
    link, _ = parse(["link", "x.yaml", "--delay-ms", "3", "--bandwidth-mbit-s", "1e1"])
    assert isinstance(link, LinkCommand)
    assert (link.delay_ms, link.bandwidth_mbit_s, link.jitter_p99_ms, link.seed) == (3.0, 10.0, None, 0)
    twin, _ = parse(["twin"])
    assert isinstance(twin, TwinCommand)
    assert (twin.episodes, twin.seed) == (20, None)
