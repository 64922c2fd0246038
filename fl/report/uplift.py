"""Whom to treat, in a report: how good the order is, and what treating the best of it brings.

Reads the entry ``uplift`` of ``run.json`` (``experiments/targeting.py``). All values are outcomes
per customer there, and shown here per 100 customers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fl.report.plots import INK, OTHER, STYLE, Plot, canvas, draw
from fl.report.table import DASH, Table, arm_label
from fl.report.values import mapping, real, sequence

LEARNERS = {"t": "T-learner", "x": "X-learner", "dr": "DR-learner"}
_PRIVATE = {"distributed": ("#b2442c", "v"), "local": ("#7a5aa6", "P")}
_FREE = (DASH, DASH)
_PAID = (
    " Epsilon of all: what this line's trainings cost one customer together, for all their models "
    "are released. Lines, learners and counts of the same customers add up further."
)


@dataclass(frozen=True, slots=True)
class _Line:
    """One arm of a comparison on one arm of the campaign."""

    label: str
    colour: str
    campaign: str
    customers: float
    figures: Mapping[str, Sequence[float]]
    curve: Sequence[Sequence[float]]
    cost: tuple[str, str]


def uplift_table(run: Mapping[str, object], title: str = "Whom to treat") -> Table | None:
    """A line for each arm and campaign; None where a run learned no effects."""
    lines = _lines(run)
    if not lines:
        return None
    entry = mapping(run.get("uplift"))
    learner = LEARNERS.get(str(entry.get("learner")), "")
    header = (
        "Campaign, arm",
        "Customers",
        "Qini",
        "Area below the curve",
        "Best 30 % above random",
        "Epsilon of one training",
        "Epsilon of all",
    )
    cells = tuple(
        (
            f"{line.campaign}: {line.label}",
            f"{line.customers:,.0f}",
            *(_spread(line.figures[name]) for name in ("qini", "auuc", "top")),
            *line.cost,
        )
        for line in lines
    )
    note = f"{learner}. {_how(entry)}{_PAID if any(e.cost != _FREE for e in lines) else ''}"
    return Table(title, header, cells, note.lstrip(". "))


def uplift_plots(run: Mapping[str, object], title: str = "Whom to treat") -> list[Plot]:
    """Two figures, a panel for each campaign: Qini curves, and what a policy brings."""
    lines = _lines(run)
    if not lines:
        return []
    learner = str(mapping(run.get("uplift")).get("learner"))
    return [
        _panels(
            lines,
            f"qini-{learner}",
            f"{title}: uplift beyond random order (Qini curves)",
            "Area between a line and 0 is Qini. 0: as good as a random order. Bands: 95 %, of the "
            "first line of each panel.",
            (4, 5, 6),
        ),
        _panels(
            lines,
            f"policy-{learner}",
            f"{title}: what treating the best customers brings",
            "Further outcomes among 100 customers if only the best share of them is treated. "
            "Dashed: as many customers drawn at random. Bands: 95 %, of each panel's first line.",
            (1, 2, 3),
        ),
    ]


def _panels(
    lines: Sequence[_Line], name: str, title: str, caption: str, which: tuple[int, int, int]
) -> Plot:
    campaigns = list(dict.fromkeys(line.campaign for line in lines))
    figure, grid = canvas(height=3.7, shape=(1, len(campaigns)))
    value, low, high = which
    for axes, campaign in zip(grid, campaigns, strict=True):
        shown = [line for line in lines if line.campaign == campaign]
        for place, line in enumerate(shown):
            x = [100 * point[0] for point in line.curve]
            y = [[100 * point[k] for point in line.curve] for k in (value, low, high)]
            if not place:
                axes.fill_between(x, y[1], y[2], color=line.colour, alpha=0.14, linewidth=0)
            axes.plot(x, y[0], color=line.colour, linewidth=1.8, label=line.label)
        ends = (0.0, 0.0) if value == 4 else (0.0, 100 * shown[0].curve[-1][value])
        axes.plot([0, 100], ends, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_title(campaign, loc="left", fontsize=10)
        axes.set_xlabel("Treated, best first, %")
    grid[0].set_ylabel("Outcomes per 100 customers")
    return draw(name, title, caption, figure)


def _lines(run: Mapping[str, object]) -> list[_Line]:
    """In the order of campaigns; entries that are not whole are left out."""
    found = []
    for one in map(mapping, sequence(mapping(run.get("uplift")).get("arms"))):
        arm, privacy = str(one.get("arm")), str(one.get("privacy"))
        figures = {k: [real(v) for v in sequence(one.get(k))] for k in ("qini", "auuc", "top")}
        curve = [[real(v) for v in sequence(point)] for point in sequence(one.get("curve"))]
        if any(len(v) != 3 for v in figures.values()) or any(len(p) != 7 for p in curve):
            continue
        plan, _, epsilon = privacy.partition("-")
        label = arm_label(arm) + ("" if plan == "none" else f", {plan}, epsilon {epsilon}")
        colour = (STYLE.get(arm, OTHER) if plan == "none" else _PRIVATE.get(plan, OTHER))[0]
        campaign, n = str(one.get("campaign")), real(one.get("customers"))
        found.append(_Line(label, colour, campaign, n, figures, curve, _cost(one)))
    order = list(dict.fromkeys(line.campaign for line in found))
    return sorted(found, key=lambda line: order.index(line.campaign))


def _cost(one: Mapping[str, object]) -> tuple[str, str]:
    """Epsilon of one training, and of all in which one customer may be."""
    each, whole, trainings = (real(one.get(k)) for k in ("epsilon", "epsilon_of_all", "trainings"))
    if math.isnan(each):
        return _FREE
    together = DASH if math.isnan(whole) else f"{whole:.2f} ({trainings:.0f} trainings)"
    return f"{each:g}", together


def _how(entry: Mapping[str, object]) -> str:
    told = (
        "Further outcomes per 100 customers, with the 95 % interval {}; Qini: area between the "
        "uplift curve and that of a random order, for which it is 0. No score is of a model that "
        "saw the customer."
    )
    folds, many = real(entry.get("folds")), real(entry.get("passes"))
    if folds:
        divisions = "one division" if many == 1 else f"over {many:.0f} divisions"
        return told.format(
            f"over customers and {divisions} of all customers into {folds:.0f} folds"
        )
    return told.format("over customers, of the first seed's test customers")


def _spread(figure: Sequence[float]) -> str:
    value, low, high = (100 * x for x in figure)
    if not all(map(math.isfinite, (value, low, high))):
        return DASH
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
