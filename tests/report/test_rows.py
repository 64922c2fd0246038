"""Rows: groups form within a seed, brands without a value are left out, files are whole."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.errors import InputError
from fl.report import rows as module
from fl.report.rows import Row, Setting, Values, from_json, gains, summarise, to_json

NAN = float("nan")
SETTING = Setting("quickstart", "panel", "conversion", "mlp", "fedavg", "none")
VALUES: Values = {
    "alone": {
        "auc": {"a": [0.6, 0.7], "b": [0.8, 0.5], "c": [NAN, 0.9]},
        "log_loss": {"a": [0.6, 0.7], "b": [0.8, 0.5], "c": [NAN, 0.9]},
    },
    "federated": {"auc": {"a": [0.7, 0.7], "b": [0.8, 0.8], "c": [NAN, 0.9]}},
}
TIERS = {"a": "small", "b": "small", "c": "large"}


def pick(rows: list[Row], arm: str, metric: str, brand: str) -> Row:
    (row,) = [r for r in rows if (r.arm, r.metric, r.brand) == (arm, metric, brand)]
    return row


def same(row: Row, other: Row) -> bool:
    return repr(row) == repr(other)  # NaN is not equal to itself


def test_means_are_taken_over_brands_first() -> None:
    """Seed 1: (0.6 + 0.8) / 2 = 0.7, c is left out; seed 2: (0.7 + 0.5 + 0.9) / 3 = 0.7."""
    row = pick(summarise(SETTING, VALUES), "alone", "auc", "mean")
    assert (row.value, row.low, row.high) == tuple(pytest.approx(0.7) for _ in range(3))
    assert row.seeds == 2


def test_worst_follows_the_direction_of_the_metric() -> None:
    """AUC: the least of each seed, 0.6 and 0.5; log loss: the greatest, 0.8 and 0.9."""
    rows = summarise(SETTING, VALUES)
    assert pick(rows, "alone", "auc", "worst").value == pytest.approx(0.55)
    assert pick(rows, "alone", "log_loss", "worst").value == pytest.approx(0.85)


def test_tiers_are_means_over_their_brands_in_the_order_given() -> None:
    rows = summarise(SETTING, VALUES, tiers=TIERS)
    assert pick(rows, "alone", "auc", "tier:small").value == pytest.approx(0.65)
    large = pick(rows, "alone", "auc", "tier:large")
    assert (large.value, large.seeds, math.isnan(large.low)) == (0.9, 1, True)
    names = [r.brand for r in rows if r.arm == "federated"]
    assert names == ["a", "b", "c", "mean", "worst", "tier:small", "tier:large"]


def test_pooled_values_are_rows_too() -> None:
    rows = summarise(SETTING, VALUES, pooled={"alone": {"auc": [0.5, 0.7]}})
    assert pick(rows, "alone", "auc", "pooled").value == pytest.approx(0.6)
    assert not [r for r in rows if r.brand == "pooled" and r.metric == "log_loss"]


def test_a_brand_without_any_value_is_a_row_without_value() -> None:
    row = pick(summarise(SETTING, {"alone": {"auc": {"a": [NAN, NAN]}}}), "alone", "auc", "worst")
    assert (row.seeds, math.isnan(row.value)) == (0, True)


@pytest.mark.parametrize("brand", ["mean", "worst", "pooled", "tier:small"])
def test_brands_named_like_groups_are_refused(brand: str) -> None:
    with pytest.raises(InputError, match="group"):
        summarise(SETTING, {"alone": {"auc": {brand: [0.5]}}})


def test_unknown_metrics_and_ragged_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="metric"):
        summarise(SETTING, {"alone": {"charm": {"a": [0.5]}}})
    with pytest.raises(ValueError, match="seeds"):
        summarise(SETTING, {"alone": {"auc": {"a": [0.5], "b": [0.5, 0.6]}}})


@pytest.mark.parametrize("epsilon", [-1.0, math.inf, NAN])
def test_epsilon_is_a_number_or_none(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        Setting("e", "d", "t", "m", "a", "p", epsilon)


def test_gains_are_paired_by_seed() -> None:
    """Seed 1: 0.75 - 0.7 = 0.05; seed 2: 0.8 - 0.7 = 0.1; mean 0.075."""
    found = gains(VALUES, "auc", tiers=TIERS)
    assert found["mean"]["metric"] == "auc"
    mean, low, high = found["mean"]["federated_minus_alone"]
    assert mean == pytest.approx(0.075)
    assert low < mean < high
    assert found["tier:small"]["federated_minus_alone"][0] == pytest.approx(0.1)
    assert set(found) == {"a", "b", "c", "mean", "tier:small", "tier:large"}


def test_no_federated_arm_means_no_gains() -> None:
    assert gains({"alone": VALUES["alone"]}, "auc") == {}


def test_files_round_trip_and_nan_is_null(tmp_path: Path) -> None:
    rows = summarise(SETTING, VALUES, tiers=TIERS)
    path = tmp_path / "results.json"
    to_json(path, rows)
    back = from_json(path)
    assert len(back) == len(rows)
    assert all(same(a, b) for a, b in zip(rows, back, strict=True))
    entries = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert any(entry["low"] is None for entry in entries)
    assert {entry["epsilon"] for entry in entries} == {None}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_no_rows_are_an_empty_list(tmp_path: Path) -> None:
    to_json(tmp_path / "r.json", [])
    assert from_json(tmp_path / "r.json") == ()


@pytest.mark.parametrize("text", ["{}x", '{"a": 1}', "[1]", '[{"arm": "alone"}]', "null"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"results\.json"):
        from_json(path)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    to_json(path, [])
    infinite = Row(*["x"] * 6, None, "alone", "a", "auc", math.inf, NAN, NAN, 1)
    with pytest.raises(ValueError, match="Out of range"):
        to_json(path, [infinite])

    def broken(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("fl.report.files.os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        module.atomic_write(path, b"new")
    assert path.read_text() == "[]\n"
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_a_file_is_as_open_as_the_umask_allows_which_nothing_touches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            patched.delattr("os.umask")  # other threads make files meanwhile
            module.atomic_write(tmp_path / "open", b"1")
            module.atomic_write(tmp_path / "secret", b"2", private=True)
    finally:
        assert os.umask(before) == 0o027
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == {"open": 0o640, "secret": 0o600}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_one_brand_is_its_own_mean_and_worst(per_seed: list[float]) -> None:
    rows = summarise(SETTING, {"alone": {"auc": {"a": per_seed}}})
    mean, worst, own = (pick(rows, "alone", "auc", b) for b in ("mean", "worst", "a"))
    assert mean.value == worst.value == own.value
