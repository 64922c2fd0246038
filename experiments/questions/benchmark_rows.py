"""The figures of a benchmark: what came out, and how far off that is of pooling all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.journal import Piece
from experiments.questions.benchmark import Benchmark
from experiments.settings import epsilon_of
from fl import arrays
from fl.contracts import Floats
from fl.data.dataset import DataSet
from fl.privacy import NoPrivacy, Plan
from fl.report.metrics import interval
from fl.report.rows import Row
from fl.tasks import figures
from fl.tasks.figures import Cell
from fl.tasks.statistics import Statistics

if TYPE_CHECKING:
    from experiments.questions.inquiry import Inquiry

_Noted = dict[tuple[str, str], list[float]]  # by place and metric, one value a seed


@dataclass(frozen=True, slots=True)
class Seen:
    """One release: what came out, and what pooling all rows would have given.

    ``exact`` and ``sorted_nm`` are empty where the run is a release, which has no such comparison.
    """

    task: Statistics
    released: list[Cell | None]
    exact: list[Cell | None]
    reasons: list[int]
    sorted_nm: Floats

    def errors(self, quantiles: Sequence[float]) -> list[float]:
        """How far off the rank of each released quantile of all customers is, in [0, 1]."""
        cell = self.released[0]
        if cell is None or not self.exact:
            return []
        return [
            _rank_error(
                self.task, i, figures.quantile(self.task, cell, i, q), q, self.sorted_nm[:, i]
            )
            for i in range(len(self.task.numbers))
            for q in quantiles
        ]


def seen_of(task: Statistics, piece: Piece) -> Seen:
    """From a finished answer."""
    state, exact = arrays.below("model", piece.arrays), arrays.below("exact", piece.arrays)
    totals, entries, why = (
        np.asarray(state[name], np.float64) for name in ("totals", "cells", "reasons")
    )
    return Seen(
        task,
        figures.cells(task, totals, entries, why == 0),
        figures.exact(task, exact) if exact else [],
        why.astype(int).tolist(),
        np.asarray(exact["sorted"] if exact else np.empty((0, len(task.numbers))), np.float64),
    )


def rows_of(
    study: Benchmark, how: Inquiry, data: DataSet, plan: Plan, seen: list[Seen]
) -> list[Row]:
    """Released figures, and how far they are off, with intervals over seeds."""
    made: _Noted = {}
    for one in seen:
        for at, cell in enumerate(one.released):
            _note(made, _place(one.task, at), _figures(study, one.task, cell))
        about = {"cells_released": float(sum(r == 0 for r in one.reasons))}
        if one.exact:
            errors = one.errors(study.quantiles) or [float("nan")]
            about |= {
                "rank_error": float(np.mean(errors)),
                "rank_error_worst": max(errors),
            }
        _note(made, "pooled", about)
    return _made(study, how, data, ("federated", plan.name, epsilon_of(plan)), made)


def pooled_rows(
    study: Benchmark, how: Inquiry, data: DataSet, seen: Mapping[str, Mapping[int, Seen]]
) -> list[Row]:
    """Exact figures, which no guarantee covers, of the cells that every guarantee releases.

    A cell that a rule or noise suppressed is nowhere in ``results.json``.
    """
    made: _Noted = {}
    for seed in how.seeds:
        each = [by_seed[seed] for by_seed in seen.values()]
        for at, cell in enumerate(each[0].exact):
            if all(one.reasons[at] == 0 for one in each):
                _note(made, _place(each[0].task, at), _figures(study, each[0].task, cell))
    return _made(study, how, data, ("pooled", NoPrivacy().name, None), made)


def _note(made: _Noted, place: str, found: Mapping[str, float]) -> None:
    for metric, value in found.items():
        made.setdefault((place, metric), []).append(value)


def _place(task: Statistics, at: int) -> str:
    return "pooled" if at == 0 else f"segment:{task.cells[at]}"


def _made(
    study: Benchmark,
    how: Inquiry,
    data: DataSet,
    side: tuple[str, str, float | None],
    made: _Noted,
) -> list[Row]:
    arm, privacy, epsilon = side
    return [
        Row(
            how.experiment, data.name, study.name, "", "disclosure", privacy, epsilon, arm, brand,
            metric, *interval(values), seeds=int(np.sum(np.isfinite(values))),
        )
        for (brand, metric), values in made.items()
    ]  # fmt: skip


def _figures(study: Benchmark, task: Statistics, cell: Cell | None) -> dict[str, float]:
    if cell is None:
        return {}
    found = {"customers": cell.customers}
    found |= {f"mean:{name}": value for name, value in cell.means.items()}
    for i, column in enumerate(task.numbers):
        for q in study.quantiles:
            found[f"quantile:{column.name}:{q:g}"] = figures.quantile(task, cell, i, q)
    found |= {f"correlation:{a}:{b}": value for (a, b), value in cell.correlations.items()}
    return found


def _rank_error(task: Statistics, column: int, value: float, q: float, sorted_n: Floats) -> float:
    """The distance of ``q`` from the ranks of ``value`` among all exact values.

    A value stands for the nearest exact one in its bin, so that whole numbers have their own rank;
    without one there, its rank is the share below it.
    """
    if not np.isfinite(value):
        return float("nan")
    bins = task.bins(np.repeat(sorted_n[:, None], len(task.numbers), 1))[:, column]
    own = task.bins(np.full((1, len(task.numbers)), value))[0, column]
    near = sorted_n[bins == own]
    at = float(near[np.argmin(np.abs(near - value))]) if len(near) else value
    low, high = (np.searchsorted(sorted_n, at, side=s) / len(sorted_n) for s in ("left", "right"))
    return float(max(low - q, q - high, 0.0))
