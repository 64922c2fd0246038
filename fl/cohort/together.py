"""Answer what many brands ask at the same time: each ask is booked by its brand, then computed with
the others'. How is chosen by rule, and counted by the reason of each choice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from fl.arrays import Arrays
from fl.brand import STAYS, LocalBrand
from fl.cohort.blocks import Kernel, Member, clipped, exact
from fl.cohort.formulas import Formula, formula_for
from fl.cohort.functional import functional_for
from fl.cohort.orders import Share
from fl.contracts import NodeId
from fl.doors import Answer, Ask, Personal, Query, Train, Training
from fl.privacy.blocks import CustomerBlock, Customers, batching
from fl.privacy.none import steps
from fl.seeds import torch_generator

_log = logging.getLogger(__name__)
_CACHE = 1 << 21  # float32 numbers that a block may touch in a step: 8 MB, some of the L3 cache
_INDEX = 1 << 22  # row numbers of one block's batches, all steps together

FORMULA, FUNCTIONAL, LOOP = "formula", "torch.func", "one by one"


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
    """

    rows: Mapping[NodeId, Any]
    block: int | None = None
    paths: Counter[str] = field(default_factory=Counter)
    _kernels: dict[tuple[int, bool], Stored | str] = field(default_factory=dict)
    _customers: dict[NodeId, Customers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.block is not None and self.block < 1:
            raise ValueError(f"Expected block={self.block} >= 1, or null for what fits the cache.")

    def __call__(self, asked: Sequence[tuple[LocalBrand[Any], Ask]]) -> list[Answer | Exception]:
        """The answer to each ask, or what its brand would have raised."""
        answers: list[Answer | Exception] = [RuntimeError("not answered")] * len(asked)
        groups: dict[tuple[int, ...], list[Job]] = {}
        for i, (brand, ask) in enumerate(asked):
            try:
                seed = brand.admitted(ask)
                if isinstance(ask, Query):
                    self.paths[f"{LOOP}: a query"] += 1
                    answers[i] = brand.opened(ask, seed)
                else:
                    plan = brand.plan if isinstance(ask, Train) else STAYS
                    key = (id(brand.task), id(plan), id(brand.training))
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
        stored = (
            self._stored(first.brand, kind == "clipped") if kind else f"{plan.name} is not batched"
        )
        alone = [job for job in jobs if not self._stackable(job, stored)]
        for job in alone:
            self.paths[
                f"{LOOP}: {stored if isinstance(stored, str) else 'no rows, or others'}"
            ] += 1
            answers[job.place] = _by_itself(job)
        if isinstance(stored, str):
            return
        left = [job for job in jobs if self._stackable(job, stored)]
        for block in self._blocks(left, stored):
            self.paths[f"{stored.way}"] += len(block)
            try:
                ends, taken = self._run(block, stored, plan)
            except Exception as error:
                for job in block:
                    answers[job.place] = error
                continue
            for job, end, steps_taken in zip(block, ends.by_brand(), taken, strict=True):
                answers[job.place] = _answered(job, end, steps_taken)

    def _stackable(self, job: Job, stored: Stored | str) -> bool:
        if isinstance(stored, str):
            return False
        mine = stored.shares.get(job.brand.name)
        own = self.rows.get(job.brand.name) is job.brand.splits["train"]
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

    def _run(self, block: Sequence[Job], stored: Stored, plan: Any) -> Any:
        members = [
            Member(stored.shares[j.brand.name], j.ask.start, j.ask.drift, j.seed) for j in block
        ]
        training = block[0].brand.training
        with torch.no_grad():
            if batching(plan) == "exact":
                return exact(stored.kernel, stored.parts, members, training)
            brands = [
                (self._by_customer(job.brand), m.share.first)
                for job, m in zip(block, members, strict=True)
            ]
            private = CustomerBlock(plan, training, brands, [job.seed for job in block])
            if stored.formula is None:
                raise TypeError("Expected a formula: customers are clipped by layer.")
            return clipped(stored.formula, stored.parts, members, training, private)

    def _by_customer(self, brand: LocalBrand[Any]) -> Customers:
        if brand.name not in self._customers:
            self._customers[brand.name] = Customers.of(self.rows[brand.name].customer_b)
        return self._customers[brand.name]

    def _stored(self, brand: LocalBrand[Any], private: bool) -> Stored | str:
        """The kernel and all brands' rows in its form, once for a training."""
        key = (id(brand.task), private)
        if key not in self._kernels:
            self._kernels[key] = _made(brand, self.rows, private)
        return self._kernels[key]


@dataclass(frozen=True, slots=True)
class Stored:
    """A kernel, and every brand's rows as it reads them.

    Attributes:
        way: how it is counted.
        parts: tensors over all rows.
        shares: each brand's rows among them.
    """

    way: str
    kernel: Kernel
    parts: Sequence[torch.Tensor]
    shares: Mapping[NodeId, Share]
    formula: Formula | None


def _made(brand: LocalBrand[Any], rows: Mapping[NodeId, Any], private: bool) -> Stored | str:
    model = brand.task.model(torch_generator(brand.seed, "unused initial weights"))
    formula = formula_for(brand.task, model)
    there = [r for r in rows.values() if len(r)]
    if not there:
        return "no brand has rows"
    if formula is None and private:
        return "no formula for this model, which is clipped by customer"
    kernel = formula or functional_for(brand.task, model, there[0])
    if isinstance(kernel, str):
        return kernel
    shares, first = {}, 0
    for name, r in rows.items():
        shares[name] = Share(first, len(r))
        first += len(r)
    made = [kernel.inputs(r) for r in rows.values()]
    parts = [torch.cat(part) for part in zip(*made, strict=True)]
    return Stored(FORMULA if formula else FUNCTIONAL, kernel, parts, shares, formula)


def _by_itself(job: Job) -> Answer | Exception:
    try:
        return job.brand.opened(job.ask, job.seed)
    except Exception as error:
        return error


def _answered(job: Job, end: Arrays, taken: int) -> Answer:
    if isinstance(job.ask, Personal):
        return job.brand.kept(job.ask.name, {name: a.copy() for name, a in end.items()})
    return job.brand.trained(end, taken)
