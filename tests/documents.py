"""The code that pages show, so that tests can run it as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def blocks(page: str, language: str, after: str = "") -> list[str]:
    """The blocks of code of one language on a page.

    Args:
        page: Its path in the repository.
        language: What follows the three signs.
        after: A heading; only what follows it counts.
    """
    text = (ROOT / page).read_text("utf-8")
    start = text.index(after) if after else 0
    return re.findall(rf"^```{language}\n(.*?)^```$", text[start:], re.MULTILINE | re.DOTALL)


def install(folder: Path, name: str, source: str, pyproject: str) -> None:
    """Lay a package with one module into a folder, with the entry points that its `pyproject.toml` has."""
    import tomllib

    described = folder / f"{name}-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
    groups = tomllib.loads(pyproject)["project"]["entry-points"]
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))
    ]
    (described / "entry_points.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / f"{name}.py").write_text(source, "utf-8")
