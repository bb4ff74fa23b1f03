"""Rules of the command line."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dualsys.cli import main
from dualsys.cli.arguments import (
    FastCommand,
    ListCommand,
    RobotCommand,
    RunCommand,
    SayCommand,
    TwinCommand,
    merged,
    parse,
    split_settings,
)
from dualsys.cli.commands import run_settings
from dualsys.config import load_config
from dualsys.errors import ConfigError

CONFIG = Path("configs/tabletop.yaml")


def test_every_command_of_the_documentation_is_understood() -> None:
    command, overrides = parse(
        ["run", str(CONFIG), "--instruction", "pick up the red cube", "--slow.delay-ms", "300"]
    )
    assert command == RunCommand(CONFIG, instruction="pick up the red cube")
    assert overrides == {"slow.delay_ms": "300"}
    assert parse(["run", str(CONFIG), "--task", "pick", "--episodes", "3", "--seed", "7", "--full-speed"])[
        0
    ] == (RunCommand(CONFIG, task="pick", episodes=3, seed=7, full_speed=True))
    assert parse(["fast", str(CONFIG)])[0] == FastCommand(CONFIG)
    assert parse(["say", "touch the blue cube"])[0] == SayCommand("touch the blue cube")
    assert parse(["robot", "resume", "a.yaml"])[0] == RobotCommand("resume", Path("a.yaml"))
    assert parse(["list", "tasks"])[0] == ListCommand("tasks")
    twin, _ = parse(
        ["twin", str(CONFIG), "--system2-delay", "200ms", "--latent", "zeroed", "--event", "moved"]
    )
    assert twin == TwinCommand(CONFIG, system2_delay="200ms", latent="zeroed", event="moved")


def test_settings_are_told_from_options_by_their_dot() -> None:
    rest, overrides = split_settings(
        ["run", "a.yaml", "--slow.delay-ms=1", "--seed", "1", "--fast.strategy.name", "rtc"]
    )
    assert rest == ["run", "a.yaml", "--seed", "1"]
    assert overrides == {"slow.delay_ms": "1", "fast.strategy.name": "rtc"}


@pytest.mark.parametrize(
    "arguments", [["--slow.delay_ms"], ["--a.b", "--c.d", "2"], ["--a.b", "1", "--a.b=2"]]
)
def test_a_setting_without_value_or_given_twice_is_refused(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"has no value|given twice"):
        split_settings(arguments)


def test_asking_for_corrections_switches_them_on_and_not_asking_leaves_the_configuration_alone() -> None:
    assert run_settings(RunCommand(CONFIG, residual=True)) == {"fast.strategy.residual": True}
    assert run_settings(RunCommand(CONFIG)) == {}


def test_an_option_and_a_setting_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"--run.task: got 'pick', but another option .* makes it touch"):
        merged({"run.task": "touch"}, {"run.task": "pick"})
    same = {"slow.delay_ms": 0.0, "sim.gui": True}
    assert merged(same, {"sim.gui": "true", "run.seed": "1"}) == {**same, "sim.gui": "true", "run.seed": "1"}


def test_none_and_no_are_nothing_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, told in (
        (["run", str(CONFIG), "--seed", "None"], "got 'None', expected a whole number"),
        (["run", str(CONFIG), "--no-residual"], "Unrecognized options: --no-residual"),
        (["run", str(CONFIG), "--episodes", "three"], "--episodes: got 'three', expected a whole"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        answer = capsys.readouterr().err
        assert told in answer
        assert "NoneType" not in answer


@pytest.mark.parametrize(
    ("setting", "option"),
    [("run.episodes", "--episodes"), ("run.event", "--event"), ("fast.delay_ms", "--system1-delay")],
)
def test_a_setting_that_the_twin_does_not_look_at_is_refused_with_the_option_that_it_does(
    repository: Path, capsys: pytest.CaptureFixture[str], setting: str, option: str
) -> None:
    assert main(["twin", str(repository / CONFIG), f"--{setting}", "7"]) == 2
    told = capsys.readouterr().err
    assert f"--{setting}: got '7', which the twin does not look at; give it as {option}" in told


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("run.instruction", "touch the red cube"),
        ("record.enabled", "true"),
        ("control.limits.workspace.z_min_m", "0.1"),
        ("slow.rate_control.mode", "adaptive"),
    ],
)
def test_a_setting_that_is_not_in_the_twin_is_refused(
    repository: Path, capsys: pytest.CaptureFixture[str], setting: str, value: str
) -> None:
    assert main(["twin", str(repository / CONFIG), "--episodes", "1", f"--{setting}", value]) == 2
    told = capsys.readouterr().err
    assert f"--{setting}: got {value!r}, which the twin does not look at; leave it out" in told


def test_a_robot_that_is_not_at_the_table_has_a_twin_of_its_own(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = repository / "configs" / "panda_gym_reach.yaml"
    assert main(["twin", str(config)]) == 2
    told = capsys.readouterr().err
    assert "robot.driver: 'gymnasium' is not at the table of the twin" in told
    assert f"`python -m dualsys.twin.environment {config}`" in told


def test_planner_and_control_do_not_start_at_an_address_that_is_taken(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert main(["fast", str(repository / CONFIG), "--endpoints.planner.service", address]) == 2
    captured = capsys.readouterr()
    assert f"{address} is in use by another process" in captured.err
    assert "'endpoints.planner.service'" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("command", ["run", "fast"])
def test_a_wrong_option_of_the_robot_is_told_before_anything_starts(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    if command == "run":
        pytest.importorskip("pybullet")
    folder = ["--run.folder", str(tmp_path / "runs")]
    assert main([command, str(repository / CONFIG), "--robot.options.arm", "iiwa", *folder]) == 2
    captured = capsys.readouterr()
    assert "robot.options.arm: got 'iiwa', expected one of panda, iiwa14, xarm6" in captured.err
    assert captured.out == ""
    assert not (tmp_path / "runs").exists()


def test_full_speed_and_options_become_settings(repository: Path) -> None:
    settings = run_settings(RunCommand(CONFIG, full_speed=True, gui=True, episodes=2, instruction="touch it"))
    config = load_config(repository / CONFIG, settings)
    assert (config.slow.delay_ms, config.slow.rate_hz, config.sim.gui) == (0, None, True)
    assert (config.run.episodes, config.run.instruction) == (2, "touch it")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "none.yaml"], "none.yaml: 1 fault\n  cannot be read: No such file"),
        (
            ["run", "CONFIG", "--slow.delay_ms", "fast"],
            "slow.delay_ms: got 'fast', expected a number, 0 to 60000 ms",
        ),
        (["run", "CONFIG", "--strategy", "rct"], "fast.strategy.name: got 'rct', expected 'synchronous' or"),
        (["run", "CONFIG", "--slow.speed", "1"], "slow.speed: is not a setting"),
        (["run", "CONFIG", "--episodes", "0"], "run.episodes: got 0, expected a whole number, 1 to 100000"),
        (["robot", "stop", "CONFIG", "--endpoints.control.service", "ipc:///tmp/nobody"], "is it running?"),
        (
            ["say", "go", "CONFIG", "--endpoints.planner.service", "ipc:///tmp/nobody"],
            "configs/tabletop.yaml says; name another configuration as the last argument)",
        ),
        (
            ["run", "CONFIG", "--instruction", ""],
            "run.instruction: got '', expected text that is not empty, or null",
        ),
        (
            ["run", "--config", "CONFIG"],
            "--config: is no option; name the file by itself, such as `dualsys run",
        ),
        (["say", "go", "--config=CONFIG"], "--config: is no option; name the file by itself"),
        (["say", " ", "CONFIG"], "TEXT: got ' ', expected words, such as \"pick up the blue cube\""),
    ],
)
def test_an_error_is_one_message_without_a_traceback_and_exit_code_2(
    repository: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    code = main([str(repository / CONFIG) if word == "CONFIG" else word for word in arguments])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith("error: ")
    assert expected in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [["say", "go"], ["robot", "status"], ["twin"], ["doctor"]])
def test_where_no_configuration_is_named_and_the_usual_one_is_not_there_it_is_told_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = f"meant where none is named, and not there in {tmp_path}; name yours as the last argument"
    assert capsys.readouterr().err == f"error: {CONFIG}: 1 fault\n  {told}\n"


def test_a_configuration_that_was_named_is_not_said_to_be_meant_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(CONFIG)]) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "expected"), [("strategies", "rtc"), ("robots", "pybullet"), ("settings", "slow.delay_ms")]
)
def test_lists_name_what_there_is(capsys: pytest.CaptureFixture[str], what: str, expected: str) -> None:
    assert main(["list", what]) == 0
    assert expected in capsys.readouterr().out


def test_drivers_are_listed_with_what_they_reach(
    driver_package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "robots"]) == 0
    output = capsys.readouterr().out
    assert f"{driver_package}  the arm in the next room" in output
    assert "a simulated arm at a table" in output


def test_an_unknown_task_is_answered_with_the_known_ones(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pybullet")
    assert main(["run", str(repository / CONFIG), "--task", "juggle"]) == 2
    assert "no task 'juggle'; there are around, conveyor, follow, intercept" in capsys.readouterr().err


def test_a_command_line_that_makes_no_sense_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fly"])
    assert caught.value.code == 2
    capsys.readouterr()


@pytest.mark.parametrize(
    "argv",
    [
        ["keys", "new", "edge"],
        ["list", "settings"],
        ["record", "verify", "recording.mcap"],
        ["replay", "recording.mcap"],
        ["export", "system1.pt", "--out", "bundle"],
        ["calibrate", "arm.yaml"],
    ],
)
def test_a_setting_is_refused_where_no_configuration_is_read(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--security.keys", "elsewhere"]) == 2
    told = capsys.readouterr().err
    assert "--security.keys: is a setting of a configuration, which this command does not read" in told


@pytest.mark.parametrize("argv", [["twin", str(CONFIG), "--episodes", "1"], ["robot", "check", str(CONFIG)]])
def test_a_report_that_cannot_be_written_is_told_before_anything_is_done(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    assert main([*argv, "--json", str(tmp_path / "file" / "report.json")]) == 2
    captured = capsys.readouterr()
    assert "--json: " in captured.err
    assert "report.json cannot be written" in captured.err
    assert captured.out == ""
