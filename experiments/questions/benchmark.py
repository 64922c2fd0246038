"""``task=statistics``: an industry benchmark, released cell by cell if no brand shows through."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from experiments.journal import Journal, Piece
from experiments.questions import register
from experiments.questions.asking import Place, ask, asked_already, in_force
from experiments.questions.study import Findings, Pieces, Tables, piece_of
from fl.algorithms.disclosure import Disclosure
from fl.data.columns import Category, Number
from fl.data.dataset import DataSet
from fl.errors import InputError
from fl.privacy import BrandAgg, CustomerPrivacy, Plan, Summing, lattice
from fl.privacy.releases import Release
from fl.privacy.secagg import fixedpoint
from fl.seeds import numpy_generator
from fl.tasks.records import Records, Segments
from fl.tasks.statistics import Statistics

if TYPE_CHECKING:
    from experiments.questions.inquiry import Inquiry


@dataclass(frozen=True, slots=True)
class SegmentBy:
    """The column that groups customers; ``edges`` are cut points of a number."""

    column: str
    edges: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """``conf/task/statistics.yaml``.

    Attributes:
        metrics: the columns of numbers to describe; their public bounds are the data set's.
        segment: the column that groups customers, or none.
        quantiles: in (0, 1).
        unit: what one row is, for the report; the guarantee is for that unit.
        sample: of how many rows, drawn with replacement from all brands' (each then counts as a
            unit of its own); 0: all rows, as they are.
        period: what time the data are about, for the register; it believes what is said here.
        register: the file of past releases, or none: this run is then not held against any.
        caps: upper bounds below the data set's, by column; a number beyond counts as the bound.
            The closer to what most customers have, the smaller the noise on totals beside them.
        min_brands, min_customers, single, pair, p_percent, margin: see
            ``fl/algorithms/disclosure.py``.
    """

    metrics: tuple[str, ...]
    segment: SegmentBy | None = None
    quantiles: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9)
    unit: str = "customer"
    sample: int = 0
    period: str = ""
    register: str | None = None
    min_brands: int = 5
    min_customers: float = 50.0
    single: float = 0.5
    pair: float = 0.85
    p_percent: float = 10.0
    margin: float = 1.0
    caps: Mapping[str, float] | None = None
    name: str = "statistics"

    def __post_init__(self) -> None:
        if not self.metrics or len(set(self.metrics)) != len(self.metrics):
            raise ValueError(f"Expected metrics={list(self.metrics)} to be some different columns.")
        if not self.quantiles or not all(0 < q < 1 for q in self.quantiles):
            raise ValueError(f"Expected quantiles={list(self.quantiles)} in (0, 1).")
        if unknown := sorted(set(self.caps or {}) - set(self.metrics)):
            raise ValueError(f"Expected caps of metrics={list(self.metrics)}, not of {unknown}.")
        if self.sample < 0:
            raise ValueError(f"Expected sample={self.sample} >= 0.")
        self._rules(1, 2, (1,))

    def _rules(self, cells: int, values: int, widths: tuple[int, ...]) -> Disclosure:
        return Disclosure(
            cells,
            values,
            widths,
            min_brands=self.min_brands,
            min_customers=self.min_customers,
            single=self.single,
            pair=self.pair,
            p_percent=self.p_percent,
            margin=self.margin,
        )

    # --- the task, in a data set ------------------------------------------------------------------

    def task(self, data: DataSet) -> Statistics:
        """The task in the data set's columns.

        Raises:
            InputError: an unknown column, one without public bounds, no columns stated at all.
        """
        if not data.schema.columns:
            raise InputError(
                "data.columns",
                "are not stated: a statistic needs public bounds of every number",
                "state them: +data.columns.NAME='{low: 0, high: 100}'",
            )
        columns = {column.name: column for column in data.schema.columns}
        numbers = []
        for name in self.metrics:
            column = _known(columns, name, "task.metrics")
            if not isinstance(column, Number):
                raise InputError(
                    "task.metrics",
                    f"{name!r} has no bounds: it is a category",
                    f"name numbers, such as {_numbers(columns)}, or use it as task.segment",
                )
            numbers.append(self._capped(column))
        labelled = data.schema if data.schema.label in data.rows.columns else None
        return Statistics(tuple(numbers), labelled, self._segments(columns))

    def _capped(self, column: Number) -> Number:
        cap = (self.caps or {}).get(column.name, column.high)
        if not column.low < cap <= column.high:
            raise InputError(
                f"task.caps.{column.name}",
                f"{cap:g} is not above {column.low:g} and up to {column.high:g}, the data set's "
                "bounds",
                "choose a number between them, or leave it out (task.caps=null: no caps)",
            )
        return replace(column, high=cap)

    def _segments(self, columns: Mapping[str, object]) -> Segments | None:
        if self.segment is None:
            return None
        column = _known(columns, self.segment.column, "task.segment.column")
        if not isinstance(column, Number | Category):
            raise InputError(
                "task.segment.column",
                f"{self.segment.column!r} has no public list of values",
                "list them: data.columns.NAME={values: [...]}, or choose another column",
            )
        try:
            return Segments(column, self.segment.edges)
        except ValueError as error:
            raise InputError(
                "task.segment.edges", str(error).rstrip("."), "correct them"
            ) from error

    def rules(self, task: Statistics) -> Disclosure:
        """The question and its rules; without the spread of a plan's noise."""
        return replace(
            self._rules(len(task.cells), len(task.values), task.widths),
            weights=tuple(task.weights.tolist()),
            own_weight=task.own_weight,
        )

    # --- the study --------------------------------------------------------------------------------

    def drawn(self, data: DataSet, seed: int) -> DataSet:
        """All rows, or a sample with replacement, whose rows are units of their own."""
        if not self.sample:
            return data
        picked = numpy_generator(seed, "sample").integers(0, len(data.rows), self.sample)
        rows = data.rows.iloc[np.sort(picked)].reset_index(drop=True)
        return replace(data, rows=rows, customer=None)

    def check(self, how: Inquiry, data: DataSet, tables: Tables, journal: Journal) -> None:
        """Columns, cells, brands; the register of past releases; room in the secure sum."""
        if len(tables) < self.min_brands:
            raise InputError(
                "data",
                f"a benchmark over {len(tables)} brand{'s' * (len(tables) != 1)} is not released: "
                f"at least {self.min_brands} have to contribute, so that none is read off it",
                "enrol more brands (or a partition that makes some), or lower task.min_brands, "
                "which is never below 3",
            )
        task = self.task(data)
        for brand, table in tables.items():
            task.examples(table.rows, table.customers, f"brand {brand}")
        for plan in how.plans.values():
            _room(task, plan, how.summing, tables)
        if self.register is not None:
            register.check_alone(how)
            if self.sample:
                raise InputError(
                    "task.sample",
                    "draws some of the rows, and a register holds releases of all of them: what "
                    "two draws differ by may be one brand's",
                    "set task.sample=0, or leave the register out",
                )
            asked = asked_already(journal, how.seeds[0], next(iter(how.plans))) or tuple(tables)
            register.check(Path(self.register), self.release(data, asked))

    def release(self, data: DataSet, cohort: tuple[str, ...]) -> Release:
        """What the register keeps of this release."""
        subject, task = " ".join(part for part in (data.name, self.period) if part), self.task(data)
        metrics = ((n.name, _bounds(n)) for n in task.numbers)
        cells = "" if self.segment is None else f"{self.segment.column}: " + "; ".join(task.cells)
        return Release(
            subject, tuple(sorted(cohort)), cells, tuple(sorted(metrics)), self.min_brands
        )

    def work(self, brands: int) -> int:
        """Three rounds."""
        return 3 * brands

    def answer(self, data: DataSet, tables: Tables, place: Place, plan: Plan) -> Piece:
        """Ask all brands; keep exact sums beside the answer to compare with, but for a release."""
        task = self.task(data)
        brands = {b: task.examples(t.rows, t.customers, f"brand {b}") for b, t in tables.items()}
        rules = self.rules(task)
        known = in_force(plan, rules, len(brands))
        rules = replace(rules, spread=spread_of(known, rules.share_own))
        answered = ask(place, brands, task, rules, plan)
        if self.register is not None:  # of who is in it: a brand may have been absent
            release = self.release(data, answered.cohort)
            register.claim(Path(self.register), release)
            return piece_of(answered, {}, {})
        pooled = next(iter(brands.values())).followed_by(list(brands.values())[1:])
        return piece_of(answered, _exact(task, pooled), {})

    def findings(
        self, how: Inquiry, data: DataSet, tables: Mapping[int, Tables], pieces: Pieces
    ) -> Findings:
        """See ``benchmark_report.py``."""
        from experiments.questions.benchmark_report import findings

        return findings(self, how, data, tables, pieces)


