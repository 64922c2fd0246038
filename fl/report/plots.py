"""The report's plots as inline SVG: text stays text, lines take the page's colours.

Each function returns a :class:`Plot`, or None where a run has nothing to show. The same run gives
the same bytes: identifiers are hashed with a fixed salt, and there is no date. Colours are those of
Okabe, Ito, "Color Universal Design" (2008), a little darker or lighter so that they read on white
and on black; every arm has a marker of its own as well.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fl.report.metrics import METRICS, NAN
from fl.report.rows import Row
from fl.report.table import arm_label, arms, brand_ids, gain, main_metric, metric_label
from fl.report.values import brand_sizes, mapping, real, sequence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: Mapping[str, tuple[str, str]] = MappingProxyType(  # arm -> colour, marker
    {
        "alone": ("#d98200", "o"),
        "federated": ("#2478b8", "D"),
        "finetuned": ("#0b9e78", "^"),
        "pooled": ("#c66a9e", "s"),
        "central_dp": ("#808080", "P"),
    }
)
OTHER = ("#808080", "X")  # arms that have no style of their own
INK, RULE = "#010203", "#040506"  # stand for the page's text and line colours
SETTINGS: Mapping[Any, object] = MappingProxyType(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "crossbrand-fl",
        "text.parse_math": False,  # a "$" in a brand's name is a "$"
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
        **dict.fromkeys(("axes.edgecolor", "grid.color"), RULE),
        **dict.fromkeys(("axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK),
        **dict.fromkeys(("xtick.major.size", "ytick.major.size", "xtick.minor.size"), 0.0),
    }
)
WIDTH = 9.5  # inches; the page scales it
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
MOST_BRANDS, MOST_LEVELS, LONGEST_NAME = 60, 12, 26


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure of the report.

    Attributes:
        name: for anchors, unique in a report.
        title: of the figure.
        caption: how to read it, plain text.
        svg: markup, safe to put into a page.
    """

    name: str
    title: str
    caption: str
    svg: str


def all_plots(rows: Sequence[Row], run: Mapping[str, object]) -> list[Plot]:
    """Every plot that this run has data for, in the order of the report."""
    sizes = brand_sizes(run)
    made = (
        brands_plot(rows, sizes),
        gain_plot(rows, sizes, run.get("gains")),
        learning_plot(sequence(run.get("history"))),
        calibration_plot(mapping(run.get("calibration"))),
        additive_plot(mapping(run.get("additive"))),
    )
    return [plot for plot in made if plot is not None]


def brands_plot(rows: Sequence[Row], sizes: Mapping[str, float]) -> Plot | None:
    """All arms of each brand on one line; the largest brand on top (without sizes, the best)."""
    metric, shown = main_metric(rows), arms(rows)
    value = {(r.arm, r.brand): r.value for r in rows if r.metric == metric and r.seeds}
    brands = [b for b in brand_ids(rows) if any((arm, b) in value for arm in shown)]
    if not brands:
        return None
    by_size = all(brand in sizes for brand in brands)
    brands.sort(key=lambda b: (sizes[b] if by_size else value.get((shown[0], b), -1.0), b))
    kept = _thinned(brands)
    figure, (axes,) = canvas(height=1.1 + 0.21 * len(kept))
    for height, brand in enumerate(kept):
        ends = [value[arm, brand] for arm in shown if (arm, brand) in value]
        axes.plot([min(ends), max(ends)], [height] * 2, color=RULE, linewidth=2.2, zorder=1)
    for depth, arm in enumerate(shown):  # where markers meet, the first arm is on top
        colour, marker = style(arm)
        x, y = [value.get((arm, brand), NAN) for brand in kept], range(len(kept))
        axes.scatter(x, y, s=30, c=colour, marker=marker, label=arm_label(arm), zorder=9 - depth)
    axes.set_yticks(range(len(kept)), [_short(b) for b in kept], fontsize=8.5)
    axes.set_ylim(-0.7, len(kept) - 0.3)
    axes.set_xlabel(metric_label(metric))
    axes.grid(axis="y", visible=False)
    order = "size, the largest on top" if by_size else f"{metric_label(metric)} of the first arm"
    caption = f"One line per brand, sorted by {order}; mean over seeds."
    if len(kept) < len(brands):
        caption += f" {len(kept)} of {len(brands)} brands are shown, evenly by rank."
    return draw("brands", "Each brand, in every arm", caption, figure)


