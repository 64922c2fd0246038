"""What one task's report shows beside metrics; a run without such entries has none of it."""

from __future__ import annotations

from collections.abc import Mapping

from fl.report.confusion import alert_table, class_table
from fl.report.plots import Plot
from fl.report.recommended import recommending_plot, recommending_table
from fl.report.table import Table
from fl.report.uplift import uplift_plots, uplift_table


def task_tables(run: Mapping[str, object]) -> list[Table]:
    """In the order of the report."""
    made = (recommending_table(run), class_table(run), alert_table(run), uplift_table(run))
    return [table for table in made if table is not None]


def task_plots(run: Mapping[str, object]) -> list[Plot]:
    """In the order of the report."""
    plot = recommending_plot(run)
    return [*([plot] if plot else []), *uplift_plots(run)]
