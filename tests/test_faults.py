"""docs/faults.md tells which tests cover which fault, and is up to date."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> dict[str, object]:
    """The names that docs/faults.py defines."""
    return runpy.run_path(str(ROOT / "docs/faults.py"))


def test_the_page_says_what_the_markers_say(script: dict[str, object]) -> None:
    text = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
    assert text == script["page"](), "run `python docs/faults.py` and commit docs/faults.md"  # type: ignore[operator]


def test_a_marker_without_a_row_of_the_page_is_refused(
    script: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    covered = script["covered"]
    monkeypatch.setitem(covered.__globals__, "ROOT", tmp_path)  # type: ignore[attr-defined]
    path = tmp_path / "test_x.py"
    for mark, rows in (("3, 5", (3, 5)), ("51", None), ("", None), ("one", None)):
        path.write_text(f"import pytest\n\n@pytest.mark.fault_row({mark})\ndef test_a(): ...\n", "utf-8")
        if rows is None:
            with pytest.raises(
                ValueError, match=r"test_x\.py::test_a: fault_row expects numbers from 1 to 50"
            ):
                list(covered(path))  # type: ignore[operator]
        else:
            (found,) = covered(path)  # type: ignore[operator]
            assert (found.test, found.rows) == ("test_a", rows)
