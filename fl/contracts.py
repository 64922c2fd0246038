"""The eight concepts of the framework, and the only types that travel. Read this file first.

A **brand** lets its data be touched only through three doors (:class:`Train`, :class:`Personal`,
:class:`Query`), and every door passes the **privacy plan**. An **algorithm** sees doors, never
rows. What leaves a brand is an **update**: additive sums and a weight, never a mean. A **secure
sum** adds updates, a **federation** carries requests and replies. ``fl/round.py`` shows how they
meet. (The ledger and the policy, concepts seven and eight, arrive with the private plans.)

Suffixes of tensor names: ``_b`` example of a batch, ``_f`` numeric feature, ``_g`` category column.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fl.arrays import Arrays
from fl.errors import Code
from fl.seeds import Generator as ScienceRng

if TYPE_CHECKING:
    import pandas as pd

    from fl.data.schema import Schema

NodeId = str
Scalar = int | float | str | bytes | bool
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


# --- the wire -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Update:
    """The only thing that may leave a brand.

    Attributes:
        sums: float64 arrays, ``weight * value``, so that updates of brands simply add.
        weight: a public constant, or bounded and noised like the sums; >= 0.
    """

    sums: Arrays
    weight: float


@dataclass(frozen=True, slots=True)
class Request:
    """What a coordinator asks of a brand.

    Attributes:
        kind: which algorithm the brand runs (``train``, ``query``), or a step of the secure sum.
        number: the round, from 1.
        arrays: what the algorithm broadcasts.
        config: public scalars.
    """

    kind: str
    number: int
    arrays: Arrays
    config: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """A brand's answer; anything but ``Code.OK`` means it has no part in this round."""

    code: Code
    arrays: Arrays = field(default_factory=dict)
    config: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(slots=True)
class Memory:
    """What a brand keeps between two messages. It never travels (see ``clients/memory.py``).

    Attributes:
        arrays: the algorithm's own state at this brand (control variates, personal model).
        protocol: the secure sum's state at this brand, keys among it; stored before a reply goes.
    """

    arrays: Arrays = field(default_factory=dict)
    protocol: dict[str, bytes] = field(default_factory=dict, repr=False)


# --- examples -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Examples:
    """Encoded rows of one brand, ready for a model. A batch is an ``Examples`` too.

    Attributes:
        x_bf: float32 numeric features, scaled into [-1, 1] by public bounds.
        c_bg: int64 category codes, one column per categorical feature.
        y_b: float32 labels, 0 or 1.
        customer_b: int64, the same for all rows of a customer; the unit of privacy.
    """

    x_bf: Tensor
    c_bg: Tensor
    y_b: Tensor
    customer_b: Tensor

    def __len__(self) -> int:
        return len(self.y_b)

    def rows(self, index: Tensor) -> Examples:
        """The rows at ``index`` (int64), in that order."""
        return Examples(self.x_bf[index], self.c_bg[index], self.y_b[index], self.customer_b[index])

    def span(self, start: int, stop: int) -> Examples:
        """The rows from ``start`` up to ``stop``, without copying."""
        return Examples(
            self.x_bf[start:stop],
            self.c_bg[start:stop],
            self.y_b[start:stop],
            self.customer_b[start:stop],
        )


def concatenate(parts: Sequence[Examples]) -> Examples:
    """All rows of ``parts``, in order."""
    return Examples(
        torch.cat([p.x_bf for p in parts]),
        torch.cat([p.c_bg for p in parts]),
        torch.cat([p.y_b for p in parts]),
        torch.cat([p.customer_b for p in parts]),
    )


# --- 1 task -------------------------------------------------------------------------------------


