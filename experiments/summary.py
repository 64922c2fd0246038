"""From the test scores of every seed to the rows of ``results.json`` and the plots' numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.arms import ALL, arm_key, arm_keys
from experiments.journal import Piece
from experiments.settings import Settings, Variant
from fl import arrays
from fl.contracts import Floats
from fl.data.dataset import DataSet
from fl.events import from_json
from fl.privacy import NoPrivacy
from fl.privacy.accounting import pld_epsilon
from fl.report.metrics import METRICS, NAN
from fl.report.rows import Gains, PerBrand, Row, Setting, Values, gains, summarise

Pieces = Mapping[int, Piece]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a report shows of the finished seeds.

    Attributes:
        rows: of every arm under every guarantee.
        gains: paired by seed, by the label of the guarantee.
    """

    rows: list[Row]
    gains: Mapping[str, Gains]


def summarise_run(how: Settings, data: DataSet, pieces: Pieces) -> Summary:
    """All metrics of all arms: per brand, mean, worst, tier and pooled, with intervals over seeds.

    A brand that has no model in a seed (it was absent from every round) has no value there.
    """
    brands = sorted({b for piece in pieces.values() for b in arrays.below("y", piece.arrays)})
    brands.remove(ALL)
    rows: list[Row] = []
    main: dict[str, dict[str, PerBrand]] = {}
    reported = {metric: METRICS[metric] for metric in how.options.reports}
    headline = how.options.reports[0]
    for key, (arm, variant) in arm_keys(how).items():
        values = {
            metric: {brand: _per_seed(pieces, key, brand, of.function) for brand in brands}
            for metric, of in reported.items()
        }
        together = {m: _per_seed(pieces, key, ALL, of.function) for m, of in reported.items()}
        setting = Setting(
            experiment=how.experiment,
            data=data.name,
            task=how.options.name,
            model=how.architecture.name,
            algorithm=(variant or how.variants[0]).algorithm.name,
            privacy=variant.plan.name if variant else "none",
            epsilon=_epsilon(variant, pieces, key),
        )
        rows += summarise(setting, {arm: values}, pooled={arm: together}, tiers=data.tiers)
        main[key] = {headline: values[headline]}
    return Summary(rows, {v.label: _gains(how, v, main, data.tiers) for v in how.variants})


def _gains(how: Settings, variant: Variant, values: Values, tiers: Mapping[str, str]) -> Gains:
    """The arms of one guarantee, against the arms that have none."""
    own = {arm: values[k] for arm in how.arms if (k := arm_key(arm, variant)) in values}
    return gains(own, how.options.reports[0], tiers=tiers)


def _epsilon(variant: Variant | None, pieces: Pieces, key: str) -> float | None:
    """As it was asked for, or what the costliest ledger says where that is more.

    It is more where a killed run did rounds again, and where the noise was given.
    """
    if variant is None or isinstance(variant.plan, NoPrivacy):
        return None
    spent = [e for p in pieces.values() for e in p.note["spent"].get(key, {}).values()]
    booked = [pld_epsilon(event, variant.plan.delta) for event in set(map(from_json, spent))]
    return max([variant.plan.epsilon or 0.0, *booked])


def _per_seed(
    pieces: Pieces, arm: str, brand: str, function: Callable[[Any, Any], float]
) -> list[float]:
    scored = [scored_rows(piece, arm, brand) for piece in pieces.values()]
    return [NAN if s is None else function(*s) for s in scored]


def scored_rows(piece: Piece, arm: str, brand: str) -> tuple[Floats, Floats] | None:
    """What is true of one brand's test rows (or of :data:`ALL`), and what the arm's model says."""
    y, p = piece.arrays.get(f"y/{brand}"), piece.arrays.get(f"p/{arm}/{brand}")
    if y is None or p is None:
        return None
    return np.asarray(y, np.float64), np.asarray(p, np.float64)
