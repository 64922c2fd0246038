"""Answer what many brands ask at the same time: each ask is booked by its brand, then computed with
the others'. How is chosen by rule, and counted by the reason of each choice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fl.arrays import Arrays
from fl.brand import STAYS, LocalBrand
from fl.cohort.blocks import Member
from fl.cohort.stacks import Weights
from fl.cohort.stored import FORMULA, Block, Computed, Stored, stored_for
from fl.contracts import NodeId
from fl.doors import Answer, Ask, Personal, Query, Train, Training
from fl.privacy.blocks import batching
from fl.privacy.none import steps

_log = logging.getLogger(__name__)
_CACHE = 1 << 21  # float32 numbers that a block may touch in a step: 8 MB, some of the L3 cache
_INDEX = 1 << 22  # row numbers of one block's batches, all steps together

LOOP = "one by one"


Compute = Callable[["Block"], Computed]
Many = Callable[[Compute, Sequence["Block"]], Sequence[Computed | Exception]]


def in_turn(compute: Compute, blocks: Sequence[Block]) -> list[Computed | Exception]:
    """One block after the other, in this process."""
    made: list[Computed | Exception] = []
    for block in blocks:
        try:
            made.append(compute(block))
        except Exception as error:
            made.append(error)
    return made


@dataclass(frozen=True, slots=True)
class Job:
    """One admitted ask: which of the round's, whose, and with which seed."""

    place: int
    brand: LocalBrand[Any]
    ask: Train | Personal
    seed: int


