"""`dualsys deploy check` on machines that lack something."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from dualsys.bus.keys import KeyStore
from dualsys.cli import main
from dualsys.clock import WallClock
from dualsys.config import SystemConfig, load_config
from dualsys.doctor import deploy, machine
from dualsys.doctor.findings import Finding
from dualsys.robots import link
from dualsys.robots.registry import RobotDriver
from dualsys.robots.scripted import ScriptedArm, ScriptedRobot

Configure = Callable[..., SystemConfig]


@pytest.fixture
def configure(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Makes a configuration of addresses that nobody else has; nothing is called for long."""
    monkeypatch.setattr(deploy, "CAMERA_S", 0.2)
    monkeypatch.setattr(deploy, "MOST_PLANS", 3)
    monkeypatch.setattr(deploy, "KNOCKS", 1)
    ends = {"slow": ("observation", "latent", "service"), "planner": ("plan", "service"),
            "control": ("state", "service"), "robot": ("state", "command", "service", "cameras"),
            "recorder": ("input",)}  # fmt: skip
    own = {
        f"endpoints.{owner}.{name}": f"ipc://{tmp_path}/{owner}.{name}"
        for owner, names in ends.items()
        for name in names
    }
    own |= {"fast.bundle": str(repository / "bundles/tabletop/system1"), "robot.connect_timeout_s": "0.2"}

    def made(**given: str) -> SystemConfig:
        path = tmp_path / "edge.yaml"
        path.write_text("name: edge\n", "utf-8")
        overrides = own | {name.replace("__", "."): value for name, value in given.items()}
        return load_config(path, overrides)

    return made


def of(findings: list[Finding], name: str) -> list[Finding]:
    return [one for one in findings if one.name == name]


def test_an_edge_without_robot_and_cameras_is_told_what_is_missing_and_what_works(
    configure: Configure,
) -> None:
    config = configure()
    found = list(deploy.examine(config, 0.0))
    assert [one.level for one in of(found, "packages")] == ["ok", "ok"]
    assert [one.level for one in of(found, "keys")] == ["ok"]
    assert of(found, "addresses")[0].says == "5 of 5 addresses are free"
    assert of(found, "bundle")[0].says.startswith("system1: ")
    assert of(found, "plans")[0].says.startswith("a plan takes ")
    assert [one.level for one in of(found, "robot")] == ["problem"]
    assert [one.level for one in of(found, "system 2")] == ["warning"]
    assert "no frame" in of(found, "camera wrist")[1].says
    assert {one.name for one in machine.system_findings(config)} <= {one.name for one in found}


def test_keys_that_others_can_read_or_that_are_not_allowed_are_problems(
    configure: Configure, tmp_path: Path
) -> None:
    folder = tmp_path / "keys"
    config = configure(security__slow="cloud", security__keys=str(folder))
    assert "dualsys keys new" in deploy.keys_found(config)[0].says
    KeyStore(folder).create("edge")
    assert "'cloud', which is not allowed here" in deploy.keys_found(config)[0].says
    (folder / "own.key").chmod(0o644)
    assert "mode 644" in deploy.keys_found(config)[0].says


def test_a_robot_with_other_axes_is_told_with_both(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = ScriptedArm(WallClock())
    monkeypatch.setattr(link, "DRIVER", RobotDriver("scripted", open=lambda _: ScriptedRobot(arm)))
    (found,) = deploy.robot_found(configure(robot__driver="link"))
    assert found.level == "problem"
    assert "plans are made for panda_joint1" in found.says
    assert "trained for" in found.remedy


def test_without_keys_that_it_needs_the_rest_is_still_looked_at(configure: Configure, tmp_path: Path) -> None:
    found = list(deploy.examine(configure(security__slow="cloud", security__keys=str(tmp_path / "k")), 0.0))
    assert [one.level for name in ("keys", "cameras", "system 2", "robot") for one in of(found, name)] == [
        "problem"
    ] * 4
    remedies = {one.remedy for name in ("keys", "cameras", "system 2", "robot") for one in of(found, name)}
    assert remedies == {"docs/security.md has the steps"}


def test_the_bundle_of_a_weak_policy_is_checked_and_plans_are_made_with_it(
    configure: Configure, repository: Path, tmp_path: Path
) -> None:
    weak = tmp_path / "weak"
    shutil.copytree(repository / "bundles/tabletop/system1", weak)
    chosen = {"fast__strategy__name": "bid", "fast__strategy__options": "{samples: 2, nearest: 1}"}
    config = configure(fast__weak_bundle=str(weak), **chosen)
    found = list(deploy.examine(config, 0.0))
    assert [one.level for one in of(found, "bundle")] == ["ok", "ok"]
    assert of(found, "bundle")[1].says.startswith("weak policy: tabletop, weights ")
    assert of(found, "plans")[0].says.startswith("a plan takes ")
    assert [one.says for one in machine.weak_found(configure().fast)] == []
    (weak / "sampler.onnx").write_bytes(b"damaged")
    (found_weak,) = machine.weak_found(config.fast)
    assert found_weak.level == "problem"
    assert found_weak.says.startswith(f"fast.weak_bundle: {weak / 'bundle.json'}: files.sampler.onnx: expect")
    assert found_weak.remedy == "name another folder with fast.weak_bundle"
    assert found_weak in machine.examine(config, 0.0)


def test_a_strategy_that_wants_a_weak_policy_which_is_not_there_is_a_problem(configure: Configure) -> None:
    chosen = {"fast__strategy__name": "bid", "fast__strategy__options": "{nearest: 1}"}
    (found,) = of(list(deploy.examine(configure(**chosen), 0.0)), "plans")
    assert found.level == "problem"
    assert "bid: 1 fault" in found.says
    assert "set fast.weak_bundle to the folder of a weaker System 1" in found.says


def test_a_damaged_bundle_is_a_problem_and_no_plan_is_tried(configure: Configure, tmp_path: Path) -> None:
    found = list(deploy.examine(configure(fast__bundle=str(tmp_path)), 0.0))
    assert [one.level for one in of(found, "bundle")] == ["problem"]
    assert [one.remedy for one in of(found, "plans")] == ["see the bundle above"]


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warning", 0), ("problem", 1)])
def test_the_exit_code_tells_whether_it_will_work(
    level: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\n", "utf-8")
    finding = Finding("keys", level, "looked at", "do this")  # type: ignore[arg-type]
    monkeypatch.setattr(deploy, "examine", lambda *_: iter([finding]))
    assert main(["deploy", "check", str(path)]) == code
    assert "-> do this" in capsys.readouterr().out
    assert main(["deploy", "check", str(path), "--json"]) == code
    assert json.loads(capsys.readouterr().out)["findings"][0]["name"] == "keys"
    assert main(["deploy", "check", str(path), "--rehearsal-s", "-1"]) == 2


def test_the_page_lists_a_wheel_for_aarch64_of_every_package_that_the_edge_needs(repository: Path) -> None:
    page = (repository / "docs" / "deployment.md").read_text("utf-8")
    rows = [
        line.split("|")[1:4] for line in page.splitlines() if line.startswith("| ") and line.count("|") == 4
    ]
    listed = {name.strip().lower().replace("-", "_"): wheel.strip() for name, _, wheel in rows}
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    needed = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in project["dependencies"]}
    assert {
        name: listed.get(name, "").split(":")[0] in ("any", "aarch64") for name in needed
    } == dict.fromkeys(needed, True)
