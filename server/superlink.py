"""Flower's own processes: the SuperLink, its registered nodes, submitted runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fl.errors import InputError
from fl.report.files import atomic_write
from fl.welcome import Card
from server.home import Home, ServerConfig

_CONNECTION = "here"


def environment(home: Home) -> dict[str, str]:
    """For every process of Flower: nothing phones home, nothing is installed, one folder."""
    commands = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ.get('PATH', '')}",
        "FL_SERVER_HOME": str(home.folder.resolve()),
        "FLWR_HOME": str(home.superlink.resolve()),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        "OMP_NUM_THREADS": "1",
    }


def command(home: Home, config: ServerConfig) -> list[str]:
    """Start a SuperLink on loopback: TLS, registered nodes only, nothing installed at run time."""
    return [
        str(Path(sys.executable).parent / "flower-superlink"),
        *("--host", "127.0.0.1", "--port", str(config.port)),
        *("--ssl-ca-certfile", str(home.key("ca.pem"))),
        *("--ssl-certfile", str(home.key("server.pem"))),
        *("--ssl-keyfile", str(home.key("server.key"))),
        "--enable-supernode-auth",
        *("--database", str(home.superlink / "state.db")),
        "--disable-runtime-dependency-installation",
    ]


def write_connection(home: Home, config: ServerConfig) -> None:
    """How ``flwr`` finds this SuperLink."""
    text = (
        f'[superlink]\ndefault = "{_CONNECTION}"\n\n[superlink.{_CONNECTION}]\n'
        f'address = "127.0.0.1:{config.port}"\n'
        f'root-certificates = "{home.key("ca.pem").resolve()}"\n'
    )
    (home.superlink / "config.toml").write_text(text, "utf-8")


def register(home: Home, cards: Sequence[Card]) -> dict[str, int]:
    """Make every enrolled brand's key known; node ids by brand, kept in ``nodes.json``.

    Raises:
        InputError: Flower refuses.
    """
    path = home.superlink / "nodes.json"
    ids: dict[str, int] = dict(json.loads(path.read_bytes())) if path.exists() else {}
    for card in cards:
        if card.name in ids:
            continue
        public = home.superlink / f"{card.name}.pub"
        public.write_text(card.supernode + "\n", "utf-8")
        said = flwr(
            home,
            ["supernode", "register", str(public), _CONNECTION, "--name", card.name],
            ["--format", "json"],
        )
        ids[card.name] = int(_answer(said, "node-id"))
        atomic_write(path, json.dumps(ids).encode())
    return ids


def submit(home: Home, run: str) -> str:
    """Start a Flower run for ``run``; returns what Flower calls it.

    Raises:
        InputError: Flower refuses.
    """
    config = f'run="{run}"'
    said = flwr(
        home,
        ["run", str(home.bundle), _CONNECTION, "--run-config", config],
        ["--format", "json"],
    )
    return _answer(said, "run-id")


def flower_status(home: Home, run_id: str) -> str:
    """How a Flower run stands, such as ``running`` or ``finished:failed``.

    Raises:
        InputError: Flower does not answer.
    """
    said = flwr(home, ["list", _CONNECTION, "--run-id", run_id], ["--format", "json"])
    match json.loads(said):
        case {"runs": [{"status": str(status)}, *_]}:
            return status
    raise _refused(said)


def _answer(said: str, key: str) -> str:
    """A value of what Flower's command printed; it ends with 0 even where it failed."""
    values = json.loads(said)
    if not isinstance(values, dict) or not values.get(key):
        raise _refused(said)
    return str(values[key])


def _refused(said: str) -> InputError:
    return InputError("flwr", " ".join(said.split())[-300:], "is fl-server start running?")


def flwr(home: Home, arguments: Sequence[str], more: Sequence[str] = ()) -> str:
    """Run Flower's command.

    Raises:
        InputError: it fails.
    """
    program = str(Path(sys.executable).parent / "flwr")
    done = subprocess.run(
        [program, *arguments, *more],
        capture_output=True,
        text=True,
        check=False,
        env=environment(home),
        timeout=120,
    )
    if done.returncode:
        text = " ".join((done.stderr or done.stdout).split())[-300:]
        raise InputError(f"flwr {arguments[0]}", text, "is fl-server start running?")
    return done.stdout
