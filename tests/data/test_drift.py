"""Drift: an index by hand, silence where nothing moved, and the largest mover first."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from fl.data.drift import Profile, compare, profile, psi
from fl.data.handover import Team, assign
from fl.data.schema import Category, Number, Schema
from fl.data.summary import guessed, spark, summarise
from fl.errors import InputError
from fl.seeds import numpy_generator

SCHEMA = Schema(
    (Number("age", 0, 100), Number("spend", 0, 900, missing=0), Category("city", ("a", "b"))),
    "bought",
)


def rows(n: int = 2000, seed: int = 0, older: float = 0.0, city: str = "ab") -> pd.DataFrame:
    rng = numpy_generator(seed, "drift")
    spend = rng.exponential(100, n)
    spend[::7] = np.nan
    return pd.DataFrame(
        {
            "age": rng.normal(40 + older, 10, n),
            "spend": spend,
            "city": rng.choice(list(city), n),
            "bought": rng.integers(0, 2, n),
        }
    )


def test_the_index_is_the_sum_of_differences_times_log_ratios() -> None:
    a, b = np.array([300.0, 500.0, 200.0]), np.array([100.0, 500.0, 400.0])
    share_a, share_b = (a + 0.5) / 1001.5, (b + 0.5) / 1001.5
    by_hand = sum((x - y) * math.log(x / y) for x, y in zip(share_a, share_b, strict=True))
    assert psi(a, b) == pytest.approx(by_hand)
    assert psi(a, b) == pytest.approx(psi(b, a))


def test_what_did_not_move_stays_below_chance() -> None:
    before = profile(SCHEMA, rows())
    flagged = 0
    for seed in range(1, 41):
        moved = compare(before, profile(SCHEMA, rows(300, seed), before))
        flagged += sum(m.psi > m.chance for m in moved)
    assert flagged <= 1  # at 0.1 % for all features together, once in a thousand readings


def test_what_moved_comes_first_and_beyond_chance() -> None:
    before = profile(SCHEMA, rows())
    first, second, third = compare(before, profile(SCHEMA, rows(2000, 1, older=8), before))
    assert first.feature == "age"
    assert first.psi > 0.25 > second.psi
    assert first.psi > first.chance
    city = compare(before, profile(SCHEMA, rows(2000, 1, city="abc"), before))[0]
    assert city.feature == "city" and city.psi > 0.25
    assert third.psi < third.chance


def test_more_empty_cells_are_a_change() -> None:
    before = profile(SCHEMA, rows())
    emptied = rows(2000, 1)
    emptied.loc[::2, "spend"] = np.nan
    assert compare(before, profile(SCHEMA, emptied, before))[0].feature == "spend"


def test_a_profile_is_counts_and_survives_a_file() -> None:
    made = profile(SCHEMA, rows())
    assert Profile.read(json.loads(json.dumps(made.plain()))) == made
    assert all(sum(counts) == 2000 for counts in made.counts.values())
    for broken in (
        {},
        {"rows": 1, "edges": [], "counts": {}},
        {"rows": "x", "edges": {}, "counts": {}},
    ):
        with pytest.raises(InputError, match="no profile"):
            Profile.read(broken)


def test_empty_and_constant_features_are_no_trouble() -> None:
    nothing = profile(SCHEMA, rows().iloc[:0])
    full = profile(SCHEMA, rows())
    assert compare(nothing, full) == [] == compare(full, nothing)
    same = rows().assign(age=30.0, city="a")
    moved = compare(profile(SCHEMA, same), profile(SCHEMA, same))
    assert all(m.psi == 0 for m in moved)
    other = Schema((Number("height", 0, 2),), "bought")
    assert compare(full, profile(other, pd.DataFrame({"height": [1.0]}))) == []


# --- teams --------------------------------------------------------------------------------------


def test_teams_take_the_best_until_they_are_full() -> None:
    p = np.array([0.1, 0.9, 0.8, 0.7, 0.9])
    who = assign(p, pd.DataFrame(index=range(5)), [Team("a", 1), Team("b", 2)])
    assert who.tolist() == [None, "b", "b", None, "a"]
    assert assign(p, pd.DataFrame(index=range(5)), []).tolist() == [None] * 5
    assert assign(p[:0], pd.DataFrame(), [Team("a", 1)]).tolist() == []


def test_a_team_takes_only_whom_it_is_for() -> None:
    region = pd.DataFrame({"region": ["n", "s", "n", None], "size": [1, 2, 3, 4]})
    teams = [Team("north", 5, {"region": ("n",)}), Team("second", 5, {"size": ("2",)})]
    assert assign(np.arange(4) / 9, region, teams).tolist() == ["north", "second", "north", None]
    with pytest.raises(InputError, match="no feature 'colour'"):
        assign(np.zeros(4), region, [Team("x", 1, {"colour": ("red",)})])
    with pytest.raises(InputError, match="two are called 'x'"):
        assign(np.zeros(4), region, [Team("x", 1), Team("x", 2)])
    with pytest.raises(ValueError, match="capacity=-1"):
        Team("x", -1)


def test_no_team_is_given_more_than_it_can_take() -> None:
    p = numpy_generator(0, "teams").random(500)
    rows = pd.DataFrame({"shop": ["a", "b"] * 250})
    teams = [Team("a", 40, {"shop": ("a",)}), Team("any", 60), Team("none", 0)]
    who = pd.Series(assign(p, rows, teams))
    assert who.value_counts().to_dict() == {"any": 60, "a": 40}
    assert (rows["shop"][who == "a"] == "a").all()


# --- summary ------------------------------------------------------------------------------------


def test_a_summary_says_what_lies_beyond_the_bounds() -> None:
    table = rows(1000).assign(age=lambda r: r["age"].where(r.index >= 100, 150.0))
    table.loc[:49, "city"] = "elsewhere"
    table["city"] = table["city"].where(table.index >= 10)
    made = summarise(SCHEMA, table, np.repeat(np.arange(500), 2), {"dairy": 0.5})
    age, spend, city = made.features
    assert (made.rows, made.customers, made.most_rows) == (1000, 500, 2)
    assert made.label_rate == pytest.approx(table["bought"].mean())
    assert age.outside == pytest.approx(0.1)
    assert spend.empty == pytest.approx(table["spend"].isna().mean())
    assert (city.empty, city.outside) == (pytest.approx(0.01), pytest.approx(40 / 990))
    assert sum(age.histogram) == 1000
    assert dict(city.values)["(other)"] == pytest.approx(40 / 990)
    assert age.plain()["quantiles"][2] == pytest.approx(age.quantiles[2])


def test_a_summary_of_nothing_is_a_summary() -> None:
    made = summarise(SCHEMA, rows().iloc[:0], np.empty(0, np.int64), {})
    assert (made.rows, made.customers, made.label_rate) == (0, 0, None)
    assert made.features[0].quantiles == ()
    assert made.features[0].plain()["mean"] is None
    assert spark(()) == ""


def test_without_a_schema_the_rows_say_how_to_look_at_them() -> None:
    schema = guessed(rows(), "bought")
    assert [c.name for c in schema.columns] == ["age", "spend", "city"]
    assert summarise(schema, rows(), np.arange(2000), {}).features[0].outside == 0
    assert guessed(pd.DataFrame({"a": [1.0, 1.0], "b": [None, None]}), "y").numbers[0].high == 2
