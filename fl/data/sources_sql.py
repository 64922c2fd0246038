"""A brand's tables in an SQL database, through SQLAlchemy, in one read-only transaction.

PostgreSQL (tested against a real server), MySQL and MariaDB, SQLite. Names in statements are made
and quoted by SQLAlchemy, and only after the database's own catalogue has listed them. The password
is in a variable of the environment or in a file of the node's owner, never in the mapping file;
errors of the database are told apart by their code, and their text, which may quote a cell, a
statement or an address, is dropped.

MySQL: ``url = "mysql+pymysql://reader@host/crm?charset=utf8mb4"`` needs the package pymysql beside
this one. A ``SCHEMA.TABLE`` names another database of the same server.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fl.data.columns import cell_text
from fl.data.sources_files import Reader, require_columns
from fl.errors import InputError
from fl.private_files import read_private

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, FromClause, Select

_CHUNK = 100_000  # rows that are Python objects at a time
_URL = "mapping, source.url"
_READ_ONLY = {  # what makes the transaction refuse to write, by dialect
    "postgresql": (),  # options of the connection, below
    "mysql": (
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET SESSION TRANSACTION READ ONLY",
    ),
    "mariadb": (
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET SESSION TRANSACTION READ ONLY",
    ),
    "sqlite": ("PRAGMA query_only = ON",),
}
_STATES = {  # SQLSTATE of PostgreSQL -> what it means, what to do
    "28": ("the database does not let this user in", "check the user and the password"),
    "3D": ("there is no database of that name", "correct the end of source.url"),
    "42501": ("this user may not read the table", "GRANT SELECT on it to the user"),
    "57014": ("reading took longer than allowed", "raise source.timeout_seconds"),
    "25006": ("the statement would write, which the node never does", "report this"),
}


@dataclass(frozen=True, slots=True)
class Sql:
    """An SQL database.

    Attributes:
        url: as SQLAlchemy reads it, without a password:
            ``postgresql+psycopg://reader@db.example:5432/crm``.
        password_env: variable of the environment that holds the password.
        password_file: or a file, relative to the mapping file's folder, that only its owner can
            read. Neither: the server lets the user in otherwise (peer, certificate, pgpass).
        timeout_seconds: for connecting, and (PostgreSQL) for each statement; > 0.
    """

    name: str = "sql"
    url: str = ""
    password_env: str | None = None
    password_file: str | None = None
    timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.timeout_seconds < 86_400:
            raise ValueError(f"Expected timeout_seconds={self.timeout_seconds} > 0.")
        if self.password_env is not None and self.password_file is not None:
            raise ValueError("Expected password_env or password_file, not both.")

    @contextmanager
    def open(self, home: Path) -> Iterator[Reader]:
        """One read-only snapshot of all tables; ``home`` is the folder of the mapping file.

        Raises:
            InputError: no password, no such server or database, a dialect whose transactions
                cannot be made read-only.
        """
        import sqlalchemy

        url = self._with_password(_url(self.url), home)
        dialect = url.get_backend_name()
        try:
            engine = sqlalchemy.create_engine(
                url,
                poolclass=sqlalchemy.NullPool,
                hide_parameters=True,
                connect_args=self._arguments(dialect),
            )
        except (ImportError, sqlalchemy.exc.ArgumentError):
            raise InputError(
                _URL,
                f"no driver for {url.drivername!r} is installed",
                "write postgresql+psycopg://..., or install the driver beside crossbrand-fl",
            ) from None
        with _told(self.timeout_seconds), engine.connect() as connection:
            if dialect == "postgresql":
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            for statement in _READ_ONLY[dialect]:
                connection.exec_driver_sql(statement)
                connection.commit()
            yield _SqlReader(connection, self.timeout_seconds)  # one transaction, rolled back

    def _arguments(self, dialect: str) -> dict[str, object]:
        seconds = max(1, round(self.timeout_seconds))
        if dialect == "postgresql":
            options = f"-c statement_timeout={seconds * 1000}"
            return {"connect_timeout": seconds, "options": options, "application_name": "fl-node"}
        return {"timeout" if dialect == "sqlite" else "connect_timeout": seconds}

    def _with_password(self, url: URL, home: Path) -> URL:
        if self.password_env is not None:
            if self.password_env not in os.environ:
                raise InputError(
                    "mapping, source.password_env",
                    f"the variable {self.password_env} is not set",
                    "set it for the node's process (systemd: an EnvironmentFile of mode 600)",
                )
            return url.set(password=os.environ[self.password_env])
        if self.password_file is not None:
            return url.set(password=_secret(home / self.password_file))
        return url


@dataclass(frozen=True, slots=True)
class _SqlReader:
    connection: Connection
    timeout_seconds: float

    def columns(self, table: str) -> tuple[str, ...]:
        import sqlalchemy

        schema, _, name = table.rpartition(".")
        try:
            with _told(self.timeout_seconds, table):
                found = sqlalchemy.inspect(self.connection).get_columns(name, schema or None)
        except sqlalchemy.exc.NoSuchTableError:
            found = []
        if not found:
            raise InputError(
                f"mapping, table {table}",
                "there is no such table in the database",
                "name TABLE or SCHEMA.TABLE as the database spells it, and let the user read it",
            )
        return tuple(str(column["name"]) for column in found)

    def count(self, table: str) -> int:
        import sqlalchemy

        self.columns(table)
        counting = sqlalchemy.select(sqlalchemy.func.count()).select_from(_table(table, ()))
        with _told(self.timeout_seconds, table):
            return int(self.connection.execute(counting).scalar_one())

    def read(self, table: str, columns: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
        require_columns(table, columns, self.columns(table))
        wanted = list(dict.fromkeys(columns))
        with _told(self.timeout_seconds, table):
            found = self.connection.execute(
                _select(table, wanted), execution_options={"stream_results": True}
            )
            parts = [_frame(part, wanted, text) for part in found.partitions(_CHUNK)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=wanted)


def _frame(rows: Sequence[Any], columns: Sequence[str], text: Sequence[str]) -> pd.DataFrame:
    """Rows of a result; what is text is made so cell by cell, as a long number has no float."""
    frame = pd.DataFrame.from_records(rows, columns=list(columns), coerce_float=True)
    for i, name in enumerate(columns):
        if name in text:
            cells = [None if row[i] is None else cell_text(row[i]) for row in rows]
            frame[name] = pd.Series(cells, dtype=object)
    return frame


def _select(table: str, columns: Sequence[str]) -> Select[tuple[object, ...]]:
    import sqlalchemy

    source = _table(table, columns)
    return sqlalchemy.select(*(source.c[column] for column in columns))


def _table(table: str, columns: Sequence[str]) -> FromClause:
    """The table with these columns; every name is quoted, whatever it consists of."""
    import sqlalchemy
    from sqlalchemy.sql import quoted_name

    schema, _, name = table.rpartition(".")
    return sqlalchemy.table(
        quoted_name(name, True),
        *(sqlalchemy.column(quoted_name(column, True)) for column in columns),
        schema=quoted_name(schema, True) if schema else None,
    )


def _url(text: str) -> URL:
    import sqlalchemy

    try:
        url = sqlalchemy.make_url(text)
    except sqlalchemy.exc.ArgumentError:
        raise InputError(
            _URL, "is not an address of a database", "write postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    if url.password is not None or "password" in url.query:
        raise InputError(
            _URL,
            "holds a password",
            "take it out, change it, and name source.password_env or source.password_file",
        )
    if url.get_backend_name() not in _READ_ONLY:
        raise InputError(
            _URL,
            f"{url.get_backend_name()!r} has no read-only transaction that this node knows",
            f"use one of {', '.join(_READ_ONLY)}, or export the tables to Parquet files",
        )
    return url


def _secret(path: Path) -> str:
    """The first line of a file that its owner alone can read."""
    where = f"mapping, source.password_file {path.name!r}"
    raw = read_private(path, where, lost="check the path", leaked="chmod 600, change the password")
    try:
        lines = raw.decode("utf-8").splitlines()
    except UnicodeDecodeError:  # its text must not be shown
        raise InputError(where, "is not UTF-8", "save it as UTF-8") from None
    if not lines or not lines[0]:
        raise InputError(where, "has no first line", "write the password into it")
    return lines[0]


@contextmanager
def _told(timeout_seconds: float, table: str | None = None) -> Iterator[None]:
    """Errors of the database as ``InputError``, without their text."""
    import sqlalchemy

    field = _URL if table is None else f"mapping, table {table}"
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        state = str(getattr(error.orig, "sqlstate", None) or _state(error.orig))
        for start, (problem, remedy) in _STATES.items():
            if state.startswith(start):
                raise InputError(field, problem, remedy) from None
        if not state or state.startswith(("08", "57")):
            raise InputError(
                field,
                f"the database did not answer within {timeout_seconds:g} s, or closed the "
                f"connection ({type(error.orig).__name__})",
                "check that it runs and that this machine may reach it; the node tries again",
            ) from None
        raise InputError(
            field, f"the database reports error {state}", "look the code up in its log"
        ) from None
    except UnicodeDecodeError:
        raise InputError(
            field, "a text is not in the encoding that the database states", "correct the encoding"
        ) from None


def _state(error: BaseException | None) -> str:
    """The SQLSTATE of a connection that was refused; libpq tells it in words only."""
    words = str(error)
    if "authentication failed" in words or "no password supplied" in words:
        return "28"
    return "3D" if "database" in words and "does not exist" in words else ""
