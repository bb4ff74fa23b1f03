"""`dualsys doctor`: exit codes and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dualsys.cli import main
from dualsys.doctor import machine
from dualsys.doctor.findings import Finding

GOOD, BAD = Finding("kernel", "ok", "fine"), Finding("addresses", "problem", "taken", "end process 1")


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A configuration file."""
    path = tmp_path / "a.yaml"
    path.write_text("name: a\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(("found", "code"), [([GOOD], 0), ([GOOD, BAD], 1)])
def test_the_exit_code_tells_whether_it_will_work(
    config: str,
    found: list[Finding],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(machine, "examine", lambda _config, jitter_s: asked.append(jitter_s) or found)
    assert main(["doctor", config]) == code
    assert "kernel: fine" in capsys.readouterr().out
    assert main(["doctor", config, "--json", "--jitter-s", "0"]) == code
    tree = json.loads(capsys.readouterr().out)
    assert tree["works"] == (code == 0)
    assert tree["findings"][0] == {"name": "kernel", "level": "ok", "says": "fine", "remedy": ""}
    assert asked == [5.0, 0.0]


def test_a_duration_that_is_not_allowed_is_named(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", config, "--jitter-s", "-1"]) == 2
    assert "--jitter-s: got -1" in capsys.readouterr().err
