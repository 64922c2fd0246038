"""The result tables and the one-sentence answer: the same words in terminal, README and report.

A :class:`Table` is text in cells, shown by :func:`terminal` (rich), :func:`markdown`, and
``fl/report/html.py``. ``rows`` are those of one run. ``gains`` is ``run.json``'s entry of that name
(:func:`fl.report.rows.gains`): differences of arms, paired by seed, with their intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from fl.report.metrics import METRICS, NAN
from fl.report.rows import MEAN, POOLED, TIER, WORST, Row
from fl.report.values import mapping, real, sequence

if TYPE_CHECKING:
    from rich.console import Console

ARMS: Mapping[str, tuple[str, str]] = MappingProxyType(  # arm -> label, meaning; in display order
    {
        "alone": ("Alone", "Each brand trains on its own rows only."),
        "federated": ("Federated", "All brands train one model; rows stay where they are."),
        "finetuned": ("Fine-tuned", "The federated model, trained on at each brand."),
        "pooled": ("Pooled", "One model on all records in one place, which privacy forbids."),
        "central_dp": ("Central DP", "All records in one place, trained with a privacy guarantee."),
    }
)
MAIN = ("auc", "pr_auc", "log_loss", "calibration_error")  # columns where space is short
DASH = "–"  # noqa: RUF001  an en dash stands for "no value"
MINUS = "−"  # noqa: RUF001  a true minus has the width of a plus

Index = Mapping[tuple[str, str, str], Row]


@dataclass(frozen=True, slots=True)
class Table:
    """Text in cells. The first column names the line, the others are numbers."""

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    note: str


def index(rows: Iterable[Row]) -> Index:
    """Rows by (arm, brand, metric).

    Raises:
        ValueError: two rows for the same arm, brand and metric, as from two runs.
    """
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (row.arm, row.brand, row.metric)
        if key in found:
            raise ValueError(f"Expected the rows of one run, got {key} twice.")
        found[key] = row
    return found


def arms(rows: Iterable[Row]) -> list[str]:
    """The arms among ``rows`` in display order, arms unknown here last."""
    present = dict.fromkeys(row.arm for row in rows)
    return [*(a for a in ARMS if a in present), *(a for a in present if a not in ARMS)]


def brand_ids(rows: Iterable[Row]) -> list[str]:
    """The brands among ``rows``, without the groups."""
    names = dict.fromkeys(row.brand for row in rows)
    return [n for n in names if n not in {MEAN, WORST, POOLED} and not n.startswith(TIER)]


def arm_label(arm: str) -> str:
    """The arm's name for a reader."""
    return ARMS[arm][0] if arm in ARMS else arm


def metric_label(metric: str) -> str:
    """The metric's name for a reader."""
    return METRICS[metric].label if metric in METRICS else metric


def main_metric(rows: Iterable[Row]) -> str:
    """What the answer, the tiers and the plots show: AUC if there, else the first metric."""
    present = [row.metric for row in rows]
    return present[0] if present and "auc" not in present else "auc"


def number(value: float, *, sign: bool = False, digits: int = 3) -> str:
    """A number for a cell: a true minus, a dash for NaN.

    >>> number(0.03749, sign=True), number(-0.5), number(float("nan"))
    ('+0.037', '−0.500', '–')
    """  # noqa: RUF002
    if not math.isfinite(value):
        return DASH
    rounded = round(value, digits) + 0.0  # no "-0.000"
    return format(rounded, f"{'+' if sign else ''}.{digits}f").replace("-", MINUS)


def results(rows: Sequence[Row], metrics: Sequence[str] = ()) -> Table:
    """Arms as lines: the mean brand's metrics ± half an interval's width, then the worst brand."""
    found, main = index(rows), main_metric(rows)
    shown = [m for m in metrics or _short(rows) if any((a, MEAN, m) in found for a in arms(rows))]
    private = any(row.epsilon is not None for row in rows)
    lines = []
    for arm in arms(rows):
        cells = [spread(found.get((arm, MEAN, metric))) for metric in shown]
        worst = spread(found.get((arm, WORST, main)))
        epsilon = next((row.epsilon for row in rows if row.arm == arm), None)
        budget = [DASH if epsilon is None else f"{epsilon:g}"] if private else []
        lines.append((arm_label(arm), *cells, worst, *budget))
    header = ("Arm", *map(metric_label, shown), f"Worst brand, {metric_label(main)}")
    seeds = max((row.seeds for row in rows), default=0)
    wide = f"± half the 95 % interval over {seeds} seeds" if seeds > 1 else "one seed: no interval"
    return Table(
        "Mean over brands",
        header + (("Epsilon",) if private else ()),
        tuple(lines),
        f"{wide[0].upper()}{wide[1:]}. The worst brand is found anew in each seed.",
    )


