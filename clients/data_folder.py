"""What belongs to a node's data, in the node's own folder, readable by its owner alone.

- ``mapping.toml``      what the tables mean (the data steward's)
- ``identifiers.key``   32 random bytes under which identifiers are hashed
- ``data/state.json``   what the last reading that was noted was like (by ``fl-node refresh``, a
  first run or ``check --accept-shorter``; others note nothing): counts, shares, no row
- ``data/quarantine/``  rejected rows with their reasons, one CSV per table, of the last reading
- ``data/manual/``      sheets of the manual check, and its last verdict
- ``data/handed_over.parquet``, ``data/outcomes.parquet``  who was handed over, and what came of it
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from clients.mapping_file import SAMPLE, Site, read_mapping
from fl.data.consistency import Batch
from fl.data.contract import REASONS
from fl.errors import InputError
from fl.private_files import read_private, write_private
from fl.report.files import atomic_write

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run
_QUOTED = r"^'(?=[=+\-@\t\r])"


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
    raw = read_private(path, where, lost="make one with fl-node init", leaked="chmod 600")
    try:
        key = bytes.fromhex(raw.decode("ascii").strip())
    except ValueError:  # its text must not be shown
        raise InputError(where, "is not hex digits", "restore it from your backup") from None
    if len(key) < 32:
        raise InputError(where, "has fewer than 64 hex digits", "restore it from your backup")
    return key


def quarantine(folder: DataFolder, batch: Batch, *, reading: bool = True) -> list[Path]:
    """Replace the quarantine by this batch's: a file for each table with rejected rows.

    Args:
        folder: the node's.
        batch: all tables of a reading, or one of outcomes.
        reading: which of the two; neither touches the other's files.
    """
    place = folder.file("quarantine", "x").parent
    written = []
    for table in batch.tables:
        if table.rejected.empty:
            continue
        path = place / f"{table.name.removesuffix('.csv')}.csv"  # events of lines.csv are one too
        rows = table.rejected.copy()
        rows.insert(0, "row", rows.index + 1)
        first = ["row", REASONS, *(c for c in rows.columns if c not in ("row", REASONS))]
        write_csv(path, rows[first])
        written.append(path)
    of_outcomes = {place / "outcomes.csv"}  # come by themselves, between readings
    others = set(place.glob("*.csv")) - of_outcomes  # also tables that left the mapping
    for old in (others if reading else of_outcomes) - set(written):
        old.unlink(missing_ok=True)
    return written


def write_csv(path: Path, rows: pd.DataFrame) -> None:
    """A CSV file for its owner alone, in one step; what a spreadsheet would run is quoted.

    It begins with the mark by which spreadsheets know UTF-8; ``fl.data.sources.read`` skips it, and
    ``unquoted`` takes the quotes off again.

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
    heads = [f"'{n}" if str(n).startswith(_FORMULA) else str(n) for n in safe.columns]
    atomic_write(path, safe.to_csv(index=False, header=heads).encode("utf-8-sig"), private=True)


def unquoted(texts: pd.Series) -> pd.Series:
    """Cells of a file that ``write_csv`` wrote, as they were before it quoted any."""
    return texts.str.replace(_QUOTED, "", regex=True)
