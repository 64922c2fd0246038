"""The privacy statement of one arm of a run: what is promised, to whom, and what is not.

It follows NIST SP 800-226 (epsilon and unit first, then what undermines them) and section 5.3 of
"How to DP-fy ML" (Ponomareva et al. 2023, arXiv 2303.00654). Every number in it can be computed
again from its events: ``fl/privacy/recompute.py`` does, for
``fl-audit epsilon``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fl import events
from fl.contracts import Unit
from fl.errors import InputError
from fl.events import Composed, PrivacyEvent
from fl.privacy.accounting import RELATION, Epsilons, both, check_delta, pld_epsilon
from fl.privacy.composition import group, worst_group
from fl.privacy.losses import Release, releases
from fl.privacy.translation import Meaning, meaning

VERSION = 1
SECURE, INSECURE = "secure", "insecure_noise_for_tests"
NOT_COVERED = (
    "Choosing hyper-parameters: figures are for the training that is released, not for the trials "
    "that chose its settings.",
    "What is not a release of this run: data checks, logs at a brand, earlier and later runs "
    "(the brand's ledger adds those up).",
    "Rows of one customer under two customer ids, and what other people's rows say about a person.",
    "Floating-point and timing side channels of the noise.",
)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What figures hold for, and what no figure shows. All public.

    Attributes:
        unit: whose presence is hidden.
        delta: in [1e-9, 1).
        brands: at how many brands one person may be a customer, >= 1.
        clip_norm: L2 bound of one unit's contribution to a sum, > 0; None without clipping.
        noise_source: ``secure`` or ``insecure_noise_for_tests``.
        trust: who is trusted with what, in a sentence.
        joint: whether all brands' contributions meet in one noised sum (a secure sum, or a central
            one). A person at m brands then moves that sum m times, which is more than m releases
            with their own noise; brands that release by themselves (``local``) are not joint.
        clip_quantile: the quantile of units' norms that the clip follows from ``clip_norm`` on, in
            (0, 1), its counts booked; 0 for a fixed clip.
        not_covered: sentences.
    """

    unit: Unit
    delta: float
    brands: int
    clip_norm: float | None
    noise_source: str
    trust: str
    joint: bool = False
    clip_quantile: float = 0.0
    not_covered: tuple[str, ...] = NOT_COVERED

    def __post_init__(self) -> None:
        check_delta(self.delta)
        if self.brands < 1:
            raise ValueError(f"Expected brands={self.brands} >= 1.")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"Expected clip_norm={self.clip_norm} > 0 and finite.")
        if self.noise_source not in (SECURE, INSECURE):
            raise ValueError(f"Expected noise_source={self.noise_source!r}: {SECURE}, {INSECURE}.")
        if not 0 <= self.clip_quantile < 1:
            raise ValueError(f"Expected clip_quantile={self.clip_quantile} in [0, 1).")

    @property
    def clipping(self) -> str:
        """How a unit's part of a sum is bounded, in words. Guarantee: public numbers only."""
        if self.clip_norm is None:
            return "no clipping"
        if not self.clip_quantile:
            return f"clip norm {self.clip_norm:g} (L2)"
        towards = (
            f"quantile {self.clip_quantile:g} of the norms, from noised counts that are booked"
        )
        return f"clip norm from {self.clip_norm:g} (L2) towards {towards}"


@dataclass(frozen=True, slots=True)
class Statement:
    """One arm's promise. ``inf`` means that nothing is promised.

    Attributes:
        events: what each brand releases, by brand; one entry where the sum is joint.
        brand: the one of them with the highest epsilon.
        customer: cost to a customer of that brand.
        person: cost to a customer of the ``conditions.brands`` brands with the highest epsilon. For
            a joint sum, ``prv`` and ``rdp`` are bounds that are looser by their model.
        meaning: ceilings for attacks on a customer of one brand.
    """

    conditions: Conditions
    events: Mapping[str, PrivacyEvent]
    brand: str
    customer: Epsilons
    person: Epsilons
    meaning: Meaning

    def lines(self) -> Iterator[str]:
        """The statement in plain text, a fact a line.

        Guarantee: warnings come first; a figure is rounded up, never down.
        """
        c, m = self.conditions, self.meaning
        if c.noise_source != SECURE:
            yield f"WARNING: {c.noise_source}: anyone can subtract this noise. NO PRIVACY AT ALL."
        if math.isinf(self.customer.pld):
            yield "NO PRIVACY GUARANTEE: exact values leave each brand."
        rows = {Unit.CUSTOMER: "one customer, all rows", Unit.BRAND: "one brand"}.get(c.unit, "-")
        yield f"unit of privacy: {c.unit}; neighbouring data sets: {RELATION} ({rows})"
        one = "one brand" if c.unit is Unit.BRAND else "customer of one brand"
        yield f"{one}: {_figures(self.customer)}, delta {c.delta:g}"
        together = _figures(self.person, mixture=self.mixture)
        yield f"person at up to {c.brands} brands: {together}, delta {c.delta:g}"
        yield f"mechanism: Gaussian noise ({c.noise_source}) on sums, {c.clipping}"
        for r in self.releases or ():
            how = f"Poisson sample, rate {r.rate:.4g}" if r.rate < 1 else "no sampling"
            yield f"releases: {r.times} x {how}, noise multiplier {r.noise_multiplier:.4g}"
        yield (
            f"an attacker finds at most {_percent(m.tpr_at_fpr_0001)} of customers at 0.1 % false "
            f"accusations, {_percent(m.tpr_at_fpr_001)} at 1 %; advantage {_up(m.advantage, 3)}"
        )
        yield f"trust: {c.trust}"
        for sentence in c.not_covered:
            yield f"not covered: {sentence}"

    @property
    def mixture(self) -> bool:
        """Whether the figure of a person is a mixture's, which PRV and RDP only bound."""
        return self.conditions.joint and self.conditions.brands > 1

    @property
    def releases(self) -> tuple[Release, ...] | None:
        """What ``brand`` releases, structure removed; None if exact values."""
        return releases(self.events[self.brand])

    def to_json(self) -> dict[str, object]:
        """Plain values for ``run.json``; an infinite number is ``null``. Undone by ``from_json``.

        Guarantee: contains public numbers only, and all that is needed to compute them again.
        """
        c = self.conditions
        return {
            "version": VERSION,
            **asdict(c),
            "unit": str(c.unit),
            "not_covered": list(c.not_covered),
            "relation": RELATION,
            "brand": self.brand,
            "customer": _numbers(self.customer),
            "person": _numbers(self.person),
            "meaning": asdict(self.meaning),
            "releases": None if self.releases is None else [asdict(r) for r in self.releases],
            "events": {brand: events.to_json(event) for brand, event in self.events.items()},
        }

    @staticmethod
    def from_json(values: Mapping[str, object]) -> Statement:
        """The statement that :meth:`to_json` wrote. Figures are read, not computed again.

        Guarantee: nothing is believed here; ``recompute`` compares.

        Raises:
            InputError: a key is missing, or a value has another type or range.
        """
        try:
            return _read(dict(values))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                "privacy statement",
                f"not one that this version wrote ({type(error).__name__}: {error})",
                "use the run.json of the run as it was written",
            ) from error


