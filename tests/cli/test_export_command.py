"""`dualsys export`: bundles of checkpoints, on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dualsys.cli import main
from dualsys.cli.arguments import ExportCommand, parse


def test_the_command_of_the_documentation_is_understood() -> None:
    command, _ = parse(
        ["export", "data/checkpoints/system1.pt", "--out", "bundles/mine", "--variant", "int8"]
    )
    assert command == ExportCommand(Path("data/checkpoints/system1.pt"), Path("bundles/mine"), "int8")


def test_without_torch_the_line_that_installs_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["export", "net.pt", "--out", str(tmp_path)]) == 2
    expected = "error: exporting a bundle needs 'torch': pip install 'dualsys[train]'\n"
    assert capsys.readouterr().err == expected


def test_a_checkpoint_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("pybullet")
    assert main(["export", str(tmp_path / "none.pt"), "--out", str(tmp_path / "out")]) == 2
    assert "none.pt: cannot be read: No such file or directory" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("pybullet")
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["export", str(tmp_path / "none.pt"), "--out", str(tmp_path)]) == 2
    assert "is not empty and holds no bundle; give another folder" in capsys.readouterr().err
