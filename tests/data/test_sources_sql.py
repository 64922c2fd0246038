"""SQL and DuckDB as sources: a real PostgreSQL server, read-only, quoted, and silent in errors."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy
from pyarrow import parquet

from fl.data.contract import as_text
from fl.data.sources_duckdb import DuckDb
from fl.data.sources_files import Files
from fl.data.sources_sql import Sql
from fl.errors import InputError
from tests.postgres import MISSING, PASSWORD, Server, binaries, server

TRAP = 'amount"; DROP TABLE orders; --'
ORDERS = pd.DataFrame(
    {
        "Order No": ["a1", "a2", "ü3"],
        "amount": [1.5, None, 3.0],
        "at": pd.to_datetime(["2026-01-01 10:00", "2026-01-02 00:00", "2026-01-03 00:00"]),
        TRAP: [7, 8, 9],
    }
)


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    if binaries() is None:
        pytest.skip(MISSING)
    with server() as made:
        with made.engine().begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA shop")
            connection.exec_driver_sql("GRANT USAGE ON SCHEMA shop TO reader")
            ORDERS.to_sql("orders", connection, index=False)
            ORDERS.to_sql("Orders", connection, index=False, schema="shop")
            connection.exec_driver_sql('GRANT SELECT ON shop."Orders" TO reader')
            connection.exec_driver_sql("CREATE TABLE hidden (a int)")
            connection.exec_driver_sql("REVOKE ALL ON hidden FROM reader")
            connection.exec_driver_sql("CREATE TABLE empty (a int, b text)")
            connection.exec_driver_sql("CREATE TABLE exact (price numeric(10, 2))")
            connection.exec_driver_sql("INSERT INTO exact VALUES (1.25), (NULL)")
            connection.exec_driver_sql("CREATE VIEW slow AS SELECT pg_sleep(5)::text AS a")
        yield made


@pytest.fixture
def source(running: Server, monkeypatch: pytest.MonkeyPatch) -> Sql:
    monkeypatch.setenv("CRM_PASSWORD", PASSWORD)
    return Sql(url=running.url, password_env="CRM_PASSWORD", timeout_seconds=10)


def test_a_table_of_postgresql_is_read_as_it_is(source: Sql, tmp_path: Path) -> None:
    with source.open(tmp_path) as reader:
        rows = reader.read("orders", ["amount", "Order No", "at"])
        assert reader.count("orders") == 3
        exact = reader.read("exact", ["price"])
        assert reader.read("empty", ["b"]).columns.tolist() == ["b"]
        assert reader.read("shop.Orders", ["amount"]).shape == (3, 1)
    pd.testing.assert_frame_equal(
        rows, ORDERS[["amount", "Order No", "at"]], check_dtype=False, check_column_type=False
    )
    assert exact["price"].dtype.kind == "f"
    assert exact["price"].iloc[0] == 1.25


def test_the_transaction_is_read_only_although_the_user_may_write(
    source: Sql, tmp_path: Path
) -> None:
    with source.open(tmp_path) as reader:
        with pytest.raises(sqlalchemy.exc.InternalError, match="read-only"):
            reader.connection.exec_driver_sql("DELETE FROM orders")  # type: ignore[attr-defined]
        reader.connection.rollback()  # type: ignore[attr-defined]
    with source.open(tmp_path) as reader:
        assert reader.count("orders") == 3


def test_all_tables_are_of_one_moment(running: Server, source: Sql, tmp_path: Path) -> None:
    with source.open(tmp_path) as reader:
        assert reader.count("exact") == 2
        with running.engine().begin() as connection:
            connection.exec_driver_sql("INSERT INTO exact VALUES (9)")
        assert reader.count("exact") == 2
        assert len(reader.read("exact", ["price"])) == 2
    with running.engine().begin() as connection:
        connection.exec_driver_sql("DELETE FROM exact WHERE price = 9")


def test_a_name_cannot_become_a_statement(source: Sql, tmp_path: Path) -> None:
    with source.open(tmp_path) as reader:
        assert reader.read("orders", [TRAP])[TRAP].tolist() == [7, 8, 9]
        for table in ("orders; DROP TABLE orders", 'orders" --', "orders' OR '1'='1"):
            with pytest.raises(InputError, match="no such table"):
                reader.read(table, ["amount"])
        with pytest.raises(InputError, match="has no column"):
            reader.read("orders", ["1; DROP TABLE orders"])
        assert reader.count("orders") == 3


@pytest.mark.parametrize(
    ("table", "column", "problem"),
    [
        ("nowhere", "a", "no such table"),
        ("orders", "amont", "did you mean 'amount'"),
        ("hidden", "a", "may not read the table"),
    ],
)
def test_an_error_names_table_and_remedy(
    source: Sql, tmp_path: Path, table: str, column: str, problem: str
) -> None:
    with source.open(tmp_path) as reader, pytest.raises(InputError, match=problem) as raised:
        reader.read(table, [column])
    assert table in raised.value.field


def test_a_statement_that_takes_too_long_is_given_up(running: Server, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    hasty = Sql(url=running.url, password_file="password", timeout_seconds=1)
    with hasty.open(tmp_path) as reader, pytest.raises(InputError, match="longer than allowed"):
        reader.read("slow", ["a"])


def test_no_error_holds_the_password_or_the_address(
    running: Server, source: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Sql(url=running.url.replace(str(running.port), "1"), password_env="CRM_PASSWORD")
    wrong = Sql(url=running.url, password_env="WRONG")
    monkeypatch.setenv("WRONG", "not-the-" + PASSWORD)
    absent = Sql(url=running.url.replace("/crm", "/other"), password_env="CRM_PASSWORD")
    for bad, problem in (
        (gone, "did not answer"),
        (wrong, "does not let this user in"),
        (absent, "no database of that name|did not answer|does not let"),
    ):
        with pytest.raises(InputError, match=problem) as raised, bad.open(tmp_path):
            raise AssertionError
        text = "".join(traceback.format_exception(raised.value))
        assert PASSWORD not in text
        assert "127.0.0.1" not in str(raised.value)
    assert PASSWORD not in repr(source)


def test_a_server_that_stops_in_mid_reading_is_told(
    running: Server, source: Sql, tmp_path: Path
) -> None:
    with source.open(tmp_path) as reader:
        assert reader.count("orders") == 3
        running.stop()
        try:
            with pytest.raises(InputError, match="closed the connection"):
                reader.read("orders", ["amount"])
        finally:
            running.start()
    with source.open(tmp_path) as reader:
        assert reader.count("orders") == 3


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql+psycopg://reader:pw-in-url@localhost/crm", "holds a password"),
        ("postgresql+psycopg://reader@localhost/crm?password=pw-in-url", "holds a password"),
        ("no address", "not an address"),
        ("oracle+oracledb://reader@localhost/crm", "no read-only transaction"),
        ("mysql+pymysql://reader@localhost/crm", "no driver"),
    ],
)
def test_an_address_that_will_not_do_is_refused(url: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=problem) as raised, Sql(url=url).open(tmp_path):
        raise AssertionError
    assert "pw-in-url" not in "".join(traceback.format_exception(raised.value))


def test_a_password_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    source = Sql(url="postgresql+psycopg://r@localhost/crm", password_file="pw")
    for prepare, problem in (
        (lambda: None, "password_file 'pw': No such file"),
        (lambda: (tmp_path / "pw").write_text("x"), "password_file 'pw': others may read"),
        (lambda: (os.truncate(tmp_path / "pw", 0), (tmp_path / "pw").chmod(0o600)), "first line"),
        (lambda: (tmp_path / "pw").write_bytes(b"\xff"), "is not UTF-8"),
    ):
        prepare()
        with pytest.raises(InputError, match=problem), source.open(tmp_path):
            raise AssertionError
    with (
        pytest.raises(InputError, match="NOT_SET is not set"),
        Sql(url="postgresql+psycopg://r@localhost/crm", password_env="NOT_SET").open(tmp_path),
    ):
        raise AssertionError
    with pytest.raises(ValueError, match="not both"):
        Sql(url="x", password_env="A", password_file="b")


def test_sqlite_is_read_only_too(tmp_path: Path) -> None:
    path = tmp_path / "crm.sqlite"
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        ORDERS.to_sql("orders", connection, index=False)
    with Sql(url=f"sqlite:///{path}").open(tmp_path) as reader:
        assert reader.read("orders", [TRAP])[TRAP].tolist() == [7, 8, 9]
        with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"):
            reader.connection.exec_driver_sql("DELETE FROM orders")  # type: ignore[attr-defined]


def test_duckdb_is_read_only_and_shut_off_from_files(tmp_path: Path) -> None:
    path, secret = tmp_path / "crm.duckdb", tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with duckdb.connect(str(path)) as connection:
        connection.register("frame", ORDERS)
        connection.execute("CREATE TABLE orders AS SELECT * FROM frame")
        connection.execute("CREATE SCHEMA shop; CREATE TABLE shop.t AS SELECT 1 AS a")
        connection.execute(f"CREATE VIEW leak AS SELECT * FROM read_csv('{secret}')")
    source = DuckDb(path="crm.duckdb")
    with source.open(tmp_path) as reader:
        assert reader.read("orders", [TRAP, "Order No"]).shape == (3, 2)
        assert reader.count("orders") == 3
        assert reader.count("shop.t") == 1
        with pytest.raises(InputError, match="a view must not read files"):
            reader.read("leak", ["a"])
        with pytest.raises(InputError, match="no such table"):
            reader.read("orders; DROP TABLE orders", ["a"])
        with pytest.raises(duckdb.Error, match="read-only"):
            reader.connection.execute("DELETE FROM orders")  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no file"), DuckDb(path="no").open(tmp_path):
        raise AssertionError
    with pytest.raises(InputError, match="DuckDB"), DuckDb(path="secret.csv").open(tmp_path):
        raise AssertionError


def test_files_are_tables_of_one_folder(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.csv").write_text("id;n\n007;1\n;2\n", "utf-8")
    (tmp_path / "t" / "none.csv").write_text("id;n\n", "utf-8")
    (tmp_path / "t" / "latin.csv").write_bytes("id\nMüller\n".encode("latin-1"))
    pd.DataFrame({"x": [1, 2], "y": [3, 4]}).to_parquet(tmp_path / "t" / "b.parquet")
    (tmp_path / "t" / "bad.parquet").write_bytes(b"PAR1 nothing")
    (tmp_path / "out.csv").write_text("a\n1\n")
    with Files(folder="t").open(tmp_path) as reader:
        assert reader.read("a.csv", ["id"], ["id"])["id"].tolist()[0] == "007"
        assert reader.read("none.csv", ["n"]).empty
        assert reader.count("b.parquet") == 2
        assert reader.columns("b.parquet") == ("x", "y")
        assert reader.read("b.parquet", ["y"])["y"].tolist() == [3, 4]
        for table, problem in (
            ("latin.csv", "cannot read 'latin.csv' as a table"),
            ("bad.parquet", "cannot read"),
            ("c.csv", "did you mean 'a.csv'"),
            ("../out.csv", "another folder"),
        ):
            with pytest.raises(InputError, match=problem) as raised:
                reader.read(table, ["id"])
            assert "ller" not in str(raised.value)
    with pytest.raises(InputError, match="no folder"), Files(folder="u").open(tmp_path):
        raise AssertionError


LONG = [6222021234567890123, None, 6222021234567890124]  # as floats, two of them are one


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "parquet", "csv"])
def test_long_identifiers_keep_their_digits_beside_an_empty_cell(kind: str, tmp_path: Path) -> None:
    cards = pa.table({"card": pa.array(LONG, pa.int64()), "n": pa.array([1, 2, 3])})
    source: Any
    match kind:
        case "sqlite":
            engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/c.db")
            with engine.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE cards (card BIGINT, n INTEGER)")
                rows = list(zip(LONG, [1, 2, 3], strict=True))
                connection.exec_driver_sql("INSERT INTO cards VALUES (?, ?)", rows)
            engine.dispose()
            source, table = Sql(url=f"sqlite:///{tmp_path}/c.db"), "cards"
        case "duckdb":
            with duckdb.connect(f"{tmp_path}/c.duckdb") as connection:
                connection.register("frame", cards)
                connection.execute("CREATE TABLE cards AS SELECT * FROM frame")
            source, table = DuckDb(path="c.duckdb"), "cards"
        case "parquet":
            parquet.write_table(cards.replace_schema_metadata(None), tmp_path / "cards.parquet")
            source, table = Files(folder="."), "cards.parquet"
        case _:
            (tmp_path / "cards.csv").write_text(f"card,n\n{LONG[0]},1\n,2\n{LONG[2]},3\n")
            source, table = Files(folder="."), "cards.csv"
    with source.open(tmp_path) as reader:
        texts = as_text(reader.read(table, ["card", "n"], ["card"])["card"])
    assert texts.dropna().tolist() == [str(LONG[0]), str(LONG[2])]
    assert texts.isna().tolist() == [False, True, False]
