"""``task=segmentation``: customers grouped by all brands together, named, and followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from experiments.journal import Journal, Piece
from experiments.questions.asking import Place, ask
from experiments.questions.study import Findings, Pieces, Tables, enough_brands, piece_of
from fl.algorithms.kmeans import KMeans, spread_out
from fl.contracts import Floats, Ints, Unit
from fl.data.columns import Number
from fl.data.dataset import DataSet
from fl.errors import InputError
from fl.privacy import Plan
from fl.seeds import derive, numpy_generator
from fl.tasks.named import Rule
from fl.tasks.segmentation import Portraits, Segmentation

if TYPE_CHECKING:
    from experiments.questions.inquiry import Inquiry

_PUBLIC = 2000  # points of the public sample that first centres are drawn from


@dataclass(frozen=True, slots=True)
class SegmentStudy:
    """``conf/task/segmentation.yaml``.

    Attributes:
        features: columns of numbers that portray a customer.
        segments: how many, >= 2.
        iterations: of Lloyd's without a guarantee, >= 1.
        starts: sets of first centres that are tried without one, >= 1.
        private_iterations, private_starts: the same with one: all share what it allows to spend.
        rules: named groups by conditions, such as ``churn: [baskets >= 3, due >= 2]``.
        drift: also count who moved between segments since an earlier date.
        unit: what one row is, for the report.
    """

    features: tuple[str, ...]
    segments: int = 5
    iterations: int = 30
    starts: int = 8
    private_iterations: int = 25
    private_starts: int = 1
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drift: bool = False
    unit: str = "customer"
    name: str = "segmentation"

    def __post_init__(self) -> None:
        if not self.features or len(set(self.features)) != len(self.features):
            raise ValueError(f"Expected features={list(self.features)} to be different columns.")
        counts = ("iterations", "starts", "private_iterations", "private_starts")
        if self.segments < 2 or min(getattr(self, name) for name in counts) < 1:
            raise ValueError(
                f"Expected segments={self.segments} >= 2, and {', '.join(counts)} >= 1."
            )
        if not self.drift and any(change for rule in self._rules for _, change in rule.columns):
            raise ValueError("Expected drift=true where a rule speaks of a change.")

    @property
    def _rules(self) -> tuple[Rule, ...]:
        return tuple(Rule(name, conditions) for name, conditions in self.rules.items())

    def task(self, data: DataSet, starts: int) -> Segmentation:
        """The task in the data set's columns.

        Raises:
            InputError: an unknown column, one without public bounds, no columns stated at all.
        """
        columns = {c.name: c for c in data.schema.columns if isinstance(c, Number)}
        if not data.schema.columns:
            raise InputError(
                "data.columns",
                "are not stated: features are scaled by public bounds",
                "state them: +data.columns.NAME='{low: 0, high: 100}'",
            )
        for name in self.features:
            _require(columns, name, "task.features")
        known: dict[str, Number] = {}
        for rule in self._rules:
            for name, _ in rule.columns:
                _require(columns, name, f"task.rules.{rule.name}")
                known[name] = columns[name]
        features = tuple(columns[name] for name in self.features)
        return Segmentation(
            features, tuple(known.values()), self.segments, starts, self._rules, self.drift
        )

    # --- the study --------------------------------------------------------------------------------

    def drawn(self, data: DataSet, seed: int) -> DataSet:
        """All rows; seeds draw the first centres."""
        return data

    def check(self, how: Inquiry, data: DataSet, tables: Tables, journal: Journal) -> None:
        """Three brands, columns, rules, and enough customers for so many segments."""
        enough_brands(tables)
        task, customers = self.task(data, self.starts), 0
        for brand, table in tables.items():
            customers += len(task.examples(table.rows, table.customers, f"brand {brand}"))
        if customers < self.segments:
            raise InputError(
                "task.segments",
                f"{self.segments} segments of {customers} {self.unit}s leave some empty",
                "ask for fewer",
            )

    def work(self, brands: int) -> int:
        """The iterations, and the round that describes."""
        return (max(self.iterations, self.private_iterations) + 1) * brands

    def answer(self, data: DataSet, tables: Tables, place: Place, plan: Plan) -> Piece:
        """Ask all brands; beside the answer, what k-means makes of all rows in one place."""
        private = plan.unit is not Unit.NONE
        starts = self.private_starts if private else self.starts
        iterations = self.private_iterations if private else self.iterations
        task = self.task(data, starts)
        brands = {b: task.examples(t.rows, t.customers, f"brand {b}") for b, t in tables.items()}
        question = KMeans(
            starts,
            self.segments,
            len(self.features),
            iterations,
            task.statistics()["portrait"].size,
            task.count_weight,
            task.point_weight,
        )
        first = {"centres": first_centres(starts, self.segments, len(self.features), place.seed)}
        answered = ask(place, brands, task, question, plan, first=first)
        pooled = next(iter(brands.values())).followed_by(list(brands.values())[1:])
        return piece_of(answered, _pooled(pooled, self.segments, place.seed), {})

    def findings(
        self, how: Inquiry, data: DataSet, tables: Mapping[int, Tables], pieces: Pieces
    ) -> Findings:
        """See ``segments_report.py``."""
        from experiments.questions.segments_report import findings

        return findings(self, how, data, tables, pieces)


def first_centres(starts: int, centres: int, features: int, seed: int) -> Floats:
    """Public first centres ``[starts, centres, features]``, from a sample that is nobody's."""
    drawn = []
    for start in range(starts):
        rng = numpy_generator(seed, "first centres", start)
        public = rng.uniform(-1.0, 1.0, (_PUBLIC, features))
        drawn.append(spread_out(public, centres, rng.random(centres)))
    return np.stack(drawn).astype(np.float64)


def best_centres(piece: Piece) -> Floats:
    """The centres that an answer is about, ``[k, f]``."""
    distances = np.asarray(piece.arrays["model/distances"], np.float64)
    centres: Floats = np.asarray(piece.arrays["model/centres"], np.float64)
    return np.array(centres[int(np.argmin(distances))])


def _pooled(pooled: Portraits, segments: int, seed: int) -> dict[str, Floats | Ints]:
    """scikit-learn's k-means (k-means++ on the rows themselves, best of ten)."""
    from sklearn.cluster import KMeans as Pooled

    x_bf = pooled.x_bf.numpy()
    made = Pooled(segments, n_init=10, random_state=derive(seed, "pooled k-means") % 2**31).fit(
        x_bf
    )
    return {"pooled/centres": np.asarray(made.cluster_centers_, np.float64)}


def _require(columns: Mapping[str, Number], name: str, where: str) -> None:
    if name not in columns:
        raise InputError(
            where,
            f"no column of numbers {name!r} with public bounds in this data set",
            f"choose from {', '.join(columns) or 'none: state them in data.columns'}",
        )
