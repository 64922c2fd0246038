"""Public data sets of histories: reviews of two shops, ratings of films."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from fl.data.dataset import DataSet, Provenance, one_of
from fl.data.histories import (
    BRAND,
    CUSTOMER,
    SPLIT,
    Cut,
    catalogue_schema,
    history_rows,
)
from fl.data.sources import filed
from fl.errors import InputError

_TITLE, _PUBLISHER = "Amazon reviews 2014, 5-core", "UCSD, J. McAuley"
_SHOPS = {"beauty": "Beauty", "sports": "Sports_and_Outdoors"}


@dataclass(frozen=True, slots=True)
class AmazonDomains:
    """Reviews in order of time, last review held out. Brand = shop; each has items of its own.

    Attributes:
        shops: of ``beauty`` (22,363 customers, 12,101 items) and ``sports`` (35,598, 18,357).
        length: see :class:`fl.data.histories.Cut`.
        validated: keep the row whose last but one review is foretold; without it that review is in
            the past of the test row alone, as where published models are tested.
    """

    name: str = "amazon_domains"
    shops: tuple[str, ...] = ("beauty",)
    length: int = 50
    validated: bool = True

    def __post_init__(self) -> None:
        for shop in self.shops:
            one_of("shops", shop, tuple(_SHOPS))
        if not self.shops or len(set(self.shops)) != len(self.shops):
            raise ValueError(f"Expected shops={self.shops} to name each shop once.")
        Cut(self.length)

    def load(self) -> DataSet:
        """Read one line a customer: the customer, then items in order of time."""
        bought = pd.concat([self._purchases(shop) for shop in self.shops], ignore_index=True)
        rows = history_rows(bought, Cut(self.length))
        kept = rows if self.validated else rows[rows[SPLIT] != "validation"]
        note = (
            "Reviews of customers and items with at least five, as prepared for S3-Rec (Zhou et "
            "al. 2020). Item numbers are renumbered in each shop, so shops share no item. "
            "Last review = test, last but one = validation"
            + ("." if self.validated else ", here for nothing but the past of the test row.")
        )
        return DataSet(
            self.name,
            kept.reset_index(drop=True),
            catalogue_schema(sorted(bought["item"].unique())),
            BRAND,
            CUSTOMER,
            Provenance(_TITLE, _PUBLISHER, "research use", note),
            split=SPLIT,
        )

    def _purchases(self, shop: str) -> pd.DataFrame:
        file = f"{_SHOPS[shop]}.txt"
        path = filed("amazon_domains", file, _TITLE, _PUBLISHER)
        found = []
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            who, *items = line.split()
            if not items:
                raise InputError(f"{file}, line {number}", "has no items", "remove the line")
            found += [(shop, f"{shop}-{who}", i, f"{shop}-{item}") for i, item in enumerate(items)]
        return pd.DataFrame(found, columns=[BRAND, CUSTOMER, "basket", "item"])


@dataclass(frozen=True, slots=True)
class MovieLens:
    """Films that a user rated, in order of time, whatever the rating. A user is a customer.

    The set has no brands: partition it (``partition=iid``), or make every user a brand of its own.

    Attributes:
        user_is_brand: one brand for each of the 943 users.
        length: see :class:`fl.data.histories.Cut`.
        windows: likewise; the mean user has rated 106 films.
    """

    published_catalogue: ClassVar[bool] = True  # no viewer decides what is in it

    name: str = "movielens_100k"
    user_is_brand: bool = False
    length: int = 50
    windows: int = 4

    def __post_init__(self) -> None:
        Cut(self.length, self.windows)

    def load(self) -> DataSet:
        """Read the ratings; the catalogue is the list of films."""
        title, publisher = "MovieLens 100K", "GroupLens"
        ratings = pd.read_csv(
            filed("movielens_100k", "ratings.dat", title, publisher),
            names=["user", "film", "rating", "time"],
        )
        films = filed("movielens_100k", "u.item", title, publisher).read_text(encoding="latin-1")
        ratings = ratings.sort_values(["user", "time", "film"], kind="stable")
        rows = history_rows(
            pd.DataFrame(
                {
                    BRAND: "u" + ratings["user"].astype(str) if self.user_is_brand else "all",
                    CUSTOMER: "u" + ratings["user"].astype(str),
                    "basket": range(len(ratings)),
                    "item": ratings["film"].astype(str),
                }
            ),
            Cut(self.length, self.windows),
        )
        note = (
            "943 users, 1,682 films, 100,000 ratings; every rated film counts as wanted. Ratings "
            "of one second are in order of film number. Last film = test, last but one = "
            "validation."
        )
        return DataSet(
            self.name,
            rows,
            catalogue_schema([line.split("|")[0] for line in films.splitlines() if line]),
            BRAND,
            CUSTOMER,
            Provenance(title, publisher, "research use", note),
            split=SPLIT,
        )
