"""``task=uplift``: what a campaign changed, over all brands and at each, from one counted sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.journal import Journal, Piece
from experiments.questions.asking import Place, ask
from experiments.questions.study import Findings, Pieces, Tables, enough_brands, piece_of
from fl.algorithms.counts import Counts
from fl.contracts import Examples, Floats
from fl.data.campaign import OBSERVATIONAL, stated
from fl.data.dataset import DataSet
from fl.errors import InputError
from fl.privacy import Plan
from fl.privacy.spread import std_of_sum
from fl.tasks.targeting import LEARNERS, Targeting
from fl.tasks.uplift import CELLS, OVERALL, STRATUM, Uplift

if TYPE_CHECKING:
    from experiments.questions.inquiry import Inquiry


@dataclass(frozen=True, slots=True)
class UpliftStudy:
    """``conf/task/uplift.yaml``.

    Attributes:
        propensity: of an observational campaign: the column with each customer's chance of
            treatment, from the model that the report then names; effects are taken within groups
            of equal propensity. A randomised campaign needs none.
        propensity_model: what that model is, in words.
        edges: cut points of the propensity, rising, in (0, 1).
        draws: how often noise is drawn again to see whether intervals hold; 0: not at all.
        learners: ``t``, ``x``, ``dr``: compared with pooled rows beside the counts, each in a
            folder of its own; none: effects are only counted.
    """

    propensity: str | None = None
    propensity_model: str = ""
    edges: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    draws: int = 500
    learners: tuple[str, ...] = ()
    name: str = "uplift"

    def __post_init__(self) -> None:
        if list(self.edges) != sorted(set(self.edges)) or not all(0 < e < 1 for e in self.edges):
            raise ValueError(f"Expected edges={list(self.edges)} to rise, in (0, 1).")
        if self.draws < 0:
            raise ValueError(f"Expected draws={self.draws} >= 0.")
        if unknown := sorted(set(self.learners) - set(LEARNERS)):
            raise ValueError(f"Expected learners={unknown} to be some of {LEARNERS}.")
        if (self.propensity is None) != (not self.propensity_model):
            raise ValueError(
                "Expected propensity (a column) and propensity_model (what made it) together."
            )

    def groups(self) -> int:
        """Of propensity, at each brand."""
        return 1 if self.propensity is None else len(self.edges) + 1

    def task(self, data: DataSet, brands: int, place: int = 0) -> Uplift:
        """Of the brand at ``place``.

        Raises:
            InputError: no campaign; an observational one without a propensity, or the reverse.
        """
        campaign = stated(data.schema.campaign)
        observed = campaign.design == OBSERVATIONAL
        if observed and self.propensity is None:
            raise InputError(
                "data.campaign.design",
                f"{OBSERVATIONAL!r}: who was treated was not left to chance, so a difference of "
                "rates is not an effect",
                "name the column of a propensity model and what it is: task.propensity=COLUMN "
                "task.propensity_model='...'; the report then says that the effect rests on it",
            )
        if self.propensity is not None and not observed:
            raise InputError(
                "task.propensity",
                "is for observational data, and this campaign is randomised",
                "leave it out",
            )
        edges = self.edges if observed else ()
        return Uplift(data.schema, brands * self.groups(), place, self.propensity, edges)

    def drawn(self, data: DataSet, seed: int) -> DataSet:
        """All rows; under a guarantee, seeds are repetitions of the noise."""
        return data

    def check(self, how: Inquiry, data: DataSet, tables: Tables, journal: Journal) -> None:
        """Three brands, cells of every brand, and customers in every arm overall."""
        enough_brands(tables)
        if self.learners:
            Targeting(data.schema, None)
        exact = self.exact(data, tables)[0] / OVERALL
        names = stated(data.schema.campaign).names
        for name, n in zip(names, exact.sum(1), strict=True):
            if n < 1:
                raise InputError(
                    "data.campaign",
                    f"no customer of any brand is in arm {name!r}, so there is nothing to compare",
                    "name the arms that were used (data.campaign.arms), or enrol brands that used "
                    "it",
                )

    def work(self, brands: int) -> int:
        """One round."""
        return brands

    def rows(self, data: DataSet, tables: Tables) -> dict[str, Examples]:
        """Every brand's rows, encoded by itself."""
        return {
            brand: self.task(data, len(tables), place).examples(
                t.rows, t.customers, f"brand {brand}"
            )
            for place, (brand, t) in enumerate(tables.items())
        }

    def exact(self, data: DataSet, tables: Tables) -> Floats:
        """What pooling all rows would count, ``[1 + strata, arms, 2]``, scaled as the task's."""
        task = self.task(data, len(tables))
        sums: Floats = np.zeros(task.statistics()[CELLS].shape)
        for batch in self.rows(data, tables).values():
            arm, stratum = batch.c_bg.numpy().T
            y = batch.y_b.numpy().astype(int)
            _, of_row, many = np.unique(
                batch.customer_b.numpy(), return_inverse=True, return_counts=True
            )
            share = 1 / many[of_row]  # a customer with several rows counts once
            np.add.at(sums[0], (arm, y), OVERALL * share)
            np.add.at(sums, (1 + stratum, arm, y), STRATUM * share)
        return sums

    def answer(self, data: DataSet, tables: Tables, place: Place, plan: Plan) -> Piece:
        """Ask all brands; beside the answer, what pooling all rows would count."""
        task = self.task(data, len(tables))
        shape = task.statistics()[CELLS].shape
        question = Counts({CELLS: shape}, task.limits())
        answered = ask(place, self.rows(data, tables), task, question, plan)
        std = std_of_sum(
            answered.plan,
            limit=1.0,
            entries=int(np.prod(shape)),
            brands=len(answered.cohort),
        )
        kept = {"exact/cells": self.exact(data, tables)}
        return piece_of(answered, kept, {"noise_std": std})

    def findings(
        self, how: Inquiry, data: DataSet, tables: Mapping[int, Tables], pieces: Pieces
    ) -> Findings:
        """See ``uplift_report.py``."""
        from experiments.questions.uplift_report import findings

        return findings(self, how, data, tables, pieces)
