"""A brand's tables as files in one folder: CSV and Parquet, read as they are at that moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

import pandas as pd

from fl.data.sources import column_names, read, row_count
from fl.errors import InputError


class Reader(Protocol):
    """An open, read-only view of a brand's tables. Nothing in it can change a table."""

    def columns(self, table: str) -> tuple[str, ...]:
        """The table's columns; raises ``InputError`` where there is no such table."""

    def count(self, table: str) -> int:
        """Its number of rows, as :meth:`read` would give them."""

    def read(self, table: str, columns: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
        """All rows, these columns, in this order; no rows give an empty frame.

        ``text`` names those that are text where the source itself does not say (CSV).
        """


def require_columns(table: str, wanted: Sequence[str], present: Sequence[str]) -> None:
    """Refuse the first of ``wanted`` that the table does not have.

    >>> require_columns("orders", ["ammount"], ["order", "amount"])
    Traceback (most recent call last):
    ...
    fl.errors.InputError: mapping, table orders: has no column 'ammount'. To fix it: did you mean \
'amount'? Its columns are order, amount.
    """
    for name in wanted:
        if name not in present:
            near = get_close_matches(name, present, 1)
            hint = f"did you mean {near[0]!r}? " if near else "correct the name; "
            listed = ", ".join(present[:30]) + (" ..." if len(present) > 30 else "")
            raise InputError(
                f"mapping, table {table}",
                f"has no column {name!r}",
                f"{hint}{'I' if near else 'i'}ts columns are {listed or 'none'}",
            )


@dataclass(frozen=True, slots=True)
class Files:
    """CSV and Parquet files; a table's name is its file's name.

    Attributes:
        folder: where they lie; relative to the mapping file's folder.
    """

    name: str = "files"
    folder: str = "."

    @contextmanager
    def open(self, home: Path) -> Iterator[Reader]:
        """A view of the folder; ``home`` is the folder of the mapping file.

        Raises:
            InputError: there is no such folder.
        """
        folder = home / self.folder
        if not folder.is_dir():
            raise InputError(
                "mapping, source.folder",
                f"no folder {self.folder!r}",
                "correct the path, or make it and put the files of the mapping there",
            )
        yield _FileReader(folder)


@dataclass(frozen=True, slots=True)
class _FileReader:
    folder: Path

    def columns(self, table: str) -> tuple[str, ...]:
        return tuple(map(str.strip, column_names(self._path(table), f"mapping, table {table}")))

    def count(self, table: str) -> int:
        return row_count(self._path(table), f"mapping, table {table}")

    def read(self, table: str, columns: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
        rows = self._table(table, text)
        require_columns(table, columns, tuple(rows.columns))
        return rows[list(dict.fromkeys(columns))]

    def _table(self, table: str, text: Sequence[str] = ()) -> pd.DataFrame:
        rows = read(self._path(table), f"mapping, table {table}", empty=True, text=text)
        rows.columns = pd.Index([str(name).strip() for name in rows.columns])  # of Parquet files
        return rows

    def _path(self, table: str) -> Path:
        path = self.folder / table
        if path.resolve().parent != self.folder.resolve():
            raise InputError(
                f"mapping, table {table}",
                "lies in another folder than the source",
                "name a file in source.folder",
            )
        if not path.is_file():
            near = get_close_matches(table, sorted(p.name for p in self.folder.iterdir()), 1)
            raise InputError(
                f"mapping, table {table}",
                "there is no such file in source.folder",
                f"did you mean {near[0]!r}" if near else "correct the name",
            )
        return path
