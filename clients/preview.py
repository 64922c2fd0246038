"""This brand's features at a glance, at this brand: a table, and on request a page or a picture.

Nothing is released and nothing is booked: what is shown never leaves the machine by this command.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from fl.data.columns import Number
from fl.data.schema import Schema
from fl.data.summary import Feature, Summary, spark
from fl.errors import InputError
from fl.report.files import atomic_write
from fl.report.html import document, section_figure, section_table
from fl.report.plots import canvas, draw
from fl.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

STAYS = "For this brand's own eyes: exact figures, nothing of this is released or sent."
_HEADER = ("Feature", "Empty", "Beyond", "5 %", "25 %", "Median", "75 %", "95 %")


def show(console: Console, summary: Summary) -> None:
    """The summary as text."""
    from rich.table import Table as Grid

    grid = Grid(title="Features", caption=STAYS)
    for column in _HEADER:
        grid.add_column(column, justify="left" if column == "Feature" else "right")
    grid.add_column("Low to high", min_width=12, no_wrap=True)
    for feature in summary.features:
        shape = spark(feature.histogram) if feature.histogram else _values(feature)
        grid.add_row(*_cells(feature), shape)
    console.print(grid)
    console.print(headline(summary))


def headline(summary: Summary) -> str:
    """Rows, customers, label rate and population in a sentence or two."""
    rate = summary.label_rate
    text = f"{summary.rows:,} rows of {summary.customers:,} customers"
    text += f" (at most {summary.most_rows} of one)" if summary.most_rows > 1 else ""
    text += "; no label." if rate is None else f"; {rate:.1%} have the label."
    if summary.population:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in summary.population.items())
        text += f" Share of all spend: {shares}."
    return text


def write(path: Path, schema: Schema, summary: Summary) -> None:
    """Write the summary as ``.html``, ``.png`` or ``.json``, for its owner alone.

    Raises:
        InputError: another ending.
    """
    match path.suffix.lower():
        case ".json":
            values = asdict(summary) | {"features": [f.plain() for f in summary.features]}
            content = (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()
        case ".html":
            content = page(schema, summary).encode()
        case ".png":
            out = io.BytesIO()
            _figure(schema, summary).savefig(out, format="png", dpi=120)
            content = out.getvalue()
        case other:
            raise InputError(
                "out",
                f"cannot write {other or 'a file without ending'}",
                "name .html, .png or .json",
            )
    atomic_write(path, content, private=True)


def page(schema: Schema, summary: Summary) -> str:
    """The summary as one HTML file that fetches nothing."""
    table = Table(
        "Features",
        (*_HEADER, "Commonest values"),
        tuple((*_cells(f), _values(f)) for f in summary.features),
        "Beyond: below or above the public bounds, or not in the public list.",
    )
    plot = draw("features", "How features are spread", STAYS, _figure(schema, summary))
    head = (
        f'<header><h1>This brand\'s features</h1><p class="answer">{escape(headline(summary))}</p>'
    )
    note = f'<div class="privacy warn"><strong>{STAYS}</strong></div></header>'
    figure = section_figure(plot) if summary.features else ""
    return document("This brand's features", (head + note, figure, section_table(table, {})))


def _cells(feature: Feature) -> tuple[str, ...]:
    quantiles = [f"{q:.4g}" for q in feature.quantiles] or [""] * 5
    return (feature.name, f"{feature.empty:.1%}", f"{feature.outside:.1%}", *quantiles)


def _values(feature: Feature) -> str:
    return ", ".join(f"{value} {share:.0%}" for value, share in feature.values)


def _figure(schema: Schema, summary: Summary) -> Figure:
    """A small panel for each feature, on the schema's public scale."""
    bounds: Mapping[str, Number] = {n.name: n for n in schema.numbers}
    shown = [f for f in summary.features if f.histogram or f.values]
    wide = min(4, max(1, len(shown)))
    tall = -(-max(1, len(shown)) // wide)
    figure, panels = canvas(height=0.4 + 1.5 * tall, shape=(tall, wide))
    for axes, feature in zip(panels, shown, strict=False):
        axes.set_title(feature.name[:26], loc="left", fontsize=8)
        axes.tick_params(labelsize=6)
        axes.set_yticks([])
        if feature.histogram:
            column, n = bounds[feature.name], len(feature.histogram)
            axes.bar(range(n), feature.histogram, width=1.0, color="#2478b8")
            ends = [column.unscale(-1), column.unscale(0), column.unscale(1)]
            axes.set_xticks([-0.5, n / 2 - 0.5, n - 0.5], [f"{end:.3g}" for end in ends])
        else:
            names, shares = zip(*feature.values, strict=True)
            axes.barh(range(len(names)), shares, color="#2478b8")
            axes.set_yticks(range(len(names)), [str(name)[:14] for name in names])
            axes.invert_yaxis()
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    return figure
