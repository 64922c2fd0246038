"""A private PostgreSQL server for tests: a fresh cluster in a temporary folder, on loopback.

PostgreSQL refuses to run as root, so there it runs as the user ``postgres`` (or ``nobody``).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import sqlalchemy

from experiments.deployment.ports import free_port

SUPERUSER, READER, PASSWORD = "owner", "reader", "s3cret-Pa55"


def binaries() -> Path | None:
    """The folder of initdb and postgres, if this machine has them."""
    found = [Path(p).resolve().parent for p in [shutil.which("initdb")] if p]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in found if (p / "initdb").exists() and (p / "postgres").exists()), None)


MISSING = "PostgreSQL's initdb and postgres are not on this machine (Debian package postgresql)"


@dataclass
class Server:
    """A running server; :meth:`stop` and :meth:`start` may be called in a test."""

    bin: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For the mapping file: the reader, without a password."""
        return f"postgresql+psycopg://{READER}@127.0.0.1:{self.port}/crm"

    def engine(self) -> sqlalchemy.Engine:
        """As the owner, to fill tables."""
        return sqlalchemy.create_engine(
            f"postgresql+psycopg://{SUPERUSER}:{PASSWORD}@127.0.0.1:{self.port}/crm",
            poolclass=sqlalchemy.NullPool,
        )

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = self._started(log)
        self._wait()

    def _started(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                str(self.bin / "postgres"),
                *("-D", str(self.folder / "data"), "-p", str(self.port)),
                *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
                *("-c", f"unix_socket_directories={self.folder}", "-c", "max_connections=20"),
            ],
            stdout=log,
            stderr=log,
            cwd=self.folder,
            **_user(),
        )

    def _wait(self) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            ready = subprocess.run(
                [str(self.bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)],
                check=False,
            )
            if ready.returncode == 0:
                return
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(2)  # fast shutdown: open connections are closed
            self.process.wait(30)
            self.process = None


@contextmanager
def server() -> Iterator[Server]:
    """A server with a database ``crm``, its owner, and a user who may only read."""
    where = binaries()
    if where is None:
        raise FileNotFoundError(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if user := _user():
            os.chown(folder, user["user"], user["group"])
        password = folder / "password"
        password.write_text(PASSWORD)
        if user:
            os.chown(password, user["user"], user["group"])
        subprocess.run(
            [
                str(where / "initdb"),
                *("-D", str(folder / "data"), "-U", SUPERUSER, "-E", "UTF8", "--locale=C"),
                *("-A", "scram-sha-256", f"--pwfile={password}", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            **_user(),
        )
        made = Server(where, folder, free_port())
        made.start()
        try:
            _prepare(made)
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder)


def _prepare(made: Server) -> None:
    admin = sqlalchemy.create_engine(
        f"postgresql+psycopg://{SUPERUSER}:{PASSWORD}@127.0.0.1:{made.port}/postgres",
        isolation_level="AUTOCOMMIT",
        poolclass=sqlalchemy.NullPool,
    )
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE crm")
        connection.exec_driver_sql(f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}'")
    with made.engine().begin() as connection:
        connection.exec_driver_sql(
            f"ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, DELETE ON TABLES TO {READER}"
        )


def _user() -> dict[str, int]:
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid}
    raise RuntimeError("no user other than root")