@dataclass(slots=True)
class Together:
    """Answers for the brands of one training.

    Attributes:
        rows: every brand's train rows.
        block: brands in a block, >= 1; None: as many as fit the cache.
        paths: how often which way was taken, by way and reason.
        many: computes blocks, most work first; in which process cannot matter.
        compiled: whether to use compiled loops where numba is installed.
    """

    rows: Mapping[NodeId, Any]
    block: int | None = None
    paths: Counter[str] = field(default_factory=Counter)
    many: Many = in_turn
    compiled: bool = True
    _kernels: dict[tuple[int, bool], Stored | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.block is not None and self.block < 1:
            raise ValueError(f"Expected block={self.block} >= 1, or null for what fits the cache.")

    def __call__(self, asked: Sequence[tuple[LocalBrand[Any], Ask]]) -> list[Answer | Exception]:
        """The answer to each ask, or what its brand would have raised."""
        answers: list[Answer | Exception] = [RuntimeError("not answered")] * len(asked)
        groups: dict[tuple[int, ...], list[Job]] = {}
        plans: list[Any] = []
        loops: list[Any] = []
        for i, (brand, ask) in enumerate(asked):
            try:
                seed = brand.admitted(ask)
                if isinstance(ask, Query):
                    self.paths[f"{LOOP}: a query"] += 1
                    answers[i] = brand.opened(ask, seed)
                else:
                    plan = brand.plan if isinstance(ask, Train) else STAYS
                    key = (id(brand.task), _place(plan, plans), _place(brand.training, loops))
                    groups.setdefault(key, []).append(Job(i, brand, ask, seed))
            except Exception as error:
                answers[i] = error
        for jobs in groups.values():
            self._group(jobs, answers)
        return answers

    def _group(self, jobs: Sequence[Job], answers: list[Answer | Exception]) -> None:
        """Jobs of one task, plan and loop."""
        first = jobs[0]
        plan = first.brand.plan if isinstance(first.ask, Train) else STAYS
        kind = batching(plan)
        stored: Stored | str
        if first.brand.training.optimizer != "sgd":
            stored = f"{first.brand.training.optimizer} is not batched"
        elif kind:
            stored = self._stored(first.brand, kind == "clipped")
        else:
            stored = f"{plan.name} is not batched"
        left: list[Job] = []
        for job in jobs:
            if not isinstance(stored, str) and self._stackable(job, stored):
                left.append(job)
                continue
            reason = stored if isinstance(stored, str) else "no rows, or others"
            self.paths[f"{LOOP}: {reason}"] += 1
            answers[job.place] = _by_itself(job)
        if isinstance(stored, str):
            return
        groups = self._blocks(left, stored)
        way = FORMULA if stored.loop and first.brand.training.momentum else stored.way
        self.paths[way] += len(left)
        sent = [_sent(group, stored, plan) for group in groups]
        for group, found in zip(groups, self.many(stored.compute, sent), strict=True):
            if isinstance(found, Exception) and len(group) > 1:  # one of them: each by itself then
                alone = [_sent([job], stored, plan) for job in group]
                for job, own in zip(group, self.many(stored.compute, alone), strict=True):
                    _take([job], own, stored, answers)
            else:
                _take(group, found, stored, answers)

    def _stackable(self, job: Job, stored: Stored) -> bool:
        mine = stored.shares.get(job.brand.name)
        rows = job.brand.splits.get("train")
        own = rows is not None and self.rows.get(job.brand.name) is rows
        return own and mine is not None and mine.rows > 0

    def _blocks(self, jobs: Sequence[Job], stored: Stored) -> list[list[Job]]:
        """Most steps first, then as the rows lie; the same whoever computes them."""
        if not jobs:
            return []
        training = jobs[0].brand.training
        shares = stored.shares

        def order(job: Job) -> tuple[int, int]:
            share = shares[job.brand.name]
            return -steps(share.rows, training), share.first

        jobs = sorted(jobs, key=order)
        size = self.block or self._fitting(jobs, stored, training)
        return [list(jobs[i : i + size]) for i in range(0, len(jobs), size)]

    def _fitting(self, jobs: Sequence[Job], stored: Stored, training: Training) -> int:
        """As many brands as fit the cache, so that all blocks are about equal."""
        one = 2 * stored.kernel.layout.entries + stored.kernel.work(training.batch_size)
        most = max(1, _CACHE // one)
        longest = steps(stored.shares[jobs[0].brand.name].rows, training) * training.batch_size
        most = max(1, min(most, _INDEX // max(1, longest)))
        return -(-len(jobs) // -(-len(jobs) // most))

    def _stored(self, brand: LocalBrand[Any], private: bool) -> Stored | str:
        """The kernel and all brands' rows in its form, once for a training."""
        key = (id(brand.task), private)
        if key not in self._kernels:
            try:
                self._kernels[key] = stored_for(brand, self.rows, private, self.compiled)
            except (RuntimeError, ValueError, TypeError, LookupError) as error:
                _log.warning("brands go one by one, as their rows cannot be stacked: %s", error)
                self._kernels[key] = "rows of some brand are not like the others'"
        return self._kernels[key]


def _take(
    group: Sequence[Job],
    found: Computed | Exception,
    stored: Stored,
    answers: list[Answer | Exception],
) -> None:
    """The answers of a block's brands."""
    if isinstance(found, Exception):
        for job in group:
            answers[job.place] = found
        return
    parts, taken = found
    ends = Weights(stored.kernel.layout, parts).by_brand()
    for job, end, steps_taken in zip(group, ends, taken, strict=True):
        answers[job.place] = _answered(job, end, steps_taken)


def _sent(jobs: Sequence[Job], stored: Stored, plan: Any) -> Block:
    names = tuple(job.brand.name for job in jobs)
    members = tuple(
        Member(stored.shares[name], job.ask.start, job.ask.drift, job.seed)
        for name, job in zip(names, jobs, strict=True)
    )
    return Block(names, members, jobs[0].brand.training, plan)


def _place(thing: Any, known: list[Any]) -> int:
    """Which of the few known things it equals; it joins them if it is new."""
    for i, other in enumerate(known):
        if other is thing or other == thing:
            return i
    known.append(thing)
    return len(known) - 1


def _by_itself(job: Job) -> Answer | Exception:
    try:
        return job.brand.opened(job.ask, job.seed)
    except Exception as error:
        return error


def _answered(job: Job, end: Arrays, taken: int) -> Answer:
    if isinstance(job.ask, Personal):
        return job.brand.kept(job.ask.name, {name: a.copy() for name, a in end.items()})
    return job.brand.trained(end, taken)
