"""What the brand's own tables mean: the mapping file, as data.

A brand has either finished examples (``[rows]``: one row is one example, label and features named)
or customers and events (``[[customers]]``, ``[[events]]``), from which identities and portraits are
made. ``SAMPLE`` is the file that ``fl-node init`` writes, with comments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from fl.data.consistency import Limits
from fl.data.contract import Field
from fl.data.handover import Team
from fl.data.identity import Rules
from fl.data.portrait import PURCHASE, Portrait
from fl.data.sources_duckdb import DuckDb
from fl.data.sources_files import Files
from fl.data.sources_sql import Sql

Source = Files | DuckDb | Sql
SOURCES: Mapping[str, type[Source]] = {"files": Files, "duckdb": DuckDb, "sql": Sql}


@dataclass(frozen=True, slots=True)
class Rows:
    """``[rows]``: one row is one example.

    Attributes:
        table: in the source.
        label: column of the label; empty where the table has none (then it can only be scored).
        customer: column that names the customer; empty where each row is one.
        columns: the run's feature <- this table's column. A feature that is not named here is
            looked for under its own name.
    """

    table: str
    label: str = ""
    customer: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Customers:
    """``[[customers]]``: the customers of one channel.

    Attributes:
        channel: its name, such as ``shop``; distinct.
        table, id: in the source, and the column with the customer's number there.
        phone, email, member, open_id: columns with such identifiers, any number of each.
        columns: a feature <- a column, for what is known of the customer beside events.
    """

    table: str
    id: str
    channel: str = "main"
    phone: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    member: tuple[str, ...] = ()
    open_id: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    def identifiers(self) -> dict[str, tuple[str, ...]]:
        """Columns by kind of identifier."""
        kinds = {"phone": self.phone, "email": self.email, "member": self.member}
        return {**kinds, "open_id": self.open_id}


@dataclass(frozen=True, slots=True)
class Events:
    """``[[events]]``: what customers did, one row an event or a line of an order.

    Attributes:
        table: in the source.
        of: channel whose customers ``customer`` names.
        customer, time: columns that every event has.
        order, kind, category, channel, quantity, amount, discount: columns, where there are such.
        time_format: as ``strptime`` reads it (``%d/%m/%Y``); empty means ISO 8601.
        kinds, categories, channels: the brand's own word -> the public name. A word that is not
            here stays as it is; ``purchase`` is the kind that portraits count as one.
    """

    table: str
    customer: str
    time: str
    of: str = "main"
    order: str = ""
    kind: str = ""
    category: str = ""
    channel: str = ""
    quantity: str = ""
    amount: str = ""
    discount: str = ""
    time_format: str = ""
    kinds: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)

    def columns(self) -> dict[str, str]:
        """The columns there are: our name -> the table's."""
        named = {
            "customer": self.customer,
            "time": self.time,
            "order": self.order,
            "kind": self.kind,
            "category": self.category,
            "channel": self.channel,
            "quantity": self.quantity,
            "amount": self.amount,
            "discount": self.discount,
        }
        return {name: column for name, column in named.items() if column}


@dataclass(frozen=True, slots=True)
class Orders:
    """``[orders]``: totals that the events' lines must add up to, within ``tolerance``."""

    table: str
    order: str
    total: str
    tolerance: float = 0.01


@dataclass(frozen=True, slots=True)
class Outcome:
    """``[outcome]``: what is predicted from a portrait.

    Attributes:
        label: the run's name for it.
        kind, category: an event that counts; an empty category is any.
        horizon_days: how long after the cut-off it may happen, >= 1.
        cutoff: first day of the outcome, ``2026-01-31``; empty: ``horizon_days`` before the day
            after the newest event.
    """

    label: str = "converted"
    kind: str = PURCHASE
    category: str = ""
    horizon_days: int = 28
    cutoff: str = ""

    def __post_init__(self) -> None:
        if self.horizon_days < 1:
            raise ValueError(f"Expected horizon_days={self.horizon_days} >= 1.")
        if self.cutoff and not re.fullmatch(r"\d{4}-\d\d-\d\d", self.cutoff):
            raise ValueError(f"Expected cutoff={self.cutoff!r} like 2026-01-31.")


@dataclass(frozen=True, slots=True)
class Refresh:
    """``[refresh]``: when data are read again, and when they have changed enough to say so.

    Attributes:
        after_hours: age of the last reading, > 0.
        new_rows: in all tables since then, >= 1.
        psi: population stability index of any feature (0.1: some change, 0.25: much), > 0.
        calibration: by how much the expected calibration error of the current model may grow, > 0.
    """

    after_hours: float = 168.0
    new_rows: int = 10_000
    psi: float = 0.25
    calibration: float = 0.05

    def __post_init__(self) -> None:
        if not (self.after_hours > 0 and self.new_rows >= 1):
            raise ValueError("Expected after_hours > 0 and new_rows >= 1.")
        if not (self.psi > 0 and self.calibration > 0):
            raise ValueError("Expected psi > 0 and calibration > 0.")


@dataclass(frozen=True, slots=True)
class Mapped:
    """The mapping file but for its ``[source]``, which is one of :data:`SOURCES`.

    Attributes:
        rows: finished examples; or None, with ``customers`` and ``events``.
        orders: totals to check against, or None.
        outcome: the label of portraits.
        identities, portrait, limits, refresh: see there.
        teams: who takes the customers that are handed over.
        zone: IANA name of the time zone of times that name none, and of days and cut-offs.
        earliest: events before it are rejected.
        fields: further demands on cells, by table (``rows``, ``customers.CHANNEL``, ``events``,
            ``orders``) and column, in the names of this mapping.
    """

    rows: Rows | None = None
    customers: tuple[Customers, ...] = ()
    events: tuple[Events, ...] = ()
    orders: Orders | None = None
    outcome: Outcome = field(default_factory=Outcome)
    identities: Rules = field(default_factory=Rules)
    portrait: Portrait = field(default_factory=Portrait)
    limits: Limits = field(default_factory=Limits)
    refresh: Refresh = field(default_factory=Refresh)
    teams: tuple[Team, ...] = ()
    zone: str = "UTC"
    earliest: str = "1990-01-01"
    fields: Mapping[str, Mapping[str, Field]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (ValueError, OSError) as error:  # a name that is a path, or of no zone
            raise ValueError(
                f"Expected zone={self.zone!r} to be a time zone such as 'Asia/Shanghai'"
            ) from error
        if (self.rows is None) == (not self.customers):
            raise ValueError("Expected either [rows], or [[customers]] with [[events]]")
        channels = [one.channel for one in self.customers]
        if len(set(channels)) != len(channels):
            raise ValueError(f"Expected channels of [[customers]] to be distinct, got {channels}")
        for one in self.events:
            if one.of not in channels:
                raise ValueError(f"Expected of={one.of!r} of [[events]] to be one of {channels}")
        if self.customers and not self.events:
            raise ValueError("Expected [[events]] beside [[customers]]")
        if self.orders and not all(one.order and one.amount for one in self.events):
            raise ValueError("Expected order and amount in [[events]], to check [orders]")
        tables = {"rows", "events", "orders", *(f"customers.{c}" for c in channels)}
        if unknown := sorted(set(self.fields) - tables):
            raise ValueError(f"Expected [fields] to name {sorted(tables)}, got {unknown[0]!r}")
