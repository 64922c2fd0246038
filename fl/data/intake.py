"""From a brand's open source to tables that passed their checks: read, rename, validate.

The mapping says which tables there are; the two modes meet again in ``examples.py``. A reading is
pure: it changes nothing at the brand, and what it rejects is handed back with its reasons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fl.data.columns import Text
from fl.data.consistency import (
    Batch,
    dated,
    known,
    one_customer_an_order,
    recent,
    repeated,
    totals,
    unique,
)
from fl.data.contract import Checked, Field, by_clocks, check_fields, fresh
from fl.data.histories import HISTORY, NEXT, SPLIT, listed, of_histories
from fl.data.mapping import Customers, Events, Mapped, Rows
from fl.data.schema import Number, Schema
from fl.data.sources_files import Reader
from fl.errors import InputError

_TEXT, _KEY = Field("text"), Field("text", required=True)
_EVENT = {
    "customer": _KEY,
    "time": Field("time", required=True),
    "order": _TEXT,
    "kind": _TEXT,
    "category": _TEXT,
    "channel": _TEXT,
    "quantity": Field("number"),
    "amount": Field("number"),
    "discount": Field("number", low=0),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reading is for.

    Attributes:
        schema: of the run; None reads every column there is (to look at the data).
        labelled: whether rows need a label.
    """

    schema: Schema | None = None
    labelled: bool = True


def sizes(mapped: Mapped, reader: Reader) -> dict[str, int]:
    """Rows of every table, counted and not read: what tells whether there is anything new."""
    return {name: reader.count(table) for name, table in _tables(mapped)}


def read_batch(mapped: Mapped, reader: Reader, now: pd.Timestamp, asked: Asked) -> Batch:
    """Read every table of the mapping and check it (levels 1 and 2).

    Args:
        mapped: the mapping file.
        reader: the open source.
        now: naive, in UTC; what is later is in the future.
        asked: what the rows are for.

    Raises:
        InputError: a table or column that is not there, or that cannot be read.
    """
    if mapped.rows is not None:
        return Batch((_rows(mapped, reader, asked),))
    if asked.schema is not None and asked.labelled and (why := _beyond(asked.schema)):
        raise InputError(
            "mapping",
            f"a run asks for {why}, and a portrait has none",
            "name a table that has them in [rows]",
        )
    customers = [_customers(mapped, reader, one, asked) for one in mapped.customers]
    by_channel = {
        one.channel: table for one, table in zip(mapped.customers, customers, strict=True)
    }
    orders = _orders(mapped, reader)
    events = [
        _events(mapped, reader, one, by_channel[one.of], orders, now) for one in mapped.events
    ]
    return Batch((*customers, *([orders] if orders else []), *events))


def _beyond(schema: Schema) -> str:
    """What a run asks for that no portrait of customers has."""
    if schema.campaign:
        return f"a campaign's column {schema.campaign.treatment!r}"
    if of_histories(schema):
        return "histories of items"
    texts = [c.name for c in schema.columns if isinstance(c, Text)]
    return f"texts ({texts[0]!r})" if texts else ""


def event_name(mapped: Mapped, one: Events) -> str:
    """How messages call a table of events."""
    return "events" if len(mapped.events) == 1 else f"events.{one.table}"


def _tables(mapped: Mapped) -> Iterator[tuple[str, str]]:
    if mapped.rows is not None:
        yield "rows", mapped.rows.table
    for customers in mapped.customers:
        yield f"customers.{customers.channel}", customers.table
    if mapped.orders is not None:
        yield "orders", mapped.orders.table
    for events in mapped.events:
        yield event_name(mapped, events), events.table


def _rows(mapped: Mapped, reader: Reader, asked: Asked) -> Checked:
    rows, schema = mapped.rows, asked.schema
    if rows is None:
        raise ValueError("Expected a mapping with [rows].")
    if schema is not None and of_histories(schema):
        return _histories(mapped, rows, reader)
    there = reader.columns(rows.table)
    special = {"customer": rows.customer} if rows.customer else {}
    label = (schema.label if schema else rows.label) if rows.label else ""
    if rows.label and (asked.labelled or rows.label in there):
        special[label] = rows.label
    elif asked.labelled and schema is not None:
        raise InputError("mapping, rows.label", "is empty", "name the column of the label")
    if schema is None:
        taken = {*special.values(), *rows.columns.values()}
        features = {**rows.columns, **{c: c for c in there if c not in taken}}
    else:
        of_campaign = schema.campaign.columns if schema.campaign and asked.labelled else ()
        names = (*(c.name for c in schema.columns), *of_campaign)
        features = {name: rows.columns.get(name, name) for name in names}
    table = _renamed(reader, rows.table, {**special, **features}, ["customer"])
    fields: dict[str, Field] = {"customer": _KEY} if rows.customer else {}
    if schema is not None:
        fields |= _number_fields(schema, set(features))
        if label in special and asked.labelled:
            values = schema.classes or (schema.positive, *schema.negative)
            fields[label] = Field("text", required=True, values=values)
        if schema.campaign and asked.labelled:
            arms = schema.campaign.names
            fields[schema.campaign.treatment] = Field("text", required=True, values=arms)
    checked = _checked(mapped, "rows", table, fields)
    return repeated(checked)


