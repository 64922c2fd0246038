"""Answer what many brands ask at the same time: each ask is booked by its brand, then computed with
the others'. How is chosen by rule, and counted by the reason of each choice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch

from fl.arrays import Arrays
from fl.brand import STAYS, LocalBrand
from fl.cohort.blocks import Kernel, Member, clipped, exact
from fl.cohort.compiled import Shape, shape_of
from fl.cohort.formulas import Formula, formula_for
from fl.cohort.functional import functional_for
from fl.cohort.orders import Share
from fl.cohort.stacks import Weights
from fl.contracts import NodeId
from fl.doors import Answer, Ask, Personal, Query, Train, Training
from fl.privacy.blocks import CustomerBlock, batching
from fl.privacy.draws import Customers
from fl.privacy.none import steps
from fl.seeds import torch_generator

_log = logging.getLogger(__name__)
_CACHE = 1 << 21  # float32 numbers that a block may touch in a step: 8 MB, some of the L3 cache
_INDEX = 1 << 22  # row numbers of one block's batches, all steps together

COMPILED, FORMULA, FUNCTIONAL, LOOP = "compiled", "formula", "torch.func", "one by one"


Computed = tuple[list[torch.Tensor], list[int]]  # parameters [a, ...], and steps of each brand
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
class Block:
    """All that computing a block needs beside the rows; it can be sent to another process."""

    brands: tuple[NodeId, ...]
    members: tuple[Member, ...]
    training: Training
    plan: Any


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
            if isinstance(found, Exception):
                for job in group:
                    answers[job.place] = found
                continue
            parts, taken = found
            ends = Weights(stored.kernel.layout, parts).by_brand()
            for job, end, steps_taken in zip(group, ends, taken, strict=True):
                answers[job.place] = _answered(job, end, steps_taken)

    def _stackable(self, job: Job, stored: Stored) -> bool:
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

    def _stored(self, brand: LocalBrand[Any], private: bool) -> Stored | str:
        """The kernel and all brands' rows in its form, once for a training."""
        key = (id(brand.task), private)
        if key not in self._kernels:
            self._kernels[key] = _made(brand, self.rows, private, self.compiled)
        return self._kernels[key]


@dataclass(frozen=True, slots=True)
class Stored:
    """A kernel, and every brand's rows as it reads them.

    Attributes:
        way: how it is counted.
        parts: tensors over all rows.
        shares: each brand's rows among them.
        loop: compiled, or None.
        customers: each brand's rows by customer, where they are clipped.
        compiled: whether numba is installed, and wanted.
    """

    way: str
    kernel: Kernel
    parts: Sequence[torch.Tensor]
    shares: Mapping[NodeId, Share]
    formula: Formula | None
    loop: Shape | None
    customers: Mapping[NodeId, Customers]
    compiled: bool

    @torch.no_grad()
    def compute(self, block: Block) -> Computed:
        """End points of a block."""
        if batching(block.plan) == "exact":
            weights, taken = exact(
                self.kernel, self.parts, block.members, block.training, self.loop
            )
            return weights.parts, taken
        if self.formula is None:
            raise TypeError("Expected a formula: customers are clipped by layer.")
        brands = [
            (self.customers[name], member.share.first)
            for name, member in zip(block.brands, block.members, strict=True)
        ]
        seeds = [member.seed for member in block.members]
        private = CustomerBlock(
            block.plan,
            block.training,
            brands,
            seeds,
            entries=self.kernel.layout.entries,
            uses=max(1, self.parts[1].shape[1]),
            compiled=self.compiled,
        )
        weights, taken = clipped(
            self.formula, self.parts, block.members, block.training, private, self.loop
        )
        return weights.parts, taken


def _sent(jobs: Sequence[Job], stored: Stored, plan: Any) -> Block:
    names = tuple(job.brand.name for job in jobs)
    members = tuple(
        Member(stored.shares[name], job.ask.start, job.ask.drift, job.seed)
        for name, job in zip(names, jobs, strict=True)
    )
    return Block(names, members, jobs[0].brand.training, plan)


def _made(
    brand: LocalBrand[Any], rows: Mapping[NodeId, Any], private: bool, compiled: bool
) -> Stored | str:
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
    compiled = compiled and find_spec("numba") is not None
    loop = shape_of(formula, parts[1].shape[1]) if compiled and formula else None
    customers = {n: Customers.of(r.customer_b) for n, r in rows.items()} if private else {}
    if any(len(of.rows_k) < len(of.order) for of in customers.values()):
        loop = None
    if private and loop:
        parts.append(parts[0].double().square_().sum(1).add_(1))
    way = FORMULA if formula else FUNCTIONAL
    way = COMPILED if loop else way
    return Stored(way, kernel, parts, shares, formula, loop, customers, compiled)


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
