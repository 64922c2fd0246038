"""What only one kind of task shows in a report, beside the arms and metrics of all of them."""

from __future__ import annotations

from collections.abc import Mapping

from fl.report.confusion import alert_table, class_table
from fl.report.plots import Plot
from fl.report.recommended import recommending_plot, recommending_table
from fl.report.table import Table


def task_tables(run: Mapping[str, object]) -> list[Table]:
    """Tables that this run has data for."""
    return [t for t in (recommending_table(run), class_table(run), alert_table(run)) if t]


def task_plots(run: Mapping[str, object]) -> list[Plot]:
    """Plots that this run has data for."""
    plot = recommending_plot(run)
    return [plot] if plot else []
