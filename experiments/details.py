"""What one task's report shows beside the metrics: entries of ``run.json``, by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from clients.alerts import alert_list, write_alerts
from experiments.arms import ALL, arm_key
from experiments.journal import Piece, part_of_path
from experiments.prepare import Tables
from experiments.settings import Settings
from experiments.summary import Pieces, scored_rows
from experiments.targeting import targeting
from fl import arrays
from fl.data.dataset import DataSet
from fl.data.schema import Schema
from fl.models.additive import Additive
from fl.report.binary import calibration_curve
from fl.report.recommended import over_customers
from fl.report.recommending import GAIN
from fl.tasks.text import TextOptions, class_names


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


def preference(how: Settings, schema: Schema, pieces: Pieces) -> dict[str, Any]:
    """How many items compete, what the easier metric is, and who gains, over customers."""
    return {
        "catalogue": {
            "items": schema.sizes[0] - 1,
            "negatives": "99 evenly from items the customer does not have, "
            f"{getattr(how.options, 'negatives', 'expected')}",
        },
        "recommending": recommending(how, pieces),
    }


def recommending(how: Settings, pieces: Pieces) -> dict[str, Any] | None:
    """The gain of the federated arm over the brand alone, with intervals over customers."""
    if not {"alone", "federated"} <= set(how.arms):
        return None
    keys, brands = ("alone", arm_key("federated", how.variants[0])), {}
    for brand in sorted(arrays.below("y", pieces[how.seeds[0]].arrays)):
        found = [[scored_rows(p, key, brand) for p in pieces.values()] for key in keys]
        if brand == ALL or any(s is None for both in found for s in both):
            continue
        alone_r, together_r = (
            np.mean([s[1][:, GAIN] for s in both if s is not None], 0) for both in found
        )
        who = np.asarray(pieces[how.seeds[0]].arrays[f"who/{brand}"], np.int64)
        gain = over_customers(together_r - alone_r, who)
        brands[brand] = {
            **asdict(gain),
            "verdict": gain.verdict,
            "alone": float(alone_r.mean()),
            "together": float(together_r.mean()),
        }
    return {"brands": brands}


def text(how: Settings, schema: Schema, pieces: Pieces) -> dict[str, Any]:
    """How often each class is found, and what it is taken for: the federated arm, all seeds."""
    key = arm_key("federated", how.variants[0])
    found = [s for p in pieces.values() if (s := scored_rows(p, key, ALL)) is not None]
    if not found:
        return {"confusion": None}
    names = class_names(schema)
    counts = np.zeros((len(names), len(names)), np.int64)
    for y, p in found:
        np.add.at(counts, (y.astype(np.int64), p.argmax(1)), 1)
    return {
        "confusion": {"classes": list(names), "counts": counts.tolist()},
        "alerts": _alerts(how, schema, pieces, key),
    }


def _alerts(how: Settings, schema: Schema, pieces: Pieces, key: str) -> dict[str, Any] | None:
    """How many of each brand's test messages look like the class of its alerts, and are."""
    alert = _alert_class(how, schema)
    if alert is None:
        return None
    brands: dict[str, dict[str, float]] = {}
    for brand in sorted(arrays.below("y", pieces[how.seeds[0]].arrays)):
        scored = [s for p in pieces.values() if (s := scored_rows(p, key, brand)) is not None]
        if brand != ALL and scored:
            looks = np.concatenate([p.argmax(1) == alert for _, p in scored]).mean()
            true = np.concatenate([y == alert for y, _ in scored]).mean()
            brands[brand] = {"looks": float(looks), "is": float(true)}
    return {"class": class_names(schema)[alert], "brands": brands}


def leave_alerts(out: Path, how: Settings, data: DataSet, tables: Tables, piece: Piece) -> None:
    """At each brand of one seed, the list of test messages to answer first: ``brands/ID``."""
    alert, column = _alert_class(how, data.schema), data.schema.columns[0].name
    if alert is None or not isinstance(how.options, TextOptions):
        return
    key = arm_key("federated", how.variants[0])
    for brand, table in tables.items():
        if (scored := scored_rows(piece, key, brand)) is not None:
            messages = table.part("test")[0][column]
            found = alert_list(messages, scored[1], alert, how.options.alerts)
            write_alerts(out / "brands" / part_of_path(brand) / "alerts.csv", found)


def _alert_class(how: Settings, schema: Schema) -> int | None:
    if not isinstance(how.options, TextOptions) or not how.options.alert_class:
        return None
    return class_names(schema).index(how.options.alert_class)


DETAILS: Mapping[str, Callable[[Settings, Schema, Pieces], dict[str, Any]]] = {
    "conversion": conversion,
    "preference": preference,
    "text": text,
    "targeting": targeting,
}

LEFT_AT_BRANDS: Mapping[str, Callable[[Path, Settings, DataSet, Tables, Piece], None]] = {
    "text": leave_alerts,
}
"""What stays at brands when a run is over, by task; simulated brands' folders are in the run's."""
