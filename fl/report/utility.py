"""What privacy costs: a metric against epsilon, and the statements of what was promised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fl.report.plots import INK, RULE, Plot, canvas, draw
from fl.report.rows import MEAN, Row
from fl.report.table import Table, arm_label, change, main_metric, metric_label, spread
from fl.report.values import mapping, real, sequence

_PRIVATE = ("federated", "central_dp")
_LOOKS = {
    ("federated", "local"): ("#0072B2", "o", "-"),
    ("federated", "distributed"): ("#D55E00", "s", "-"),
    ("federated", "brand"): ("#009E73", "^", "-"),
    ("central_dp", "local"): ("#CC79A7", "D", "--"),
    ("central_dp", "distributed"): ("#CC79A7", "v", ":"),
}


def all_statements(run: Mapping[str, object]) -> dict[str, list[str]]:
    """The lines of every privacy statement, by arm and guarantee."""
    found = mapping(run.get("statements"))
    return {
        key: [str(line) for line in sequence(mapping(s).get("lines"))] for key, s in found.items()
    }


def statement_lines(run: Mapping[str, object]) -> list[str]:
    """The statement of the run's own plan, for a terminal; of others, where to find them."""
    found = all_statements(run)
    label = str(mapping(run.get("privacy")).get("label"))
    own = [f"  {line}" for line in found.get(f"federated@{label}", [])]
    others = [key for key in found if key != f"federated@{label}"]
    return own + ([f"Privacy statements of {len(others)} more arms: report.html"] if others else [])


def utility_table(rows: Sequence[Row], run: Mapping[str, object]) -> Table | None:
    """The mean brand under each guarantee, and its distance from alone and from pooled."""
    metric = main_metric(rows)
    private = [r for r in _means(rows, metric) if r.arm in _PRIVATE and r.epsilon is not None]
    if not private:
        return None
    by_label = mapping(run.get("gains_by_privacy"))
    lines = []
    for row in sorted(private, key=lambda r: (r.arm, r.privacy, r.epsilon or 0.0)):
        gains = mapping(mapping(by_label.get(f"{row.privacy}-{row.epsilon:g}")).get(MEAN))
        differences = [
            _paired(gains.get(f"federated_minus_{other}")) if row.arm == "federated" else ""
            for other in ("alone", "pooled", "central_dp")
        ]
        name = f"{arm_label(row.arm)}, {row.privacy}"
        lines.append((name, f"{row.epsilon:g}", spread(row), *differences))
    for row in _means(rows, metric):
        if row.epsilon is None and row.arm in ("alone", "federated", "pooled"):
            lines.append((f"{arm_label(row.arm)}, no privacy", "none", spread(row), "", "", ""))
    header = (
        "Arm",
        "Epsilon",
        metric_label(metric),
        "minus alone",
        "minus pooled",
        "minus central",
    )
    note = (
        "Mean over brands; epsilon for a customer of one brand over the whole run. Differences are "
        "paired by seed; alone and pooled have no privacy."
    )
    return Table("What privacy costs", header, tuple(lines), note)


def utility_plot(rows: Sequence[Row]) -> Plot | None:
    """The mean brand's metric against epsilon, with what brands reach alone and pooled."""
    metric = main_metric(rows)
    means = _means(rows, metric)
    epsilons = sorted({r.epsilon for r in means if r.epsilon is not None})
    if not epsilons:
        return None
    figure, (axes,) = canvas(height=4.2)
    place = {epsilon: i for i, epsilon in enumerate(epsilons)}
    series: dict[tuple[str, str], list[Row]] = {}
    for row in means:
        if row.epsilon is not None and row.arm in _PRIVATE:
            series.setdefault((row.arm, row.privacy), []).append(row)
    for shift, ((arm, plan), points) in enumerate(sorted(series.items())):
        points = sorted(points, key=lambda r: r.epsilon or 0.0)
        x = [place[r.epsilon] + 0.05 * (shift - 1) for r in points if r.epsilon is not None]
        colour, marker, line = _LOOKS.get((arm, plan), (INK, "x", "-"))
        y = [r.value for r in points]
        ends = [[_gap(r.value, r.low) for r in points], [_gap(r.high, r.value) for r in points]]
        label = f"{arm_label(arm)}, {plan}"
        axes.errorbar(
            x, y, yerr=ends, color=colour, marker=marker, linestyle=line, capsize=3, label=label
        )
    for arm, line, side in (
        ("alone", ":", "bottom"),
        ("federated", "-.", "top"),  # often just below pooled
        ("pooled", "--", "bottom"),
    ):
        for row in means:
            if row.arm == arm and row.epsilon is None:
                axes.axhline(row.value, color=RULE, linestyle=line, linewidth=1.8, zorder=1)
                axes.text(
                    len(epsilons) - 0.52,
                    row.value,
                    f"{arm}, no privacy",
                    fontsize=8,
                    va=side,
                    ha="right",
                )
    axes.set_xticks(range(len(epsilons)), [f"{e:g}" for e in epsilons])
    axes.set_xlim(-0.5, len(epsilons) - 0.5)
    axes.set_xlabel("epsilon of a customer over the whole run (more private to the left)")
    axes.set_ylabel(metric_label(metric))
    caption = "Mean over brands with 95 % intervals over seeds; lines show arms without privacy."
    return draw("utility", "Utility against privacy", caption, figure)


def _means(rows: Sequence[Row], metric: str) -> list[Row]:
    return [r for r in rows if r.brand == MEAN and r.metric == metric]


def _gap(high: float, low: float) -> float:
    return max(0.0, high - low) if math.isfinite(high) and math.isfinite(low) else 0.0


def _paired(value: object) -> str:
    triple = [real(v) for v in sequence(value)]
    return change((triple[0], triple[1], triple[2])) if len(triple) == 3 else ""
