"""A brand's data as its node reads them: open, check, set aside, join, and hand on examples.

Everything here stays in the node's own folder, readable by its owner alone:

- ``mapping.toml``      what the tables mean (the data steward's)
- ``identifiers.key``   32 random bytes under which identifiers are hashed
- ``data/state.json``   what the last accepted reading was like: counts, shares, no row
- ``data/quarantine/``  rejected rows with their reasons, one CSV per table, of the last reading
- ``data/manual/``      sheets of the manual check
- ``data/outcomes.csv`` what became of customers that were handed over
"""

from __future__ import annotations

import logging
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from clients.mapping_file import SAMPLE, Site, read_mapping
from fl.contracts import R, Task
from fl.data.consistency import Batch
from fl.data.contract import REASONS
from fl.data.examples import Made, People, finished, labelled, people
from fl.data.identity import Resolved
from fl.data.intake import Asked, read_batch
from fl.data.split import Fractions, by_hash
from fl.errors import InputError
from fl.privacy.signing import write_private
from fl.report.files import atomic_write

_log = logging.getLogger(__name__)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where a node keeps what belongs to its data; ``home`` is the node's folder."""

    home: Path

    @property
    def mapping(self) -> Path:
        """What the tables mean."""
        return self.home / "mapping.toml"

    @property
    def key(self) -> Path:
        """Under which identifiers are hashed."""
        return self.home / "identifiers.key"

    def file(self, *parts: str) -> Path:
        """A file below ``data/``; its folders are made, for their owner alone."""
        path = self.home.joinpath("data", *parts)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def site(self) -> Site:
        """The mapping, read."""
        return read_mapping(self.mapping)

    def secret(self) -> bytes:
        """The key of identifiers.

        Raises:
            InputError: missing, or readable by others.
        """
        return read_key(self.key)


def write_samples(home: Path) -> list[Path]:
    """Write the sample mapping and a fresh key of identifiers, where there is none yet."""
    folder, made = DataFolder(home), []
    if not folder.mapping.exists():
        atomic_write(folder.mapping, SAMPLE.encode(), private=True)
        made.append(folder.mapping)
    if not folder.key.exists():
        write_private(folder.key, secrets.token_bytes(32).hex().encode() + b"\n", "identifier key")
        made.append(folder.key)
    return made


def read_key(path: Path) -> bytes:
    """A secret of 32 bytes, as 64 hex digits in a file that its owner alone may read."""
    where = f"key {path.name}"
    try:
        mode, text = path.stat().st_mode, path.read_text("ascii").strip()
        key = bytes.fromhex(text)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(where, why, "make one with fl-node init") from error
    except ValueError:  # its text must not be shown
        raise InputError(where, "is not hex digits", "restore it from your backup") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(where, "others may read it", "chmod 600")
    if len(key) < 32:
        raise InputError(where, "has fewer than 64 hex digits", "restore it from your backup")
    return key


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

    def rows(self) -> dict[str, int]:
        """Rows read, by table."""
        return {table.name: table.read for table in self.batch.tables}

    def resolved(self) -> Resolved | None:
        """Who is who, if identities were joined."""
        return None if self.people is None else self.people.resolved


def now() -> pd.Timestamp:
    """This moment, naive, in UTC."""
    return pd.Timestamp.now("UTC").tz_localize(None)


def read(folder: DataFolder, asked: Asked, at: pd.Timestamp, before: Mapping[str, int]) -> Reading:
    """Read and check the brand's data; what is rejected goes to the quarantine first.

    Args:
        folder: the node's.
        asked: which run it is for, if any.
        at: the moment of reading, naive, in UTC.
        before: rows of each table at the last accepted reading.

    Raises:
        InputError: a mistake in the mapping, a source that does not answer, or data beyond
            ``[limits]``. The quarantine is written before.
    """
    site = folder.site()
    with site.open() as reader:
        batch = read_batch(site.mapped, reader, at, asked)
    quarantine(folder, batch)
    batch.require(site.mapped.limits, before)
    _log.info("read %s", ", ".join(f"{t.name}: {t.read} rows" for t in batch.tables))
    joined = None if site.mapped.rows is not None else people(site.mapped, batch, folder.secret())
    return Reading(site, batch, joined, at)


def quarantine(folder: DataFolder, batch: Batch) -> list[Path]:
    """Replace the quarantine by this reading's: a file for each table with rejected rows."""
    place = folder.file("quarantine", "x").parent
    written = []
    for table in batch.tables:
        path = place / f"{table.name}.csv"
        if table.rejected.empty:
            path.unlink(missing_ok=True)
            continue
        rows = table.rejected.copy()
        rows.insert(0, "row", rows.index + 1)
        first = ["row", REASONS, *(c for c in rows.columns if c not in ("row", REASONS))]
        write_csv(path, rows[first])
        written.append(path)
    return written


def write_csv(path: Path, rows: pd.DataFrame) -> None:
    """A CSV file for its owner alone, in one step; cells that a spreadsheet would run are quoted.

    Raises:
        OSError: the folder cannot be written; an older file is then still whole.
    """
    safe = rows.copy()
    for name in safe.columns:
        if safe[name].dtype.kind not in "biufmM":
            texts = safe[name].astype("str")
            risky = texts.str.startswith(_FORMULA).fillna(False).to_numpy(bool)
            if risky.any():
                safe[name] = texts.where(~risky, "'" + texts)
    atomic_write(path, safe.to_csv(index=False).encode(), private=True)


def encoded(
    made: Made, task: Task[R], fractions: Fractions, seed: int, *, where: str = "data"
) -> dict[str, R]:
    """A brand's rows as a task's examples, by split; a customer is in one split, at every reading.

    Args:
        made: rows with labels.
        task: what is learned; its schema alone decides how a row is encoded.
        fractions: shares of customers in test and validation.
        seed: of the run; public.
        where: what messages call the rows.
    """
    split = by_hash(pd.Series(made.customer), fractions, seed)
    parts = {}
    for name in ("train", "validation", "test"):
        mask = split == name
        if mask.any():
            parts[name] = task.examples(made.rows[mask], made.customer[mask], where)
    return parts


def for_run(
    folder: DataFolder, task: Task[R], fractions: Fractions, seed: int, before: Mapping[str, int]
) -> dict[str, R]:
    """What a node needs for a run: read, check, join, encode, split.

    Raises:
        InputError: see :func:`read`; or no row is left.
    """
    made = read(folder, Asked(task.schema), now(), before).examples()
    if made.rows.empty:
        raise InputError("data", "no row is left after the checks", "see fl-node check")
    return encoded(made, task, fractions, seed)
