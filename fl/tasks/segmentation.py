"""Customer segments by value, activity and need, found by all brands together.

The features are numbers of the schema, scaled into [-1, 1] by their public bounds. A customer adds
one vector of norm at most 1 to each statistic:

- ``clusters`` ``[starts, centres, features + 2]``: at its nearest centre 1, its point, its squared
  distance (``fl/algorithms/kmeans.py``)
- ``portrait`` ``[entries]``: by the last centres, its segment and its point there; where it was at
  an earlier date, if one is given; and which of the named rules it meets
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from fl.arrays import Array, Arrays
from fl.contracts import Floats, Ints, Limits
from fl.data.columns import Number
from fl.data.schema import Schema
from fl.errors import InputError
from fl.rows import each, joined
from fl.tasks.named import Rule
from fl.tasks.records import OnDemand, numbers_of, one_row_each

BEFORE = "_before"  # of a column at the earlier date
_COUNT, _POINT, _DISTANCE = 0.2, 0.7, 0.1  # of the squared norm of a customer's clusters
_SIZE, _MEAN, _MOVE, _RULE = 0.25, 0.25, 0.25, 0.25  # of that of its portrait


@dataclass(frozen=True, slots=True)
class Portraits:
    """Rows of customers.

    Attributes:
        x_bf: float64 features in [-1, 1].
        before_bf: the same at the earlier date; NaN where the customer was not there.
        rules_br: float64, 1 where the customer meets the rule, else 0.
        customer_b: int64, every row another.
    """

    x_bf: Tensor
    before_bf: Tensor
    rules_br: Tensor
    customer_b: Tensor

    def __len__(self) -> int:
        return len(self.customer_b)

    def rows(self, index: Tensor) -> Portraits:
        """The rows at ``index`` (int64), in that order."""
        return each(self, lambda x: x[index])

    def span(self, start: int, stop: int) -> Portraits:
        """The rows from ``start`` up to ``stop``, without copying."""
        return each(self, lambda x: x[start:stop])

    def renumbered(self, customer_b: Tensor) -> Portraits:
        """The same rows under other numbers of customers."""
        return replace(self, customer_b=customer_b)

    def followed_by(self, others: Sequence[Portraits]) -> Portraits:
        """These rows, then those of ``others``, in order."""
        return joined([self, *others])


class Centres(nn.Module):
    """What is broadcast: centres ``[starts, centres, features]`` in the scaled space."""

    def __init__(self, starts: int, centres: int, features: int) -> None:
        super().__init__()
        shape = torch.zeros(starts, centres, features, dtype=torch.float64)
        self.centres = nn.Parameter(shape, requires_grad=False)


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A task whose "model" are centres.

    Attributes:
        features: with public bounds; at least one.
        known: further numbers that rules speak of.
        centres: how many segments, >= 2.
        starts: how many sets of centres are tried at once, >= 1.
        rules: named groups.
        drift: whether rows say where a customer was at an earlier date.
    """

    features: tuple[Number, ...]
    known: tuple[Number, ...]
    centres: int
    starts: int = 1
    rules: tuple[Rule, ...] = ()
    drift: bool = False
    name: str = "segmentation"

    @property
    def schema(self) -> Schema:
        """The features."""
        return Schema(self.features, "(no label)")

    @property
    def count_weight(self) -> float:
        """What one customer adds to a count."""
        return math.sqrt(_COUNT / self.starts)

    @property
    def point_weight(self) -> float:
        """What it adds to a sum of points, per unit of a scaled coordinate."""
        return math.sqrt(_POINT / (self.starts * len(self.features)))

    @property
    def distance_weight(self) -> float:
        """What it adds to a sum of squared distances, per unit; the largest is ``4 f``."""
        return math.sqrt(_DISTANCE / self.starts) / (4 * len(self.features))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The parts of ``portrait``, in order."""
        k, f = self.centres, len(self.features)
        moves = {"moves": (k, k)} if self.drift else {}
        return {"sizes": (k,), "points": (k, f), **moves, "rules": (len(self.rules),)}

    @property
    def weights(self) -> dict[str, float]:
        """What one customer adds to an entry of each part, per unit."""
        return {
            "sizes": math.sqrt(_SIZE),
            "points": math.sqrt(_MEAN / len(self.features)),
            "moves": math.sqrt(_MOVE),
            "rules": math.sqrt(_RULE / max(1, len(self.rules))),
        }

    # --- as a task --------------------------------------------------------------------------------

    def model(self, rng: torch.Generator) -> Centres:
        """Centres at zero: the public first ones are broadcast."""
        return Centres(self.starts, self.centres, len(self.features))

    def examples(self, table: pd.DataFrame, customers: Ints, where: str) -> Portraits:
        """A brand's customers.

        Raises:
            InputError: a customer with several rows, a missing column, a cell that is no finite
                number.
        """
        one_row_each(customers, where)
        x_bf = _scaled(self.features, numbers_of(self.features, table, where))
        before, there_b = self._before(table, where)
        before_bf = (
            np.where(
                there_b[:, None],
                _scaled(self.features, np.stack([before[n.name] for n in self.features], 1)),
                np.nan,
            )
            if self.drift
            else np.full_like(x_bf, np.nan)
        )
        now = dict(
            zip((n.name for n in self.known), numbers_of(self.known, table, where).T, strict=True)
        )
        met = [rule.holds(now, before) for rule in self.rules]
        rules_br = np.stack(met, 1) if met else np.zeros((len(table), 0))
        return Portraits(
            *(torch.from_numpy(np.array(a)) for a in (x_bf, before_bf, rules_br, customers))
        )

    def losses(self, model: nn.Module, batch: Portraits) -> Tensor:
        """There is nothing to lose."""
        return torch.zeros(len(batch))

    def evaluate(self, model: nn.Module, batch: Portraits) -> Arrays:
        """Each customer's vectors, ``[b, ...]``."""
        centres = model.get_parameter("centres").detach().numpy()
        return OnDemand(
            {
                "clusters": lambda: self._clusters(centres, batch.x_bf.numpy()),
                "portrait": lambda: self._portrait(centres[0], batch),
            }
        )

    def statistics(self) -> Arrays:
        """Zeros in the shape of the summed vectors."""
        width = len(self.features) + 2
        entries = sum(math.prod(shape) for shape in self.shapes.values())
        return {
            "clusters": np.zeros((self.starts, self.centres, width)),
            "portrait": np.zeros(entries),
        }

    def limits(self) -> Limits:
        """By the choice of weights."""
        return {"clusters": 1.0, "portrait": 1.0}

    def read(self, portrait: Floats) -> dict[str, Floats]:
        """The parts of a summed portrait, in customers and in scaled coordinates."""
        found, at = {}, 0
        for part, shape in self.shapes.items():
            size = math.prod(shape)
            found[part] = portrait[at : at + size].reshape(shape) / self.weights[part]
            at += size
        return found

    def _before(
        self, table: pd.DataFrame, where: str
    ) -> tuple[dict[str, Floats], npt.NDArray[np.bool_]]:
        """Numbers at the earlier date, NaN where there are none, and who was there."""
        if not self.drift:
            return {}, np.zeros(len(table), np.bool_)
        first = f"{self.features[0].name}{BEFORE}"
        if first not in table.columns:
            raise InputError(
                f"{where}, column {first}",
                "is missing: nothing says where customers were at an earlier date",
                "give the earlier values (the panel: data.earlier_week), or set task.drift=false",
            )
        there_b = table[first].notna().to_numpy()
        named = {n.name: n for n in (*self.features, *self.known)}
        found = {}
        for name, column in named.items():
            cells = np.full(len(table), np.nan)
            then = pd.DataFrame({name: table.loc[there_b, f"{name}{BEFORE}"]})
            cells[there_b] = numbers_of((column,), then, f"{where}, earlier")[:, 0]
            found[name] = cells
        return found, there_b

    def _clusters(self, centres_skf: Array, x_bf: Floats) -> Array:
        b, f = x_bf.shape
        out = np.zeros((b, self.starts, self.centres, f + 2))
        own = np.concatenate([np.full((b, 1), self.count_weight), x_bf * self.point_weight], 1)
        for s, centre_kf in enumerate(np.asarray(centres_skf, np.float64)):
            at_b, square_b = nearest(centre_kf, x_bf)
            out[np.arange(b), s, at_b, :-1] = own
            out[np.arange(b), s, at_b, -1] = square_b * self.distance_weight
        return out

    def _portrait(self, centre_kf: Array, batch: Portraits) -> Array:
        x_bf, b = batch.x_bf.numpy(), len(batch)
        at_b = nearest(np.asarray(centre_kf, np.float64), x_bf)[0]
        rows, weights = np.arange(b), self.weights
        sizes, points = np.zeros((b, self.centres)), np.zeros((b, *self.shapes["points"]))
        sizes[rows, at_b] = weights["sizes"]
        points[rows, at_b] = x_bf * weights["points"]
        parts = [sizes, points.reshape(b, -1)]
        if self.drift:
            before_bf = batch.before_bf.numpy()
            there = np.flatnonzero(np.isfinite(before_bf).all(1))
            moves = np.zeros((b, self.centres, self.centres))
            then = nearest(np.asarray(centre_kf, np.float64), before_bf[there])[0]
            moves[there, then, at_b[there]] = weights["moves"]
            parts.append(moves.reshape(b, -1))
        return np.concatenate([*parts, batch.rules_br.numpy() * weights["rules"]], 1)


def nearest(centre_kf: Floats, x_bf: Floats) -> tuple[Ints, Floats]:
    """The nearest centre of each point, int64 ``[b]``, and the squared distance to it."""
    square_bk = ((x_bf[:, None, :] - centre_kf[None]) ** 2).sum(2)
    at_b = square_bk.argmin(1) if len(x_bf) else np.zeros(0, np.int64)
    return at_b.astype(np.int64), square_bk[np.arange(len(x_bf)), at_b]


def _scaled(columns: Sequence[Number], x_bm: Floats) -> Floats:
    return np.stack([c.scale(x_bm[:, i]) for i, c in enumerate(columns)], 1)
