"""Tables, answer and privacy line of a run in a terminal. Imported on demand: rich takes time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from fl.report.recommended import recommending_table
from fl.report.rows import Row
from fl.report.table import Table, answer, main_rows, privacy, results, tier_table
from fl.report.utility import statement_lines, utility_table
from fl.report.values import mapping


def output(width: int) -> Console:
    """Standard output, ``width`` columns wide where it is no terminal."""
    found = Console()
    return found if found.is_terminal else Console(width=width)


def show_run(console: Console, rows: Sequence[Row], run: Mapping[str, object]) -> None:
    """The tables of a training, its answer, the privacy line and its statement."""
    more, gains = (recommending_table(run), utility_table(rows, run)), run.get("gains")
    rows = main_rows(rows, run)
    tables = (results(rows), tier_table(rows, gains), *more)
    show_answer(console, filter(None, tables), answer(rows, gains), rows, run)
    for line in statement_lines(run):
        console.print(Text(line))


def show_answer(
    console: Console,
    tables: Iterable[Table],
    text: str,
    rows: Sequence[Row],
    run: Mapping[str, object],
) -> None:
    """Tables, the answer ``text`` and the privacy line."""
    show_tables(console, tables)
    console.print(Text(text))
    guaranteed, headline = privacy(rows, mapping(run.get("privacy")))
    console.print(Text(headline, style="" if guaranteed else "bold yellow"))


def show_tables(console: Console, tables: Iterable[Table]) -> None:
    """Tables, one below the other."""
    for table in tables:
        shown = Grid(title=table.title, caption=table.note, title_justify="left")
        for place, name in enumerate(table.header):
            shown.add_column(Text(name), justify="right" if place else "left")
        for line in table.lines:
            shown.add_row(*map(Text, line))  # a brand's name is not markup
        console.print(shown)
