"""Refresh: when data are read again, what counts as drift, what is offered, and what stays."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clients.brand_data import DataFolder, read
from clients.preview import headline, page, write
from clients.received import Received
from clients.refresh import DataState, due, load_state, model_made, refresh, save_state
from fl.data.drift import Profile
from fl.data.intake import Asked
from fl.data.mapping import Refresh
from fl.data.portrait_features import population_shares
from fl.data.schema import Number, Schema
from fl.data.summary import summarise
from fl.errors import InputError
from fl.models import Logistic
from fl.models.parameters import parameters
from fl.seeds import torch_generator
from tests.shop import CUSTOMERS, MAPPING, TODAY, made, tables

LATER = TODAY + pd.Timedelta(days=10)


def model_of(folder: DataFolder) -> Received:
    columns = (*folder.site().mapped.portrait.columns(), Number("age", 0, 100))
    schema = Schema(columns, "converted")
    params = parameters(Logistic().build(schema, torch_generator(0, "m")))
    weights = params["numbers.weight"].copy()
    weights[0, [c.name for c in schema.numbers].index("orders")] = 4.0
    return Received(schema, Logistic(), {**params, "numbers.weight": weights}, "a test")


def test_data_are_due_by_age_and_by_new_rows() -> None:
    rows = {"events": 100, "customers.shop": 5}
    state = DataState("2026-06-01T00:00:00", rows, made_on=Profile(5, {}, {}))
    rules = Refresh(after_hours=24, new_rows=10)
    now = pd.Timestamp("2026-06-01 12:00")
    assert due(None, rules, {}, now) == "first"
    assert due(DataState("2026-06-01T00:00:00", rows), rules, rows, now) == "first", "sizes only"
    assert due(state, rules, {"events": 109, "customers.shop": 5}, now) == ""
    assert due(state, rules, {"events": 105, "customers.shop": 10}, now) == "new rows"
    assert due(state, rules, {"events": 50}, now) == ""
    assert due(state, rules, {"events": 100}, now + pd.Timedelta(days=1)) == "age"
    assert due(state, rules, {"events": 100}, now - pd.Timedelta(days=1)) == "age"


def test_nothing_is_read_before_it_is_due(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = model_of(folder)
    first = refresh(folder, model.schema, None, TODAY)
    assert first is not None and first.why == "first"
    assert load_state(folder) == first.state
    assert refresh(folder, model.schema, None, TODAY) is None
    again = refresh(folder, model.schema, None, TODAY, asked=True)
    assert again is not None and again.why == "asked"
    assert again.state.offer == ()
    state = json.loads(folder.file("state.json").read_text())
    assert stat.S_IMODE(folder.file("state.json").stat().st_mode) == 0o600
    assert set(state) == {
        "version",
        "read_at",
        "rows",
        "model",
        "made_on",
        "fit",
        "offer",
        "offered_at",
    }


def test_data_that_stayed_the_same_offer_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = model_of(folder)
    reading = read(folder, Asked(model.schema), TODAY, {})
    state = model_made(folder, model.schema, model, reading)
    assert state.fit is not None and state.fit.rows == len(reading.examples().rows)
    done = refresh(folder, model.schema, model, TODAY, asked=True)
    assert done is not None
    assert done.state.offer == () and done.state.offered_at == ""
    assert all(m.psi == 0 for m in done.moved)
    assert done.fit == state.fit, "read again from its file"


def test_customers_who_changed_are_an_offer_until_a_model_is_made_on_them(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = model_of(folder)
    model_made(folder, model.schema, model, read(folder, Asked(model.schema), TODAY, {}))
    customers = tables()["customers.csv"].assign(age_years=lambda c: c["age_years"] / 2)
    lines = tables()["lines.csv"].assign(department="bakery")
    made(tmp_path, {"customers.csv": customers, "lines.csv": lines})
    done = refresh(folder, model.schema, model, LATER)
    assert done is not None and done.why == "age"
    assert done.moved[0].psi >= done.moved[-1].psi
    offered = {reason.partition(":")[0] for reason in done.state.offer}
    assert {"share_bakery", "share_dairy", "age"} <= offered
    assert done.state.offered_at == LATER.isoformat()
    later = refresh(folder, model.schema, model, LATER + pd.Timedelta(days=1), asked=True)
    assert later is not None and later.state.offered_at == LATER.isoformat(), "since when"
    state = model_made(folder, model.schema, model, later.reading)
    assert state.offer == ()
    after = refresh(folder, model.schema, model, LATER + pd.Timedelta(days=2), asked=True)
    assert after is not None and after.state.offer == ()


def test_a_model_not_seen_before_is_taken_to_be_made_on_these_data(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = model_of(folder)
    first = refresh(folder, model.schema, model, TODAY)
    assert first is not None and first.state.model == model.digest
    assert first.state.fit is not None
    made(tmp_path, {"lines.csv": tables()["lines.csv"].assign(department="bakery")})
    same = refresh(folder, model.schema, model, TODAY, asked=True)
    assert same is not None and same.state.offer
    newer = replace(model, params={n: a + 1 for n, a in model.params.items()})
    done = refresh(folder, model.schema, newer, TODAY, asked=True)
    assert done is not None and done.state.model == newer.digest
    assert done.state.offer == () and done.moved == ()


def test_probabilities_that_stopped_being_right_are_an_offer(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = model_of(folder)
    model_made(folder, model.schema, model, read(folder, Asked(model.schema), TODAY, {}))
    lines = tables()["lines.csv"]
    after = pd.to_datetime(lines["ordered_at"]) >= pd.Timestamp("2026-05-04")
    one = lines[after].drop_duplicates("department").head(1)  # nobody buys any more, but for one
    last = lines[after].sort_values("ordered_at").tail(1)
    made(tmp_path, {"lines.csv": pd.concat([lines[~after], one, last])})
    done = refresh(folder, model.schema, model, TODAY, asked=True)
    assert done is not None and done.fit is not None
    assert any("calibration error grew" in reason for reason in done.state.offer)
    assert done.state.fit is not None and done.fit.error > done.state.fit.error + 0.05


def test_a_refused_reading_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = model_of(folder)
    refresh(folder, model.schema, None, TODAY)
    before = folder.file("state.json").read_bytes()
    short = {"customers.csv": tables()["customers.csv"].head(40)}
    lines = tables()["lines.csv"]
    short["lines.csv"] = lines[lines["customer_no"].isin(short["customers.csv"]["customer_no"])]
    made(tmp_path, short)
    with pytest.raises(InputError, match="a loss beyond"):
        refresh(folder, model.schema, None, LATER)
    assert folder.file("state.json").read_bytes() == before
    done = refresh(folder, model.schema, None, LATER, accept_shorter=True)
    assert done is not None and done.state.rows["customers.shop"] == 40


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"read_at": 1, "rows": 3}'])
def test_a_state_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    folder = made(tmp_path)
    save_state(folder, DataState("2026-06-01", {}))
    folder.file("state.json").write_text(text)
    with pytest.raises(InputError, match="data state"):
        load_state(folder)


def test_a_preview_is_a_page_a_picture_or_figures(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = model_of(folder)
    reading = read(folder, Asked(model.schema), TODAY, {})
    examples = reading.examples()
    assert reading.people is not None
    shares = population_shares(reading.people.events, reading.site.mapped.portrait)
    summary = summarise(model.schema, examples.rows, examples.customer, shares)
    assert 0.8 * CUSTOMERS < summary.customers <= CUSTOMERS
    assert "Share of all spend: dairy" in headline(summary)
    for name in ("a.html", "a.png", "a.json"):
        write(tmp_path / name, model.schema, summary)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    text = (tmp_path / "a.html").read_text()
    assert "share_dairy" in text and "default-src 'none'" in text and "://" not in text
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "a.json").read_text())
    assert len(figures["features"]) == len(model.schema.columns)
    with pytest.raises(InputError, match=r"name \.html, \.png or \.json"):
        write(tmp_path / "a.pdf", model.schema, summary)
    hostile = replace(summary, population={"<script>": 1.0})
    assert "<script>" not in page(model.schema, hostile)
    empty = summarise(model.schema, examples.rows.iloc[:0], np.empty(0, np.int64), {})
    write(tmp_path / "b.html", model.schema, empty)


def test_the_mapping_s_thresholds_are_checked(tmp_path: Path) -> None:
    for key in ("after_hours = 0", "new_rows = 0", "psi = -1", "calibration = 0"):
        folder = made(tmp_path, None, MAPPING + f"[refresh]\n{key}\n")
        with pytest.raises(InputError, match=r"mapping\.refresh"):
            folder.site()
