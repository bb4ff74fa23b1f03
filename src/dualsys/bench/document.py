"""A page of text, tables and figures, written as Markdown and as one HTML file that needs no other."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from dualsys.bench.page import table


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph. Words between backticks are code."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be copied."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table: its first column is left-aligned, the others right-aligned, unless all of it is `words`."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: bool = False


@dataclass(frozen=True)
class Picture:
    """A PNG beside the Markdown file."""

    path: Path
    caption: str


Block: TypeAlias = Heading | Text | Code | Table | Picture

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
p { max-width: 52rem; }
img { max-width: 100%; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; margin: 1rem 0; }
th, td { border: 1px solid #ddd; padding: .2rem .6rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child, .words th, .words td { text-align: left; }
th { background: #f4f4f4; }
code, pre { background: #f4f4f4; font-size: .9em; }
pre { padding: .6rem; overflow-x: auto; }
"""


def to_markdown(blocks: Sequence[Block]) -> str:
    """The page in Markdown; pictures are named as neighbours of it."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def to_html(blocks: Sequence[Block]) -> str:
    """The page as one HTML file, with every picture inside.

    Raises:
        OSError: A picture cannot be read.
    """
    titles = [block.text for block in blocks if isinstance(block, Heading) and block.level == 1]
    title = html.escape(titles[0]) if titles else ""
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Text(text):
            return text
        case Code(text):
            return f"```\n{text}\n```"
        case Table(head, rows, words):
            made = table([_cell(one) for one in head], [[_cell(one) for one in row] for row in rows])
            return made.replace("---:", "---") if words else made
        case Picture(path, caption):
            return f"![{caption}]({path.name})"


def _cell(text: str) -> str:
    """Text that does not end its cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_inline(text)}</h{level}>"
        case Text(text):
            return f"<p>{_inline(text)}</p>"
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Table(head, rows, words):
            lines = [_row("th", head), *(_row("td", row) for row in rows)]
            kind = ' class="words"' if words else ""
            return f'<div class="wide"><table{kind}>\n' + "\n".join(lines) + "\n</table></div>"
        case Picture(path, caption):
            data = base64.b64encode(path.read_bytes()).decode()
            return f'<p><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}"></p>'


def _row(kind: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{kind}>{_inline(cell)}</{kind}>" for cell in cells) + "</tr>"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
