"""How the brands of a benchmark are run: speed and comfort, never results.

``inprocess``: one brand after the other, the reference. ``cohort``: brands side by side in one
tensor program (``fl/cohort``). ``ray``: each by whichever of Ray's actors is free, on this machine
or a cluster, through Flower (``simulation.py``). All end with the same arrays, ``cohort`` within
rounding.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from clients.node import BrandNode
from experiments.crew import Crew
from fl.brand import LocalBrand
from fl.cohort.together import Together
from fl.contracts import Federation
from fl.doors import Answer, Ask
from fl.errors import InputError
from fl.federation.cohort import CohortFederation
from fl.federation.inprocess import InProcessFederation

if TYPE_CHECKING:
    from experiments.simulation import Simulation

_ADDRESS = re.compile(r"auto|[^/]+:[0-9]+")
NAMES = ("inprocess", "cohort", "ray")


@dataclass(frozen=True, slots=True)
class Runtime:
    """``conf/runtime``: nothing here changes a result.

    Attributes:
        name: ``inprocess``, ``cohort`` or ``ray``.
        workers: processes that share the work out among them, >= 1; None: one for each core.
            ``ray``: actors.
        block: ``cohort``: brands in a block, >= 1; None: as many as fit the cache.
        checkpoint_seconds: at least so long between two checkpoints of one training, >= 0.
        debug: ``inprocess``: stop at the first exception of a brand instead of counting it absent.
        address: ``ray``: of a cluster, HOST:PORT or ``auto``; None: Ray is started here.
    """

    name: str = "inprocess"
    workers: int | None = 2
    block: int | None = None
    checkpoint_seconds: float = 5.0
    debug: bool = False
    address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"Expected name={self.name!r} to be one of {NAMES}.")
        if (self.workers is not None and self.workers < 1) or self.checkpoint_seconds < 0:
            raise ValueError(
                f"Expected workers={self.workers} >= 1 and "
                f"checkpoint_seconds={self.checkpoint_seconds} >= 0."
            )
        if self.block is not None and self.block < 1:
            raise ValueError(f"Expected block={self.block} >= 1, or null for what fits the cache.")
        if self.name != "inprocess" and (self.workers or 1) > cores():
            raise InputError(
                "runtime.workers",
                f"{self.workers} workers on {cores()} cores would be slower than {cores()}",
                f"set runtime.workers={cores()}, or null for one on each core",
            )
        if self.debug and self.name != "inprocess":
            raise InputError(
                "runtime.debug",
                f"brands are computed together or elsewhere under {self.name}, so that an exception"
                " of one cannot stop the run here",
                "set runtime=inprocess to debug",
            )
        if self.name == "ray":
            self._check_ray()

    def _check_ray(self) -> None:
        if find_spec("ray") is None:
            raise InputError(
                "runtime",
                "'ray' needs Ray, which is not installed",
                "pip install -c constraints.txt -e '.[ray]', or set runtime=cohort",
            )
        if self.address is not None and self.workers is not None:
            raise InputError(
                "runtime.workers",
                "a cluster has an actor on each of its cores",
                "leave it null where runtime.address is given",
            )
        if self.address is not None and not _ADDRESS.fullmatch(self.address):
            raise InputError(
                "runtime.address",
                f"{self.address!r} is neither HOST:PORT nor auto",
                "start fl-run on a machine of the cluster, as the ledgers are written there, and "
                "give the address that `ray start --head` printed",
            )

    @property
    def processes(self) -> int:
        """How many processes of our own there may be; Ray has its own."""
        return 1 if self.name == "ray" else self.workers or cores()

    def for_each(self, seeds: int) -> int:
        """How many of them one of so many seeds may use."""
        return max(1, self.processes // min(self.processes, seeds))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def started(runtime: Runtime, brands: int) -> Iterator[Simulation | None]:
    """Ray while an experiment runs, if this is its runtime.

    Args:
        brands: the most that a training has.
    """
    if runtime.name != "ray":
        yield None
        return
    from experiments.simulation import simulation

    with simulation(brands, runtime.workers or cores(), runtime.address) as running:
        yield running


def federation(
    runtime: Runtime,
    nodes: Mapping[str, BrandNode[Any]],
    paths: Counter[str],
    seeds: int = 1,
    running: Simulation | None = None,
) -> Federation:
    """The nodes under this runtime.

    Args:
        paths: counts how trainings were computed, and why so.
        seeds: how many seeds share the workers.
        running: where the runtime is ``ray``.
    """
    if running is not None:
        return running.federation(nodes)
    if runtime.name == "inprocess":
        handlers = {name: node.handle for name, node in nodes.items()}
        return InProcessFederation(handlers, runtime.debug)
    rows = {name: node.splits["train"] for name, node in nodes.items() if "train" in node.splits}
    together = Together(rows, runtime.block, paths, Crew(runtime.for_each(seeds)))
    halves = {name: node.converse for name, node in nodes.items()}
    lockstep: CohortFederation[tuple[LocalBrand[Any], Ask], Answer]
    lockstep = CohortFederation(halves, together)
    return lockstep
