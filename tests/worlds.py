"""Small made-up worlds for tests: brands whose rows follow one shared rule, with brand shifts."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from clients.node import BrandNode
from fl.algorithms.fedavg import FedAvg
from fl.algorithms.query import evaluation
from fl.contracts import Algorithm, Brand, Examples, PrivacyPlan, SecureSum, Task
from fl.data.schema import Category, Hashed, Number, Schema
from fl.data.schema import Text as TextColumn
from fl.doors import Answer, Ask, Training
from fl.federation.inprocess import InProcessFederation
from fl.models import MODELS
from fl.models.grams import GramsModel
from fl.privacy import NoPrivacy, PlainSum
from fl.seeds import numpy_generator
from fl.tasks.conversion import Conversion
from fl.tasks.text import Text, TextOptions

SCHEMA = Schema(
    (
        Number("visits", 0, 50, log=True),
        Number("age", 0, 100),
        Category("channel", ("web", "app", "shop")),
        Hashed("city", 8),
    ),
    label="converted",
)


def table(brand: str, customers: int = 60, rows_each: int = 1) -> pd.DataFrame:
    """Rows of one brand; who visits often and uses the app converts more."""
    rng = numpy_generator(7, "world", brand)
    n = customers * rows_each
    visits = rng.integers(0, 50, n)
    channel = rng.choice(["web", "app", "shop"], n)
    logit = 0.08 * (visits - 25) + (channel == "app") - 0.5
    return pd.DataFrame(
        {
            "visits": visits,
            "age": rng.integers(18, 90, n),
            "channel": channel,
            "city": rng.choice(["Ulm", "Bonn", "Köln", "上海"], n),
            "customer": np.repeat(np.arange(customers), rows_each),
            "brand": brand,
            "converted": (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int),
        }
    )


def task(model: str = "logistic") -> Conversion:
    """Conversion with one of the models in its default size."""
    return Conversion(SCHEMA, MODELS[model]())


MOODS = ("negative", "neutral", "positive")
_WORDS = {
    "negative": ("太差了", "假货", "不新鲜", "bad", "退货", "很失望"),
    "neutral": ("一般", "还行吧", "so so", "普通", "凑合"),
    "positive": ("很好", "好吃", "喜欢", "good", "质量不错", "速度快"),
}


def messages(number: int, seed: int = 0, moods: tuple[str, ...] = MOODS) -> pd.DataFrame:
    """Short messages; each has two words of its mood and one of any mood."""
    rng = numpy_generator(seed, "messages")
    rows = []
    for _ in range(number):
        mood = str(rng.choice(moods))
        words = [*rng.choice(_WORDS[mood], 2), rng.choice(_WORDS[str(rng.choice(MOODS))])]
        rows.append({"message": "，".join(map(str, words)), "mood": mood})  # noqa: RUF001
    return pd.DataFrame(rows)


def text_task(classes: int = 3, **options: object) -> Text:
    """Moods of messages, three or (without neutral) two."""
    kept = MOODS if classes == 3 else ("negative", "positive")
    schema = Schema((TextColumn("message"),), "mood", classes=kept)
    return TextOptions(**{"buckets": 4096, **options}).task(schema, GramsModel())  # type: ignore[arg-type]


def splits(of: Task, brand: str, customers: int = 60) -> dict[str, Examples]:
    """Two thirds to train on, one third to validate; of messages where the task reads text."""
    rows = table(brand, customers)
    if isinstance(of, Text):
        said = messages(customers, sum(brand.encode()), of.schema.classes)
        rows = said.assign(customer=rows["customer"])
    edge = customers * 2 // 3
    who = rows["customer"].to_numpy(np.int64)
    return {
        "train": of.examples(rows[:edge], who[:edge], brand),
        "validation": of.examples(rows[edge:], who[edge:], brand),
    }


def nodes(
    of: Task,
    *,
    algorithm: Algorithm | None = None,
    brands: int = 3,
    training: Training | None = None,
    plan: PrivacyPlan | None = None,
    summing: SecureSum | None = None,
) -> dict[str, BrandNode]:
    """Brand nodes that serve training and validation."""
    served: dict[str, Algorithm] = {
        "train": algorithm or FedAvg(),
        "validate": evaluation(of, "validation"),
    }
    return {
        f"b{i}": BrandNode(
            f"b{i}",
            splits(of, f"b{i}", 60 + 30 * i),
            of,
            plan or NoPrivacy(),
            summing or PlainSum(),
            training or Training(learning_rate=0.5, batch_size=16),
            served,
            seed=0,
        )
        for i in range(brands)
    }


def federation(of_nodes: dict[str, BrandNode]) -> InProcessFederation:
    """The nodes behind plain functions."""
    return InProcessFederation({name: node.handle for name, node in of_nodes.items()})


def first_params(of: Task) -> dict[str, np.ndarray]:
    """A model's first parameters."""
    from fl.models.parameters import parameters

    return dict(parameters(of.model(torch.Generator().manual_seed(0))))


T = TypeVar("T")


def carry_out(asking: Generator[Ask, Answer, T], brand: Brand) -> T:
    """Answer asks one by one until there are no more; what is returned then."""
    try:
        ask = next(asking)
        while True:
            ask = asking.send(brand.answer(ask))
    except StopIteration as finished:
        done: T = finished.value
        return done
