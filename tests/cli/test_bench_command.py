"""`dualsys bench` hands everything on to the benchmarks, each of which reads its own options."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualsys.bench import __main__ as bench
from dualsys.cli import main


def test_everything_behind_bench_reaches_the_benchmark_as_it_was_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(bench, "main", lambda arguments: seen.append(list(arguments)) or 3)
    # With a dot, which elsewhere makes an option a setting of the configuration.
    typed = ["plan", "--out", "a.json", "--some.thing", "--help"]
    assert main(["bench", *typed]) == 3
    assert seen == [typed]


def test_bench_alone_lists_the_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in bench.BENCHES)


def test_the_help_of_dualsys_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "bench" in capsys.readouterr().out


def test_a_fault_is_one_message_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "plan-delays", str(tmp_path), "--output", str(tmp_path / "out.json")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(tmp_path) in error
