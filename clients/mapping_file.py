"""The mapping file: TOML, on the brand's disk, from the brand's tables to a run's columns.

It holds no password and no customer. Like the policy, it is not believed where others may write it.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl.config import build, choose, group
from fl.data.mapping import SOURCES, Mapped, Source
from fl.data.sources_files import Reader
from fl.errors import InputError
from fl.private_files import read_trusted

SAMPLE = """\
# What this brand's tables mean. Read from this disk before every run; `fl-node check` tells what is
# wrong with it and with the data. It holds no password and no customer.

# zone = "Asia/Shanghai"           # of times that name no zone, and of days; else they are in UTC

[source]                          # one of the three
name = "files"                    # CSV (UTF-8) and Parquet files; a table's name is its file's name
folder = "tables"                 # relative to this file
# name = "duckdb"
# path = "crm.duckdb"
# name = "sql"                    # opened in one read-only transaction
# url = "postgresql+psycopg://reader@db.example:5432/crm"   # no password here
# url = "mysql+pymysql://reader@db.example/crm?charset=utf8mb4"   # needs the package pymysql
# password_file = "crm.password"  # its owner alone may read it; or password_env = "CRM_PASSWORD"

# Either finished examples, one row each ...
# [rows]
# table = "examples.parquet"
# label = "bought"
# customer = "customer_no"
# [rows.columns]                  # the run's name = this table's column; others keep their name
# age = "age_years"
# history = "items"              # of task=preference: item names, oldest first, as a list or (CSV)
#                                # as JSON, ["a", "b"]; no label: each follows the one before it

# ... or customers and what they did, from which identities and portraits are made.
[[customers]]
channel = "shop"
table = "customers.csv"
id = "customer_no"
phone = ["mobile"]                # any number of columns of each kind of identifier
email = ["email"]
member = ["card_no"]
# open_id = ["openid"]

[[events]]
of = "shop"                       # whose customers
table = "order_lines.csv"
customer = "customer_no"
time = "ordered_at"               # ISO 8601; else time_format = "%d/%m/%Y"
order = "order_no"
category = "department"
channel = "sold_via"
quantity = "pieces"
amount = "paid"                   # for the line, in one currency
discount = "taken_off"            # >= 0
# kind = "event"                  # view, cart, purchase, return ...; without it all are purchases
[events.categories]               # this brand's word = the run's; others count as "other"
"Dairy products" = "dairy"

# [orders]                        # totals that the lines must add up to
# table = "orders.csv"
# order = "order_no"
# total = "total"

[identities]
region = "CN"                     # whose phone numbers have no country code here
shared_by_at_most = 10            # a number of more records than this is nobody's own
# ignore = {phone = ["13800000000"]}

[portrait]                        # as the run states it: public, equal at every brand
categories = ["dairy", "bakery"]
channels = ["store", "web"]
windows_days = [30, 90]
history_days = 365

[outcome]                         # what a portrait is asked about
label = "converted"
horizon_days = 28                 # a purchase within these days after the cut-off
# category = "dairy"

# [fields.events.amount]          # further demands on cells; a row that fails is set aside
# kind = "number"
# low = 0
# high = 50000

# [[teams]]                       # who takes the customers that fl-node score hands over
# name = "north"
# capacity = 200
# where = {region = ["n"]}        # only customers with such a feature

[limits]                          # what stops a run
rejected_share = 0.05             # of any table's rows
stale_days = 30                   # age of the newest event
shrink_share = 0.5                # by which a table got shorter since the last reading
wrong_share = 0.1                 # found wrong in the manual check (upper end of its interval)

[refresh]
after_hours = 168
new_rows = 10000
psi = 0.25                        # of any feature: 0.1 is some change, 0.25 much
calibration = 0.05                # growth of the current model's calibration error
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A brand's tables: where they are, what they mean.

    Attributes:
        source: where.
        mapped: what they mean.
        folder: of the mapping file; paths in it are relative to this.
    """

    source: Source
    mapped: Mapped
    folder: Path

    def open(self) -> AbstractContextManager[Reader]:
        """All tables as they are at this moment, read-only."""
        return self.source.open(self.folder)


def read_mapping(path: Path) -> Site:
    """The mapping in ``path``.

    Raises:
        InputError: missing, writable by others, not TOML, an unknown or missing key, a wrong value.
    """
    where = f"mapping {path.name}"
    text = read_trusted(path, where, lost="check the path, or write a sample (fl-node init)")
    try:
        values = {key: _plain(value) for key, value in tomllib.loads(text).items()}
    except tomllib.TOMLDecodeError as error:
        raise InputError(where, f"is not TOML: {error}", "correct the line") from error
    if "source" not in values:
        raise InputError("mapping, source", "is missing", "say where the tables are: [source]")
    source = choose(SOURCES, group(values.pop("source"), "mapping, source"), "mapping, source")
    return Site(source, build(Mapped, values, "mapping"), path.parent)


def _plain(value: Any) -> Any:
    """Dates as text: a mapping states days only."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, dt.date) else value
