"""What a segmentation's report says: who the segments are, who is in a named group, who moved."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.books import file_name
from experiments.journal import Piece
from experiments.questions.segments import SegmentStudy, best_centres
from experiments.questions.study import Findings, Pieces, Tables
from fl.contracts import Floats, Ints, Unit
from fl.data.dataset import DataSet
from fl.privacy import NoPrivacy, Plan
from fl.report.answers import Block, Text
from fl.report.metrics import interval
from fl.report.plots import Plot, canvas, draw, style
from fl.report.rows import Row
from fl.report.table import Table, number, spread
from fl.tasks.segmentation import Portraits, Segmentation, nearest

if TYPE_CHECKING:
    from experiments.questions.inquiry import Inquiry


def findings(
    study: SegmentStudy,
    how: Inquiry,
    data: DataSet,
    tables: Mapping[int, Tables],
    pieces: Pieces,
) -> Findings:
    """Rows, report and the brands' own files; what is shown is the first seed's answer."""
    task, first = study.task(data, 1), how.seeds[0]
    pooled = {seed: _rows_of(task, tables[seed]) for seed in how.seeds}
    rows: list[Row] = []
    for label, plan in how.plans.items():
        rows += _rows(study, how, data, plan, task, pooled, pieces[label], exact=not rows)
    label = _shown(how)
    shown = pieces[label][first]
    centres = best_centres(shown)
    parts = task.read(np.asarray(shown.arrays["model/portrait"], np.float64))
    names = _names(task, centres)
    blocks: list[Block] = [
        _reading(study, how, label, len(shown.note["cohort"])),
        _who(study, task, parts, names),
        _map(task, parts, centres, names),
        *([_rules(study, task, parts)] if task.rules else []),
        *([_moves(parts, names)] if task.drift else []),
        _agreement(rows, how),
    ]
    return Findings(
        answer=_answer(study, task, parts, names),
        rows=rows,
        blocks=blocks,
        run={"unit": study.unit, "shown": label, "segments": list(names)},
        files=_own(task, tables[first], shown, centres, names),
    )


def _rows_of(task: Segmentation, tables: Tables) -> Portraits:
    each = [task.examples(t.rows, t.customers, f"brand {b}") for b, t in tables.items()]
    return each[0].followed_by(each[1:])


def _shown(how: Inquiry) -> str:
    """The most exact private guarantee, if there is one."""
    private = [n for n, plan in how.plans.items() if plan.unit is not Unit.NONE]
    shared = [n for n in private if how.plans[n].name == "distributed"]
    return [*shared, *private, *how.plans][0]


# ------------------------------------------------------------------------------------------- rows


def _rows(
    study: SegmentStudy,
    how: Inquiry,
    data: DataSet,
    plan: Plan,
    task: Segmentation,
    pooled: Mapping[int, Portraits],
    pieces: Mapping[int, Piece],
    *,
    exact: bool,
) -> list[Row]:
    """How far the federated segments agree with pooled ones, and with each other over seeds.

    With ``exact``, how close pooled rows are to pooled centres as well: no guarantee covers that.
    """
    from sklearn.metrics import adjusted_rand_score

    made: dict[tuple[str, str], list[float]] = {}
    assigned: list[Ints] = []
    for seed, piece in pieces.items():
        x_bf = pooled[seed].x_bf.numpy()
        ours = nearest(best_centres(piece), x_bf)
        theirs = nearest(np.asarray(piece.arrays["pooled/centres"], np.float64), x_bf)
        assigned.append(ours[0])
        agreed = float(adjusted_rand_score(theirs[0], ours[0]))
        made.setdefault(("federated", "agreement"), []).append(agreed)
        for arm, (_, square_b) in (("federated", ours), ("pooled", theirs)):
            made.setdefault((arm, "mean_square_distance"), []).append(float(square_b.mean()))
    pairs = [adjusted_rand_score(a, b) for a, b in itertools.combinations(assigned, 2)]
    made["federated", "stability"] = [float(np.mean(pairs))] if pairs else [float("nan")]
    epsilon = None if plan.unit is Unit.NONE else getattr(plan, "epsilon", None)
    kept = {"federated": (plan.name, epsilon), "pooled": (NoPrivacy().name, None)}
    return [
        Row(
            how.experiment, data.name, study.name, "", "kmeans", *kept[arm], arm, "pooled",
            metric, *interval(values), seeds=len(values),
        )
        for (arm, metric), values in made.items()
        if exact or arm != "pooled"
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------- blocks


def _reading(study: SegmentStudy, how: Inquiry, label: str, brands: int) -> Text:
    noised = "exact" if how.plans[label].unit is Unit.NONE else "noised"
    seen = "only the sum over all brands is seen"
    if not how.summing.hides_updates:
        seen = f"under a {how.summing.name} sum the coordinator sees each brand's {noised} sums"
    return Text(
        "How to read this",
        f"{brands} brands group their {study.unit}s together, under {label!r}: each adds up, at "
        f"home, how many are nearest to each centre and where they lie, and {seen}. "
        "One row of the data is one of them. Names are made of the centres: what a segment is "
        "highest or lowest in. A brand puts its own customers into segments and named groups by "
        "itself; no list of them leaves it.",
    )


def _names(task: Segmentation, centre_kf: Floats) -> tuple[str, ...]:
    """A segment is called after the two features in which it is farthest from the others' mean."""
    away_kf = centre_kf - centre_kf.mean(0)
    names = []
    for k, away_f in enumerate(away_kf):
        strongest = np.argsort(-np.abs(away_f))[:2]
        said = [f"{'high' if away_f[f] > 0 else 'low'} {task.features[f].name}" for f in strongest]
        names.append(f"{chr(65 + k)}: {', '.join(said)}")
    return tuple(names)


