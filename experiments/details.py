"""What one task's report shows beside the metrics: entries of ``run.json``, by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.arms import ALL, arm_key
from experiments.journal import Piece
from experiments.settings import Settings
from experiments.summary import Pieces, scored_rows
from fl import arrays
from fl.data.schema import Schema
from fl.models.additive import Additive
from fl.report.binary import calibration_curve
from fl.report.ranking import by_arm, curve, qini


def conversion(how: Settings, schema: Schema, pieces: Pieces) -> dict[str, Any]:
    """Whether probabilities mean what they say, and what an additive model has learned."""
    return {
        "calibration": calibration(how, pieces),
        "additive": additive_curves(how, schema, pieces[how.seeds[0]]),
    }


def calibration(how: Settings, pieces: Pieces) -> dict[str, list[list[float]]]:
    """Per arm, the calibration curve over the test rows of all brands and seeds."""
    curves = {}
    for arm in how.arms:
        key = arm_key(arm, how.variants[0])
        scored = [s for piece in pieces.values() if (s := scored_rows(piece, key, ALL)) is not None]
        if scored:
            y, p = (np.concatenate(parts) for parts in zip(*scored, strict=True))
            curves[arm] = [list(point) for point in calibration_curve(y, p)]
    return curves


def additive_curves(how: Settings, schema: Schema, piece: Piece) -> dict[str, Any] | None:
    """Each feature's contribution in the federated model of one seed, or None for other models."""
    key = arm_key("federated", how.variants[0])
    params = arrays.below(f"model/{key}", piece.arrays)
    if not isinstance(how.architecture, Additive) or not params:
        return None
    numbers = {column.name for column in schema.numbers}
    return {
        feature: {
            "levels": levels,
            "contribution": contribution.tolist(),
            "kind": "number" if feature in numbers else "category",
        }
        for feature, (levels, contribution) in how.architecture.curves(schema, params).items()
    }


def targeting(how: Settings, schema: Schema, pieces: Pieces) -> dict[str, Any]:
    """Per arm of the comparison and of the campaign: Qini with its interval over customers.

    Of the first seed's test rows, whose customers were not trained on; seeds divide the same
    customers again, so their spread is no interval over customers.
    """
    piece, names = pieces[how.seeds[0]], schema.campaign.names if schema.campaign else ()
    found: dict[str, Any] = {}
    for arm in how.arms:
        scored = scored_rows(piece, arm_key(arm, how.variants[0]), ALL)
        for code, by in by_arm(*scored) if scored is not None else ():
            area = qini(by)
            found[f"{arm}: {names[code]}"] = {
                "qini": [area.value, area.low, area.high],
                "curve": [list(point) for point in curve(by, 20)],
            }
    return {"uplift": found}


DETAILS: Mapping[str, Callable[[Settings, Schema, Pieces], dict[str, Any]]] = {
    "conversion": conversion,
    "targeting": targeting,
}
