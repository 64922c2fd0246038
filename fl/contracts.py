"""The eight concepts of the framework, and the only types that travel. Read this file first.

A **brand** lets its data be touched only through three doors (:class:`Train`, :class:`Personal`,
:class:`Query`), and all that leaves passes the **privacy plan**. An **algorithm** sees doors, never
rows. What leaves a brand is an **update**: additive sums and a weight, never a mean. A **secure
sum** adds updates, a **federation** carries requests and replies, a **ledger** remembers what was
spent. ``fl/round.py`` shows how they meet. (The eighth concept, a brand's policy, is data:
``fl/privacy/policy.py``.)

Suffixes of tensor names: ``_b`` example of a batch, ``_f`` numeric feature, ``_g`` category column.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fl.arrays import Arrays
from fl.doors import Answer, Ask, Statistic, Training
from fl.errors import Code
from fl.events import PrivacyEvent

if TYPE_CHECKING:
    import pandas as pd

    from fl.data.schema import Schema

NodeId = str
Scalar = int | float | str | bytes | bool
Limits = Mapping[str, float]  # of named sums: what one unit can add to each, in L2
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
        arrays: the algorithm's own state at this brand, such as control variates.
        personal: models that the ``Personal`` door made, by name. Algorithms never see them.
        protocol: the secure sum's state at this brand, keys among it; stored before a reply goes.
    """

    arrays: Arrays = field(default_factory=dict)
    personal: dict[str, Arrays] = field(default_factory=dict)
    protocol: dict[str, bytes] = field(default_factory=dict, repr=False)


# --- rows ---------------------------------------------------------------------------------------


class Rows(Protocol):
    """Encoded rows of one brand, in the form that one task's model takes. A batch is rows too.

    Everything but the task treats them as this: rows of customers, which can be chosen and joined.
    """

    @property
    def customer_b(self) -> Tensor:
        """Int64, the same for all rows of a customer; the unit of privacy."""

    def __len__(self) -> int: ...

    def rows(self, index: Tensor) -> Self:
        """The rows at ``index`` (int64), in that order."""

    def span(self, start: int, stop: int) -> Self:
        """The rows from ``start`` up to ``stop``, without copying."""

    def renumbered(self, customer_b: Tensor) -> Self:
        """The same rows under other numbers of customers."""

    def followed_by(self, others: Sequence[Self]) -> Self:
        """These rows, then those of ``others``, in order."""


R = TypeVar("R", bound=Rows)


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows of a table: numbers, codes and a label.

    Attributes:
        x_bf: float32 numeric features, scaled into [-1, 1] by public bounds.
        c_bg: int64 category codes, one column per categorical feature.
        y_b: float32 labels, 0 or 1; int64 where a task has classes or items.
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

    def renumbered(self, customer_b: Tensor) -> Examples:
        """The same rows under other numbers of customers."""
        return replace(self, customer_b=customer_b)

    def followed_by(self, others: Sequence[Examples]) -> Examples:
        """These rows, then those of ``others``, in order."""
        parts = [self, *others]
        return Examples(
            torch.cat([p.x_bf for p in parts]),
            torch.cat([p.c_bg for p in parts]),
            torch.cat([p.y_b for p in parts]),
            torch.cat([p.customer_b for p in parts]),
        )


def concatenate(parts: Sequence[R]) -> R:
    """All rows of ``parts``, in order."""
    return parts[0].followed_by(parts[1:])


# --- 1 task -------------------------------------------------------------------------------------


class Task(Protocol[R]):
    """What is learned: schema, model, per-example loss, additive statistics.

    ``R`` is the form of its rows: a task is only ever given rows that it encoded itself.
    """

    @property
    def schema(self) -> Schema: ...

    def model(self, rng: torch.Generator) -> nn.Module:
        """A fresh model; all its randomness comes from ``rng``."""

    def examples(self, table: pd.DataFrame, customers: Ints, where: str) -> R:
        """Encode a brand's rows by the schema alone: row by row, never looking at another row.

        ``customers`` is int64 ``[n]``, equal for the rows of one customer; ``where`` names the
        table in messages.
        """

    def losses(self, model: nn.Module, batch: R) -> Tensor:
        """Float32 ``[b]``: one loss per example, never a mean."""

    def evaluate(self, model: nn.Module, batch: R) -> Arrays:
        """What each example adds to the evaluation: float64 ``[b, ...]``, bounded, additive."""

    def statistics(self) -> Arrays:
        """Zeros with the names and shapes that :meth:`evaluate` sums to over examples."""

    def limits(self) -> Limits:
        """For each statistic, the largest L2 norm of one example's share of it."""


# --- 2 brand: the three doors (what may be asked is in fl/doors.py) ------------------------------


class Brand(Protocol):
    """The only way to one brand's data."""

    def answer(self, ask: Ask) -> Answer: ...


# --- 3 algorithm --------------------------------------------------------------------------------

Local = Generator[Ask, Answer, tuple[Update, Arrays]]