class Task(Protocol):
    """What is learned: schema, model, per-example loss, additive statistics."""

    @property
    def schema(self) -> Schema: ...

    def model(self, rng: torch.Generator) -> nn.Module:
        """A fresh model; all its randomness comes from ``rng``."""

    def examples(self, table: pd.DataFrame, customers: Ints, where: str) -> Examples:
        """Encode a brand's rows by the schema alone: row by row, never looking at another row.

        ``customers`` is int64 ``[n]``, equal for the rows of one customer; ``where`` names the
        table in messages.
        """

    def losses(self, model: nn.Module, batch: Examples) -> Tensor:
        """Float32 ``[b]``: one loss per example, never a mean."""

    def evaluate(self, model: nn.Module, batch: Examples) -> Arrays:
        """What each example adds to the evaluation: float64 ``[b, ...]``, bounded, additive."""

    def statistics(self) -> Arrays:
        """Zeros with the names and shapes that :meth:`evaluate` sums to over examples."""


# --- 2 brand: the three doors -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Training:
    """How a brand runs its local loop. Public; the privacy plan decides how batches are drawn.

    Attributes:
        learning_rate: step size, > 0.
        epochs: passes over the brand's customers, >= 1; ignored when ``steps`` > 0.
        steps: a fixed number of gradient steps instead of epochs, >= 0.
        batch_size: examples a step, >= 1.
        momentum: heavy-ball coefficient in [0, 1).
        weight_decay: L2 pull towards zero, >= 0.
    """

    learning_rate: float = 0.1
    epochs: int = 1
    steps: int = 0
    batch_size: int = 64
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"Expected learning_rate={self.learning_rate} > 0.")
        if self.epochs < 1 or self.steps < 0 or self.batch_size < 1:
            raise ValueError(
                f"Expected epochs={self.epochs} >= 1, steps={self.steps} >= 0 and "
                f"batch_size={self.batch_size} >= 1."
            )
        if not 0 <= self.momentum < 1:
            raise ValueError(f"Expected momentum={self.momentum} in [0, 1).")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"Expected weight_decay={self.weight_decay} >= 0.")


@dataclass(frozen=True, slots=True)
class Drift:
    """What an algorithm may add to the (already private) gradient: data, not code.

    The step uses ``g + offset + pull * (w - anchor)``. It reads parameters only, so it is
    post-processing by construction, and many brands can be batched.

    Attributes:
        offset: names and shapes of the model, or empty for none.
        pull: strength of the pull towards ``anchor``, >= 0.
        anchor: names and shapes of the model, or empty for none.
    """

    offset: Arrays = field(default_factory=dict)
    pull: float = 0.0
    anchor: Arrays = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Statistic:
    """Which additive statistic of a brand's customers is asked for.

    Attributes:
        split: ``train``, ``validation`` or ``test`` rows.
        arrays: model parameters at which the task's statistics are evaluated.
    """

    split: str
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class Train:
    """Door 1: train from ``start`` on the brand's rows; answered by :class:`Trained`."""

    start: Arrays
    drift: Drift = field(default_factory=Drift)


@dataclass(frozen=True, slots=True)
class Personal:
    """Door 2: train a model that stays; answered by :class:`LocalOnly`."""

    start: Arrays
    drift: Drift = field(default_factory=Drift)


@dataclass(frozen=True, slots=True)
class Query:
    """Door 3: bounded sums over the brand's customers; answered by :class:`Counted`."""

    statistic: Statistic


Ask = Train | Personal | Query


@dataclass(frozen=True, slots=True)
class Trained:
    """The (private, if the plan says so) end point of local training.

    Attributes:
        arrays: float32 parameters after training.
        steps: gradient steps taken; depends on the brand's size unless ``Training.steps`` is set.
        weight: what the plan lets this brand count for.
    """

    arrays: Arrays
    steps: int
    weight: float


@dataclass(frozen=True, slots=True)
class LocalOnly:
    """A model that stays at the brand. Not an array: it cannot enter an :class:`Update`."""

    arrays: Arrays


@dataclass(frozen=True, slots=True)
class Counted:
    """Sums over customers, as released by the plan, and the weight they count for."""

    sums: Arrays
    weight: float


