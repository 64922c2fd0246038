"""What recommending together changed for each brand's customers, with intervals over customers.

Seeds repeat the training on the same customers, so their spread says nothing of how another
handful of customers would have fared; of small brands that is the larger doubt by far. Here the
customer is what is drawn: a brand's gain is a ratio of sums over its customers, whose standard
error is that of a cluster sample (Cochran, "Sampling Techniques", 1977, section 6.3), with
Student's quantile of one less than the number of customers.

Legend: ``g_r`` gain of a test row, mean over seeds; ``e_c`` a customer's sum of ``g_r`` minus the
brand's mean; ``m`` customers, ``n`` rows: ``se^2 = m / (m - 1) sum e_c^2 / n^2``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from fl.report.plots import INK, Plot, canvas, draw, style
from fl.report.table import Table, change, number
from fl.report.values import mapping, real

if TYPE_CHECKING:
    from fl.contracts import Floats, Ints

NAN = float("nan")
MOST_BRANDS = 25
Entry = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Gain:
    """A mean difference of two arms, in the metric's units.

    Attributes:
        value, low, high: and its 95 % interval; NaN for one customer, who says nothing of others.
        error: standard error.
        freedom: degrees of it.
        customers: behind it.
    """

    value: float
    low: float
    high: float
    error: float
    freedom: float
    customers: int

    @property
    def verdict(self) -> str:
        """``above``, ``below``, ``tie`` (exactly 0)."""
        return "tie" if self.value == 0 else "above" if self.value > 0 else "below"


def over_customers(gain_r: Floats, customer_r: Ints) -> Gain:
    """One brand.

    Args:
        gain_r: float64, of each test row.
        customer_r: int64, the customer of each.

    >>> found = over_customers(np.array([0.0, 0.2, 0.4]), np.array([1, 2, 2]))
    >>> round(found.value, 3), round(found.error, 3), found.customers
    (0.2, 0.133, 2)
    """
    n = len(gain_r)
    if not n:
        return Gain(NAN, NAN, NAN, NAN, NAN, 0)
    value = float(gain_r.mean())
    _, of_r = np.unique(customer_r, return_inverse=True)
    e_c = np.bincount(of_r, gain_r - value)
    m = len(e_c)
    error = math.sqrt(m / (m - 1) * float((e_c**2).sum())) / n if m > 1 else NAN
    return _with_interval(value, error, m - 1, m)


def over_brands(gains: Sequence[Gain]) -> Gain:
    """The mean of brands whose customers are drawn apart; freedom after Welch and Satterthwaite."""
    known = [g for g in gains if math.isfinite(g.error)]
    if not known:
        return Gain(NAN, NAN, NAN, NAN, NAN, 0)
    variances = [g.error**2 for g in known]
    error, total = math.sqrt(sum(variances)) / len(known), sum(variances)
    below = sum(v * v / g.freedom for v, g in zip(variances, known, strict=True))
    freedom = total * total / below if below else math.inf
    value = sum(g.value for g in known) / len(known)
    return _with_interval(value, error, freedom, sum(g.customers for g in known))


def recommending_table(run: Mapping[str, object]) -> Table | None:
    """One line per brand: its list alone, together, and the difference."""
    entry = mapping(run.get("recommending"))
    brands = {name: mapping(b) for name, b in mapping(entry.get("brands")).items()}
    if not brands:
        return None
    shown = _ordered(brands)[:MOST_BRANDS]
    lines = [_line(brand, brands[brand]) for brand in shown]
    tiers, by_tier = mapping(mapping(run.get("data")).get("tiers")), dict[str, list[Entry]]()
    for name, b in brands.items():
        by_tier.setdefault(str(tiers.get(name, "brands")), []).append(b)
    said = []
    for tier, own in sorted(by_tier.items(), key=lambda t: (len(t[1]), t[0])):
        if len(own) > 1:
            mean = {k: sum(real(b.get(k)) for b in own) / len(own) for k in ("alone", "together")}
            lines.append(_line(f"Mean of {len(own)} {tier}", {**asdict(_mean(own)), **mean}))
            counted = [_gain(b).verdict for b in own]
            better, worse, equal = (counted.count(v) for v in ("above", "below", "tie"))
            said.append(
                f"Of {len(own)} {tier}, together is better for {better}, worse for {worse}, equal "
                f"for {equal}."
            )
    note = (
        "How good the list of ten is, on a scale of 0 to 1 (NDCG@10), mean over seeds. "
        "95 % interval over customers: what another handful of the same kind might have shown. "
    )
    note += " ".join(said)
    if len(shown) < len(brands):
        note += f" The {len(shown)} largest of {len(brands)} brands are listed."
    header = ("Brand", "Customers tested", "Alone", "Together", "Together − alone")  # noqa: RUF001
    return Table("Whose recommendations get better", header, tuple(lines), note)


def recommending_plot(run: Mapping[str, object]) -> Plot | None:
    """The difference for each brand, the largest brand on top."""
    entry = mapping(run.get("recommending"))
    brands = {name: mapping(b) for name, b in mapping(entry.get("brands")).items()}
    brands = {n: b for n, b in brands.items() if math.isfinite(real(b.get("value")))}
    if not brands:
        return None
    order, (colour, marker) = _ordered(brands)[:MOST_BRANDS][::-1], style("federated")
    figure, (axes,) = canvas(height=1.1 + 0.26 * len(order))
    axes.axvline(0, color=INK, linewidth=0.9)
    for height, brand in enumerate(order):
        value, low, high = (real(brands[brand].get(k)) for k in ("value", "low", "high"))
        axes.plot([low, high], [height] * 2, color=colour, linewidth=1.6, alpha=0.5)
        axes.scatter([value], [height], s=34, c=colour, marker=marker, zorder=3)
    axes.set_yticks(range(len(order)), [" ".join(b.split())[:26] for b in order], fontsize=8.5)
    axes.set_xlabel("NDCG@10, together − alone")  # noqa: RUF001
    axes.grid(axis="y", visible=False)
    caption = (
        "Right of the line, a list of ten that was learned together holds more of what customers "
        "then took. Largest brand on top; bars: 95 % interval over customers."
    )
    if len(order) < len(brands):
        caption += f" The {len(order)} largest of {len(brands)} brands."
    return draw("recommending", "Whose recommendations get better", caption, figure)


def _with_interval(value: float, error: float, freedom: float, customers: int) -> Gain:
    from scipy.stats import t

    half = float(t.ppf(0.975, freedom)) * error if math.isfinite(error) else NAN
    return Gain(value, value - half, value + half, error, freedom, customers)


def _gain(b: Mapping[str, object]) -> Gain:
    value, low, high, error, freedom = (
        real(b.get(k)) for k in ("value", "low", "high", "error", "freedom")
    )
    customers = real(b.get("customers"))
    return Gain(value, low, high, error, freedom, 0 if math.isnan(customers) else int(customers))


def _mean(brands: Sequence[Mapping[str, object]]) -> Gain:
    return over_brands([_gain(b) for b in brands])


def _ordered(brands: Mapping[str, Mapping[str, object]]) -> list[str]:
    return sorted(brands, key=lambda b: (-real(brands[b].get("customers")), b))


def _line(name: str, b: Mapping[str, object]) -> tuple[str, ...]:
    gain = (real(b.get("value")), real(b.get("low")), real(b.get("high")))
    return (
        name,
        f"{real(b.get('customers')):,.0f}",
        number(real(b.get("alone"))),
        number(real(b.get("together"))),
        change(gain),
    )