def _who(
    study: SegmentStudy, task: Segmentation, parts: Mapping[str, Floats], names: Sequence[str]
) -> Table:
    sizes = np.maximum(parts["sizes"], 0)
    lines = []
    for k, name in enumerate(names):
        typical = np.clip(parts["points"][k] / max(sizes[k], 1.0), -1, 1)
        values = [
            number(f.unscale(float(typical[i])), digits=2) for i, f in enumerate(task.features)
        ]
        share = sizes[k] / max(sizes.sum(), 1.0)
        lines.append((name, f"{sizes[k]:,.0f}", f"{share:.0%}", *values))
    header = ("Segment", f"{study.unit.capitalize()}s", "Share", *(f.name for f in task.features))
    note = (
        "Typical values: the mean in the scale in which segments were found (log for heavy tails)."
    )
    return Table("Who the segments are", header, tuple(lines), note)


def _map(
    task: Segmentation, parts: Mapping[str, Floats], centre_kf: Floats, names: Sequence[str]
) -> Plot:
    """Centres by the first two features; a circle's area is the segment's size."""
    figure, (axes,) = canvas(height=4.0)
    sizes = np.maximum(parts["sizes"], 0)
    second = min(1, len(task.features) - 1)
    x, y = centre_kf[:, 0], centre_kf[:, second]
    area = 60 + 1800 * sizes / max(float(sizes.sum()), 1.0)
    axes.scatter(x, y, s=area, c=style("federated")[0], alpha=0.55)
    for k, name in enumerate(names):
        axes.annotate(name.partition(":")[0], (x[k], y[k]), ha="center", va="center")
    for axis, column in ((axes.xaxis, task.features[0]), (axes.yaxis, task.features[second])):
        ticks = [-1.0, -0.5, 0.0, 0.5, 1.0]
        axis.set_ticks(ticks, [f"{column.unscale(t):,.3g}" for t in ticks])
    axes.set_xlabel(task.features[0].name)
    axes.set_ylabel(task.features[second].name)
    caption = "Where the segments' centres lie; the area of a circle is the size of the segment."
    return draw("segments", "The segments beside each other", caption, figure)