def statement(brand_events: Mapping[str, PrivacyEvent], conditions: Conditions) -> Statement:
    """The statement for what each brand releases over a whole run.

    Guarantee: figures hold for a customer of any brand, and for a person at any
    ``conditions.brands`` of them where a brand that costs more costs more in every composition too
    (the same mechanism with a larger rate, less noise or more steps). Fewer events than
    ``conditions.brands`` are repeated.

    Raises:
        ValueError: no events, or several for a joint sum.
    """
    c = conditions
    if not brand_events or (c.joint and len(brand_events) > 1):
        raise ValueError(f"Expected one event a brand, one if joint; got {len(brand_events)}.")
    epsilons = {event: pld_epsilon(event, c.delta) for event in set(brand_events.values())}
    ranked = sorted(brand_events, key=lambda brand: (-epsilons[brand_events[brand]], brand))
    costliest = [brand_events[brand] for brand in ranked]
    worst = costliest[0]
    if c.joint and c.brands > 1:
        bounds = both(worst_group(worst, c.brands), c.delta)
        figures = replace(bounds, pld=group(worst, c.brands, c.delta))
    else:
        figures = both(Composed(tuple((costliest * c.brands)[: c.brands])), c.delta)
    customer = figures if c.brands == 1 else both(worst, c.delta)
    return Statement(c, dict(brand_events), ranked[0], customer, figures, meaning(worst))


# -------------------------------------------------------------------------------------- helpers


def _read(v: dict[str, Any]) -> Statement:
    if v["version"] != VERSION or v["relation"] != RELATION:
        raise ValueError(f"Expected version {VERSION} and relation {RELATION!r}.")
    clip = v["clip_norm"]
    conditions = Conditions(
        unit=Unit(v["unit"]),
        delta=float(v["delta"]),
        brands=int(v["brands"]),
        clip_norm=None if clip is None else float(clip),
        noise_source=str(v["noise_source"]),
        trust=str(v["trust"]),
        joint=bool(v["joint"]),
        clip_quantile=float(v["clip_quantile"]),
        not_covered=tuple(str(sentence) for sentence in v["not_covered"]),
    )
    by_brand = {str(b): events.from_json(event) for b, event in v["events"].items()}
    if not by_brand or v["brand"] not in by_brand:
        raise ValueError("Expected events by brand, with the brand that is named.")
    return Statement(
        conditions,
        by_brand,
        str(v["brand"]),
        _epsilons(v["customer"]),
        _epsilons(v["person"]),
        Meaning(**{name: float(x) for name, x in v["meaning"].items()}),
    )


def _epsilons(values: Mapping[str, float | None]) -> Epsilons:
    return Epsilons(*(_number(values[name]) for name in ("pld", "prv", "rdp")))


def _number(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _numbers(e: Epsilons) -> dict[str, float | None]:
    named = {**asdict(e), "difference": e.difference}
    return {name: x if math.isfinite(x) else None for name, x in named.items()}


def _figures(e: Epsilons, *, mixture: bool = False) -> str:
    if math.isinf(e.pld):
        return "epsilon infinite"
    second = f"{_up(e.prv)} by PRV, difference {_up(e.difference, 3)}"
    if mixture:
        second = "of a mixture; PRV has none"
    elif math.isinf(e.prv):
        second = "beyond the range of PRV"
    return f"epsilon {_up(e.pld)} (PLD; {second})"


def _up(x: float, digits: int = 2) -> str:
    """``x`` rounded up at the last digit shown."""
    return f"{math.ceil(x * 10**digits - 1e-9) / 10**digits:.{digits}f}"


def _percent(share: float) -> str:
    return f"{_up(100 * share)} %"
