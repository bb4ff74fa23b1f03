"""`dualsys camera list` and `check`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from dualsys.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two different images."""
    for number in range(2):
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[:, : 20 + 10 * number] = 200
        (tmp_path / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
    return tmp_path


def test_drivers_are_listed_with_their_library_and_what_they_were_tried_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["camera", "list"]) == 0
    printed = capsys.readouterr().out
    assert "files: a folder of images, or a video" in printed
    assert "needs pyrealsense2" in printed
    assert "tried on hardware: nothing" in printed
    assert "tried on hardware: it is no hardware" in printed


def test_a_driver_is_checked_by_its_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["camera", "check", "files", "--cameras.files.options.path", str(folder), "--seconds", "0.3"]
    assert main([*words, "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["works"]
    assert tree["findings"][0]["says"] == "64x48 rgb8 at 30 Hz; 64x48"


def test_a_camera_that_is_not_there_is_exit_code_1_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0.jpg").write_bytes(b"no image")
    assert main(["camera", "check", "files", "--cameras.files.options.path", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "problem  camera files: cameras.files: " in printed
    assert "-> plug it in" in printed


def test_an_option_that_is_wrong_or_a_time_that_makes_no_sense_is_the_callers_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["camera", "check", "files"]) == 2
    assert "cameras.files.options.path: is missing, expected text" in capsys.readouterr().err
    assert main(["camera", "check", "toaster"]) == 2
    assert capsys.readouterr().err.startswith("error: camera toaster: 1 fault\n  cameras.toaster.driver: got")
    assert main(["camera", "check", "files", "--seconds", "0"]) == 2
    assert "--seconds: got 0" in capsys.readouterr().err


def test_the_simulated_cameras_deliver_what_the_shipped_models_want(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.chdir(repository)
    assert main(["camera", "check", "simulated", "--seconds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "camera fixed: 128x96 rgb8" in printed
    assert "camera wrist: 64x64 rgb8" in printed
