"""The recorder as a process: it writes what comes, ends when told to, and loses little when killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dualsys.bus.sockets import ZmqContext
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.config import SystemConfig, load_config
from dualsys.errors import ConfigError, MissingExtraError
from dualsys.recorder.chain import verify
from dualsys.recorder.extra import closing_line, recorded_to, require_mcap
from dualsys.recorder.reading import RecordingReader
from dualsys.recorder.records import Event, RecorderEnd
from dualsys.recorder.tap import Tap, open_tap

CLOCK = WallClock()
Start = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def config(tmp_path: Path) -> SystemConfig:
    """A system of which only the recorder runs."""
    path = tmp_path / "system.yaml"
    path.write_text("record: {enabled: true, file: recording.mcap}\n", "utf-8")
    return load_config(path, {"endpoints.recorder.input": f"ipc://{tmp_path}/r"})


@pytest.fixture
def start(config: SystemConfig, tmp_path: Path) -> Iterator[Start]:
    """Starts the recorder process."""
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), "utf-8")
    started: list[subprocess.Popen[bytes]] = []

    def make() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dualsys.cli.process", "recorder", str(path), str(os.getpid())]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE))
        return started[-1]

    yield make
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def tap(context: ZmqContext, config: SystemConfig) -> Iterator[Tap]:
    """The sending end of that recorder."""
    made = open_tap(context, config, "control", CLOCK)
    assert made is not None
    yield made
    made.close()


def put(tap: Tap, count: int) -> None:
    for _ in range(count):
        tap.put(Event(t_ns=CLOCK.now_ns(), kind="test", details={"number": tap.taken}))


def wait_for(path: Path, count: int, kind: str = "test") -> None:
    """Wait until so many events of a kind are on the disk."""
    deadline_ns = CLOCK.now_ns() + 20 * NS_PER_S
    while not path.exists() or not verify(path).links or len(numbers(path, kind)) < count:
        assert CLOCK.now_ns() < deadline_ns, "the recorder has not written them"
        CLOCK.sleep_until_ns(CLOCK.now_ns() + 20 * NS_PER_MS)


def numbers(path: Path, kind: str = "test") -> list[int]:
    events = (one.record for one in RecordingReader(path))
    return [event.details["number"] for event in events if isinstance(event, Event) and event.kind == kind]


def test_told_to_end_it_takes_what_is_on_its_way_and_seals_the_file(
    start: Start, tap: Tap, tmp_path: Path, config: SystemConfig
) -> None:
    process, path = start(), tmp_path / "recording.mcap"
    put(tap, 50)
    wait_for(path, 50)
    put(tap, 300)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, b"")
    verdict = verify(path)
    assert verdict.intact
    assert numbers(path) == list(range(350))
    reader = RecordingReader(path)
    last = [one.record for one in reader][-1]
    assert isinstance(last, RecorderEnd)
    assert (last.received, last.lost) == ({"control": 350}, {})
    assert b"recorder" in reader.attachments["config.yaml"]
    assert closing_line(config).endswith(f"sealed, hash {verdict.head}")


@pytest.mark.fault_row(44)
def test_killed_it_leaves_a_file_that_is_read_up_to_that_moment(
    start: Start, tap: Tap, tmp_path: Path, config: SystemConfig
) -> None:
    process, path = start(), tmp_path / "recording.mcap"
    put(tap, 50)
    wait_for(path, 50)
    process.kill()
    process.wait()
    assert numbers(path) == list(range(50))
    verdict = verify(path)
    assert not verdict.sealed
    assert verdict.breaks == []
    assert "not sealed" in closing_line(config)
    # Whoever is recorded goes on, and counts what nobody takes.
    put(tap, 10_000)
    assert tap.dropped > 0


def test_a_recorded_process_that_is_killed_spoils_nothing(
    start: Start, tap: Tap, tmp_path: Path, config: SystemConfig
) -> None:
    process, path = start(), tmp_path / "recording.mcap"
    code = (
        "import signal, sys\n"
        "from dualsys.bus.sockets import open_context\n"
        "from dualsys.clock import WallClock\n"
        "from dualsys.recorder.records import Event\n"
        "from dualsys.recorder.tap import Tap\n"
        "clock = WallClock()\n"
        "tap = Tap(open_context(), sys.argv[1], 'planner', clock)\n"
        "for number in range(100):\n"
        "    tap.put(Event(t_ns=clock.now_ns(), kind='victim', details={'number': number}))\n"
        "signal.pause()\n"
    )
    put(tap, 20)
    wait_for(path, 20)
    with subprocess.Popen([sys.executable, "-c", code, config.endpoints.recorder.input]) as victim:
        try:
            wait_for(path, 100, "victim")
        finally:
            victim.kill()
    put(tap, 20)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert verify(path).intact
    records = [one.record for one in RecordingReader(path)]
    end = records[-1]
    assert isinstance(end, RecorderEnd)
    assert (end.received, end.lost) == ({"control": tap.taken, "planner": 100}, {})


def test_a_file_that_exists_is_refused_and_kept(start: Start, tmp_path: Path, config: SystemConfig) -> None:
    (tmp_path / "recording.mcap").write_bytes(b"precious")
    process = start()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert b"recording.mcap: cannot be made: File exists" in said
    assert (tmp_path / "recording.mcap").read_bytes() == b"precious"
    with pytest.raises(ConfigError, match=r"record\.file: .*exists, and is not overwritten"):
        recorded_to(config, tmp_path)


def test_a_run_records_into_its_folder_unless_told_otherwise(tmp_path: Path, config: SystemConfig) -> None:
    plain = SystemConfig()
    assert recorded_to(plain, tmp_path) is plain
    assert closing_line(plain) == ""
    unnamed = config.model_copy(update={"record": config.record.model_copy(update={"file": None})})
    assert recorded_to(unnamed, tmp_path).record.file == tmp_path / "recording.mcap"
    assert recorded_to(config, tmp_path / "elsewhere").record.file == config.record.file
    assert "cannot be read" in closing_line(config)


def test_without_its_library_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcap", None)
    with pytest.raises(MissingExtraError, match=r"recording needs 'mcap': pip install 'dualsys\[record\]'"):
        require_mcap("recording")


def test_what_is_recorded_needs_no_library_to_be_recorded() -> None:
    code = (
        "import sys, dualsys.recorder.control, dualsys.recorder.planner, dualsys.recorder.process\n"
        "print([name for name in ('mcap', 'zstandard') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