class Algorithm(Protocol):
    """How brands learn together: one file, one paper. It has no data and no randomness."""

    @property
    def name(self) -> str: ...

    @property
    def limits(self) -> Limits | None:
        """Bounds of the update's sums where they are statistics; None where they are a model."""

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


class Question(Algorithm, Protocol):
    """An algorithm that counts instead of learning: its state is the answer after ``rounds``.

    Its updates weigh 0: their sum is the answer, and no mean is taken.
    """

    @property
    def rounds(self) -> int:
        """How many rounds lead from the first state to the answer, >= 1."""


# --- 4 privacy plan -----------------------------------------------------------------------------


class Unit(StrEnum):
    """Whose presence the guarantee hides."""

    NONE = "none"
    CUSTOMER = "customer"
    BRAND = "brand"


class PrivacyPlan(Protocol):
    """Everything that decides the guarantee. Fields are public; private values are arguments.

    A ``seed`` drives science (the order of batches). Noise and secret samples never depend on it,
    but under a noise source that is called insecure.
    """

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> Unit: ...

    def event(self, ask: Ask, training: Training) -> PrivacyEvent:
        """What answering ``ask`` costs the brand's customers; booked before it is answered."""

    def round_event(self, limits: Limits | None) -> PrivacyEvent:
        """What a round costs where the unit is a brand; booked by the coordinator."""

    def gradients(
        self, task: Task[R], model: nn.Module, examples: R, training: Training, seed: int
    ) -> Iterator[list[Tensor]]:
        """Door 1: one gradient per step, each at the model's parameters at that moment."""

    def gradient(
        self, task: Task[R], model: nn.Module, examples: R, seed: int
    ) -> tuple[list[Tensor], float]:
        """Door 3: the customers' gradients, summed for release, and the weight of the sum."""

    def release(
        self, chunks: Iterable[tuple[Arrays, Ints]], asked: Statistic, limits: Limits, seed: int
    ) -> tuple[Arrays, float]:
        """Door 3: per-example statistics (``[b, ...]``), summed for release, and their weight.

        Each chunk comes with the customer of each example; a customer is in one chunk only.
        """

    def weight(self, examples: int) -> float:
        """What a brand with so many training examples may count for."""

    @property
    def most_weight(self) -> float:
        """The largest weight that an honest brand's reply can have; infinite if none is known."""

    def bound(self, update: Update, limits: Limits | None) -> Update:
        """Bound the weighted sums before they leave the brand."""

    def noise(self, total: Update, limits: Limits | None, seed: int) -> Update:
        """Central noise on the sum; the identity where brands add it."""

    def sample(self, nodes: Sequence[NodeId], limits: Limits | None, seed: int) -> Sequence[NodeId]:
        """Who takes part in this round."""

    def denominator(self, total: Update, limits: Limits | None) -> float:
        """What the sum is divided by: made of public constants under a private plan."""


class Ledger(Protocol):
    """What has been spent. Written, and on disk, before it is spent."""

    def commit(self, event: PrivacyEvent, occasion: str) -> None:
        """Book one answer; raises ``Refused`` where the budget or the reservation is used up."""


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

    @property
    def hides_updates(self) -> bool:
        """Whether the coordinator learns the sum only, and no single update."""

    def collect(
        self, federation: Federation, requests: Mapping[NodeId, Request], zero: Arrays
    ) -> Collected:
        """Ask all, and return only the sum. ``zero`` gives names and shapes of the sums."""


class Mark(NamedTuple):
    """How far a ledger has come: its brand signs it in every secure sum, and others remember it.

    Attributes:
        entries: how many it has; 0 without a ledger.
        head: SHA-256 of the last one, 32 bytes; zeros without a ledger.
    """

    entries: int = 0
    head: bytes = bytes(32)

    def extends(self, before: Mark) -> bool:
        """Whether a ledger that was at ``before`` may be here now: it only grows.

        >>> Mark(3, b"c" * 32).extends(Mark(2, b"b" * 32)), Mark(2).extends(Mark(3))
        (True, False)
        """
        return self.entries > before.entries or self == before


NO_LEDGER = Mark()


def _nowhere() -> Mark:
    return NO_LEDGER


def _unasked(mark: Mark) -> bool:
    return True


def _unrecorded(evidence: bytes, code: Code) -> None:
    """Keep nothing."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A brand's ledger, as its half of a secure sum uses it.

    Attributes:
        mark: how far the ledger has come; peers and auditor see it in transcripts.
        refuse: given the offending request and the code before a refusal is sent.
        reaches: whether the ledger was once where others say they have seen it.
    """

    mark: Callable[[], Mark] = _nowhere
    refuse: Callable[[bytes, Code], None] = _unrecorded
    reaches: Callable[[Mark], bool] = _unasked


class BrandSum(Protocol):
    """How updates are added: a brand's half. All it remembers is in ``memory``."""

    def answer(self, request: Request, memory: Memory) -> Reply | None:
        """The brand's reply to a protocol step; None if the brand may now touch its data.

        All that must hold before is checked here; raises ``Refused``.
        """

    def protect(self, request: Request, update: Update, memory: Memory) -> Reply:
        """The brand's update, protected for this round."""
