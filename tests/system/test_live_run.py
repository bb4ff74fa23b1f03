"""The real processes over real sockets, started and watched as a person would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dualsys.recorder.chain import verify
from dualsys.recorder.explain import explain
from dualsys.recorder.extra import FILE_NAME
from dualsys.recorder.reading import RecordingReader
from dualsys.recorder.records import ControlPlan, RecorderEnd
from dualsys.recorder.replay import replay

from .audit import processes, watched

ROOT = Path(__file__).parents[2]
ENDPOINTS = {
    "slow": ("observation", "latent", "service"),
    "planner": ("plan", "service"),
    "control": ("state", "service"),
    "robot": ("state", "command", "service", "cameras"),
    "recorder": ("input",),
}

pytestmark = pytest.mark.timeout(300)


def _run(
    folder: Path, sockets: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    endpoints = [
        text
        for room, names in ENDPOINTS.items()
        for name in names
        for text in (f"--endpoints.{room}.{name}", f"ipc://{sockets}/{room}-{name}")
    ]
    command = [sys.executable, "-m", "dualsys", "run", str(ROOT / "configs/tabletop.yaml"), *arguments]
    return subprocess.run(
        [*command, "--run.folder", str(folder), *endpoints],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment,
    )


def test_a_live_episode_gets_its_verdict_and_leaves_a_complete_folder(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    done = _run(tmp_path, tmp_path_factory.mktemp("s"), "--task", "touch", "--episodes", "1")
    assert done.returncode in (0, 1), done.stderr
    (folder,) = tmp_path.iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["state"] == "finished", summary["problem"]
    assert summary["episodes_finished"] == 1
    assert summary["control_counters"]["plans"] > 0
    pictures, logs = ("timeline.png", "filmstrip.png", "episode.mp4"), ("ticks", "plans", "latents")
    for name in (*pictures, *(f"{log}.jsonl" for log in logs)):
        assert (folder / name).stat().st_size > 0, name


def test_a_recorded_run_is_intact_and_every_command_is_computed_again_bit_for_bit(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    audit = tmp_path_factory.mktemp("audit")
    episode = ("--task", "touch", "--episodes", "1", "--run.episode_timeout_s", "6", "--run.report", "false")
    done = _run(
        tmp_path,
        tmp_path_factory.mktemp("s"),
        *episode,
        "--record.enabled",
        "true",
        environment=watched(audit),
    )
    assert done.returncode in (0, 1), done.stderr
    _assert_nothing_was_unpickled(audit)
    (folder,) = tmp_path.iterdir()
    assert f"sealed, hash {verify(folder / FILE_NAME).head}" in " ".join(done.stdout.split())
    assert verify(folder / FILE_NAME).intact
    verdict = replay(folder)
    assert verdict.reproduced, verdict.lines()
    control, planner = (part.compared for part in verdict.parts)
    summary = json.loads((folder / "summary.json").read_text())
    assert control["ticks"] >= summary["control_counters"]["ticks"] > 250
    assert control["commands"] > 0
    assert control["plans"] > 0
    assert planner["plans"] > 0
    records = [one.record for one in RecordingReader(folder)]
    (end,) = (one for one in records if isinstance(one, RecorderEnd))
    assert (end.lost, end.rejected) == ({}, 0)
    assert set(end.received) == {"control", "planner", "supervisor"}
    followed = next(one for one in records if isinstance(one, ControlPlan) and one.accepted)
    told = " ".join(explain(folder, f"{followed.t_ns + 20_000_000}ns"))
    for words in ("episode 0, told at its start: ", ": taken ", " by strategy rtc", "reading of the arm: "):
        assert words in told


def _assert_nothing_was_unpickled(audit: Path) -> None:
    """No process of the run unpickled anything, and no module of ours brought pickle in."""
    told = processes(audit)
    started = " ".join(lines[0] for lines in told)
    for room in ("dualsys run", "slow", "sim", "control", "planner", "recorder"):
        assert room in started, started
    assert [line for lines in told for line in lines[1:]] == []


def test_the_audit_sees_what_is_unpickled(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import pickle, pathlib\npickle.loads(pickle.dumps(pathlib.Path))\n", encoding="utf-8")
    subprocess.run([sys.executable, str(script)], env=watched(tmp_path), check=True, timeout=60)
    ((_, *lines),) = processes(tmp_path)
    assert "imported pickle by __main__" in lines
    assert "unpickled pathlib.Path" in lines


def test_an_unknown_word_is_answered_with_the_known_ones(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    done = _run(tmp_path, tmp_path_factory.mktemp("s"), "--instruction", "pick up the zebra")
    assert done.returncode != 0
    assert "zebra" in done.stderr + done.stdout
    assert "purple" in done.stderr + done.stdout
