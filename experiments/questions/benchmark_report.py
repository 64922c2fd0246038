"""What a benchmark's report says: released figures, what is suppressed, what privacy costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.journal import Piece
from experiments.questions.benchmark import Benchmark
from experiments.questions.benchmark_rows import Seen, pooled_rows, rows_of, seen_of
from experiments.questions.study import Findings, Pieces, Tables
from experiments.settings import epsilon_of
from fl.algorithms.disclosure import REASONS
from fl.contracts import Unit
from fl.data.dataset import DataSet
from fl.privacy import Plan, Summing
from fl.report.answers import Block, Text
from fl.report.plots import INK, Plot, canvas, draw, style
from fl.report.rows import Row
from fl.report.table import Table, number, spread
from fl.tasks import figures

if TYPE_CHECKING:
    from experiments.questions.inquiry import Inquiry


_RELEASE = (
    "A release that is held against a register: nothing was compared with what pooling all rows "
    "would give, and nothing is written but what is released."
)


def findings(
    study: Benchmark,
    how: Inquiry,
    data: DataSet,
    tables: Mapping[int, Tables],
    pieces: Pieces,
) -> Findings:
    """Rows, report and the brands' own files; the release shown is the first seed's."""
    task = study.task(data)
    seen = {
        label: {seed: seen_of(task, piece) for seed, piece in by_seed.items()}
        for label, by_seed in pieces.items()
    }
    rows = [
        row
        for label, plan in how.plans.items()
        for row in rows_of(study, how, data, plan, list(seen[label].values()))
    ] + pooled_rows(study, how, data, seen)
    label, first = how.shown, how.seeds[0]
    shown = seen[label][first]
    blocks: list[Block] = [
        _reading(study, how, label, len(pieces[label][first].note["cohort"])),
        *_described(study, shown),
        *_plots(study, shown),
        _suppressed(how.plans[label], shown),
        *([_costs(rows, how)] if study.register is None else []),
    ]
    evaluation = {} if study.register is None else {"evaluation": _RELEASE}
    return Findings(
        answer=_answer(study, shown),
        rows=rows,
        blocks=blocks,
        run={"unit": study.unit, "shown": label, **evaluation},
        files=_own_places(study, shown, tables[first], pieces[label][first]),
    )


# ----------------------------------------------------------------------------------------- blocks


def _reading(study: Benchmark, how: Inquiry, label: str, brands: int) -> Text:
    plan = how.plans[label]
    return Text(
        "How to read this",
        f"One row of the data is one {study.unit}: that is the unit whose presence a guarantee "
        f"hides, and what is counted. {_drawn(study)}Figures are over {brands} brands together, "
        f"under {label!r}; {_who_sees(plan, how.summing)}. {_exactness(plan)}; numbers beyond "
        f"their public bounds count as the bound. A cell is released if at least "
        f"{study.min_brands} brands contribute to it and it holds at least "
        f"{study.min_customers:g} {study.unit}s, no brand has more than {study.single:.0%} and no "
        f"two have more than {study.pair:.0%} of it, and no brand can be estimated by another to "
        f"within {study.p_percent:g} %. Every brand tests its own share against the total.",
    )


def _drawn(study: Benchmark) -> str:
    if not study.sample:
        return ""
    return (
        f"Rows were drawn with replacement, so one {study.unit} may be several rows, and the "
        "guarantee is for one row drawn, not for all rows of one. "
    )


def _who_sees(plan: Plan, summing: Summing) -> str:
    if summing.hides_updates:
        return (
            "the coordinator learns the sum over all brands only, and of the tests how many "
            "object, not who"
        )
    if plan.unit is Unit.NONE:
        return (
            f"the sum is {summing.name}, so the coordinator sees each brand's exact sums and "
            "objections: the rules hide a brand from whoever reads the release, not from it"
        )
    return (
        f"the sum is {summing.name}, so the coordinator sees each brand's noised sums and "
        "objections: the rules hide a brand from whoever reads the release, not from it"
    )


def _exactness(plan: Plan) -> str:
    if plan.unit is Unit.NONE:
        return "No noise was added: numbers come from exact sums, and no customer is hidden"
    return "Every number comes from noised sums, so small differences mean nothing"


def _described(study: Benchmark, seen: Seen) -> list[Table]:
    task, ends = seen.task, [f"{q:.0%}" for q in study.quantiles]
    lines: list[tuple[str, ...]] = []
    for at, cell in enumerate(seen.released):
        if cell is None:
            continue
        for i, column in enumerate(task.numbers):
            values = [figures.quantile(task, cell, i, q) for q in study.quantiles]
            mean = number(cell.means[column.name], digits=2)
            counted = f"{cell.customers:,.0f}"
            lines.append(
                (task.cells[at], column.name, counted, mean, *(number(v, digits=2) for v in values))
            )
    header = ("Cell", "Number", f"{study.unit.capitalize()}s", "Mean", *ends)
    note = f"Percentages: share of {study.unit}s below the value; segments have coarser quantiles."
    tables = [Table("The benchmark", header, tuple(lines), note)] if lines else []
    whole = seen.released[0]
    if whole is None:
        return tables
    if task.labelled:
        rate = task.labelled.label
        rates = [
            (task.cells[at], number(100 * cell.means[rate], digits=1) + " %")
            for at, cell in enumerate(seen.released)
            if cell is not None
        ]
        tables.append(
            Table(f"Rate of {rate}", ("Cell", "Rate"), tuple(rates), "Share of positives.")
        )
    if whole.correlations:
        pairs = tuple(
            (f"{a}, {b}", number(r, digits=2)) for (a, b), r in whole.correlations.items()
        )
        scaled = (
            f"Of all {study.unit}s; numbers that are scaled by their logarithm are correlated so."
        )
        tables.append(Table("What goes together", ("Numbers", "Correlation"), pairs, scaled))
    return tables


def _plots(study: Benchmark, seen: Seen) -> list[Plot]:
    """Released histograms, and the exact outline that only a benchmark knows."""
    cell, exact = seen.released[0], seen.exact[0] if seen.exact else None
    if cell is None:
        return []
    task, made = seen.task, []
    for i, column in enumerate(task.numbers):
        figure, (axes,) = canvas(height=3.0)
        edges, shares = figures.histogram(task, cell, i)
        places = np.arange(len(shares))
        axes.bar(places + 0.5, shares, width=0.94, color=style("federated")[0], label="Released")
        if exact is not None:
            truth = figures.histogram(task, exact, i)[1]
            axes.stairs(
                truth,
                np.arange(len(truth) + 1),
                color=INK,
                linewidth=1.1,
                label="Exact (benchmark only)",
            )
        axes.set_xticks(range(0, len(edges), 2), [f"{e:,.3g}" for e in edges[::2]])
        axes.set_ylabel(f"Share of {study.unit}s")
        axes.set_xlabel(column.name + (" (logarithmic bars)" if column.log else ""))
        median = figures.quantile(task, cell, i, 0.5)
        caption = f"Half of all {study.unit}s are below {number(median, digits=2)}."
        made.append(draw(f"histogram-{i}", f"Distribution of {column.name}", caption, figure))
    return made


def _suppressed(plan: Plan, seen: Seen) -> Table:
    lines = [
        (seen.task.cells[at], "released" if reason == 0 else REASONS[reason])
        for at, reason in enumerate(seen.reasons)
    ]
    noised = "exact" if plan.unit is Unit.NONE else "noised"
    note = (
        "No figure of a suppressed cell is published, and no histogram of it is sent. The test "
        f"itself showed every brand and the coordinator the {noised} totals (customers, sums) of "
        "all cells, these among them"
        + (
            "; noise hides customers there, not a brand that is alone in a cell. "
            if noised == "noised"
            else ". "
        )
        + "All customers and only some of the segments are never released together, as their "
        "difference is the suppressed ones."
    )
    return Table(
        "Which cells are released, and why others are not", ("Cell", "Outcome"), tuple(lines), note
    )


def _costs(rows: Sequence[Row], how: Inquiry) -> Table:
    found = {
        (r.privacy, r.epsilon, r.metric): r
        for r in rows
        if r.brand == "pooled" and r.arm == "federated"
    }
    lines = []
    for label, plan in how.plans.items():
        cells = [
            found.get((plan.name, epsilon_of(plan), m))
            for m in ("rank_error", "rank_error_worst", "cells_released")
        ]
        shown = [_percent(cells[0]), _percent(cells[1]), spread(cells[2])]
        lines.append((label, *shown))
    header = ("Guarantee", "Rank error, mean", "Rank error, worst", "Cells released")
    note = (
        "How far the rank of a released quantile is from the rank it should have, over all numbers "
        "and quantiles of all customers together; ± half the 95 % interval over seeds."
    )
    return Table("What privacy costs", header, tuple(lines), note)


def _percent(row: Row | None) -> str:
    if row is None or not np.isfinite(row.value):
        return "–"  # noqa: RUF001
    half = (row.high - row.low) / 2
    return f"{100 * row.value:.2f} %" + (f" ± {100 * half:.2f}" if np.isfinite(half) else "")


def _answer(study: Benchmark, seen: Seen) -> str:
    cell = seen.released[0]
    if cell is None:
        return f"The benchmark over all {study.unit}s is not released: {REASONS[seen.reasons[0]]}."
    first = seen.task.numbers[0]
    median = figures.quantile(seen.task, cell, 0, 0.5)
    kept = sum(r == 0 for r in seen.reasons)
    return (
        f"Half of about {cell.customers:,.0f} {study.unit}s have a {first.name} below "
        f"{number(median, digits=2)}; {kept} of {len(seen.reasons)} cells are released, and every "
        "brand can see its own place."
    )


# ------------------------------------------------------------------------------------- at a brand


def _own_places(study: Benchmark, seen: Seen, tables: Tables, piece: Piece) -> dict[str, bytes]:
    """What each brand works out for itself; in a deployment it never leaves the brand."""
    cell = seen.released[0]
    if cell is None:
        return {}
    from experiments.books import file_name

    made = {}
    for brand in piece.note["cohort"]:
        rows = seen.task.examples(tables[brand].rows, tables[brand].customers, f"brand {brand}")
        own = rows.x_bm.numpy()
        place = {
            column.name: {
                "median": float(np.median(own[:, i])),
                "share_of_all_below": round(
                    figures.rank(seen.task, cell, i, float(np.median(own[:, i]))), 4
                ),
            }
            for i, column in enumerate(seen.task.numbers)
        }
        said = {"brand": brand, study.unit + "s": len(rows), "place_of_own_median": place}
        made[f"brands/{file_name(brand)}.json"] = json.dumps(
            said, indent=1, ensure_ascii=False
        ).encode()
    return made
