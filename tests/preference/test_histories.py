"""Histories: who is held out, what is left out, and what becomes of rows that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fl.data.dataset import DataSet, Provenance
from fl.data.divide import Preparation, divide
from fl.data.histories import Cut, catalogue_schema, history_rows, with_customers
from fl.data.partition import Natural
from fl.errors import InputError
from fl.models.popularity import Popularity
from fl.tasks.preference import PreferenceOptions
from tests.preference import worlds


def bought(*baskets: str, brand: str = "x", who: str = "a") -> pd.DataFrame:
    """One letter an item, one word a basket."""
    rows = [(brand, who, n, item) for n, basket in enumerate(baskets) for item in basket]
    return pd.DataFrame(rows, columns=["brand", "customer", "basket", "item"])


def cut_of(*baskets: str, **how: int) -> list[tuple[str, str, str]]:
    rows = history_rows(bought(*baskets), Cut(**how))
    return [(r.split, "".join(r.history), "".join(r.next)) for r in rows.itertuples()]


def data_set(purchases: pd.DataFrame) -> DataSet:
    schema = catalogue_schema(sorted(purchases["item"].unique()))
    made_up = Provenance("made up", "nobody", "none", "")
    rows = history_rows(purchases, Cut())
    return DataSet("x", rows, schema, "brand", "customer", made_up, split="split")


def test_the_last_basket_is_tested_and_the_one_before_validated() -> None:
    assert cut_of("ab", "c", "d", "ef") == [
        ("train", "abc", ""), ("validation", "abc", "d"), ("test", "abcd", "ef"),
    ]  # fmt: skip


def test_with_two_baskets_there_is_nothing_to_validate() -> None:
    assert cut_of("ab", "c") == [("train", "ab", ""), ("test", "ab", "c")]


def test_one_purchase_is_for_training_and_a_single_item_teaches_nothing() -> None:
    assert cut_of("abc") == [("train", "abc", "")]
    assert cut_of("a") == []
    assert cut_of("a", "b") == [("test", "a", "b")]


def test_long_histories_become_several_rows_and_the_latest_count() -> None:
    assert cut_of("abcdefg", "h", "i", length=3, windows=2) == [
        ("train", "efg", ""), ("train", "bcd", ""),
        ("validation", "efg", "h"), ("test", "fgh", "i"),
    ]  # fmt: skip


def test_what_is_cut_off_a_held_out_history_is_still_owned() -> None:
    rows = history_rows(bought("abc", "dae", "fg", "h"), Cut(length=3, windows=2))
    assert [(r.split, "".join(r.history), "".join(r.owned)) for r in rows.itertuples()] == [
        ("train", "dae", ""), ("train", "abc", ""),
        ("validation", "dae", "bc"), ("test", "efg", "abcd"),
    ]  # fmt: skip
    uncut = history_rows(bought("abc", "dae", "fg", "h"), Cut(length=8))
    assert set(uncut["owned"]) == {()}


def test_of_new_items_only_what_was_never_bought_is_looked_for() -> None:
    assert cut_of("ab", "ac", "cb", new_only=True) == [
        ("train", "ab", ""), ("validation", "ab", "c"),
    ]  # fmt: skip


def dated(*baskets: tuple[str, str], **how: Any) -> list[tuple[str, str, str]]:
    table = bought(*(items for _, items in baskets))
    table["time"] = [pd.Timestamp(day) for day, items in baskets for _ in items]
    rows = history_rows(table, Cut(**how))
    return [(r.split, "".join(r.history), "".join(r.next)) for r in rows.itertuples()]


DAYS = (("2010-01-05", "ab"), ("2010-02-05", "c"), ("2010-03-05", "de"), ("2010-04-05", "af"))


def test_from_a_date_on_every_basket_is_tested_and_none_before_it() -> None:
    assert dated(*DAYS, test_from="2010-03-05") == [
        ("train", "abc", ""), ("test", "abc", "de"), ("test", "abcde", "af"),
    ]  # fmt: skip
    assert dated(*DAYS, test_from="2010-03-05", test_until="2010-04-01", new_only=True) == [
        ("train", "abc", ""), ("test", "abc", "de"),
    ]  # fmt: skip


def test_a_first_basket_after_the_date_has_no_past_and_is_not_tested() -> None:
    assert dated(*DAYS, test_from="2010-01-01") == [
        ("test", "ab", "c"), ("test", "abc", "de"), ("test", "abcde", "af"),
    ]  # fmt: skip
    assert dated(*DAYS, test_from="2011-01-01") == [("train", "abcdeaf", "")]


@pytest.mark.parametrize(
    "how",
    [
        {"test_from": "1 March"},
        {"test_from": "2010-03-01", "test_until": "2010-02-01"},
        {"test_until": "2010-02-01"},
    ],
)
def test_dates_that_are_none_or_out_of_order_are_refused(how: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        Cut(**how)  # type: ignore[arg-type]


def test_an_item_bought_twice_at_once_is_one_want() -> None:
    assert cut_of("aab", "cc") == [("train", "ab", ""), ("test", "ab", "c")]


def test_brands_without_repeat_customers_can_be_left_out_and_are_refused_otherwise() -> None:
    both = pd.concat([bought("ab", "c", "d"), bought("abc", brand="once", who="b")])
    rows = history_rows(both, Cut())
    assert set(with_customers(rows, 1)["brand"]) == {"x"}
    assert set(with_customers(rows, 1, "train")["brand"]) == {"x"}  # the other has nobody to test
    assert set(with_customers(rows, 0)["brand"]) == {"x", "once"}
    assert with_customers(rows, 2, "train").empty
    with pytest.raises(InputError, match=r"brand once.*no test rows"):
        divide(data_set(both), Natural(), Preparation(one_class="keep"), 0)


def test_the_split_of_histories_is_kept_and_without_validation_all_train() -> None:
    tables = divide(data_set(worlds.purchases()), Natural(), Preparation(), 0)
    assert set(tables["b0"].split) == {"train", "validation", "test"}
    tables = divide(data_set(worlds.purchases()), Natural(), Preparation(validation=0.0), 0)
    assert list(tables["b0"].split).count("train") == 80


def encode(history: object, follows: object = ()) -> tuple[list[int], list[int]]:
    task = worlds.task(Popularity(), length=4, targets=2)
    table = pd.DataFrame({"history": [history], "next": [follows]})
    rows = task.examples(table, np.zeros(1, np.int64), "brand b")
    return rows.item_bl[0].tolist(), rows.next_bk[0].tolist()


def test_unknown_items_are_left_out_of_histories_and_marked_as_wanted() -> None:
    assert encode(("i00", "no such", "i02"), ("no such", "i01")) == ([0, 0, 1, 3], [-1, 2])


def test_an_empty_history_is_padding() -> None:
    assert encode((), ("i01",)) == ([0, 0, 0, 0], [2, 0])


@pytest.mark.parametrize("cell", ["i00 i01", 3, None, float("nan")])
def test_a_cell_that_is_no_list_is_refused_by_its_row(cell: object) -> None:
    with pytest.raises(InputError, match=r"brand b, column history, row 1: value .* no list"):
        encode(cell)


def test_a_missing_column_is_refused() -> None:
    table = pd.DataFrame({"history": [("i00",)]})
    with pytest.raises(InputError, match=r"brand b, column next: is missing"):
        worlds.task(Popularity()).examples(table, np.zeros(1, np.int64), "brand b")


def test_a_table_without_a_catalogue_is_refused_for_this_task(tmp_path: Path) -> None:
    from fl.data.schema import Number, Schema

    with pytest.raises(InputError, match=r"no histories of a shared catalogue"):
        PreferenceOptions().task(Schema((Number("a", 0, 1),), "y"), Popularity())


def test_pairs_are_what_followed_each_place_or_the_whole_next_basket() -> None:
    task = worlds.task(Popularity(), length=4, targets=2)
    table = pd.DataFrame(
        {"history": [("i00", "i01", "i02"), ("i03",)], "next": [(), ("i05", "gone")]}
    )
    follows, at = task.examples(table, np.arange(2), "brand b").pairs()
    assert follows.tolist() == [[0, 2, 3, 0, 0], [0, 0, 0, 6, 0]]
    assert at.tolist() == [[0, 1, 2, 3, 3]] * 2


def test_joined_rows_keep_their_order_and_customers() -> None:
    task = worlds.task(Popularity())
    rows = worlds.rows(task, "test")
    joined = rows.span(0, 3).followed_by([rows.span(3, len(rows))])
    assert torch.equal(joined.item_bl, rows.item_bl)
    assert torch.equal(joined.next_bk, rows.next_bk)
    assert torch.equal(joined.customer_b, rows.customer_b)
    assert joined.owned_bo.shape == (len(rows), 0)  # these histories are whole


def test_owned_items_are_kept_once_whoever_cut_the_history() -> None:
    task = worlds.task(Popularity(), length=2, targets=2)
    table = pd.DataFrame(
        {
            "history": [("i03", "i04", "i03", "i05"), ("i01",)],
            "next": [(), ()],
            "owned": [("i07", "no such", "i05"), ()],
        }
    )
    cut, whole = (task.examples(table[i : i + 1], np.arange(1), "brand b") for i in (0, 1))
    assert cut.item_bl.tolist() == [[4, 6]] and cut.owned_bo.tolist() == [[8, 5]]
    joined = whole.followed_by([cut])
    assert joined.owned_bo.tolist() == [[0, 0], [8, 5]]
    assert joined.rows(torch.tensor([1])).owned_bo.tolist() == [[8, 5]]
    assert joined.span(1, 2).renumbered(torch.tensor([9])).owned_bo.tolist() == [[8, 5]]
    assert whole.owned_bo.shape == (1, 0) and whole.owned_bo.dtype == torch.int32


def test_a_cell_of_owned_items_that_is_no_list_is_refused_by_its_row() -> None:
    table = pd.DataFrame({"history": [("i00",)], "next": [()], "owned": ["i01"]})
    with pytest.raises(InputError, match=r"brand b, column owned, row 1: value .* no list"):
        worlds.task(Popularity()).examples(table, np.zeros(1, np.int64), "brand b")
