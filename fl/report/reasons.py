"""Why a customer has this score: what each feature adds to the log odds, and the largest of it.

A contribution is measured against this brand's average customer. In a logistic or additive model it
is exact: the feature's own term minus the term's mean over the brand's customers, so that
contributions add up to the score minus the mean score. In any other model it is by occlusion
(Robnik-Sikonja & Kononenko, "Explaining Classifications for Individual Instances", TKDE 2008): how
the log odds fall when the feature alone is set to what is usual at this brand (median, most
frequent code); contributions then need not add up.

Suffixes: ``_b`` customer, ``_k`` feature, numbers first, then categories, as in the schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fl.data.columns import Number
from fl.data.schema import Schema
from fl.models.additive import AdditiveModule
from fl.models.logistic import LogisticModule

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_BATCH = 16_384


def log_odds(model: nn.Module, x_bf: torch.Tensor, c_bg: torch.Tensor) -> Floats:
    """The model's score of each customer, float64 ``[b]``, without keeping gradients."""
    with torch.no_grad():
        parts = [
            model(x_bf[i : i + _BATCH], c_bg[i : i + _BATCH]) for i in range(0, len(x_bf), _BATCH)
        ]
    return torch.cat(parts).double().numpy() if parts else np.empty(0)


def contributions(name: str, model: nn.Module, x_bf: torch.Tensor, c_bg: torch.Tensor) -> Floats:
    """What each feature adds to each score, float64 ``[b, k]``, see the module's text.

    Args:
        name: of the model in ``fl.models.MODELS``.
        model: with its parameters.
        x_bf, c_bg: encoded rows.
    """
    how = _EXACT.get(name)
    if how is None:
        return _occluded(model, x_bf, c_bg)
    with torch.no_grad():
        terms_bk: Floats = how(model, x_bf, c_bg).double().numpy()
    return terms_bk - terms_bk.mean(0) if len(terms_bk) else terms_bk


def largest(contributions_bk: Floats, count: int) -> Ints:
    """Positions of the ``count`` largest contributions of each customer, by size, int64 ``[b, n]``.

    >>> largest(np.array([[0.1, -3.0, 2.0]]), 2).tolist()
    [[1, 2]]
    """
    size = np.abs(contributions_bk)
    count = min(count, size.shape[1])
    top = np.argpartition(-size, count - 1, axis=1)[:, :count] if count else size[:, :0].astype(int)
    order = np.argsort(-np.take_along_axis(size, top, 1), axis=1, kind="stable")
    found: Ints = np.take_along_axis(top, order, 1).astype(np.int64)
    return found


def texts(
    schema: Schema, x_bf: torch.Tensor, c_bg: torch.Tensor, contributions_bk: Floats, top_bn: Ints
) -> list[list[str]]:
    """The reasons in words, one list per customer: ``spend = 120 (+0.42)``.

    Numbers are those the model saw: clipped to the schema's bounds.
    """
    columns = [*schema.numbers, *schema.codes]
    lists: list[list[str]] = [[] for _ in range(top_bn.shape[1])]
    values = [
        _values(column, x_bf, c_bg, k, len(schema.numbers)) for k, column in enumerate(columns)
    ]
    names = [column.name for column in columns]
    rows = np.arange(len(top_bn))
    for n in range(top_bn.shape[1]):
        picked, added = top_bn[:, n], contributions_bk[rows, top_bn[:, n]]
        texts_n = np.empty(len(rows), object)
        for k in np.unique(picked):
            here = np.flatnonzero(picked == k)
            texts_n[here] = [
                f"{names[k]} = {value} ({effect:+.2f})"
                for value, effect in zip(values[k](here), added[here].tolist(), strict=True)
            ]
        lists[n] = texts_n.tolist()
    return [list(row) for row in zip(*lists, strict=True)] if lists else [[] for _ in rows]


def _values(
    column: Any, x_bf: torch.Tensor, c_bg: torch.Tensor, k: int, numbers: int
) -> Callable[[Ints], list[str]]:
    """A function from rows to the column's values there, as text."""
    if isinstance(column, Number):

        def number(rows: Ints) -> list[str]:
            share = (x_bf[rows, k].double().numpy() + 1) / 2
            width = column.high - column.low
            raw = np.expm1(share * np.log1p(width)) if column.log else share * width
            return [f"{value:.4g}" for value in (column.low + raw).tolist()]

        return number
    levels = column.levels()
    return lambda rows: [levels[code] for code in c_bg[rows, k - numbers].tolist()]


def _logistic(model: LogisticModule, x_bf: torch.Tensor, c_bg: torch.Tensor) -> torch.Tensor:
    x_bf = (x_bf + 1) / 2 if model.from_zero else x_bf
    numbers = x_bf * model.numbers.weight[0]
    if not len(model.offsets_g):
        return numbers
    levels = model.category(c_bg + model.offsets_g).squeeze(2)
    return torch.cat([numbers, model.category_scale * levels], 1)


def _additive(model: AdditiveModule, x_bf: torch.Tensor, c_bg: torch.Tensor) -> torch.Tensor:
    levels: torch.Tensor = model.level(model.codes(x_bf, c_bg)[:, :-1])  # the last is everyone's
    return levels.squeeze(2)


_EXACT: dict[str, Callable[..., torch.Tensor]] = {"logistic": _logistic, "additive": _additive}


def _occluded(model: nn.Module, x_bf: torch.Tensor, c_bg: torch.Tensor) -> Floats:
    score_b = log_odds(model, x_bf, c_bg)
    parts = []
    if not len(x_bf):
        return np.empty((0, x_bf.shape[1] + c_bg.shape[1]))
    for k in range(x_bf.shape[1]):
        usual = x_bf.clone()
        usual[:, k] = x_bf[:, k].median()
        parts.append(score_b - log_odds(model, usual, c_bg))
    for k in range(c_bg.shape[1]):
        common = c_bg.clone()
        common[:, k] = c_bg[:, k].mode().values
        parts.append(score_b - log_odds(model, x_bf, common))
    return np.stack(parts, 1) if parts else np.empty((len(x_bf), 0))
