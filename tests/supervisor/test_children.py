"""Rules of child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.supervisor.children import Children, Ending


def python(code: str) -> list[str]:
    """A command line that runs a piece of Python without any site packages."""
    return [sys.executable, "-S", "-c", code]


def wait_for(condition: object, what: str) -> None:
    """Poll until `condition()` holds."""
    clock = WallClock()
    deadline_ns = clock.now_ns() + 20 * NS_PER_S
    while not condition():  # type: ignore[operator]
        assert clock.now_ns() < deadline_ns, what
        clock.sleep_until_ns(clock.now_ns() + 5 * NS_PER_MS)


def test_an_ending_is_reported_once_with_code_and_log(tmp_path: Path) -> None:
    children = Children(WallClock())
    children.start("one", python("print('last words'); raise SystemExit(3)"), tmp_path / "one.log")
    found: list[Ending] = []
    wait_for(lambda: found.extend(children.ended()) or found, "the process ends")
    assert [(ending.name, ending.code, ending.expected) for ending in found] == [("one", 3, False)]
    assert "process 'one' ended with code 3" in found[0].describe()
    assert "last words" in found[0].describe()
    assert children.ended() == []
    assert children.names == ()


def test_a_process_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    children = Children(WallClock())
    log = tmp_path / "deaf.log"
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    children.start("deaf", python(deaf), log)
    wait_for(lambda: "up" in log.read_text("utf-8"), "the process is up")
    (ending,) = children.stop(("deaf",), grace_s=0.1)
    assert (ending.how, ending.expected) == ("was ended by SIGKILL", True)


def test_processes_are_stopped_in_the_order_asked_for(tmp_path: Path) -> None:
    children = Children(WallClock())
    for name in ("a", "b", "c"):
        children.start(name, python("import signal; signal.pause()"), tmp_path / f"{name}.log")
    endings = children.stop(("c", "b", "a", "unknown"), grace_s=5)
    assert [ending.name for ending in endings] == ["c", "b", "a"]


def test_kill_ends_everything_at_once(tmp_path: Path) -> None:
    children = Children(WallClock())
    children.start("one", python("import signal; signal.pause()"), tmp_path / "one.log")
    children.kill()
    assert [ending.code for ending in children.ended()] == [-signal.SIGKILL]


def test_kill_returns_where_a_look_at_a_process_was_interrupted(tmp_path: Path) -> None:
    children = Children(WallClock())
    children.start("one", python("import signal; signal.pause()"), tmp_path / "one.log")
    process, _ = children._running["one"]
    # What a look holds while a signal handler runs on top of it, in the same thread.
    with process._waitpid_lock:
        killer = threading.Thread(target=children.kill, daemon=True)
        killer.start()
        killer.join(20)
        assert not killer.is_alive()
    wait_for(lambda: [ending.code for ending in children.ended()] == [-signal.SIGKILL], "it was killed")


def test_a_log_that_is_gone_costs_the_last_words_only(tmp_path: Path) -> None:
    ending = Ending("one", 3, tmp_path / "gone.log", expected=False)
    assert ending.describe().startswith("process 'one' ended with code 3; its log ")
    assert "cannot be read: No such file or directory" in ending.describe()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own way is Linux only")
def test_no_child_outlives_a_parent_that_is_killed() -> None:
    child = (
        "import os, signal, sys; from dualsys.supervisor.lifeline import die_with\n"
        "die_with(int(sys.argv[1])); print(os.getpid(), flush=True); signal.pause()"
    )
    parent = (
        "import os, subprocess, sys, signal\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())])\nsignal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    wait_for(lambda: not running(pid), "the child ends")


def running(pid: int) -> bool:
    """Whether a process exists and is not a zombie that nobody has waited for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_child_whose_parent_is_already_gone_ends_at_once() -> None:
    code = "from dualsys.supervisor.lifeline import die_with; die_with(1); print('still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, env=os.environ)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, b"")
