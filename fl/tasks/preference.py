"""What a customer will want next, from the history: a ranking of a catalogue that brands share.

A row is one customer's history and, where it is held out, the basket that followed. Everything that
is known of a customer is computed from that row, at the brand, whenever it is needed: there is no
parameter per customer, so nothing of a customer could be sent by mistake. All parameters belong to
items, and are what brands share.

Items outside the catalogue are left out of histories; as a next item such a one cannot be found,
and counts as missed. A row with nothing before it is scored by what the model says of an empty
history. An item that a brand never sold can still be recommended there: others have taught its
parameters.

Suffixes: ``_b`` row, ``_l`` place in the history, ``_k`` item of the next basket, ``_n`` item of
the catalogue, ``_t`` pairs of a state and the item that followed it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fl.arrays import Arrays
from fl.contracts import Floats, Ints, Limits
from fl.data.histories import HISTORY
from fl.data.schema import Schema
from fl.errors import InputError
from fl.models.factorisation import Factorisation
from fl.models.popularity import Popularity
from fl.models.recommender import RecommenderConfig
from fl.models.sasrec import SasRec
from fl.tasks.histories import Histories, encoded
from fl.tasks.ranking import (
    LOSS_LIMIT,
    TOP,
    bounded_log_loss,
    drawn,
    gains,
    marked,
    mean_over,
    ranks,
    recommended,
    sampled_gains,
)

_ROWS = 256  # rows whose scores of the whole catalogue are in memory at a time
_SUMS = ("examples", "log_loss", "hit", "gain", "hit_sampled", "gain_sampled")


@dataclass(frozen=True, slots=True)
class Preference:
    """See the module's docstring.

    Attributes:
        schema: its one categorical column is the catalogue.
        architecture: which model.
        how: the options.
    """

    schema: Schema
    architecture: RecommenderConfig
    how: PreferenceOptions
    name: str = "preference"

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return self.schema.sizes[0] - 1

    def model(self, rng: torch.Generator) -> nn.Module:
        """A fresh model."""
        module: nn.Module = self.architecture.build(self.items, self.how.length, rng)
        return module

    def examples(self, table: pd.DataFrame, customers: Ints, where: str) -> Histories:
        """Encode histories by the catalogue alone.

        Raises:
            InputError: a column is missing, or a cell is no list of items.
        """
        codes = {item: n for n, item in enumerate(self.schema.codes[0].levels()) if n}
        length, targets = self.how.length, self.how.targets
        return encoded(table, customers, codes, length=length, targets=targets, where=where)

    def losses(self, model: nn.Module, batch: Histories) -> Tensor:
        """Mean over what followed, ``[b]``; 0 for a row in which nothing known did.

        ``squared`` is a sum over the catalogue instead.
        """
        if self.how.loss == "squared":
            squared_b: Tensor = model.losses(batch.item_bl, batch.next_bk)  # type: ignore[operator]
            return squared_b
        follows_bm, at_bm = batch.pairs()
        places = max(1, int((batch.item_bl > 0).sum(1).max()))  # the rest is padding
        state_bld = model(batch.item_bl[:, -places:])
        at_bm = (at_bm - batch.item_bl.shape[1] + places).clamp(min=0)
        count_b = (follows_bm > 0).sum(1).clamp(min=1)
        if model.row_by_row and self.how.loss == "softmax":
            logp_bln = torch.log_softmax(model.score(state_bld), 2)  # type: ignore[operator]
            row_bm = torch.arange(len(batch))[:, None].expand_as(at_bm)
            found_bm = logp_bln[row_bm, at_bm, (follows_bm - 1).clamp(min=0)]
            loss_b: Tensor = -(found_bm * (follows_bm > 0)).sum(1) / count_b
            return loss_b
        row_t, m_t = follows_bm.nonzero(as_tuple=True)
        loss_t = self._loss(model, state_bld[row_t, at_bm[row_t, m_t]], follows_bm[row_t, m_t])
        return torch.zeros(len(batch)).index_add(0, row_t, loss_t) / count_b

    def evaluate(self, model: nn.Module, batch: Histories) -> Arrays:
        """Each row's share of the statistics: in [0, 16]; ``recommended`` has ten ones."""
        told = self.scores(model, batch)
        sums: dict[str, Floats] = {name: told[:, i] for i, name in enumerate(_SUMS)}
        if self.how.coverage:
            shown = np.zeros((len(batch), self.items))
            np.put_along_axis(shown, told[:, len(_SUMS) + 1 :].astype(np.int64) - 1, 1.0, 1)
            sums["recommended"] = shown
        return sums

    def statistics(self) -> Arrays:
        """Zeros in the shape of summed statistics."""
        zeros = {name: np.zeros(()) for name in _SUMS}
        return {**zeros, "recommended": np.zeros(self.items)} if self.how.coverage else zeros

    def limits(self) -> Limits:
        """A share of 0 to 1, ten ones, or a loss up to 16."""
        ones = {**dict.fromkeys(_SUMS, 1.0), "log_loss": LOSS_LIMIT}
        return {**ones, "recommended": TOP**0.5} if self.how.coverage else ones

    def scores(self, model: nn.Module, batch: Histories) -> Floats:
        """What the ranking is worth for each row, float64 ``[b, 7 + 10]``.

        Columns: 1, log loss, hit, gain, the last two among 99 sampled items, size of the catalogue,
        then the ten items recommended (numbers from 1). Each is a mean over the items of the next
        basket, which do not compete with each other.
        """
        model.eval()
        with torch.no_grad():
            parts = [
                self._scored(model, batch.span(start, min(start + _ROWS, len(batch))))
                for start in range(0, len(batch), _ROWS)
            ]
        return np.concatenate(parts) if parts else np.zeros((0, len(_SUMS) + 1 + TOP))

    def truth(self, batch: Histories) -> Ints:
        """The items that followed, ``[b, k]``."""
        return np.asarray(batch.next_bk.numpy())

    def metrics(self, sums: Arrays) -> dict[str, float]:
        """A federation's metrics from its summed statistics, or their mean."""
        of = {name: np.asarray(x, np.float64) for name, x in sums.items()}
        n = max(float(of["examples"]), 1e-12)
        told = {
            "log_loss": float(of["log_loss"]) / n,
            "selection_loss": 1 - float(of["gain"]) / n,  # a ranking may improve as the loss grows
            "ndcg_at_10": float(of["gain"]) / n,
            "hr_at_10": float(of["hit"]) / n,
            "ndcg_at_10_of_100": float(of["gain_sampled"]) / n,
            "hr_at_10_of_100": float(of["hit_sampled"]) / n,
        }
        if self.how.coverage:
            told["coverage"] = float((of["recommended"] > 1e-9).mean())
        return told

    def _loss(self, model: Any, state_td: Tensor, item_t: Tensor) -> Tensor:
        """One loss for each pair, ``[t]``."""
        loss_t: Tensor
        if self.how.loss == "softmax":
            loss_t = nn.functional.cross_entropy(
                model.score(state_td), item_t - 1, reduction="none"
            )
            return loss_t
        own_td, bias_t = model.output_of(item_t)
        own_t = (state_td * own_td).sum(1) + bias_t
        shape = (len(item_t), self.how.sampled) if self.how.loss == "bce" else (self.how.sampled,)
        other = torch.randint(1, self.items + 1, shape, generator=model.rng)
        weight, bias = model.output_of(other)
        if self.how.loss == "bce":
            other_tk = torch.einsum("td,tkd->tk", state_td, weight) + bias
        else:
            other_tk = state_td @ weight.t() + bias
        other_tk = other_tk.masked_fill(other == item_t[:, None], -1e9)  # drawn itself
        if self.how.loss == "bce":
            softplus = nn.functional.softplus
            loss_t = softplus(-own_t) + softplus(other_tk).sum(1)
        else:  # those drawn stand for all the others
            other_tk = other_tk + math.log(max(1, self.items - 1) / self.how.sampled)
            loss_t = torch.logsumexp(torch.cat([own_t[:, None], other_tk], 1), 1) - own_t
        return loss_t

    def _scored(self, model: Any, batch: Histories) -> Floats:
        places = max(1, int((batch.item_bl > 0).sum(1).max()))
        score_bn = model.score(model(batch.item_bl[:, -places:])[:, -1]).double().numpy()
        next_bk, place_bk = batch.next_bk.numpy(), batch.next_bk.numpy() - 1
        place_bk = np.where(next_bk > 0, place_bk, -1)
        seen_bn, wanted_bn = (marked(x, self.items) for x in (batch.item_bl.numpy(), next_bk))
        owned_bn = seen_bn | marked(batch.owned_bo.numpy(), self.items)
        loss_b = bounded_log_loss(score_bn, place_bk, next_bk != 0)
        if self.how.new_only:
            score_bn = np.where(owned_bn, -np.inf, score_bn)
        out_bn = wanted_bn | owned_bn if self.how.new_only else wanted_bn
        fresh_bn = ~(wanted_bn | owned_bn)  # what negatives are drawn from
        rivals_bk = np.repeat(fresh_bn.sum(1)[:, None], next_bk.shape[1], 1)
        each = [*gains(ranks(score_bn, place_bk, out_bn))]
        if self.how.negatives == "drawn":
            rivals_bn = drawn(fresh_bn, batch.item_bl.numpy())
            each += gains(ranks(score_bn, place_bk, ~rivals_bn))
        else:
            each += sampled_gains(ranks(score_bn, place_bk, ~fresh_bn), rivals_bk)
        means = [mean_over(x, next_bk != 0) for x in each]
        ones_b = np.ones(len(batch))
        return np.column_stack([ones_b, loss_b, *means, self.items * ones_b, recommended(score_bn)])


