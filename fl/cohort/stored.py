"""All brands' rows in the form of one kernel, once for a training, and what computes a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from fl.brand import LocalBrand
from fl.cohort.blocks import Kernel, Member, clipped, exact
from fl.cohort.compiled import Shape, shape_of
from fl.cohort.formulas import Formula, formula_for
from fl.cohort.functional import functional_for
from fl.cohort.orders import Share
from fl.contracts import NodeId
from fl.doors import Training
from fl.privacy.blocks import CustomerBlock, batching
from fl.privacy.draws import Customers
from fl.seeds import torch_generator

COMPILED, FORMULA, FUNCTIONAL = "compiled", "formula", "torch.func"

Computed = tuple[list[torch.Tensor], list[int]]  # parameters [a, ...], and steps of each brand


@dataclass(frozen=True, slots=True)
class Block:
    """All that computing a block needs beside the rows; it can be sent to another process."""

    brands: tuple[NodeId, ...]
    members: tuple[Member, ...]
    training: Training
    plan: Any


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
        brands = [self.customers[name] for name in block.brands]
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


def stored_for(
    brand: LocalBrand[Any], rows: Mapping[NodeId, Any], private: bool, compiled: bool
) -> Stored | str:
    """All brands' rows for the kernel of this task and model, or why there is none."""
    model = brand.task.model(torch_generator(brand.seed, "unused initial weights"))
    formula = formula_for(brand.task, model)
    there = [r for r in rows.values() if len(r)]
    if not there:
        return "no brand has rows"
    if formula is None and private:
        return "no formula for this model, which is clipped by customer"
    kernel = formula or functional_for(brand.task, model, max(there, key=len))
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
    customers = (
        {n: Customers.of(r.customer_b, shares[n].first) for n, r in rows.items()} if private else {}
    )
    if any(len(of.rows_k) < len(of.row) for of in customers.values()):
        loop = None
    if compiled and (loop or private):
        import_module("numba")  # before workers are forked: else each of them pays for it
    if private and loop:
        parts.append(parts[0].double().square_().sum(1).add_(1))
    way = FORMULA if formula else FUNCTIONAL
    way = COMPILED if loop else way
    return Stored(way, kernel, parts, shares, formula, loop, customers, compiled)
