"""From checked tables to rows for a model: who the customers are, their portraits, their outcomes.

A row is one example. Its customer is who the privacy plan hides: one person, whatever number of
accounts that person has in the brand's channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.data.consistency import Batch
from fl.data.identity import Resolved, resolve
from fl.data.mapping import Mapped
from fl.data.portrait import PURCHASE
from fl.data.portrait_features import portraits
from fl.errors import InputError

Ints = npt.NDArray[np.int64]
_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Made:
    """Rows for a model.

    Attributes:
        rows: features, and the label where there is one; index 0 to n - 1.
        customer: int64 ``[n]``, equal for the rows of one customer; the same at every reading,
            but where finished examples name no customer: there it is the row's place in this one.
        name: text ``[n]``: how the brand itself calls the row's customer, or the row's number where
            it names none. Never leaves.
        cutoff: features are from before it; None for finished examples.
    """

    rows: pd.DataFrame
    customer: Ints
    name: pd.Series
    cutoff: pd.Timestamp | None = None


@dataclass(frozen=True, slots=True)
class People:
    """Customers of all channels and their events.

    Attributes:
        resolved: which records are one customer.
        records: one row a record: ``name`` and the features known of it.
        events: all channels' events with the number of their ``customer``.
    """

    resolved: Resolved
    records: pd.DataFrame
    events: pd.DataFrame


def finished(mapped: Mapped, batch: Batch) -> Made:
    """The examples of ``[rows]``."""
    rows = batch.tables[0].rows.reset_index(drop=True)
    if mapped.rows is None:
        raise ValueError("Expected a mapping with [rows].")
    if not mapped.rows.customer:
        return Made(
            rows,
            np.arange(len(rows), dtype=np.int64),
            (rows.index + 1).astype(str).to_series(index=rows.index),
        )
    name = rows.pop("customer").astype(str)
    return Made(rows, _numbers(name), name)


def people(mapped: Mapped, batch: Batch, key: bytes) -> People:
    """Join the records of all channels and give every event its customer.

    Args:
        mapped: the mapping file.
        batch: of the same mapping.
        key: the brand's secret for identifiers, see ``identity.py``.
    """
    channels = batch.tables[: len(mapped.customers)]
    several = len(channels) > 1
    parts, owners = [], {}
    start = 0
    for one, table in zip(mapped.customers, channels, strict=True):
        part = table.rows.reset_index(drop=True)
        prefix = f"{one.channel}:" if several else ""
        parts.append(part.assign(name=prefix + part["customer"].astype(str)))
        owners[one.channel] = pd.Series(np.arange(start, start + len(part)), part["customer"])
        start += len(part)
    records = pd.concat(parts, ignore_index=True)
    kinds = ("phone", "email", "member", "open_id")
    cells = {
        kind: [records[c] for c in records.columns if str(c).startswith(f"{kind}.")]
        for kind in kinds
    }
    resolved = resolve(cells, records["name"], key, mapped.identities)
    logs, events = batch.tables[-len(mapped.events) :], []
    for what, log in zip(mapped.events, logs, strict=True):
        record = log.rows["customer"].map(owners[what.of]).to_numpy(np.int64)
        rows = log.rows.assign(customer=resolved.customer[record])
        if "kind" not in rows:
            rows["kind"] = PURCHASE
        if "order" in rows and len(mapped.events) > 1:  # two tables may use one number
            rows["order"] = f"{what.table}/" + rows["order"]
        events.append(rows)
    return People(resolved, records, pd.concat(events, ignore_index=True))


def known_until(of: People) -> pd.Timestamp:
    """The day after the newest event: what was before it is known.

    Raises:
        InputError: there is no event.
    """
    if of.events.empty:
        raise InputError("data, events", "no event passed the checks", "see fl-node check")
    newest: pd.Timestamp = of.events["time"].max()
    return newest.normalize() + _DAY


def portrayed(mapped: Mapped, of: People, cutoff: pd.Timestamp) -> Made:
    """One row for each customer with a purchase in the history before ``cutoff``, without label."""
    count = len(of.resolved.pseudonym)
    rows = portraits(of.events, count, cutoff, mapped.portrait)
    first = pd.Series(of.resolved.customer).drop_duplicates().index
    known = of.records.iloc[first].reset_index(drop=True)
    for one in mapped.customers:
        for feature in set(one.columns) & set(of.records.columns):  # what the run reads of them
            filled = pd.Series(of.records[feature].to_numpy()).groupby(of.resolved.customer).first()
            rows[feature] = filled.reindex(range(count)).to_numpy()
    active = (rows["orders"] > 0).to_numpy()
    customer = np.array([int(p[:15], 16) for p in of.resolved.pseudonym], np.int64)
    return Made(
        rows[active].reset_index(drop=True),
        customer[active],
        known["name"][active].reset_index(drop=True),
        cutoff,
    )


def labelled(mapped: Mapped, of: People) -> Made:
    """Portraits before the cut-off, with what each customer did after it as label 0 or 1.

    Raises:
        InputError: the outcome's time is not over yet, or nobody has a history before it.
    """
    how, end = mapped.outcome, known_until(of)
    horizon = pd.Timedelta(days=how.horizon_days)
    cutoff = pd.Timestamp(how.cutoff) if how.cutoff else end - horizon
    if cutoff + horizon > end:
        raise InputError(
            "mapping, outcome.cutoff",
            f"the {how.horizon_days} days after {cutoff:%Y-%m-%d} are not over in the data",
            "choose an earlier cutoff, or leave it out",
        )
    made = portrayed(mapped, of, cutoff)
    if made.rows.empty:
        raise InputError(
            "data, events",
            f"no purchase before the cut-off {cutoff:%Y-%m-%d}",
            "see outcome.cutoff",
        )
    events = of.events
    hit = (events["time"] >= cutoff) & (events["time"] < cutoff + horizon)
    if "kind" in events:
        hit &= events["kind"] == how.kind
    if how.category:
        hit &= events["category"] == how.category
    done = np.zeros(len(of.resolved.pseudonym), np.int64)
    done[events["customer"][hit].to_numpy()] = 1
    numbers = {
        int(p[:15], 16): d for p, d in zip(of.resolved.pseudonym, done.tolist(), strict=True)
    }
    label = [numbers[c] for c in made.customer.tolist()]
    return Made(made.rows.assign(**{how.label: label}), made.customer, made.name, cutoff)


def _numbers(names: pd.Series) -> Ints:
    """A number of each name, the same at every reading: 60 bits of its hash."""
    codes, values = pd.factorize(names)
    table: Mapping[int, str] = dict(enumerate(values))
    hashed = [int(hashlib.sha256(v.encode()).hexdigest()[:15], 16) for v in table.values()]
    numbers: Ints = np.array(hashed, np.int64)[codes]
    return numbers
