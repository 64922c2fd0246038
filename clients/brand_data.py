"""A brand's data as its node reads them: open, check, set aside, join, and hand on examples."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from clients.data_folder import DataFolder, quarantine, read_key, write_csv, write_samples
from clients.manual_check import last_verdict
from clients.mapping_file import Site
from fl.data.columns import text_cells
from fl.data.consistency import Batch
from fl.data.examples import (
    Made,
    People,
    finished,
    known_until,
    labelled,
    people,
    portrayed,
)
from fl.data.identity import Resolved
from fl.data.intake import Asked, read_batch
from fl.data.schema import Schema
from fl.errors import InputError

__all__ = [
    "DataFolder",
    "Reading",
    "now",
    "quarantine",
    "read",
    "read_key",
    "write_csv",
    "write_samples",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of all tables, checked.

    Attributes:
        site: the mapping.
        batch: the tables.
        people: who is who; None for finished examples.
        at: when, naive, in UTC.
    """

    site: Site
    batch: Batch
    people: People | None
    at: pd.Timestamp

    def examples(self) -> Made:
        """Rows with labels."""
        mapped = self.site.mapped
        return (
            finished(mapped, self.batch) if self.people is None else labelled(mapped, self.people)
        )

    def labelled(self, schema: Schema, latest: Made) -> Made | None:
        """The rows whose label is known and is one of the schema's; None if there are none.

        ``latest`` are the rows to score: finished examples are those with a label among them.
        """
        try:
            made = latest if self.people is None else self.examples()
        except InputError as error:
            _log.warning("no labelled rows: %s", error)
            return None
        if schema.label not in made.rows:
            return None
        values = schema.classes or (schema.positive, *schema.negative)
        known = text_cells(made.rows[schema.label]).isin(values).to_numpy(bool)
        rows, name = made.rows[known].reset_index(drop=True), made.name[known]
        kept = Made(rows, made.customer[known], name.reset_index(drop=True), made.cutoff)
        return kept if len(rows) else None

    def latest(self) -> Made:
        """Rows to score: portraits as of the day after the newest event, or the finished rows."""
        mapped = self.site.mapped
        if self.people is None:
            return finished(mapped, self.batch)
        return portrayed(mapped, self.people, known_until(self.people))

    def rows(self) -> dict[str, int]:
        """Rows read, by table."""
        return {table.name: table.read for table in self.batch.tables}

    def resolved(self) -> Resolved | None:
        """Who is who, if identities were joined."""
        return None if self.people is None else self.people.resolved


def now() -> pd.Timestamp:
    """This moment, naive, in UTC."""
    return pd.Timestamp.now("UTC").tz_localize(None)


def read(
    folder: DataFolder,
    asked: Asked,
    at: pd.Timestamp,
    before: Mapping[str, int],
    *,
    judged: bool = True,
) -> Reading:
    """Read and check the brand's data; what is rejected goes to the quarantine first.

    Args:
        folder: the node's.
        asked: which run it is for, if any.
        at: the moment of reading, naive, in UTC.
        before: rows of each table at the last accepted reading.
        judged: whether the last manual check must have gone well; not for drawing a new sheet.

    Raises:
        InputError: a mistake in the mapping, a source that does not answer, or data beyond
            ``[limits]``, by the checks or by the last manual one. The quarantine is written before.
    """
    site = folder.site()
    with site.open() as reader:
        batch = read_batch(site.mapped, reader, at, asked)
    quarantine(folder, batch)
    batch.require(site.mapped.limits, before)
    if judged and (verdict := last_verdict(folder)) is not None:
        verdict.require(site.mapped.limits)
    _log.info("read %s", ", ".join(f"{t.name}: {t.read} rows" for t in batch.tables))
    joined = None if site.mapped.rows is not None else people(site.mapped, batch, folder.secret())
    return Reading(site, batch, joined, at)
