"""``runtime=ray``: Flower's simulation, whose Ray actors play all brands' Flower clients.

The coordinator asks through Flower's grid and wire format, and a brand's message is answered by the
code of a deployed node (``fl/federation/flower.py``, ``clients/steps.py``). One simulation serves
all trainings of an experiment: it has as many Flower nodes as there are brands, and each training
seats its brands at them (``desk.py``).
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import ray

# isort: split
import psutil  # Ray's own copy: it is found only after Ray was imported
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from clients.node import BrandNode
from experiments.actors import DESK, AtDesk, RayFederation, app
from experiments.at_rest import AtRest
from experiments.desk import Desk, Place
from fl.contracts import Memory, NodeId, Request
from fl.errors import InputError
from fl.federation.flower import FlowerFederation, Patience
from fl.privacy.secagg.identity import Identity
from fl.privacy.secagg.once import Remembered

_FOREVER = 30 * 86_400.0  # seconds: a simulated brand may take as long as it needs
_PATIENCE = Patience(reply=_FOREVER, resend=float("inf"), poll=0.02, away=1.0)
_ACTOR: Any = {"num_cpus": 1, "max_restarts": -1}  # one that was killed is started again


@dataclass(frozen=True, slots=True)
class Simulation:
    """Flower's simulation, running.

    Attributes:
        grid: sends messages to the nodes.
        places: the nodes' ids.
        desk: the actor that keeps what outlives a message.
    """

    grid: Grid
    places: tuple[Place, ...]
    desk: Any

    def processes(self) -> list[int]:
        """For each place, the process id of the actor that answers for it this time."""
        asked = {str(place): place for place in self.places}
        flower = FlowerFederation(self.grid, asked, "", _PATIENCE)
        replies = flower.ask({name: Request("ping", 0, {}) for name in asked})
        return [int(reply.config["process"]) for reply in replies.values()]

    def lent(self, ledger: AtRest) -> AtDesk:
        """How actors reach a brand's ledger."""
        return AtDesk(ledger)

    def federation(self, brands: Mapping[NodeId, BrandNode[Any]]) -> RayFederation:
        """The brands under Ray, until nobody uses the federation any more."""
        run = secrets.token_hex(8)
        places = dict(zip(sorted(brands), self.places[: len(brands)], strict=True))
        seated = {places[n]: [ray.put(replace(b, memory=Memory()))] for n, b in brands.items()}
        memories = {places[name]: brand.memory for name, brand in brands.items()}
        ray.get(self.desk.open.remote(run, seated, memories))
        flower = FlowerFederation(self.grid, places, run, _PATIENCE)
        made = RayFederation(brands, places, flower, self.desk)
        weakref.finalize(made, _closed, self.desk, run).atexit = False
        return made


def _closed(desk: Any, run: str) -> None:
    if ray.is_initialized():
        desk.close.remote(run)


@contextmanager
def simulation(brands: int, actors: int, address: str | None) -> Iterator[Simulation]:
    """Start Ray (or join the cluster at ``address``) and Flower's simulation on it; end both.

    Args:
        brands: the most that a training has, >= 1.
        actors: processes on this machine; a cluster has one for each of its cores.
        address: of a Ray cluster, HOST:PORT or ``auto``.

    Raises:
        InputError: no cluster at ``address``, or Ray does not start.
    """
    began, others = time.monotonic(), set(psutil.Process().children(recursive=True))
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    _started(actors, address)
    flower = _Flower(brands)
    try:
        _register_secrets()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        kept = ray.remote(Desk).options(name=DESK, num_cpus=0, scheduling_strategy=here).remote()
        grid = flower.grid()
        places = tuple(sorted(grid.get_node_ids()))
        running = Simulation(grid, places, kept)
        running.processes()  # imports are paid here, not in the first round
        cores = int(ray.cluster_resources().get("CPU", 0))
        took = time.monotonic() - began
        sys.stderr.write(f"Ray started with {cores} actors for {brands} brands in {took:.1f} s\n")
        try:
            yield running
        except BaseException:
            _ended(others)  # nobody waits for what actors are still computing
            raise
    finally:
        flower.stop()
        _ended(others)


