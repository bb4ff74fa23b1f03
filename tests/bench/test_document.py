from __future__ import annotations

import base64
from pathlib import Path

import pytest

from dualsys.bench.document import Block, Code, Heading, Picture, Table, Text, to_html, to_markdown

PNG = b"\x89PNG\r\n\x1a\n not really"


@pytest.fixture
def blocks(tmp_path: Path) -> list[Block]:
    (tmp_path / "drawn.png").write_bytes(PNG)
    return [
        Heading("Delays & dangers", 1),
        Text("`d` < `H`"),
        Code("run --it"),
        Table(("name", "value"), (("a|b", "1"),)),
        Table(("name", "meaning"), (("x", "y"),), words=True),
        Picture(tmp_path / "drawn.png", "A curve"),
    ]


def test_markdown_names_pictures_as_neighbours_and_keeps_cells_apart(blocks: list[Block]) -> None:
    text = to_markdown(blocks)

    assert text.startswith("# Delays & dangers\n\n`d` < `H`\n\n```\nrun --it\n```\n")
    assert "| name | value |\n| --- | ---: |\n| a\\|b | 1 |" in text
    assert "| name | meaning |\n| --- | --- |\n| x | y |" in text
    assert text.endswith("![A curve](drawn.png)\n")


def test_the_html_page_needs_no_other_file(blocks: list[Block], tmp_path: Path) -> None:
    text = to_html(blocks)
    (tmp_path / "drawn.png").unlink()

    assert "<title>Delays &amp; dangers</title>" in text
    assert "<p><code>d</code> &lt; <code>H</code></p>" in text
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in text
    assert "<td>a|b</td><td>1</td>" in text
    assert 'class="words"' in text
    assert "http" not in text