def _rules(study: SegmentStudy, task: Segmentation, parts: Mapping[str, Floats]) -> Table:
    total = max(float(np.maximum(parts["sizes"], 0).sum()), 1.0)
    lines = [
        (
            rule.name.replace("_", " "),
            " and ".join(rule.conditions),
            f"{max(parts['rules'][i], 0):,.0f}",
            f"{max(parts['rules'][i], 0) / total:.1%}",
        )
        for i, rule in enumerate(task.rules)
    ]
    header = ("Group", "Who is in it", f"{study.unit.capitalize()}s", "Share")
    note = "Counted over all brands; which customers they are, only their own brand knows."
    return Table("Named groups", header, tuple(lines), note)


def _moves(parts: Mapping[str, Floats], names: Sequence[str]) -> Table:
    moves = np.maximum(parts["moves"], 0)
    lines = [
        (name, *(f"{moves[k, j] / max(moves[k].sum(), 1.0):.0%}" for j in range(len(names))))
        for k, name in enumerate(names)
    ]
    header = ("From (earlier date)", *(f"to {name.partition(':')[0]}" for name in names))
    stayed = float(np.trace(moves) / max(moves.sum(), 1.0))
    note = f"Of those who were customers at both dates; {stayed:.0%} stayed in their segment."
    return Table("Who moved since the earlier date", header, tuple(lines), note)


def _agreement(rows: Sequence[Row], how: Inquiry) -> Table:
    found = {(r.privacy, r.epsilon, r.metric): r for r in rows if r.arm == "federated"}
    lines = []
    for label, plan in how.plans.items():
        epsilon = None if plan.unit is Unit.NONE else getattr(plan, "epsilon", None)
        metrics = ("agreement", "stability", "mean_square_distance")
        lines.append((label, *(spread(found.get((plan.name, epsilon, m))) for m in metrics)))
    exact = next((r for r in rows if r.arm == "pooled"), None)
    lines.append(("pooled rows, no privacy", "", "", spread(exact)))
    header = ("Guarantee", "Agreement with pooled", "Agreement of seeds", "Mean squared distance")
    note = (
        "Adjusted Rand index: 1 where two groupings of all customers are the same, 0 by chance. "
        "Pooled is k-means on all rows in one place, best of ten starts; seeds differ in their "
        "first centres and in the noise."
    )
    return Table("What privacy costs, and how stable the segments are", header, tuple(lines), note)


def _answer(
    study: SegmentStudy, task: Segmentation, parts: Mapping[str, Floats], names: Sequence[str]
) -> str:
    sizes = np.maximum(parts["sizes"], 0)
    largest = int(np.argmax(sizes))
    said = f"The largest of {len(names)} segments is {names[largest]}"
    said += f", {sizes[largest] / max(sizes.sum(), 1.0):.0%} of all {study.unit}s"
    if task.rules:
        at = int(np.argmax(parts["rules"]))
        said += f"; the largest named group is {task.rules[at].name.replace('_', ' ')}, about "
        said += f"{max(parts['rules'][at], 0):,.0f}"
    return said + "."


def _own(
    task: Segmentation, tables: Tables, piece: Piece, centres: Floats, names: Sequence[str]
) -> dict[str, bytes]:
    """What each brand works out for itself; in a deployment it never leaves the brand."""
    made = {}
    for brand in piece.note["cohort"]:
        rows = task.examples(tables[brand].rows, tables[brand].customers, f"brand {brand}")
        at_b = nearest(centres, rows.x_bf.numpy())[0]
        counts = np.bincount(at_b, minlength=len(names)).tolist()
        met = rows.rules_br.numpy().sum(0).astype(int).tolist()
        said = {
            "brand": brand,
            "segments": dict(zip(names, counts, strict=True)),
            "groups": {r.name: n for r, n in zip(task.rules, met, strict=True)},
        }
        content = json.dumps(said, indent=1, ensure_ascii=False)
        made[f"brands/{file_name(brand)}.json"] = content.encode()
    return made
