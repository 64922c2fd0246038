"""``report.html`` of a question: paragraphs, tables and plots in the order that the question says.

It shares frame, privacy line and facts with the report of a training (``html.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from fl.report.files import atomic_write
from fl.report.html import about, details, document, privacy_box, section_figure, section_table
from fl.report.plots import Plot
from fl.report.rows import Row
from fl.report.table import Table
from fl.report.utility import all_statements


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph below a heading; plain text."""

    title: str
    text: str


Block = Text | Table | Plot


def write_answers(
    out: Path, blocks: Sequence[Block], rows: Sequence[Row], run: Mapping[str, object]
) -> Path:
    """Write ``out/report.html`` and return its path.

    Args:
        blocks: the report's body.
        rows: of ``results.json``, for the privacy line.
        run: the content of ``run.json``; ``answer`` is the sentence on top.

    Raises:
        OSError: the folder cannot be written; an older report is then still whole.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.html"
    atomic_write(path, page(blocks, rows, run).encode())
    return path


def page(blocks: Sequence[Block], rows: Sequence[Row], run: Mapping[str, object]) -> str:
    """The report as text; the same arguments give the same text."""
    title = str(run.get("experiment") or "Report")
    statements = "".join(
        details(f"Privacy statement: {key}", f"<pre>{escape(chr(10).join(lines))}</pre>")
        for key, lines in all_statements(run).items()
    )
    return document(
        title, (_header(title, rows, run), *map(_block, blocks), statements, about(run))
    )


def _header(title: str, rows: Sequence[Row], run: Mapping[str, object]) -> str:
    question, found = str(run.get("question") or ""), str(run.get("answer") or "")
    return "\n".join(
        (
            f"<header><h1>{escape(title)}</h1>",
            f'<p class="question">{escape(question)}</p>' if question else "",
            f'<p class="answer">{escape(found)}</p>' if found else "",
            f"{privacy_box(rows, run)}</header>",
        )
    )


def _block(block: Block) -> str:
    match block:
        case Text(title, text):
            return f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p></section>"
        case Table():
            return section_table(block, {})
        case Plot():
            return section_figure(block)