Answer = Trained | LocalOnly | Counted


class Brand(Protocol):
    """The only way to one brand's data."""

    def answer(self, ask: Ask) -> Answer: ...


# --- 3 algorithm --------------------------------------------------------------------------------

Local = Generator[Ask, Answer, tuple[Update, Arrays]]


class Algorithm(Protocol):
    """How brands learn together: one file, one paper. It has no data and no randomness."""

    @property
    def name(self) -> str: ...

    def init(self, params: Arrays) -> Arrays:
        """The coordinator's first state, from the model's first parameters."""

    def broadcast(self, state: Arrays) -> Arrays:
        """What every brand of the round receives."""

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """The brand's half: yields asks, is sent answers, returns its update and new memory."""

    def zero(self, state: Arrays) -> Arrays:
        """Zeros with the names and shapes of an update's sums."""

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """The coordinator's step, from the mean of the updates."""

    def params(self, state: Arrays) -> Arrays:
        """The model inside the state."""


# --- 4 privacy plan -----------------------------------------------------------------------------


class Unit(StrEnum):
    """Whose presence the guarantee hides."""

    NONE = "none"
    CUSTOMER = "customer"
    BRAND = "brand"


class PrivacyPlan(Protocol):
    """Everything that decides the guarantee. Fields are public; private values are arguments."""

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> Unit: ...

    def gradients(
        self,
        task: Task,
        model: nn.Module,
        examples: Examples,
        training: Training,
        rng: torch.Generator,
    ) -> Iterator[list[Tensor]]:
        """One gradient per step, each at the model's parameters at that moment."""

    def release(self, chunks: Iterable[tuple[Arrays, Ints]]) -> tuple[Arrays, float]:
        """Sum per-example statistics (``[b, ...]``) for release, and the weight of the sums.

        Each chunk comes with the customer of each example; a customer is in one chunk only.
        """

    def weight(self, examples: int) -> float:
        """What a brand with so many training examples may count for."""

    def bound(self, update: Update) -> Update:
        """Bound the weighted sums before they leave the brand; add this brand's noise share."""

    def noise(self, total: Update) -> Update:
        """Central noise on the sum; the identity where brands add shares."""

    def sample(self, nodes: Sequence[NodeId], *, rng: ScienceRng) -> Sequence[NodeId]:
        """Who takes part in this round."""

    def denominator(self, total: Update) -> float:
        """What the sum is divided by: a public constant under a private plan."""


# --- 5 secure sum, 6 federation -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Collected:
    """What a round brought back.

    Attributes:
        total: the sum of the survivors' updates.
        survivors: who is in it, sorted.
        absent: who is not, with the code that says why.
        transcript: lines that let others check the round, if there is anything to check.
    """

    total: Update
    survivors: tuple[NodeId, ...]
    absent: Mapping[NodeId, Code]
    transcript: tuple[str, ...] = ()


class Federation(Protocol):
    """Who is there, and asking them. A silent brand is absent, never an exception."""

    def nodes(self) -> Sequence[NodeId]: ...

    def ask(self, requests: Mapping[NodeId, Request]) -> Mapping[NodeId, Reply]: ...


class SecureSum(Protocol):
    """How updates are added: the coordinator's half."""

    @property
    def name(self) -> str: ...

    def collect(
        self, federation: Federation, requests: Mapping[NodeId, Request], zero: Arrays
    ) -> Collected:
        """Ask all, and return only the sum. ``zero`` gives names and shapes of the sums."""


class BrandSum(Protocol):
    """How updates are added: a brand's half. All it remembers is in ``memory``."""

    def answer(self, request: Request, memory: Memory) -> Reply | None:
        """The brand's reply to a protocol step; None if the brand may now touch its data.

        All that must hold before is checked here; raises ``Refused``.
        """

    def protect(self, request: Request, update: Update, memory: Memory) -> Reply:
        """The brand's update, protected for this round."""