@dataclass(frozen=True, slots=True)
class PreferenceOptions:
    """``conf/task/preference.yaml``.

    Attributes:
        length: items of a history that a model sees, the latest, >= 2.
        targets: items of the next basket that are looked for, the first ones, >= 1.
        loss: ``softmax`` of the whole catalogue; ``sampled_softmax`` of the item that followed and
            ``sampled`` others, drawn anew for each batch (biased, and far cheaper); ``bce``, binary
            cross-entropy against ``sampled`` others of its own for each item (Kang and McAuley
            2018, equation 6, with one); ``squared``, of the whole catalogue, for the factorisation
            and for it alone. A privacy plan needs ``softmax`` or ``squared``.
        sampled: >= 1.
        negatives: of the metrics "of 100", the ``expected`` value over all draws of 99 items that
            the customer does not have, or that of the 99 ``drawn`` for each row.
        new_only: customers want what they do not have yet: no item they ever had is recommended,
            also none that is older than the ``length`` that a model sees.
        coverage: count which items are recommended at all; a number for each item travels.
    """

    name: str = "preference"
    length: int = 50
    targets: int = 20
    loss: str = "softmax"
    sampled: int = 256
    negatives: str = "expected"
    new_only: bool = False
    coverage: bool = True

    models: ClassVar[Mapping[str, type[Any]]] = {
        "popularity": Popularity,
        "factorisation": Factorisation,
        "sasrec": SasRec,
    }
    reports: ClassVar[tuple[str, ...]] = (
        *("ndcg_at_10", "hr_at_10", "ndcg_at_10_of_100", "hr_at_10_of_100", "coverage"),
    )

    def __post_init__(self) -> None:
        if self.length < 2 or min(self.targets, self.sampled) < 1:
            raise ValueError(
                f"Expected length={self.length} >= 2, targets={self.targets} >= 1 and "
                f"sampled={self.sampled} >= 1."
            )
        if self.loss not in (known := ("softmax", "sampled_softmax", "bce", "squared")):
            raise ValueError(f"Expected loss={self.loss!r} to be one of {known}.")
        if self.negatives not in ("expected", "drawn"):
            raise ValueError(f"Expected negatives={self.negatives!r}: expected or drawn.")

    def task(self, schema: Schema, architecture: RecommenderConfig) -> Preference:
        """The task with this catalogue.

        Raises:
            InputError: the data set has no catalogue, or the model has no such loss.
        """
        if self.loss not in architecture.losses:
            raise InputError(
                "task.loss",
                f"model {architecture.name} has no loss {self.loss!r}",
                f"set task.loss={architecture.losses[0]}",
            )
        if len(schema.columns) != 1 or len(schema.codes) != 1 or schema.codes[0].name != HISTORY:
            raise InputError(
                "data.name",
                "the data set has no histories of a shared catalogue",
                "choose data=online_retail, panel_histories, movielens_100k or amazon_domains",
            )
        return Preference(schema, architecture, self)

    def unbounded(self, architecture: RecommenderConfig) -> tuple[str, str] | None:
        """A loss that samples items is random, and its gradient of no single customer."""
        if self.loss in ("sampled_softmax", "bce"):
            return (
                f"loss={self.loss} draws items for all customers at once",
                "set task.loss=softmax",
            )
        return architecture.unbounded()
