"""A brand's tables in a DuckDB file, opened read-only and cut off from files and network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fl.data.sources_files import Reader, require_columns
from fl.errors import InputError

if TYPE_CHECKING:
    import duckdb

_SHUT = {  # a view in the file could otherwise read other files, or fetch an extension
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


@dataclass(frozen=True, slots=True)
class DuckDb:
    """A DuckDB database; a table is called ``TABLE`` or ``SCHEMA.TABLE``.

    Attributes:
        path: the file; relative to the mapping file's folder.
    """

    name: str = "duckdb"
    path: str = ""

    @contextmanager
    def open(self, home: Path) -> Iterator[Reader]:
        """A read-only view; ``home`` is the folder of the mapping file. DuckDB lets no writer in
        while a reader has the file open, so all tables are of one moment.

        Raises:
            InputError: no such file, no database, or in use by a writer.
        """
        import duckdb

        file = home / self.path
        if not file.is_file():
            raise InputError("mapping, source.path", f"no file {self.path!r}", "correct the path")
        try:
            connection = duckdb.connect(str(file), read_only=True, config=dict(_SHUT))
        except duckdb.Error:
            raise InputError(
                "mapping, source.path",
                f"{self.path!r} cannot be opened as a DuckDB database",
                "check the file, and that no other process is writing to it",
            ) from None
        try:
            yield _DuckDbReader(connection)
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class _DuckDbReader:
    connection: duckdb.DuckDBPyConnection

    def columns(self, table: str) -> tuple[str, ...]:
        schema, _, name = table.rpartition(".")
        found = self.connection.execute(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position",
            [schema or "main", name],
        ).fetchall()
        if not found:
            raise InputError(
                f"mapping, table {table}",
                "there is no such table in the database",
                "name TABLE or SCHEMA.TABLE as the database spells it",
            )
        return tuple(str(column) for (column,) in found)

    def count(self, table: str) -> int:
        self.columns(table)
        return int(self._ask(f"SELECT count(*) AS n FROM {_quoted(table)}", table)["n"].iloc[0])

    def read(self, table: str, columns: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
        require_columns(table, columns, self.columns(table))
        listed = ", ".join(_quote(column) for column in dict.fromkeys(columns))
        return self._ask(f"SELECT {listed} FROM {_quoted(table)}", table)

    def _ask(self, statement: str, table: str) -> pd.DataFrame:
        import duckdb

        try:
            return self.connection.execute(statement).df()
        except duckdb.Error as error:  # its text may quote a cell
            raise InputError(
                f"mapping, table {table}",
                f"DuckDB cannot read it ({type(error).__name__})",
                "open the table in DuckDB; a view must not read files",
            ) from None


def _quoted(table: str) -> str:
    schema, _, name = table.rpartition(".")
    return ".".join(_quote(part) for part in (schema, name) if part)


def _quote(name: str) -> str:
    """An identifier of the SQL standard: in double quotes, each one inside doubled."""
    return '"' + name.replace('"', '""') + '"'
