"""From the test scores of every seed to the rows of ``results.json`` and the plots' numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.arms import ALL
from experiments.journal import Piece
from experiments.settings import Settings
from fl import arrays
from fl.contracts import Floats
from fl.data.dataset import DataSet
from fl.models.additive import Additive
from fl.report.metrics import METRICS, NAN, calibration_curve
from fl.report.rows import Gains, Row, Setting, gains, summarise

Pieces = Mapping[int, Piece]
MAIN = "auc"  # the metric of paired gains


@dataclass(frozen=True, slots=True)
class Summary:
    """What a report shows of the finished seeds."""

    rows: list[Row]
    gains: Gains


def summarise_run(how: Settings, data: DataSet, pieces: Pieces) -> Summary:
    """All metrics of all arms: per brand, mean, worst, tier and pooled, with intervals over seeds.

    A brand that has no model in a seed (it was absent from every round) has no value there.
    """
    brands = sorted({b for piece in pieces.values() for b in arrays.below("y", piece.arrays)})
    brands.remove(ALL)
    values = {
        arm: {
            metric: {brand: _per_seed(pieces, arm, brand, of.function) for brand in brands}
            for metric, of in METRICS.items()
        }
        for arm in how.arms
    }
    together = {
        arm: {metric: _per_seed(pieces, arm, ALL, of.function) for metric, of in METRICS.items()}
        for arm in how.arms
    }
    setting = Setting(
        experiment=how.experiment,
        data=data.name,
        task="conversion",
        model=how.architecture.name,
        algorithm=how.algorithm.name,
        privacy=how.plan.name,
    )
    rows = summarise(setting, values, pooled=together, tiers=data.tiers)
    return Summary(rows, gains(values, MAIN, tiers=data.tiers))


def calibration(how: Settings, pieces: Pieces) -> dict[str, list[list[float]]]:
    """Per arm, the calibration curve over the test rows of all brands and seeds."""
    curves = {}
    for arm in how.arms:
        scored = [s for piece in pieces.values() if (s := _scored(piece, arm, ALL)) is not None]
        if scored:
            y, p = (np.concatenate(parts) for parts in zip(*scored, strict=True))
            curves[arm] = [list(point) for point in calibration_curve(y, p)]
    return curves


def additive_curves(how: Settings, data: DataSet, piece: Piece) -> dict[str, Any] | None:
    """Each feature's contribution in the federated model of one seed, or None for other models."""
    params = arrays.below("model/federated", piece.arrays)
    if not isinstance(how.architecture, Additive) or not params or not data.schema.columns:
        return None
    numbers = {column.name for column in data.schema.numbers}
    return {
        feature: {
            "levels": levels,
            "contribution": contribution.tolist(),
            "kind": "number" if feature in numbers else "category",
        }
        for feature, (levels, contribution) in how.architecture.curves(data.schema, params).items()
    }


def _per_seed(
    pieces: Pieces, arm: str, brand: str, function: Callable[[Floats, Floats], float]
) -> list[float]:
    scored = [_scored(piece, arm, brand) for piece in pieces.values()]
    return [NAN if s is None else function(*s) for s in scored]


def _scored(piece: Piece, arm: str, brand: str) -> tuple[Floats, Floats] | None:
    """Labels and probabilities of one brand's test rows."""
    y, p = piece.arrays.get(f"y/{brand}"), piece.arrays.get(f"p/{arm}/{brand}")
    if y is None or p is None:
        return None
    return np.asarray(y, np.float64), np.asarray(p, np.float64)
