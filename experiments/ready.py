"""Prepared data of one configuration, kept for the next one of a sweep that prepares the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.prepare import Prepared, Tables, check_deltas, encode, shared_schema
from experiments.settings import Settings
from fl.data.dataset import DataSet
from fl.data.divide import divide

_DIVIDED = ("data", "partition", "preparation", "seeds")
_ENCODED = ("task", "model")
_ASKED = ("secure_sum", "privacy", "plans", "epsilons")  # where the schema is asked of the brands
_KEPT = 5_000_000  # rows, over all seeds, that are kept encoded; more are encoded in each worker


@dataclass(frozen=True, slots=True)
class Ready:
    """What every arm starts from.

    Attributes:
        data: the whole table.
        tables: each seed's division of it among brands.
        rows: each seed's encoded splits, where they are kept.
    """

    data: DataSet
    tables: Mapping[int, Tables]
    rows: Mapping[int, Prepared]


@dataclass(slots=True)
class Shelf:
    """The last preparation, by what decides it; one is kept, so memory does not grow."""

    _divided: tuple[str, DataSet, Mapping[int, Tables]] | None = None
    _encoded: tuple[str, Mapping[int, Prepared]] | None = None
    hits: list[str] = field(default_factory=list)

    def ready(self, how: Settings) -> Ready:
        """Load, divide and encode what is not there yet; every mistake in the data shows here."""
        key = _key(how, _DIVIDED)
        if self._divided is None or self._divided[0] != key:
            whole = how.source.load()
            divided = {s: divide(whole, how.partition, how.preparation, s) for s in how.seeds}
            self._divided, self._encoded = (key, whole, divided), None
        else:
            self.hits.append("divided")
        _, data, tables = self._divided
        key += _key(how, _ENCODED if data.schema.columns else _ENCODED + _ASKED)
        if self._encoded is None or self._encoded[0] != key:
            rows: dict[int, Prepared] = {}
            for seed in how.seeds:
                task = how.task(shared_schema(data, tables[seed], how, seed))
                encoded = encode(task, tables[seed], how.preparation.scaling)
                check_deltas(how, encoded)
                if len(data.rows) * len(how.seeds) <= _KEPT:
                    rows[seed] = encoded
            self._encoded = (key, rows)
        else:
            self.hits.append("encoded")
            for encoded in self._encoded[1].values():
                check_deltas(how, encoded)
        return Ready(data, tables, self._encoded[1])


def _key(how: Settings, names: tuple[str, ...]) -> str:
    return json.dumps({name: how.values[name] for name in names}, sort_keys=True, default=str)