def _short(rows: Sequence[Row]) -> Sequence[str]:
    """The columns where space is short: a task's first metrics."""
    return MAIN if main_metric(rows) == "auc" else tuple(dict.fromkeys(r.metric for r in rows))[:4]


def tier_table(rows: Sequence[Row], gains: object = None) -> Table | None:
    """Size tiers as lines: the main metric per arm, and what federated gains over alone."""
    tiers = list(dict.fromkeys(row.brand for row in rows if row.brand.startswith(TIER)))
    if not tiers:
        return None
    found, main, shown = index(rows), main_metric(rows), arms(rows)
    lines = []
    for tier in tiers:
        cells = [spread(found.get((arm, tier, main))) for arm in shown]
        lines.append((tier.removeprefix(TIER), *cells, change(gain(rows, tier, gains))))
    return Table(
        f"{metric_label(main)} by brand size",
        ("Tier", *map(arm_label, shown), "Federated − alone"),  # noqa: RUF001
        tuple(lines),
        "Mean over the tier's brands. The interval of a gain is paired by seed; without one, the "
        "gain is the difference of the two columns.",
    )


def gain(rows: Sequence[Row], brand: str, gains: object = None) -> tuple[float, float, float]:
    """``federated`` minus ``alone`` in the main metric: (mean, low, high).

    From ``gains`` if it has this metric and brand; else the difference, with NaN for the interval.
    """
    metric = main_metric(rows)
    entry = mapping(mapping(gains).get(brand))
    paired = [real(v) for v in sequence(entry.get("federated_minus_alone"))]
    if entry.get("metric") == metric and len(paired) == 3 and math.isfinite(paired[0]):
        return paired[0], paired[1], paired[2]
    found = index(rows)
    both = [found.get((arm, brand, metric)) for arm in ("federated", "alone")]
    values = [NAN if row is None else row.value for row in both]
    return values[0] - values[1], NAN, NAN


def answer(rows: Sequence[Row], gains: object = None) -> str:
    """What came out, in one plain sentence; empty if there is nothing to compare."""
    metric, found = main_metric(rows), index(rows)
    value = {arm: row.value for arm in arms(rows) if (row := found.get((arm, MEAN, metric)))}
    if "federated" not in value or not math.isfinite(value["federated"]):
        return ""
    named = f"the mean brand's {_sentence_case(metric_label(metric))}"
    if math.isfinite(value.get("alone", NAN)):
        change = _verdict(gain(rows, MEAN, gains), metric)
        ends = f"from {number(value['alone'])} to {number(value['federated'])}"
        text = f"Training together {change[0]} {named} {ends} ({change[1]})"
    else:
        text = f"Training together gives {named} as {number(value['federated'])}"
    if math.isfinite(value.get("finetuned", NAN)):
        text += f"; tuning the result on at each brand gives {number(value['finetuned'])}"
    if math.isfinite(value.get("pooled", NAN)):
        text += "; pooling all records, which privacy forbids, would give "
        text += number(value["pooled"])
    return text + "."


def privacy(rows: Sequence[Row], plan: Mapping[str, object] | None = None) -> tuple[bool, str]:
    """Whether there is a guarantee, and the line on it that every form of a report shows.

    Args:
        rows: of one run; their privacy name counts where ``plan`` has none.
        plan: ``run.json``'s entry ``privacy``, with ``name``, ``unit`` and ``noise_source``.
    """
    given = {key: str(value) for key, value in (plan or {}).items() if value is not None}
    name = given.get("name") or next((row.privacy for row in rows), "")
    if not name:
        return False, "Privacy: not recorded for this run"
    if name == "none":
        kept = {f"{r.privacy} at epsilon {r.epsilon:.3g}" for r in rows if r.epsilon is not None}
        beside = f"; beside it {', '.join(sorted(kept))}" if kept else ""
        return False, f"No privacy guarantee: plan 'none' chosen by name{beside}"
    if (noise := given.get("noise_source", "secure")) != "secure":
        return False, f"NO PRIVACY: plan '{name}' with {noise}, which anyone can subtract"
    unit = given.get("unit", "none")
    epsilons = sorted({row.epsilon for row in rows if row.epsilon is not None})
    line = f"Privacy: plan '{name}'" + (f", protects each {unit}" if unit != "none" else "")
    return True, line + (f", epsilon {', '.join(f'{e:.3g}' for e in epsilons)}" if epsilons else "")


