"""Customers are dealt to brands and to splits whole, alike every time, and duplicates go first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.data.dataset import DataSet, Provenance
from fl.data.divide import Partition, Preparation, divide
from fl.data.partition import Dirichlet, Iid, Natural, Quantity, customers
from fl.data.split import Fractions, by_hash, by_stratum
from fl.errors import InputError
from fl.seeds import numpy_generator
from tests import worlds

KEEP = Preparation(one_class="keep", validation=0.0)
MADE: list[Callable[[int], Partition]] = [
    lambda brands: Iid(brands=brands),
    lambda brands: Quantity(brands=brands, alpha=5.0),
    lambda brands: Dirichlet(brands=brands, alpha=5.0),
]


def data(
    *brands: str, customers: int = 60, rows_each: int = 2, customer: str | None = "customer"
) -> DataSet:
    """Brands of the small world; customer ids are the same at every brand."""
    rows = [worlds.table(brand, customers, rows_each) for brand in brands or ("a", "b")]
    return of(pd.concat(rows, ignore_index=True), customer=customer)


def of(rows: pd.DataFrame, customer: str | None = "customer") -> DataSet:
    source = Provenance("t", "p", "l", "n")
    return DataSet("world", rows, worlds.SCHEMA, "brand", customer, source)


def apart(whole: DataSet) -> DataSet:
    """The same with customers that no two brands share."""
    ids = whole.rows["brand"] + "-" + whole.rows["customer"].astype(str)
    return of(whole.rows.assign(customer=ids))


# --- partitions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MADE, ids=["iid", "quantity", "dirichlet"])
@given(brands=st.integers(1, 6), seed=st.integers(0, 50))
@settings(max_examples=15)
def test_a_made_brand_has_all_rows_of_its_customers(
    make: Callable[[int], Partition], brands: int, seed: int
) -> None:
    whole = apart(data("a", "b"))
    brand = make(brands).divide(whole, numpy_generator(seed, "partition"))
    assert len(brand) == len(whole.rows) and brand.notna().all()
    assert (brand.groupby(customers(whole).to_numpy()).nunique() == 1).all()
    assert brand.nunique() == brands
    again = make(brands).divide(whole, numpy_generator(seed, "partition"))
    assert brand.tolist() == again.tolist()


@pytest.mark.parametrize("make", MADE, ids=["iid", "quantity", "dirichlet"])
def test_another_seed_deals_otherwise(make: Callable[[int], Partition]) -> None:
    dealt = [make(3).divide(data(), numpy_generator(seed, "p")).tolist() for seed in (0, 1)]
    assert dealt[0] != dealt[1]


def test_iid_brands_differ_by_one_customer_at_most() -> None:
    brand = Iid(brands=7).divide(apart(data("a", "b")), numpy_generator(0, "p"))
    sizes = brand.value_counts() / 2  # rows each
    assert sizes.max() - sizes.min() <= 1
    assert sizes.sum() == 120


def test_smaller_alpha_makes_more_skew() -> None:
    whole = apart(data("a", "b", customers=300))
    label = worlds.SCHEMA.label

    def spread(partition: Partition, of_labels: bool) -> float:
        brand = partition.divide(whole, numpy_generator(1, "p")).to_numpy()
        groups = whole.rows.groupby(brand)[label]
        return float((groups.mean() if of_labels else groups.size() / len(brand)).std())

    assert spread(Dirichlet(brands=4, alpha=0.5), True) > 2 * spread(
        Dirichlet(brands=4, alpha=500.0), True
    )
    assert spread(Quantity(brands=4, alpha=1.0), False) > 2 * spread(
        Quantity(brands=4, alpha=500.0), False
    )


@pytest.mark.parametrize("kind", [float, bool, np.int8])
def test_label_skew_does_not_depend_on_the_labels_type(kind: type) -> None:
    whole = apart(data())
    other = of(whole.rows.assign(converted=whole.rows["converted"].astype(kind)))
    if kind is bool:
        schema = worlds.SCHEMA
        text = type(schema)(schema.columns, schema.label, "true", ("false",))
        other = DataSet("w", other.rows, text, "brand", "customer", other.provenance)
    how = Dirichlet(brands=3, alpha=0.5)
    assert how.divide(other, numpy_generator(0, "p")).tolist() == (
        how.divide(whole, numpy_generator(0, "p")).tolist()
    )


def test_natural_brands_are_the_column_less_what_is_left_out() -> None:
    whole = data("a", "b", "c")
    small = of(whole.rows[~((whole.rows["brand"] == "c") & (whole.rows["customer"] > 10))])
    assert set(divide(small, Natural(), KEEP, 0)) == {"a", "b", "c"}
    assert set(divide(small, Natural(min_customers=12), KEEP, 0)) == {"a", "b"}
    assert set(divide(small, Natural(exclude=("a",)), KEEP, 0)) == {"b", "c"}
    with pytest.raises(InputError, match=r"partition\.exclude: no brand 'z'"):
        divide(small, Natural(exclude=("z",)), KEEP, 0)
    nobody = DataSet("world", whole.rows, whole.schema, None, None, whole.provenance)
    with pytest.raises(InputError, match="needs a brand column"):
        divide(nobody, Natural(), KEEP, 0)


@pytest.mark.parametrize("make", [Quantity, Dirichlet])
def test_a_brand_that_nobody_is_in_is_refused_not_forgotten(make: type) -> None:
    with pytest.raises(InputError, match="is empty: it got none of 120 customers"):
        make(brands=50, alpha=0.01).divide(apart(data("a", "b")), numpy_generator(0, "p"))


# --- splits ---------------------------------------------------------------------------------------

rows = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.booleans()), min_size=1, max_size=80
)


@given(rows=rows, seed=st.integers(0, 99))
@settings(max_examples=60)
def test_no_customer_is_on_two_sides(rows: list[tuple[str, int, bool]], seed: int) -> None:
    brand, who, label = (pd.Series(list(column)) for column in zip(*rows, strict=True))
    fractions = Fractions(0.3, 0.25)
    hashed = pd.Series(by_hash(who, fractions, seed))
    assert (hashed.groupby(who).nunique() == 1).all()  # at all brands together
    for name in brand.unique():
        mine = brand == name
        names = by_stratum(who[mine], label[mine], fractions, seed, name)
        assert (pd.Series(names).groupby(who[mine].to_numpy()).nunique() == 1).all()
        assert set(names) <= {"train", "validation", "test"}


@pytest.mark.parametrize("shared", [True, False])
def test_divided_brands_keep_customers_whole_and_splits_at_their_shares(shared: bool) -> None:
    whole = data("a", "b", "c", customers=400)
    tables = divide(whole if shared else apart(whole), Natural(), Preparation(), 0)
    seen: dict[object, set[str]] = {}
    for table in tables.values():
        assert len(table.rows) == len(table.customers) == len(table.split) == 800
        assert (pd.Series(table.split).groupby(table.customers).nunique() == 1).all()
        share = pd.Series(table.split).value_counts(normalize=True)
        assert share["test"] == pytest.approx(0.3, abs=0.07)
        assert share["validation"] == pytest.approx(0.7 * 0.25, abs=0.07)
        for who, side in zip(table.rows["customer"], table.split, strict=True):
            seen.setdefault(who, set()).add(side)
    assert all(len(sides) == 1 for sides in seen.values())


def test_single_rows_are_split_by_class_so_that_rates_agree() -> None:
    tables = divide(
        data("a", customers=500, rows_each=1, customer=None), Natural(), Preparation(), 3
    )
    label = tables["a"].rows["converted"]
    rates = label.groupby(tables["a"].split).mean()
    assert (rates - label.mean()).abs().max() < 0.01


@pytest.mark.parametrize("customer", ["customer", None])
def test_a_split_is_reproducible_and_another_seed_makes_another(customer: str | None) -> None:
    first, same, other = (
        divide(data(customer=customer), Natural(), Preparation(), seed)["a"].split.tolist()
        for seed in (0, 0, 1)
    )
    assert first == same != other


def test_a_published_split_is_kept_and_only_validation_is_drawn() -> None:
    whole = data("a", "b", rows_each=1, customer=None)
    fixed = np.where(np.arange(120) % 3 == 0, "test", "train")
    published = DataSet(
        "w",
        whole.rows.assign(part=fixed),
        whole.schema,
        "brand",
        None,
        whole.provenance,
        split="part",
    )
    for table in divide(published, Natural(), Preparation(), 0).values():
        assert ((table.split == "test") == (table.rows["part"] == "test")).all()
        assert (table.split == "validation").any()


# --- duplicates -----------------------------------------------------------------------------------


def repeated() -> DataSet:
    whole = data("a", "b", rows_each=1, customer=None)
    return of(pd.concat([whole.rows] * 2, ignore_index=True), customer=None)


@given(seed=st.integers(0, 99))
@settings(max_examples=10)
def test_dropped_duplicates_leave_no_row_on_two_sides(seed: int) -> None:
    for table in divide(repeated(), Natural(), Preparation(), seed).values():
        sides = pd.Series(table.split).groupby([table.rows[c].to_numpy() for c in table.rows])
        assert len(table.rows) == 60
        assert (sides.nunique() == 1).all()


def test_kept_duplicates_do_leave_rows_on_two_sides() -> None:
    """So the check above can fail."""
    table = divide(repeated(), Natural(), Preparation(duplicates="keep"), 0)["a"]
    sides = pd.Series(table.split).groupby([table.rows[c].to_numpy() for c in table.rows])
    assert (sides.nunique() > 1).any()


def test_refused_duplicates_are_counted() -> None:
    with pytest.raises(InputError, match="120 rows of data=world repeat"):
        divide(repeated(), Natural(), Preparation(duplicates="refuse"), 0)
    with pytest.raises(InputError, match="customer '0' is at 2 brands, and so are 59 others"):
        divide(data("a", "b"), Natural(), Preparation(duplicates="refuse"), 0)
    assert divide(apart(data("a", "b")), Natural(), Preparation(duplicates="refuse"), 0)


def test_a_brand_of_one_class_is_refused_whatever_its_labels_are_called() -> None:
    whole = data("a", "b")
    schema = type(worlds.SCHEMA)(worlds.SCHEMA.columns, "converted", "1", ("0", "-1"))
    mixed = whole.rows["converted"].where(whole.rows["brand"] == "a", -(whole.rows.index % 2))
    changed = DataSet(
        "w", whole.rows.assign(converted=mixed), schema, "brand", None, whole.provenance
    )
    with pytest.raises(InputError, match=r"brand b: all 120 labels .* one class"):
        divide(changed, Natural(), Preparation(), 0)
    assert divide(changed, Natural(), Preparation(one_class="keep"), 0)


# --- folds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("customer", ["customer", None])
def test_folds_test_every_customer_once(customer: str | None) -> None:
    whole = data("a", "b", customers=203, rows_each=1, customer=customer)
    how = Preparation(test=0.25, validation=0.2, folds=4)
    sides: dict[str, list[np.ndarray]] = {"a": [], "b": []}
    for seed in (8, 9, 10, 11):
        for brand, table in divide(whole, Natural(), how, seed).items():
            sides[brand].append(np.asarray(table.split))
    for split in map(np.stack, sides.values()):
        assert ((split == "test").sum(0) == 1).all()
        assert (split == "test").mean(1) == pytest.approx(0.25, abs=0.08)
        assert (split == "validation").mean() == pytest.approx(0.75 * 0.2, abs=0.04)
    other = divide(whole, Natural(), how, 12)["a"].split
    assert (np.asarray(other) != sides["a"][0]).any()  # another division


def test_folds_keep_rates_alike_and_refuse_what_they_cannot_be() -> None:
    whole = data("a", customers=500, rows_each=1, customer=None)
    table = divide(whole, Natural(), Preparation(test=0.2, folds=5), 3)["a"]
    rates = table.rows["converted"].groupby(table.split).mean()
    assert (rates - table.rows["converted"].mean()).abs().max() < 0.01
    for wrong in ({"test": 0.3, "folds": 5}, {"test": 0.99, "folds": 1}):
        with pytest.raises(ValueError, match="folds"):
            Preparation(**wrong)  # type: ignore[arg-type]
    fixed = whole.rows.assign(part=["test", "train"] * 250)
    published = DataSet("world", fixed, whole.schema, "brand", None, whole.provenance, split="part")
    with pytest.raises(InputError, match="fixed the test rows"):
        divide(published, Natural(), Preparation(test=0.2, folds=5), 0)
