"""Chinese messages with a sentiment: reviews of goods and takeaway food, posts of a car forum."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fl.data.dataset import DataSet, Provenance, one_of
from fl.data.schema import Schema, Text
from fl.data.sources import filed
from fl.errors import InputError

_NO_LICENCE = "none stated (research use)"
_CORPUS = "ChineseNlpCorpus"
TAKEAWAY = "外卖"


@dataclass(frozen=True, slots=True)
class Reviews:
    """Reviews of ten kinds of goods and of takeaway food, positive or negative; kind = brand."""

    name: str = "reviews"

    def load(self) -> DataSet:
        """Read both files: marks of byte order are taken off, the one empty review is dropped."""
        shops = filed(
            "online_shopping_10_cats", "online_shopping_10_cats.zip", "online_shopping_10_cats",
            _CORPUS,
        )  # fmt: skip
        meals = filed("waimai", "waimai_10k.csv", "waimai_10k", _CORPUS)
        goods = pd.read_csv(io.BytesIO(archived(shops, "online_shopping_10_cats.csv")))
        rows = pd.concat([goods, pd.read_csv(meals).assign(cat=TAKEAWAY)], ignore_index=True)
        rows["review"] = rows["review"].str.replace("\ufeff", "")
        rows = rows[rows["review"].notna()].reset_index(drop=True)
        rows["sentiment"] = rows["label"].map({0: "negative", 1: "positive"})
        note = (
            "62,773 reviews of ten categories of goods (575 to 10,000 each, half of them positive, "
            "water heaters 83 %) and 11,987 of takeaway food (33 % positive), the eleventh "
            "category. Brand = category. The file is sorted by label; byte-order marks inside it "
            "are removed, one empty review is dropped. Some 60 texts occur twice, 25 of them with "
            "both labels, and many reviews of fruit and shampoo are filler that customers paste "
            "under anything: both are kept. Nobody is named: each review counts as one customer."
        )
        return DataSet(
            self.name,
            rows.rename(columns={"cat": "category"})[["category", "review", "sentiment"]],
            Schema((Text("review"),), "sentiment", classes=("negative", "positive")),
            "category",
            None,
            Provenance("online_shopping_10_cats and waimai_10k", _CORPUS, _NO_LICENCE, note),
        )


@dataclass(frozen=True, slots=True)
class CarForum:
    """Posts of a car forum.

    Attributes:
        label: ``topic`` (what a post is about, ten classes; brands are made by a partition) or
            ``sentiment`` (negative, neutral, positive, towards the post's topic; topic = brand).
    """

    name: str = "car_forum"
    label: str = "topic"

    def __post_init__(self) -> None:
        one_of("label", self.label, ("topic", "sentiment"))

    def load(self) -> DataSet:
        """Read the file. A post about two topics is two rows, and one customer."""
        title, publisher = "Automotive opinion topics and sentiment", "CCF BDCI 2018 (DataFountain)"
        raw = pd.read_csv(filed("car_forum", "train.csv", title, publisher))
        rows = pd.DataFrame(
            {
                "post": raw["content_id"],
                "content": raw["content"],
                "topic": raw["subject"],
                "sentiment": raw["sentiment_value"].map(_SENTIMENT),
            }
        )
        note = "9,947 rows of 8,290 posts: a post with two topics is two rows, split by post. " + (
            "Label = topic, one of ten. As 1,254 posts have several topics and a model names "
            "one, not even a perfect one is right on more than 83 % of the rows. The data has "
            "no brands: choose a partition."
            if self.label == "topic"
            else "Label = sentiment towards the topic: 67 % neutral, 17 % positive, 16 % "
            "negative. Brand = topic; the same post may be known to several."
        )
        topics = self.label == "topic"
        return DataSet(
            self.name,
            rows.drop(columns="sentiment" if topics else []),
            Schema(
                (Text("content"),),
                self.label,
                classes=_TOPICS if topics else tuple(_SENTIMENT.values()),
            ),
            None if topics else "topic",
            "post",
            Provenance(title, publisher, _NO_LICENCE, note),
        )


def archived(path: Path, member: str) -> bytes:
    """One member of a zip archive.

    Raises:
        InputError: it is none, or has no such member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(
            "data.name", f"no {member} in {path.name!r}", "copy the publisher's archive again"
        ) from error


_SENTIMENT = {-1: "negative", 0: "neutral", 1: "positive"}
_TOPICS = ("动力", "价格", "油耗", "操控", "舒适性", "配置", "安全性", "内饰", "外观", "空间")
"""Power, price, consumption, handling, comfort, equipment, safety, interior, looks, space."""
