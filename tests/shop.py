"""A small brand with two channels, as its node finds it: tables and a mapping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from clients.brand_data import DataFolder, write_samples
from fl.seeds import numpy_generator

TODAY = pd.Timestamp("2026-06-01")
CUSTOMERS = 150  # of the shop; half of them are in the app too

MAPPING = """\
[source]
name = "files"
folder = "tables"

[[customers]]
channel = "shop"
table = "customers.csv"
id = "customer_no"
phone = ["mobile"]
email = ["email"]
member = ["card_no"]
columns = { age = "age_years" }

[[customers]]
channel = "app"
table = "users.csv"
id = "user"
phone = ["phone"]
open_id = ["openid"]

[[events]]
of = "shop"
table = "lines.csv"
customer = "customer_no"
time = "ordered_at"
order = "order_no"
category = "department"
channel = "sold_via"
quantity = "pieces"
amount = "paid"
discount = "taken_off"
[events.categories]
"Dairy products" = "dairy"

[[events]]
of = "app"
table = "app.csv"
customer = "user"
time = "at"
kind = "event"
time_format = "%d/%m/%Y %H:%M"
[events.kinds]
seen = "view"

[identities]
region = "CN"

[portrait]
categories = ["dairy", "bakery"]
channels = ["store", "web"]
kinds = ["view"]
windows_days = [30, 90]
history_days = 365

[outcome]
horizon_days = 28

[limits]
rejected_share = 0.1
"""


def tables() -> dict[str, pd.DataFrame]:
    """Clean tables; who buys often goes on buying."""
    rng = numpy_generator(5, "shop")
    ids = np.arange(1, CUSTOMERS + 1)
    phones = [f"138{i:08d}" for i in ids]
    keen = rng.random(CUSTOMERS)
    customers = pd.DataFrame(
        {
            "customer_no": [f"{i:05d}" for i in ids],
            "mobile": phones,
            "email": [f"p{i}@example.com" if i % 3 else None for i in ids],
            "card_no": [f"M{i}" for i in ids],
            "age_years": rng.integers(18, 80, CUSTOMERS),
        }
    )
    users = pd.DataFrame(
        {
            "user": [f"u{i}" for i in ids[::2]],
            "phone": [f"+86 {p[:3]} {p[3:]}" for p in phones[::2]],
            "openid": [f"oX{i:x}" for i in ids[::2]],
        }
    )
    count = rng.poisson(3 + 12 * keen)
    who = np.repeat(np.arange(CUSTOMERS), count)
    order = np.arange(len(who)) // 1
    days = rng.integers(0, 360, len(who))
    lines = pd.DataFrame(
        {
            "customer_no": customers["customer_no"].to_numpy()[who],
            "ordered_at": [(TODAY - pd.Timedelta(days=int(d), hours=3)).isoformat() for d in days],
            "order_no": [f"A{o}" for o in order],
            "department": rng.choice(["Dairy products", "bakery", "tools"], len(who)),
            "sold_via": rng.choice(["store", "web"], len(who)),
            "pieces": rng.integers(1, 4, len(who)),
            "paid": rng.integers(2, 80, len(who)) / 2,
            "taken_off": rng.choice([0, 0, 0.5], len(who)),
        }
    )
    seen = rng.integers(0, len(users), 300)
    app = pd.DataFrame(
        {
            "user": users["user"].to_numpy()[seen],
            "at": [
                (TODAY - pd.Timedelta(days=int(d))).strftime("%d/%m/%Y %H:%M")
                for d in rng.integers(1, 360, 300)
            ],
            "event": "seen",
        }
    )
    return {"customers.csv": customers, "users.csv": users, "lines.csv": lines, "app.csv": app}


def made(
    home: Path, changed: dict[str, pd.DataFrame] | None = None, mapping: str = MAPPING
) -> DataFolder:
    """A node's folder with these tables."""
    home.mkdir(exist_ok=True, parents=True)
    write_samples(home)
    (home / "mapping.toml").write_text(mapping, "utf-8")
    (home / "tables").mkdir(exist_ok=True)
    for name, rows in {**tables(), **(changed or {})}.items():
        rows.to_csv(home / "tables" / name, index=False)
    return DataFolder(home)