def gain_plot(rows: Sequence[Row], sizes: Mapping[str, float], gains: object) -> Plot | None:
    """What federated adds to alone, against the size of the brand."""
    change = {b: gain(rows, b, gains) for b in brand_ids(rows) if b in sizes}
    shown = [(sizes[b], *change[b]) for b in change if math.isfinite(change[b][0])]
    if not shown:
        return None
    metric, (colour, marker) = main_metric(rows), style("federated")
    figure, (axes,) = canvas(height=3.6)
    axes.axhline(0, color=INK, linewidth=0.9)
    for size, _, low, high in shown:
        axes.plot([size] * 2, [low, high], color=colour, linewidth=1.1, alpha=0.45)
    x, y = [size for size, *_ in shown], [mean for _, mean, *_ in shown]
    axes.scatter(x, y, s=30, c=colour, marker=marker, zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("Customers of the brand (rows, if not known; log scale)")
    axes.set_ylabel(f"{metric_label(metric)}, federated − alone")  # noqa: RUF001
    better = "Above" if metric not in METRICS or METRICS[metric].higher_is_better else "Below"
    caption = f"{better} the line, training together helps. Bars: paired 95 % interval over seeds."
    return draw("gain", "Who gains from training together", caption, figure)


def learning_plot(history: Sequence[object]) -> Plot | None:
    """Validation log loss per round: thin lines are seeds, thick ones their mean."""
    curves: dict[str, dict[object, dict[float, float]]] = {}
    for entry in map(mapping, history):
        if "log_loss" in str(entry.get("metric")):
            seeds = curves.setdefault(str(entry.get("arm")), {})
            curve = seeds.setdefault(entry.get("seed"), {})
            curve[real(entry.get("round"))] = real(entry.get("value"))
    if not curves:
        return None
    figure, (axes,) = canvas(height=3.6)
    for arm in _ordered(curves):
        colour, _ = style(arm)
        for curve in curves[arm].values():
            rounds = sorted(curve)
            axes.plot(rounds, [curve[r] for r in rounds], color=colour, linewidth=0.8, alpha=0.45)
        common = sorted(set.intersection(*(set(curve) for curve in curves[arm].values())))
        mean = [math.fsum(c[r] for c in curves[arm].values()) / len(curves[arm]) for r in common]
        axes.plot(common, mean, color=colour, linewidth=2.4, label=arm_label(arm))
    axes.set_xlabel("Round")
    axes.set_ylabel("Validation log loss")
    axes.locator_params(axis="x", integer=True)
    caption = "Thin: one seed. Thick: mean over seeds, as far as all of them ran. Lower is better."
    return draw("learning", "Learning, round by round", caption, figure)


def calibration_plot(calibration: Mapping[str, object]) -> Plot | None:
    """Observed against predicted rates; on the diagonal, probabilities mean what they say."""
    curves = {arm: [p for p in map(_point, sequence(c)) if p] for arm, c in calibration.items()}
    curves = {arm: points for arm, points in curves.items() if points}
    if not curves:
        return None
    figure, (axes,) = canvas(height=4.6, width=5.6)
    top = 1.06 * max(max(point) for points in curves.values() for point in points) or 1.0
    axes.plot([0, top], [0, top], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    for arm in _ordered(curves):
        colour, marker = style(arm)
        x, y = zip(*curves[arm], strict=True)
        axes.plot(x, y, color=colour, marker=marker, markersize=5, lw=1.4, label=arm_label(arm))
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_xlabel("Predicted rate")
    axes.set_ylabel("Observed rate")
    caption = "Ten groups of equal size by score. Above the dashed line, predictions are too low."
    return draw("calibration", "Do the probabilities mean what they say?", caption, figure)


def additive_plot(features: Mapping[str, object]) -> Plot | None:
    """The contribution of each feature to the score, on one common scale."""
    shown = {name: curve for name, entry in features.items() if (curve := _curve(mapping(entry)))}
    if not shown:
        return None
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure, grid = canvas(height=0.5 + 2.2 * lines, shape=(lines, columns))
    reach = 1.1 * max(abs(v) for _, values, _ in shown.values() for v in values) or 1.0
    for axes, (name, (levels, values, numeric)) in zip(grid, shown.items(), strict=False):
        axes.set_title(_short(name), loc="left", fontsize=10)
        if numeric:
            axes.axhline(0, color=INK, linewidth=0.7)
            axes.plot([float(level) for level in levels], values, color=style("federated")[0], lw=2)
            axes.set_ylim(-reach, reach)
        else:
            axes.axvline(0, color=INK, linewidth=0.7)
            axes.barh(range(len(levels)), values, color=style("federated")[0], height=0.6)
            axes.set_yticks(range(len(levels)), [_short(x) for x in levels], fontsize=8)
            axes.invert_yaxis()
            axes.set_xlim(-reach, reach)
            axes.grid(axis="y", visible=False)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    caption = "Log odds that a feature adds, at each of its values; one scale for all features."
    return draw("additive", "What the additive model learned", caption, figure)


def style(arm: str) -> tuple[str, str]:
    """Colour and marker of an arm, the same in every plot."""
    return STYLE.get(arm, OTHER)


def canvas(
    *, height: float, width: float = WIDTH, shape: tuple[int, int] = (1, 1)
) -> tuple[Figure, list[Axes]]:
    """A figure in the style of the report, and its panels."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(dict(SETTINGS)):
        figure = Canvas(figsize=(width, height), layout="constrained")
        return figure, list(figure.subplots(*shape, squeeze=False).flat)


def draw(name: str, title: str, caption: str, figure: Figure) -> Plot:
    """Draw ``figure``; what would name an address (doctype, metadata, namespaces) is left out."""
    import matplotlib as mpl

    file = io.StringIO()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    with mpl.rc_context(dict(SETTINGS)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that the measuring font lacks
        if handles:
            figure.legend(handles, labels, loc="outside upper left", ncols=6, frameon=False)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return Plot(name, title, caption, re.sub(r"<[^<>]+>", lambda tag: _tag(name, tag[0]), text))


def _tag(name: str, tag: str) -> str:
    """One tag: identifiers made unique in the page, stand-in colours replaced."""
    if tag.startswith("<svg"):
        tag = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", tag)
    tag = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    return tag.replace(INK, "currentColor").replace(RULE, "var(--rule)")


def _ordered(curves: Mapping[str, object]) -> list[str]:
    return [a for a in STYLE if a in curves] + sorted(a for a in curves if a not in STYLE)


def _thinned(brands: list[str]) -> list[str]:
    if len(brands) <= MOST_BRANDS:
        return brands
    step = (len(brands) - 1) / (MOST_BRANDS - 1)
    return [brands[round(i * step)] for i in range(MOST_BRANDS)]


def _short(text: str) -> str:
    clean = " ".join(text.split())
    return clean if len(clean) <= LONGEST_NAME else clean[: LONGEST_NAME - 1] + "…"


def _point(value: object) -> tuple[float, float] | None:
    numbers = [real(v) for v in sequence(value)[:2]]
    if len(numbers) < 2 or any(map(math.isnan, numbers)):
        return None
    return numbers[0], numbers[1]


def _curve(entry: Mapping[str, object]) -> tuple[list[str], list[float], bool] | None:
    """Levels, contributions, and whether levels are numbers; long categories are cut."""
    levels = [str(level) for level in sequence(entry.get("levels"))]
    values = [real(v) for v in sequence(entry.get("contribution"))]
    if not levels or len(levels) != len(values) or any(map(math.isnan, values)):
        return None
    if entry.get("kind") == "number" and all(map(NUMBER.fullmatch, levels)):
        return levels, values, True
    kept = sorted(sorted(range(len(levels)), key=lambda i: -abs(values[i]))[:MOST_LEVELS])
    return [levels[i] for i in kept], [values[i] for i in kept], False
