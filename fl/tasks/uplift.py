"""What a campaign changed: customers counted by arm and outcome, for all brands and for each.

One vector a customer (Corrigan-Gibbs, Boneh, "Prio", NSDI 2017, section 2): a single one at the
customer's arm and outcome, twice: in a block for all customers together and in the block of the
customer's stratum, which is its brand or a group of equal propensity. Noise is the same for every
number of the vector, so the block for all carries the noise of one count instead of that of a sum
over strata.

The two blocks are scaled by 13/16 and 9/16: together they have an L2 norm of at most 1
(169 + 81 <= 256), and multiples of 1/16 are added up exactly in fixed point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fl.arrays import Arrays
from fl.contracts import Examples, Floats, Ints, Limits
from fl.data.campaign import Campaign, stated
from fl.data.schema import Schema
from fl.errors import InputError

OVERALL, STRATUM = 13 / 16, 9 / 16
CELLS = "cells"


@dataclass(frozen=True, slots=True)
class Uplift:
    """Counts by arm and outcome.

    Attributes:
        schema: names the outcome (its label) and the campaign.
        strata: how many there are; 0: all customers are counted together only.
        place: the stratum of all rows of one brand, in [0, strata), where a brand is a stratum.
        score: the column that puts each row into a stratum instead: a propensity in (0, 1), which
            is cut at ``edges``; strata are then numbered brand by brand.
        edges: cut points of ``score``, rising.
    """

    schema: Schema
    strata: int = 0
    place: int = 0
    score: str | None = None
    edges: tuple[float, ...] = ()
    name: str = "uplift"

    @property
    def campaign(self) -> Campaign:
        """The schema's; raises ``InputError`` where it names none."""
        return stated(self.schema.campaign)

    def model(self, rng: torch.Generator) -> nn.Module:
        """None is needed to count."""
        return nn.Module()

    def examples(self, table: pd.DataFrame, customers: Ints, where: str) -> Examples:
        """Arm and stratum of each row as codes, the outcome as label.

        Raises:
            InputError: a column is missing, a value is none of the arms or outcomes, a treatment
                after its outcome, a customer in two arms, a propensity outside (0, 1).
        """
        y = self.schema.positives(_with_label(table, self.schema, where), where)
        arm = self.campaign.of_customers(table, customers, where)
        stratum = np.full(len(table), self.place, np.int64)
        if self.score is not None:
            of_row = np.searchsorted(self.edges, _propensity(table, self.score, where))
            stratum = self.place * (len(self.edges) + 1) + of_row
        return Examples(
            torch.zeros(len(table), 0),
            torch.from_numpy(np.stack([arm, stratum], 1).astype(np.int64)),
            torch.from_numpy(y.to_numpy(np.float32)),
            torch.from_numpy(customers.copy()),
        )

    def losses(self, model: nn.Module, batch: Examples) -> Tensor:
        """Nothing is learned: zeros, ``[b]``."""
        return torch.zeros(len(batch))

    def evaluate(self, model: nn.Module, batch: Examples) -> Arrays:
        """Each row's vector, float64 ``[b, 1 + strata, arms, 2]``; its L2 norm is at most 1."""
        cells = np.zeros((len(batch), *self._shape))
        row, y = np.arange(len(batch)), batch.y_b.numpy().astype(np.int64)
        arm, stratum = batch.c_bg.numpy().T
        cells[row, 0, arm, y] = OVERALL
        if self.strata:
            cells[row, 1 + stratum, arm, y] = STRATUM
        return {CELLS: cells}

    def statistics(self) -> Arrays:
        """Zeros ``[1 + strata, arms, 2]``."""
        return {CELLS: np.zeros(self._shape)}

    def limits(self) -> Limits:
        """One customer's vector."""
        return {CELLS: 1.0}

    @property
    def _shape(self) -> tuple[int, int, int]:
        return (1 + self.strata, len(self.campaign.names), 2)


def counted(sums: Arrays) -> tuple[Floats, Floats]:
    """Customers by arm and outcome, ``[arms, 2]``, and in strata, ``[strata, arms, 2]``."""
    cells = np.asarray(sums[CELLS], np.float64)
    return cells[0] / OVERALL, cells[1:] / STRATUM


def _with_label(table: pd.DataFrame, schema: Schema, where: str) -> pd.DataFrame:
    if schema.label not in table.columns:
        raise InputError(
            f"{where}, column {schema.label}",
            f"not among the columns {list(map(str, table.columns))}",
            "add the outcome's column, or correct data.label",
        )
    return table


def _propensity(table: pd.DataFrame, column: str, where: str) -> Floats:
    if column not in table.columns:
        raise InputError(
            f"{where}, column {column}",
            f"not among the columns {list(map(str, table.columns))}",
            "add the propensity's column, or correct task.propensity",
        )
    score = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    if (bad := ~((score > 0) & (score < 1))).any():
        raise InputError(
            f"{where}, column {column}",
            f"{int(bad.sum())} propensities are not between 0 and 1",
            "correct them: every customer must have had a chance of either arm",
        )
    return score