def main_rows(rows: Sequence[Row], run: Mapping[str, object]) -> list[Row]:
    """The rows of the run's own plan, and of arms that need none; ``plans`` may add others."""
    label = str(mapping(run.get("privacy")).get("label", ""))
    own = [r for r in rows if r.epsilon is None or f"{r.privacy}-{r.epsilon:g}" == label]
    if any(r.epsilon is not None for r in own):
        return own  # else noise was stated, not epsilon, or more was booked than was planned
    return [r for r in rows if r.epsilon is None or r.privacy == label.split("-")[0] or not label]


def terminal(console: Console, rows: Sequence[Row], run: Mapping[str, object]) -> None:
    """Write the tables, the answer, the privacy line and its statement to a rich console."""
    from rich.text import Text

    from fl.report.recommended import recommending_table
    from fl.report.utility import statement_lines, utility_table

    more, gains = (recommending_table(run), utility_table(rows, run)), run.get("gains")
    print_tables(console, (*_tables(rows := main_rows(rows, run), gains), *filter(None, more)))
    console.print(Text(answer(rows, gains)))
    guaranteed, headline = privacy(rows, mapping(run.get("privacy")))
    console.print(Text(headline, style="" if guaranteed else "bold yellow"))
    for line in statement_lines(run):
        console.print(Text(line))


def print_tables(console: Console, tables: Iterable[Table]) -> None:
    """Write tables to a rich console."""
    from rich.table import Table as Rich
    from rich.text import Text

    for table in tables:
        shown = Rich(title=table.title, caption=table.note, title_justify="left")
        for place, name in enumerate(table.header):
            shown.add_column(Text(name), justify="right" if place else "left")
        for line in table.lines:
            shown.add_row(*map(Text, line))  # a brand's name is not markup
        console.print(shown)


def markdown(rows: Sequence[Row], gains: object = None) -> str:
    """The same for a README."""
    parts = [answer(rows, gains), f"**{privacy(rows)[1]}.**"]
    for table in _tables(rows, gains):
        rule = ["---", *["---:"] * (len(table.header) - 1)]
        lines = [table.header, rule, *table.lines]
        body = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
        parts.append(f"**{table.title}**\n\n{body}\n\n{table.note}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _tables(rows: Sequence[Row], gains: object) -> list[Table]:
    tiers = tier_table(rows, gains)
    return [results(rows), *([tiers] if tiers else [])]


def spread(row: Row | None) -> str:
    """A value with half its interval."""
    if row is None:
        return DASH
    half = (row.high - row.low) / 2
    return number(row.value) + (f" ± {number(half)}" if math.isfinite(half) else "")


def change(found: tuple[float, float, float]) -> str:
    """A difference with its interval."""
    mean, low, high = found
    if not math.isfinite(low):
        return number(mean, sign=True)
    return f"{number(mean, sign=True)} [{number(low, sign=True)}, {number(high, sign=True)}]"


def _verdict(change: tuple[float, float, float], metric: str) -> tuple[str, str]:
    """The verb, and what stands in brackets."""
    mean, low, high = change
    verb = "raises" if mean >= 0 else "lowers"
    known = METRICS.get(metric)
    lower = "; lower is better" if known and not known.higher_is_better else ""
    if not math.isfinite(low):
        return verb, f"{number(mean, sign=True)}, no interval{lower}"
    span = f"95 % interval {number(low, sign=True)} to {number(high, sign=True)}"
    unclear = ", so the difference may be chance" if low <= 0 <= high else ""
    return ("moves" if unclear else verb), f"{number(mean, sign=True)}, {span}{unclear}{lower}"


def _sentence_case(label: str) -> str:
    return label if label.isupper() or label.startswith("PR") else label[0].lower() + label[1:]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
