"""How the brands of a benchmark are run: speed and comfort, never results.

``inprocess``: one brand after the other, the reference. ``cohort``: brands side by side in one
tensor program (``fl/cohort``). Both end with the same arrays, the second within rounding.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clients.node import BrandNode
from experiments.crew import Crew
from fl.brand import LocalBrand
from fl.cohort.together import Together
from fl.contracts import Federation
from fl.doors import Answer, Ask
from fl.errors import InputError
from fl.federation.cohort import CohortFederation
from fl.federation.inprocess import InProcessFederation

NAMES = ("inprocess", "cohort")


@dataclass(frozen=True, slots=True)
class Runtime:
    """``conf/runtime``: nothing here changes a result.

    Attributes:
        name: ``inprocess`` or ``cohort``.
        workers: processes that share the work out among them, >= 1; None: one for each core.
        block: ``cohort``: brands in a block, >= 1; None: as many as fit the cache.
        checkpoint_seconds: at least so long between two checkpoints of one training, >= 0.
        debug: stop at the first exception of a brand instead of counting it absent.
    """

    name: str = "inprocess"
    workers: int | None = 2
    block: int | None = None
    checkpoint_seconds: float = 5.0
    debug: bool = False

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
        if self.name == "cohort" and (self.workers or 1) > cores():
            raise InputError(
                "runtime.workers",
                f"{self.workers} workers on {cores()} cores would be slower than {cores()}",
                f"set runtime.workers={cores()}, or null for one on each core",
            )

    @property
    def processes(self) -> int:
        """How many processes there may be."""
        return self.workers or cores()

    def for_each(self, seeds: int) -> int:
        """How many of them one of so many seeds may use."""
        return max(1, self.processes // min(self.processes, seeds))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def federation(
    runtime: Runtime, nodes: Mapping[str, BrandNode[Any]], paths: Counter[str], seeds: int = 1
) -> Federation:
    """The nodes under this runtime.

    Args:
        paths: counts how trainings were computed, and why so.
        seeds: how many seeds share the workers.
    """
    if runtime.name == "inprocess":
        return InProcessFederation({name: node.handle for name, node in nodes.items()})
    rows = {name: node.splits["train"] for name, node in nodes.items() if "train" in node.splits}
    together = Together(rows, runtime.block, paths, Crew(runtime.for_each(seeds)))
    halves = {name: node.converse for name, node in nodes.items()}
    lockstep: CohortFederation[tuple[LocalBrand[Any], Ask], Answer]
    lockstep = CohortFederation(halves, together)
    return lockstep
