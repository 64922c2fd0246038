"""A schema as JSON values, for what parties of a run sign."""

from __future__ import annotations

import dataclasses
from typing import Any

from fl.config import build, group
from fl.data.columns import Category, Column, Hashed, Number, Text
from fl.data.schema import Schema
from fl.errors import InputError

COLUMNS: dict[str, type[Any]] = {
    "number": Number,
    "category": Category,
    "hashed": Hashed,
    "text": Text,
}


def schema_json(schema: Schema) -> dict[str, object]:
    """A schema as JSON values."""
    kinds = {cls: kind for kind, cls in COLUMNS.items()}
    columns = [{"kind": kinds[type(c)], **_values(c)} for c in schema.columns]
    rest = {"label": schema.label, "positive": schema.positive}
    lists = {"negative": list(schema.negative), "classes": list(schema.classes)}
    return {"columns": columns, **rest, **lists}


def schema_of(values: object) -> Schema:
    """The schema of :func:`schema_json`.

    Raises:
        InputError: a column or a value that is not known.
        ValueError: not such values.
    """
    match values:
        case {
            "columns": list(columns),
            "label": str(label),
            "positive": str(positive),
            "negative": list(negative),
            "classes": list(classes),
        }:
            made = tuple(_column(one) for one in columns)
            texts = tuple(map(str, negative)), tuple(map(str, classes))
            return Schema(made, label, positive, *texts)
    raise ValueError("Expected a schema.")


def _column(values: object) -> Column:
    given = dict(group(values, "schema.columns"))
    kind = COLUMNS.get(str(given.pop("kind", "")))
    if kind is None:
        raise InputError("schema.columns", "a kind that is not known", "update the package")
    made: Column = build(kind, given, "schema.columns")
    return made


def _values(column: Column) -> dict[str, object]:
    values = {f.name: getattr(column, f.name) for f in dataclasses.fields(column)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
