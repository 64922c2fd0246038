"""Folders and processes of one coordinator and its brands on this machine.

It does by program what people do by hand: ``fl-server init``, ``fl-node init``, cards and welcomes
with their fingerprints, mapping and policy. Ports are free ones of loopback.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from clients.cli import command as node_command
from experiments.deployment.ports import free_port
from fl.data.schema import Schema
from fl.errors import InputError
from fl.welcome import load_card, load_welcome
from server.cli import command as server_command

MAPPING = """\
[source]
name = "files"
folder = "tables"

[rows]
table = "examples.parquet"
label = "{label}"
customer = "customer"

[limits]
rejected_share = 0.05
stale_days = 30
shrink_share = 0.5
wrong_share = 0.1

[refresh]
"""

POLICY = """\
[runs]
tasks = ["conversion"]
plans = ["local", "distributed"]
units = ["customer"]
accountants = ["pld"]
noise_sources = {noise}
{rehearsal}
[limits]
epsilon_per_run = 3.5
epsilon_lifetime = {lifetime}
delta = 1e-5
min_customers = 100
min_brands = {fewest}

[columns]
allowed = {columns}

[roles.operator]
use = {columns}

[coordinators]
coordinator = "{coordinator}"

[approval]
mode = "auto"
"""


_MARK = "CROSSBRAND_WORLD"


@dataclass
class World:
    """One deployment.

    Attributes:
        folder: everything is below it.
        brands: names.
        proxy: whether brands come in through nginx.
        processes: running ones by name: ``server``, or a brand.
    """

    folder: Path
    brands: tuple[str, ...]
    proxy: bool
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def server(self) -> Path:
        """The coordinator's folder."""
        return self.folder / "coordinator"

    def node(self, brand: str) -> Path:
        """A brand's folder."""
        return self.folder / "nodes" / brand

    def log(self, name: str) -> Path:
        """What a process said."""
        return self.folder / f"{name}.log"

    def build(
        self,
        tables: Mapping[str, pd.DataFrame],
        schema: Schema,
        *,
        rehearsal: bool = False,
        lifetime: float = 20.0,
        min_brands: int = 3,
    ) -> None:
        """All folders, as people would make them.

        Args:
            tables: each brand's rows, with a column ``customer``.
            schema: names the label, and the columns that policies allow.
            rehearsal: let policies allow predictable noise.
            lifetime: epsilon of every brand's data set.
            min_brands: of policies; 1 allows runs without a secure sum.
        """
        port = free_port()
        address = f"127.0.0.1:{free_port() if self.proxy else port}"
        self._server("init", "--address", address, "--superlink-port", str(port))
        settings = self.server / "server.toml"
        ports = settings.read_text().replace("health = 9102", f"health = {free_port()}")
        settings.write_text(ports)
        first = ["--new-federation-key"]
        for brand in self.brands:
            home = self.node(brand)
            home.parent.mkdir(parents=True, exist_ok=True)
            self._node(brand, "init", "--name", brand, *first)
            key = self.node(self.brands[0]) / "keys/federation.key"
            first = ["--federation-key", str(key)]
            card = home / "card.json"
            self._server("enrol", str(card), "--fingerprint", load_card(card).fingerprint)
        self._server("welcome")
        names = sorted([*(c.name for c in schema.columns), schema.label])
        for brand in self.brands:
            home, path = self.node(brand), self.server / "welcome" / f"{brand}.json"
            welcome = load_welcome(path)
            self._node(brand, "join", str(path), "--fingerprint", welcome.fingerprint)
            noise = ["secure", "insecure_noise_for_tests"] if rehearsal else ["secure"]
            policy = POLICY.format(
                noise=noise,
                rehearsal="rehearsal = true\n" if rehearsal else "",
                lifetime=lifetime,
                fewest=min_brands,
                columns=names,
                coordinator=welcome.signing,
            )
            (home / "policy.toml").write_text(policy.replace("'", '"'))
            (home / "mapping.toml").write_text(MAPPING.format(label=schema.label))
            config = (home / "node.toml").read_text().replace("9101", str(free_port()))
            (home / "node.toml").write_text(config)
            (home / "tables").mkdir()
            tables[brand].to_parquet(home / "tables/examples.parquet", index=False)

    def start(
        self,
        name: str,
        *more: str,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = (),
    ) -> None:
        """Start the ``server``, or a brand's node; ``program`` stands for ``fl-node``."""
        commands = Path(sys.executable).parent
        if name == "server":
            line = [commands / "fl-server", "start", "--home", self.server]
            line += ["--proxy"] if self.proxy else []
        else:
            node = list(map(Path, program)) or [commands / "fl-node"]
            line = [*node, "start", "--home", self.node(name)]
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*map(str, line), *more],
                stdout=log,
                stderr=log,
                env={**self.environment(), **(env or {})},
                start_new_session=True,
            )

    def environment(self) -> dict[str, str]:
        """For every process of this world."""
        return {**os.environ, "OMP_NUM_THREADS": "1", _MARK: str(self.folder.resolve())}

    def submit(self, *options: str, what: str = "submit") -> subprocess.Popen[str]:
        """``fl-server submit`` or ``resume``, running beside."""
        command = str(Path(sys.executable).parent / "fl-server")
        made = subprocess.Popen(
            [command, what, *options, "--home", str(self.server)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment(),
            start_new_session=True,
        )
        self.processes[f"{what}-{made.pid}"] = made  # type: ignore[assignment]
        return made

    def ready(self, seconds: float = 300.0) -> None:
        """Wait until the server has registered all brands and every node is connected."""
        wait(lambda: (self.server / "superlink/ready").exists(), seconds, "the server")
        for brand in self.brands:
            if brand in self.processes:
                wait(partial(self._said, brand, "connected to"), seconds, brand)

    def _said(self, name: str, text: str) -> bool:
        return text in self.log(name).read_text()

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End one process that this world has started, without letting it say goodbye."""
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait()

    def offspring(self, command: str) -> list[int]:
        """Ids of processes of this world, children of children too, by part of a command line.

        Flower starts some in sessions of their own; all inherit the mark in their environment.
        """
        mark, found = f"{_MARK}={self.folder.resolve()}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marks = (folder / "environ").read_bytes().split(b"\0")
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it has ended meanwhile, or is somebody else's
                continue
            if mark in marks and command in line:
                found.append(int(folder.name))
        return found

    def stop(self) -> None:
        """Stop everything that this world has started, children too."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        for pid in self.offspring(""):  # what a killed process has left
            os.kill(pid, signal.SIGKILL)
        self.processes.clear()

    def _server(self, *arguments: str) -> None:
        _done(server_command([*arguments, "--home", str(self.server)]), arguments)

    def _node(self, brand: str, *arguments: str) -> None:
        _done(node_command([*arguments, "--home", str(self.node(brand))]), arguments)


def has_nginx() -> bool:
    """Whether the proxy can be run here."""
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") is not None


def wait(what: Callable[[], bool], seconds: float, who: str) -> None:
    """Wait until ``what`` holds.

    Raises:
        TimeoutError: it does not within ``seconds``.
    """
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(f"{who}: nothing after {seconds:g} s")
        time.sleep(0.1)


def _done(code: int, arguments: tuple[str, ...]) -> None:
    if code:
        raise InputError(" ".join(arguments[:2]), f"ended with {code}", "see above")
