"""The page that leads from an empty file to a moving arm works, word by word."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dualsys.cli import main
from dualsys.config import load_config
from dualsys.doctor import deploy

PAGE = "docs/your-own-robot.md"


@pytest.fixture
def folder(documents: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What somebody has who has done as the page says."""
    *parts, test = documents.blocks(PAGE, "python")
    (pyproject,) = documents.blocks(PAGE, "toml")
    documents.install(tmp_path, "my_arm", "\n\n".join(parts), pyproject)
    (tmp_path / "test_my_arm.py").write_text(test, "utf-8")
    (tmp_path / "my.yaml").write_text(documents.blocks(PAGE, "yaml")[0], "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_arm", None)


def test_its_commands_print_what_the_page_shows(
    folder: Path, documents: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folder.exists()
    consoles = documents.blocks(PAGE, "console")
    assert len(consoles) == 2
    for console in consoles:
        command, *expected = console.splitlines()
        assert main(command.removeprefix("$ dualsys ").split()) == 0
        printed = capsys.readouterr().out
        assert [line for line in expected if line not in printed] == []


def test_the_driver_keeps_the_contract_by_the_test_of_the_page(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_arm.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_in_the_simulators_place_it_has_the_axes_that_plans_are_made_for(folder: Path) -> None:
    config = load_config(folder / "my.yaml")
    assert config.robot.driver == "my_arm"
    # The shipped models, which are in the clone and not beside this file.
    assert [bundle.parts[-4:] for bundle in (config.slow.bundle, config.fast.bundle)] == [
        ("dualsys", "bundles", "tabletop", system) for system in ("system2", "system1")
    ]
    (found,) = deploy.robot_found(config)
    assert (found.level, found.says) == ("ok", "my_arm answers: 8 axes, 250 readings per second")
