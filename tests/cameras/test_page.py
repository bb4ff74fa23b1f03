"""The page about cameras: its example works as it stands, and its tables name everything."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dualsys.cameras.registry import BUILT_IN
from dualsys.cli import main
from dualsys.config import load_config

PAGE = "docs/cameras.md"
OWN = "## Your own cameras"


@pytest.fixture
def my_cameras(documents: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The driver of the page, installed as its package would be."""
    (source,), (pyproject,) = (documents.blocks(PAGE, kind, OWN) for kind in ("python", "toml"))
    documents.install(tmp_path / "packages", "my_cameras", source, pyproject)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    yield
    sys.modules.pop("my_cameras", None)


@pytest.mark.usefixtures("my_cameras")
def test_a_camera_of_ones_own_is_listed_checked_and_fits_as_the_page_says(
    documents: ModuleType, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings,), (expected,) = (documents.blocks(PAGE, kind, OWN) for kind in ("yaml", "text"))
    path = tmp_path / "my.yaml"
    bundles = "".join(
        f"{section}: {{bundle: '{repository}/bundles/tabletop/{system}'}}\n"
        for section, system in (("fast", "system1"), ("slow", "system2"))
    )
    path.write_text(settings + bundles, "utf-8")
    assert main(["camera", "list"]) == 0
    assert "bar: a bar that wanders\n    from my_cameras; needs no library" in capsys.readouterr().out
    assert main(["camera", "check", str(path), "--seconds", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert [line for line in expected.splitlines() if line not in printed.splitlines()] == []


def test_the_settings_of_the_page_are_a_configuration(documents: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(documents.blocks(PAGE, "yaml")[0], "utf-8")
    assert load_config(path).cameras["wrist"].options == {"device": "/dev/video2", "fourcc": "MJPG"}


def test_every_driver_is_in_the_table(repository: Path) -> None:
    rows = [line for line in (repository / PAGE).read_text("utf-8").splitlines() if line.startswith("| `")]
    first = " ".join(row.split("|")[1] for row in rows)
    assert [name for name in BUILT_IN if f"`{name}`" not in first] == []
