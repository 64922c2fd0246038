"""From the benchmark's tables to every brand's encoded splits, each brand by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from clients.node import BrandNode
from experiments.enrolment import enrolled
from experiments.settings import Settings
from fl.algorithms.query import evaluation
from fl.contracts import R, Task, Unit, concatenate
from fl.data.dataset import DataSet
from fl.data.divide import SPLITS, BrandTable
from fl.data.scaling import by_own_rows
from fl.data.schema import Schema
from fl.doors import Training
from fl.errors import InputError
from fl.federation.inprocess import InProcessFederation
from fl.privacy import NoPrivacy
from fl.privacy.calibration import require_delta
from fl.round import coordinate
from fl.seeds import derive
from fl.tasks.ranges import Ranges

Tables = Mapping[str, BrandTable]
Splits = Mapping[str, Any]  # rows in the form of the task


@dataclass(frozen=True, slots=True)
class Prepared:
    """Encoded rows, ready for every arm.

    Attributes:
        brands: the splits of each brand.
        pooled: all brands' rows as one brand's, brand after brand; customers stay apart by brand.
    """

    brands: Mapping[str, Splits]
    pooled: Splits

    def own(self, brand: str, split: str) -> Any:
        """One brand's part of the pooled rows of a split."""
        names = list(self.brands)
        sizes = [len(self.brands[name][split]) for name in names]
        start = sum(sizes[: names.index(brand)])
        return self.pooled[split].span(start, start + len(self.brands[brand][split]))


def encode(task: Task[Any], tables: Tables, scaling: str) -> Prepared:
    """Each brand's splits, encoded from that brand's rows and the shared schema alone."""
    brands: dict[str, Splits] = {
        brand: {
            split: task.examples(*table.part(split), f"brand {brand}")
            for split in SPLITS
            if (table.split == split).any()
        }
        for brand, table in tables.items()
    }
    pooled: Splits = {
        split: concatenate([_relabel(s[split], i) for i, s in enumerate(brands.values())])
        for split in next(iter(brands.values()))
    }
    if scaling == "own":
        brands = {brand: by_own_rows(splits) for brand, splits in brands.items()}
        pooled = by_own_rows(pooled)
    return Prepared(brands, pooled)


def check_deltas(how: Settings, prepared: Prepared) -> None:
    """Every guarantee's delta must be below one in the customers that it is given to.

    Raises:
        InputError: it is not, for a brand or, in the central arm, for all brands' customers.
    """
    groups = [*prepared.brands.values(), *([prepared.pooled] if "central_dp" in how.arms else [])]
    for variant in how.variants:
        if variant.plan.unit is Unit.CUSTOMER:
            for splits in groups:
                parts = [s.customer_b for name, s in splits.items() if name != "test"]
                customers = len(torch.unique(torch.cat(parts)))
                require_delta(float(getattr(variant.plan, "delta", 1.0)), customers)


def _relabel(rows: R, brand: int) -> R:
    return rows.renumbered(rows.customer_b + (brand << 40))


def shared_schema(data: DataSet, tables: Tables, how: Settings, seed: int) -> Schema:
    """The data set's own schema, or, where it states none, one asked by a counted query.

    The query goes the way of every answer: door, privacy plan, secure sum. It reads train and
    validation rows only.
    """
    if data.schema.columns:
        return data.schema
    reserved = {data.schema.label, data.brand, data.customer, data.split}
    reserved |= set(data.schema.campaign.columns) if data.schema.campaign else set()
    if private := [variant.label for variant in how.variants if variant.private]:
        raise InputError(
            "data.columns",
            f"are not stated, and asking the brands for them is not part of {private[0]}",
            "state them: +data.columns.NAME='{low: 0, high: 10}', one for each feature",
        )
    columns = tuple(str(name) for name in data.rows.columns if name not in reserved)
    if not columns:
        raise InputError("data", "the table has no column beside the label", "add features")
    task = Ranges(columns, data.schema.label, data.schema.positive, data.schema.negative)
    query, plan = evaluation(task, "known"), NoPrivacy()
    summing, halves = enrolled(how.summing, tables, {"ranges": query}, plan, {})
    nodes = {
        brand: BrandNode(
            brand,
            {"known": _known(task, table, brand)},
            task,
            plan,
            halves[brand],
            Training(),
            {"ranges": query},
            seed,
            "ranges",
            debug=how.runtime.debug,
        )
        for brand, table in tables.items()
    }
    answer = coordinate(
        1,
        {},
        kind="ranges",
        federation=InProcessFederation({name: node.handle for name, node in nodes.items()}),
        algorithm=query,
        plan=plan,
        summing=summing,
        seed=derive(seed, "ranges"),
    )
    return replace(task.read(answer.state), campaign=data.schema.campaign)


def _known(task: Task[R], table: BrandTable, brand: str) -> R:
    known = table.split != "test"
    return task.examples(table.rows[known], table.customers[known], f"brand {brand}")
