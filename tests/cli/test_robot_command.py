"""`dualsys robot list`, `check` and `jog`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dualsys.cli import main, robot_command
from dualsys.cli.arguments import RobotCommand, parse
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.robots import link
from dualsys.robots.contract import Robot
from dualsys.robots.kit import checks
from dualsys.robots.kit.connection_checks import absence, close, connection, lost_connection, reconnection
from dualsys.robots.kit.reading_checks import range_of_readings, reading, specification
from dualsys.robots.registry import RobotDriver
from dualsys.robots.scripted import ScriptedArm, ScriptedRobot


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[[RobotDriver], None]:
    """Puts another driver in the place of `link`."""
    return lambda made: monkeypatch.setattr(link, "DRIVER", made)


def scripted(*_: object) -> Robot:
    return ScriptedRobot(ScriptedArm(WallClock()))


def test_every_option_is_understood() -> None:
    words = "jog link --joint elbow --by-rad -0.05 --i-am-at-the-stop --robot.options.port /dev/ttyACM0"
    command, overrides = parse(["robot", *words.split()])
    assert command == RobotCommand("jog", Path("link"), joint="elbow", by_rad=-0.05, i_am_at_the_stop=True)
    assert overrides == {"robot.options.port": "/dev/ttyACM0"}
    assert parse(["robot", "check", "pybullet", "--json", "a.json"])[0] == RobotCommand(
        "check", Path("pybullet"), json=Path("a.json")
    )


def test_drivers_are_listed_with_their_library_and_what_they_were_tried_on(
    driver: Callable[[RobotDriver], None], driver_package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    driver(RobotDriver("an arm", open=scripted, library="no_such_library", install="pip install it"))
    assert main(["robot", "list"]) == 0
    printed = capsys.readouterr().out
    assert f"{driver_package}: the arm in the next room\n    from next-room; needs no library" in printed
    assert "link: an arm\n    from dualsys; needs no_such_library (not installed: pip install it)" in printed
    assert "tried on hardware: nothing" in printed
    assert "pybullet: " in printed


def test_a_broken_driver_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(link, "DRIVER", "none")
    assert main(["robot", "list"]) == 0
    printed = capsys.readouterr().out
    assert "link: robot.driver: 'link' cannot be used" in printed
    assert "pybullet: a simulated arm at a table" in printed


def test_a_real_arm_is_not_moved_without_consent_and_the_report_says_so(
    driver: Callable[[RobotDriver], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arm = ScriptedArm(WallClock())
    driver(RobotDriver("an arm", open=lambda _: ScriptedRobot(arm)))
    file = tmp_path / "report.json"
    assert main(["robot", "check", "link", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert arm.written == 0
    assert "skipped  stays: it moves the arm\n           do: stand at the emergency stop" in printed
    tree = json.loads(file.read_text("utf-8"))
    assert tree["passed"] is True
    assert {one["check"]: one["state"] for one in tree["checks"]}["stop"] == "skipped"


def test_a_driver_that_breaks_the_contract_ends_with_code_1(
    driver: Callable[[RobotDriver], None], capsys: pytest.CaptureFixture[str]
) -> None:
    class Open(ScriptedRobot):
        def close(self) -> None:
            """Keep everything."""

    driver(RobotDriver("an arm", open=lambda _: Open(ScriptedArm(WallClock()))))
    assert main(["robot", "check", "link"]) == 1
    printed = capsys.readouterr().out
    assert "FAILED   close: read() after close() raised nothing\n           expected: a RobotError" in printed
    assert "scripted, 3 axes: 1 failed" in printed


def test_a_jog_needs_consent_and_then_tells_what_should_have_been_seen(
    driver: Callable[[RobotDriver], None], capsys: pytest.CaptureFixture[str]
) -> None:
    arm = ScriptedArm(WallClock(), watchdog_ns=10**9)
    driver(RobotDriver("an arm", open=lambda _: ScriptedRobot(arm)))
    words = ["robot", "jog", "link", "--joint", "elbow", "--by-rad", "0.02"]
    assert main(words) == 2
    assert "--i-am-at-the-stop" in capsys.readouterr().err
    assert arm.written == 0
    assert main([*words, "--i-am-at-the-stop"]) == 0
    assert "did you see it move by +1.15 degrees?" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [[], ["--joint", "elbow"], ["--by-rad", "1"], ["--joint", "elbow", "--by-rad", "1", "--by-m", "1"]],
)
def test_a_jog_that_is_not_complete_is_refused(
    driver: Callable[[RobotDriver], None], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    driver(RobotDriver("an arm", open=scripted))
    assert main(["robot", "jog", "link", *words]) == 2
    assert "give --joint NAME, and one of --by-rad and --by-m" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--by-rad", "0.2"], ["--by-m", "0"], ["--by-rad", "-0.01"], ["--by-m", "1"]]
)
def test_a_check_moves_an_axis_a_little_only(
    driver: Callable[[RobotDriver], None], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    driver(RobotDriver("an arm", open=scripted))
    assert main(["robot", "check", "link", "--i-am-at-the-stop", *words]) == 2
    assert f"check: {words[0]}: got" in capsys.readouterr().err


def test_a_distance_that_is_no_number_is_refused_before_anything_moves(
    driver: Callable[[RobotDriver], None], capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[object] = []
    driver(RobotDriver("an arm", open=opened.append))
    with pytest.raises(SystemExit) as ended:
        main(["robot", "check", "link", "--i-am-at-the-stop", "--by-m", "nan"])
    assert ended.value.code == 2
    assert "--by-m: got 'nan', expected a number" in capsys.readouterr().err
    assert not opened


def test_where_a_driver_hangs_is_printed(
    driver: Callable[[RobotDriver], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    printed: list[str] = []

    class Hanging(ScriptedRobot):
        def connect(self) -> None:
            clock = WallClock()
            deadline_ns = clock.now_ns() + 5 * NS_PER_S
            while "in connect" not in "".join(printed) and clock.now_ns() < deadline_ns:
                clock.sleep_until_ns(clock.now_ns() + 10 * NS_PER_MS)
                printed.append(capfd.readouterr().err)
            super().connect()

    monkeypatch.setattr(robot_command, "HANG_S", 0.1)
    driver(RobotDriver("an arm", open=lambda _: Hanging(ScriptedArm(WallClock()))))
    main(["robot", "check", "link", "--robot.connect_timeout_s", "0.1"])
    assert "in connect" in "".join(printed)


def test_an_unknown_driver_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["robot", "check", "toaster"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: robot toaster: 1 fault\n  robot.driver: got 'toaster', expected one of")


def test_a_robot_that_is_not_there_is_told_and_the_rest_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = [f"--endpoints.robot.{name}=ipc://{tmp_path}/{name}" for name in ("state", "command", "service")]
    assert main(["robot", "check", "link", "--robot.connect_timeout_s", "0.2", *ends]) == 1
    printed = capsys.readouterr().out
    assert "ok       absence" in printed
    assert "FAILED   connection: no answer from the robot" in printed
    assert "unknown robot: 1 failed" in printed
    # The reason is told once, and not with each check that it stands in the way of.
    assert printed.count("not reached: no answer from the robot") == 1
    assert "skipped  reading: for the same reason" in printed


def test_the_simulated_arm_is_started_for_the_occasion_and_ends_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pybullet")
    # How it moves is checked in simulated time, in tests/sim: here a busy computer would look like a bad arm.
    still = (
        absence,
        connection,
        specification,
        reading,
        range_of_readings,
        close,
        reconnection,
        lost_connection,
    )
    monkeypatch.setattr(checks, "CHECKS", still)
    file = tmp_path / "report.json"
    assert main(["robot", "check", "pybullet", "--by-rad", "0.01", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "simulated_panda, 8 axes: 8 passed" in printed
    assert "each axis in turn is moved by 0.01 rad or 4 mm" in printed
    assert json.loads(file.read_text("utf-8"))["passed"] is True
