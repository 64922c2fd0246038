"""A sweep: many configurations, one folder each, and one table and plot of all of them.

One that fails loses nothing but itself, and the same command takes up a sweep that was killed:
finished configurations count as done. ``DIR/sweep.json`` has a row for each configuration, arm
and metric (version 1: ``configuration, folder, status, seconds, arm, privacy, epsilon, metric,
value, low, high, seeds``; a failed one has one row with ``error``); ``DIR/sweep.html`` shows them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from experiments import record
from experiments.ready import Shelf
from fl.errors import InputError
from fl.report.files import atomic_write
from fl.report.html import document, section_figure, section_table
from fl.report.plots import Plot, canvas, draw, style
from fl.report.rows import MEAN, Row, from_json
from fl.report.table import DASH, Table, arm_label, main_metric, metric_label, spread


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one configuration ended.

    Attributes:
        name: what tells it from the others; the folder below the sweep's.
        error: why it has no result, or empty.
    """

    name: str
    folder: Path
    seconds: float
    error: str = ""

    @property
    def rows(self) -> tuple[Row, ...]:
        """Of its ``results.json``; none if it failed."""
        return () if self.error else from_json(self.folder / "results.json")


@dataclass(slots=True)
class Sweep:
    """What is known of a sweep so far.

    Attributes:
        root: the sweep's folder.
        shelf: prepared data, which one configuration leaves for the next.
    """

    root: Path | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    shelf: Shelf = field(default_factory=Shelf)

    def one(self, name: str, root: Path, job: Callable[[Shelf], None]) -> None:
        """Run one configuration and keep how it ended."""
        self.root, began = self.root or root, time.monotonic()
        sys.stderr.write(f"[{len(self.outcomes) + 1}] {name or root}\n")
        error = ""
        try:
            job(self.shelf)
        except InputError as mistake:
            error = " ".join(str(mistake).split())
        except Exception as failure:  # a fault of ours: the others are still worth having
            import traceback

            sys.stderr.write(traceback.format_exc())
            error = f"failed with {type(failure).__name__}; the traceback is above"
        if error:
            sys.stderr.write(f"fl-run: {name}: {error}\n")
        folder, seconds = root / name, time.monotonic() - began
        if not error:
            seconds = float(record.read(folder)["seconds"])  # of all of its parts
        self.outcomes.append(Outcome(name, folder, seconds, error))

    def finish(self) -> InputError | None:
        """Write and show the summary; what to tell of failures, if there were any."""
        from fl.report.terminal import output, show_tables

        if self.root is None:
            return None
        self.root.mkdir(parents=True, exist_ok=True)
        content = {"version": 1, "rows": [r for o in self.outcomes for r in _flat(o)]}
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        atomic_write(self.root / "sweep.json", text.encode())
        shown = [o for o in self.outcomes if not o.error]
        title, tables = f"Sweep of {len(self.outcomes)} configurations", [table(self.outcomes)]
        plot = plotted(shown)
        sections = [
            f"<header><h1>{escape(title)}</h1></header>",
            *(section_table(one, {}) for one in tables),
            *([section_figure(plot)] if plot else []),
        ]
        atomic_write(self.root / "sweep.html", document(title, sections).encode())
        show_tables(output(110), tables)
        sys.stdout.write(f"Summary: {self.root / 'sweep.html'}\n")
        failed = [o for o in self.outcomes if o.error]
        if not failed:
            return None
        return InputError(
            "sweep",
            f"{len(failed)} of {len(self.outcomes)} configurations failed, the first of them "
            f"{failed[0].name}: {failed[0].error}".rstrip("."),
            "mend them and give the same command again; the others are done",
        )


def table(outcomes: Sequence[Outcome]) -> Table:
    """A line for each configuration: the mean brand's main metric under each arm."""
    every = [row for outcome in outcomes for row in outcome.rows]
    metric = main_metric(every)
    arms = list(dict.fromkeys(_arm(r) for r in every if r.brand == MEAN and r.metric == metric))
    lines = []
    for outcome in outcomes:
        found = {_arm(r): r for r in outcome.rows if r.brand == MEAN and r.metric == metric}
        cells = [spread(found[arm]) if arm in found else DASH for arm in arms]
        lines.append(
            (outcome.name, *cells, "failed" if outcome.error else f"{outcome.seconds:.0f}")
        )
    note = f"{metric_label(metric)}, mean over brands ± half the 95 % interval over seeds."
    return Table("Configurations", ("Configuration", *arms, "Seconds"), tuple(lines), note)


def plotted(outcomes: Sequence[Outcome]) -> Plot | None:
    """The main metric of the mean brand, a line of points for each configuration."""
    every = [row for outcome in outcomes for row in outcome.rows]
    if not every:
        return None
    metric = main_metric(every)
    figure, (axes,) = canvas(height=1.2 + 0.32 * len(outcomes))
    seen: set[str] = set()
    for place, outcome in enumerate(outcomes):
        for row in outcome.rows:
            if row.brand != MEAN or row.metric != metric:
                continue
            colour, marker = style(row.arm)
            ends = [[max(0.0, row.value - row.low)], [max(0.0, row.high - row.value)]]
            label = None if row.arm in seen else arm_label(row.arm)
            seen.add(row.arm)
            axes.errorbar(
                [row.value], [place], xerr=ends if row.low == row.low else None, color=colour,
                marker=marker, linestyle="", capsize=2, label=label,
            )  # fmt: skip
    axes.set_yticks(range(len(outcomes)), [o.name[-60:] for o in outcomes], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(metric_label(metric))
    caption = "Mean over brands; bars are 95 % intervals over seeds."
    return draw("sweep", "All configurations", caption, figure)


def _arm(row: Row) -> str:
    return arm_label(row.arm) + (f", {row.privacy} {row.epsilon:g}" if row.epsilon else "")


def _flat(outcome: Outcome) -> list[Mapping[str, Any]]:
    start = {
        "configuration": outcome.name,
        "folder": outcome.folder.name,
        "status": "failed" if outcome.error else "finished",
        "seconds": round(outcome.seconds, 2),
    }
    if outcome.error:
        return [{**start, "error": outcome.error}]
    keys = ("arm", "privacy", "epsilon", "metric", "value", "low", "high", "seeds")
    rows = [{k: getattr(row, k) for k in keys} for row in outcome.rows if row.brand == MEAN]
    return [{**start, **{k: None if v != v else v for k, v in row.items()}} for row in rows]
