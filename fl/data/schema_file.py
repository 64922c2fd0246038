"""A schema as JSON holds it: what a received model's folder says of the columns it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fl.data.campaign import Campaign
from fl.data.columns import Category, Column, Hashed, Number, column
from fl.data.schema import Schema
from fl.errors import InputError


def to_plain(schema: Schema) -> dict[str, Any]:
    """As plain values; columns are in the form of ``data.columns``, a campaign in that of
    ``data.campaign``.

    >>> to_plain(Schema((Hashed("city", 8),), "bought"))["columns"]
    [['city', {'buckets': 8}]]
    """
    return {
        "columns": [[c.name, _spec(c)] for c in schema.columns],
        "label": schema.label,
        "positive": schema.positive,
        "negative": list(schema.negative),
        "classes": list(schema.classes),
        **({"campaign": _campaign(schema.campaign)} if schema.campaign else {}),
    }


def from_plain(values: Mapping[str, Any]) -> Schema:
    """The inverse of :func:`to_plain`.

    >>> from_plain(to_plain(Schema((Number("age", 0, 100),), "bought")))
    Schema(columns=(Number(name='age', low=0.0, high=100.0, log=False, missing=None),), \
label='bought', positive='1', negative=('0',), classes=())

    Raises:
        InputError: it is no schema.
    """
    try:
        return Schema(
            tuple(column(str(name), spec) for name, spec in values["columns"]),
            str(values["label"]),
            str(values["positive"]),
            tuple(map(str, values["negative"])),
            tuple(map(str, values.get("classes", ()))),
            _stated(values.get("campaign")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError("schema", "is not one", "give the file as the run left it") from error


def _campaign(campaign: Campaign) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(campaign).items()}


def _stated(values: Mapping[str, Any] | None) -> Campaign | None:
    if values is None:
        return None
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Campaign(**fields)


def _spec(of: Column) -> dict[str, Any]:
    match of:
        case Number(_, low, high, log, missing):
            spec: dict[str, Any] = {"low": low, "high": high}
            if log:
                spec["log"] = True
            return spec if missing is None else {**spec, "missing": missing}
        case Category(_, values):
            return {"values": list(values)}
        case Hashed(_, buckets):
            return {"buckets": buckets}
        case _:
            return {"text": True}
