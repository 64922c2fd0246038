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
_LONGEST = 120.0  # seconds for one of Flower's commands


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
    atomic_write(home.superlink / "config.toml", text.encode())


def register(home: Home, cards: Sequence[Card]) -> dict[str, int]:
    """Make every enrolled brand's key known; node ids by brand, kept in ``nodes.json`` with the key
    that each stands for. A brand that comes with another key gets another id.

    Raises:
        InputError: Flower refuses.
    """
    nodes = _nodes(home)
    for card in cards:
        node, key = nodes.get(card.name, (0, ""))
        if key == card.supernode:
            continue
        public = home.superlink / f"{card.name}.pub"
        atomic_write(public, f"{card.supernode}\n".encode())
        line = ["supernode", "register", str(public), _CONNECTION, "--name", card.name]
        made = int(_answer(flwr(home, line, ["--format", "json"]), "node-id"))
        nodes[card.name] = made, card.supernode
        content = {name: {"id": i, "key": k} for name, (i, k) in nodes.items()}
        atomic_write(home.superlink / "nodes.json", json.dumps(content).encode())
        if node:  # what the brand had before may connect no more
            flwr(home, ["supernode", "unregister", str(node), _CONNECTION])
    return {card.name: nodes[card.name][0] for card in cards}


def node_ids(home: Home, brands: Sequence[str]) -> dict[str, int]:
    """The node id of each of ``brands``.

    Raises:
        InputError: one of them is not registered.
    """
    nodes = _nodes(home)
    if missing := [name for name in brands if name not in nodes]:
        raise InputError(
            "brands",
            f"{', '.join(missing)} are enrolled and not registered at Flower's server",
            "wait until fl-server start says how many are, then fl-server resume the run",
        )
    return {name: nodes[name][0] for name in brands}


def _nodes(home: Home) -> dict[str, tuple[int, str]]:
    """Node id and key by brand."""
    path = home.superlink / "nodes.json"
    if not path.exists():
        return {}
    found = json.loads(path.read_bytes())
    return {name: (int(one["id"]), str(one["key"])) for name, one in found.items()}


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
    match _parsed(said):
        case {"runs": [{"status": str(status)}, *_]}:
            return status
    raise _refused(said)


def _answer(said: str, key: str) -> str:
    """A value of what Flower's command printed; it ends with 0 even where it failed."""
    values = _parsed(said)
    if not isinstance(values, dict) or not values.get(key):
        raise _refused(said)
    return str(values[key])


def _parsed(said: str) -> object:
    try:
        return json.loads(said)
    except ValueError as error:
        raise _refused(said) from error


def _refused(said: str) -> InputError:
    return InputError("flwr", " ".join(said.split())[-300:], "is fl-server start running?")


def flwr(home: Home, arguments: Sequence[str], more: Sequence[str] = ()) -> str:
    """Run Flower's command.

    Raises:
        InputError: it fails, or takes too long.
    """
    program = str(Path(sys.executable).parent / "flwr")
    try:
        done = subprocess.run(
            [program, *arguments, *more],
            capture_output=True,
            text=True,
            check=False,
            env=environment(home),
            timeout=_LONGEST,
        )
    except subprocess.TimeoutExpired as error:
        why = f"no answer after {_LONGEST:g} s"
        raise InputError(f"flwr {arguments[0]}", why, "is the machine overloaded?") from error
    if done.returncode:
        text = " ".join((done.stderr or done.stdout).split())[-300:]
        raise InputError(f"flwr {arguments[0]}", text, "is fl-server start running?")
    return done.stdout