def _bounds(column: Number) -> str:
    """All of a number's definition that its sums depend on."""
    empty = "" if column.missing is None else f", empty is {column.missing!r}"
    return f"{column.low!r} to {column.high!r}{', log' if column.log else ''}{empty}"


def _exact(task: Statistics, pooled: Records) -> dict[str, np.ndarray]:
    """What pooling all rows would give: exact sums, and the numbers themselves in order."""
    sums: dict[str, np.ndarray] = {}
    for start in range(0, len(pooled), 1024):
        found = task.evaluate(nn.Module(), pooled.span(start, start + 1024))
        for name in found:
            part = np.asarray(found[name], np.float64).sum(0)
            sums[f"exact/{name}"] = (
                sums[f"exact/{name}"] + part if f"exact/{name}" in sums else part
            )
    return {**sums, "exact/sorted": np.sort(pooled.x_bm.numpy(), 0)}


def _room(task: Statistics, plan: Plan, summing: Summing, tables: Tables) -> None:
    """Shared noise needs a fine lattice, which leaves the sum room for so many customers a brand.

    Raises:
        InputError: a brand has more; it would refuse with ``values.out-of-range``.
    """
    if plan.name != "distributed" or not isinstance(summing, BrandAgg):
        return
    bits = lattice.bits(1.0, sum(task.widths))
    most = fixedpoint.limit(len(tables)) / 2**bits
    weight = max(task.count_weight, task.tree_weight, task.value_weight)
    for brand, table in tables.items():
        if len(table.rows) * weight > most:
            raise InputError(
                "secure_sum",
                f"brand {brand} has {len(table.rows)} rows, and a sum of {len(tables)} brands over "
                f"{sum(task.widths)} entries has room for {int(most / weight)} from each",
                "describe fewer numbers or segments, ask fewer brands, or set privacy=local",
            )


def spread_of(plan: Plan, share: float) -> float:
    """Standard deviation of the noise on what is asked alone, in the unit of its entries."""
    return plan.sigma / math.sqrt(share) if isinstance(plan, CustomerPrivacy) else 0.0


def _known(columns: Mapping[str, object], name: str, where: str) -> object:
    if name not in columns:
        raise InputError(
            where, f"no column {name!r} in this data set", f"choose from {', '.join(columns)}"
        )
    return columns[name]


def _numbers(columns: Mapping[str, object]) -> str:
    return ", ".join(n for n, c in columns.items() if isinstance(c, Number)) or "none here"