def _started(actors: int, address: str | None) -> None:
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's own new default; it warns otherwise
        "FLWR_TELEMETRY_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    here = {} if address else {"num_cpus": actors, "include_dashboard": False}
    asked: dict[str, Any] = {"address": address or "local", "logging_level": logging.ERROR, **here}
    try:
        if address and address != "auto":
            _knock(address)
        ray.init(**asked)
    except (OSError, RuntimeError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        if address is None:
            raise InputError("runtime", f"Ray did not start: {what}", "see Ray's log") from error
        raise InputError(
            "runtime.address",
            f"no Ray cluster answers at {address!r} ({what})",
            "start one with `ray start --head --port=6379` and give HOST:6379, or leave it out",
        ) from error


def _ended(others: set[psutil.Process]) -> None:
    """Shut Ray down. It kills what takes more than a second, whose own children then stay for a
    minute; here they do not."""
    started = set(psutil.Process().children(recursive=True)) - others
    ray.shutdown()
    _, left = psutil.wait_procs(started, timeout=2.0)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _knock(address: str) -> None:
    """Ray waits for ever for a cluster that is not there, and cannot be interrupted meanwhile.

    Raises:
        OSError: nobody listens there.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10.0):
        return


def _register_secrets() -> None:
    """Keys have no way out of a process but one that is named; here a simulation names it."""
    ray.util.register_serializer(
        Identity, serializer=Identity.to_bytes, deserializer=Identity.from_bytes
    )
    ray.util.register_serializer(Remembered, serializer=_nothing, deserializer=_anew)


def _nothing(known: Remembered) -> None:
    return None


def _anew(nothing: None) -> Remembered:
    return Remembered()


@dataclass(slots=True)
class _Flower:
    """Flower's simulation in a thread; its server app only hands out the grid, and waits."""

    brands: int
    ready: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    given: list[Grid] = field(default_factory=list)
    failure: list[BaseException] = field(default_factory=list)
    thread: threading.Thread | None = None

    def grid(self) -> Grid:
        """The grid, once all nodes are there.

        Raises:
            InputError: Flower's simulation ended.
        """
        self.thread = threading.Thread(target=self._run, name="flower", daemon=True)
        self.thread.start()
        watched = cast(Grid, _Watched(self))
        while not self.ready.wait(0.02) or len(list(watched.get_node_ids())) < self.brands:
            self.check()
            time.sleep(0.02)
        return watched

    def check(self) -> None:
        """Raises InputError if Flower's simulation ended."""
        if self.thread is None or not self.thread.is_alive():
            why = str(self.failure[0]) if self.failure else "it gave no reason"
            raise InputError(
                "runtime", f"Flower's simulation ended: {why}", "take the run up with resume="
            )

    def stop(self) -> None:
        """End it; after some seconds it is left behind, as its thread ends with the process."""
        self.over.set()
        if self.thread is not None:
            self.thread.join(timeout=10.0)

    def _run(self) -> None:
        server = ServerApp()

        @server.main()
        def main(grid: Grid, context: Context) -> None:
            self.given.append(grid)
            self.ready.set()
            self.over.wait()

        try:
            run_simulation(server, app, self.brands, backend_config={"client_resources": _ACTOR})
        except BaseException as error:
            self.failure.append(error)


@dataclass(frozen=True, slots=True)
class _Watched:
    """What ``FlowerFederation`` uses of the grid; nobody waits for a simulation that is gone."""

    flower: _Flower

    def get_node_ids(self) -> Any:
        return self._grid().get_node_ids()

    def push_messages(self, messages: Any) -> Any:
        return self._grid().push_messages(messages)

    def pull_messages(self, message_ids: Any) -> Any:
        return self._grid().pull_messages(message_ids)

    def _grid(self) -> Grid:
        self.flower.check()
        return self.flower.given[0]
