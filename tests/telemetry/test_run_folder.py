"""Rules of the run folder and its logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dualsys.errors import ConfigError
from dualsys.telemetry.files import replace_file, require_writable
from dualsys.telemetry.run_folder import JsonLines, RunFolder, read_json_lines


def test_two_runs_of_one_second_have_a_folder_each(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path / "runs", "demo", "20260131-120000")
    second = RunFolder.create(tmp_path / "runs", "demo", "20260131-120000")
    assert first.path.name == "20260131-120000-demo"
    assert second.path.name == "20260131-120000-demo-2"


def test_a_folder_that_cannot_be_made_is_an_error_with_the_setting(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run\.folder"):
        RunFolder.create(blocker, "demo")


def test_a_replaced_file_leaves_nothing_else_behind(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json("summary.json", {"a": 1})
    folder.write_json("summary.json", {"a": [1.5, None, "ä"]})
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert json.loads((tmp_path / "summary.json").read_text("utf-8")) == {"a": [1.5, None, "ä"]}


def test_a_file_that_cannot_be_replaced_leaves_nothing_of_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(tmp_path / "summary.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_summary_that_is_not_json_does_not_destroy_the_one_before(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json("summary.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.write_json("summary.json", {"a": float("nan")})
    assert json.loads((tmp_path / "summary.json").read_text("utf-8")) == {"a": 1}


def test_records_are_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with JsonLines(path) as log:
        for number in range(3):
            log.append({"number": number, "text": "zwei\nZeilen"})
    assert [record["number"] for record in read_json_lines(path)] == [0, 1, 2]


def test_a_log_that_was_never_begun_is_empty(tmp_path: Path) -> None:
    assert read_json_lines(tmp_path / "none.jsonl") == []


def test_an_unfinished_last_line_is_left_out_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":2}\n{"a":')
    assert read_json_lines(path) == [{"a": 1}, {"a": 2}]
    path.write_bytes(b'{"a":1}\nnonsense\n')
    with pytest.raises(ValueError, match=r"log\.jsonl:2: is not JSON"):
        read_json_lines(path)
    path.write_bytes(b"[1]\n")
    with pytest.raises(ValueError, match="expected an object"):
        read_json_lines(path)


def test_nothing_recorded_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from dualsys.telemetry.run_folder import JsonLines\n"
        "log = JsonLines(Path(sys.argv[1]))\n"
        "for number in range(1000): log.append({'number': number})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], timeout=60, env=os.environ | {"PYTHONPATH": "src"}
    )
    assert done.returncode == -signal.SIGKILL
    assert [record["number"] for record in read_json_lines(path)] == list(range(1000))


def test_whether_a_file_can_be_written_is_known_before_it_is_and_leaves_what_is_there(tmp_path: Path) -> None:
    wanted = tmp_path / "new" / "report.json"
    require_writable(wanted, "--json")
    assert list(wanted.parent.iterdir()) == []
    wanted.write_text("before", "utf-8")
    require_writable(wanted, "--json")
    assert wanted.read_text("utf-8") == "before"
    with pytest.raises(ConfigError, match=r"--json: .*report\.json cannot be written: File exists"):
        require_writable(wanted / "report.json", "--json")
    with pytest.raises(ConfigError, match="Is a directory; give a file"):
        require_writable(tmp_path, "--json")