def _histories(mapped: Mapped, rows: Rows, reader: Reader) -> Checked:
    """Histories to train on: each item follows the one before it, and nothing is held out."""
    named = {HISTORY: rows.columns.get(HISTORY, HISTORY)}
    named |= {"customer": rows.customer} if rows.customer else {}
    named |= {SPLIT: rows.label} if rows.label else {}
    fields = {"customer": _KEY, SPLIT: Field("text", required=True, values=("train",))}
    table = _renamed(reader, rows.table, named, ["customer"])
    checked = _checked(mapped, "rows", table, {n: f for n, f in fields.items() if n in named})
    items, bad = listed(checked.rows[HISTORY])
    nothing = pd.Series([()] * len(items), items.index, dtype=object)
    made = checked.rows.assign(**{HISTORY: items, NEXT: nothing}).assign(**{SPLIT: "train"})
    checked = replace(checked, rows=made).reject({"history is no list of items": bad})
    return repeated(checked)


def _customers(mapped: Mapped, reader: Reader, one: Customers, asked: Asked) -> Checked:
    named = {"customer": one.id}
    for kind, columns in one.identifiers().items():
        named |= {f"{kind}.{i}": column for i, column in enumerate(columns)}
    wanted = None if asked.schema is None else {c.name for c in asked.schema.columns}
    named |= {f: c for f, c in one.columns.items() if wanted is None or f in wanted}
    text = [name for name in named if name not in one.columns]
    table = _renamed(reader, one.table, named, text)
    name, fields = f"customers.{one.channel}", {"customer": _KEY}
    fields |= _number_fields(asked.schema, set(one.columns) & set(table.columns))
    checked = _checked(mapped, name, table, fields)
    return unique(checked, ["customer"])


def _events(
    mapped: Mapped,
    reader: Reader,
    one: Events,
    customers: Checked,
    orders: Checked | None,
    now: pd.Timestamp,
) -> Checked:
    columns = one.columns()
    text = [c for c in ("customer", "order", "kind", "category", "channel") if c in columns]
    table = _renamed(reader, one.table, columns, text)
    name = event_name(mapped, one)
    fields = _with(mapped, "events", {c: _EVENT[c] for c in columns}, table)
    checked = check_fields(fresh(name, table), fields, one.time_format, mapped.zone)
    words = {"kind": one.kinds, "category": one.categories, "channel": one.channels}
    checked = replace(
        checked,
        rows=checked.rows.assign(
            **{
                column: checked.rows[column].map(known_words).fillna(checked.rows[column])
                for column, known_words in words.items()
                if known_words and column in columns
            }
        ),
    )
    now = by_clocks(pd.Series([now]), mapped.zone).iloc[0]
    checked = dated(checked, pd.Timestamp(mapped.earliest), now)
    checked = known(checked, "customer", customers, "customer")
    if "order" in columns:
        checked = one_customer_an_order(checked)
    if orders is not None:
        checked = totals(checked, orders, mapped.orders.tolerance if mapped.orders else 0.0)
    return recent(repeated(checked), now, mapped.limits)


def _orders(mapped: Mapped, reader: Reader) -> Checked | None:
    one = mapped.orders
    if one is None:
        return None
    table = _renamed(reader, one.table, {"order": one.order, "total": one.total}, ["order"])
    fields = {"order": _KEY, "total": Field("number", required=True)}
    return unique(_checked(mapped, "orders", table, fields), ["order"])


def _checked(
    mapped: Mapped, name: str, table: pd.DataFrame, fields: Mapping[str, Field]
) -> Checked:
    wanted = _with(mapped, name, fields, table)
    return check_fields(fresh(name, table), wanted, zone=mapped.zone)


def _number_fields(schema: Schema | None, names: set[str]) -> dict[str, Field]:
    """What the run's schema demands of the columns ``names``."""
    return {
        c.name: Field("number", required=c.missing is None)
        for c in (schema.columns if schema else ())
        if isinstance(c, Number) and c.name in names
    }


def _renamed(
    reader: Reader, table: str, named: Mapping[str, str], text: Sequence[str]
) -> pd.DataFrame:
    """The columns ``named`` (our name -> the table's), under our names."""
    kept = [named[name] for name in text if name in named]
    rows = reader.read(table, list(named.values()), kept)
    return pd.DataFrame({name: _comparable(rows[column]) for name, column in named.items()})


def _comparable(cells: pd.Series) -> pd.Series:
    """Lists (of Parquet, of a database) as tuples, so that rows can be told from each other."""
    if cells.dtype != object:
        return cells
    return cells.map(lambda cell: tuple(cell) if isinstance(cell, list | np.ndarray) else cell)


def _with(
    mapped: Mapped, name: str, fields: Mapping[str, Field], table: pd.DataFrame
) -> dict[str, Field]:
    """The usual demands and, in their place, those of the mapping file."""
    own = mapped.fields.get(name, {})
    for column in own:
        if column not in table.columns:
            raise InputError(
                f"mapping, fields.{name}.{column}",
                "there is no such column in the mapping",
                f"use one of {', '.join(map(str, table.columns))}",
            )
    return {**fields, **own}
