"""What may be asked of a brand, and what is answered: data, not code.

An auditor can print an ask, a runtime can batch it, a ledger can price it. There are three doors:
:class:`Train`, :class:`Personal`, :class:`Query`. All that leaves passes the privacy plan; what
``Personal`` makes stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fl.arrays import Arrays


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
        optimizer: ``sgd``, or ``adam``, which starts anew with every request and needs momentum 0
            (it has its own). Either reads gradients that the privacy plan has released already.
        shuffle: draw a new order of examples in every epoch (plans without a guarantee to
            customers; the others draw Poisson samples).
    """

    learning_rate: float = 0.1
    epochs: int = 1
    steps: int = 0
    batch_size: int = 64
    momentum: float = 0.0
    weight_decay: float = 0.0
    optimizer: str = "sgd"
    shuffle: bool = True

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
        if self.optimizer not in ("sgd", "adam"):
            raise ValueError(f"Expected optimizer={self.optimizer!r} to be 'sgd' or 'adam'.")
        if self.optimizer == "adam" and self.momentum:
            raise ValueError(f"Expected momentum={self.momentum} to be 0 with optimizer=adam.")


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


class Of(StrEnum):
    """What a statistic sums over a brand's customers."""

    EVALUATION = "evaluation"  # the task's statistics at a model
    GRADIENT = "gradient"  # the gradient of the losses at a model
    CUSTOMERS = "customers"  # one for each
    RECORDS = "records"  # the task's statistics, with the noise that the run's epsilon leaves
    LARGEST = "largest"  # the same as shares of given totals: the largest share in each row


@dataclass(frozen=True, slots=True)
class Statistic:
    """Which additive statistic of a brand's customers is asked for.

    Attributes:
        split: ``train``, ``validation`` or ``test`` rows; ``all`` where a task does not learn.
        of: what is summed.
        arrays: model parameters where a model is needed; of ``LARGEST``: the totals, > 0.
        parts: which of the task's statistics, by name; empty for all of them.
        share: of ``RECORDS``: its part of what the run may spend, in (0, 1]; the shares of a run's
            statistics add up to 1. Noise has variance in proportion to 1 / share.
        alone: whether something is built on this brand's answer before it is added to others': it
            then carries all of the noise, where a share would do for a sum.
    """

    split: str
    of: Of
    arrays: Arrays = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    share: float = 1.0
    alone: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"Expected share={self.share} in (0, 1].")
        if self.of is Of.LARGEST and (not self.alone or set(self.arrays) != set(self.parts)):
            raise ValueError("Expected the largest shares of totals, alone: they do not add up.")


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
    name: str = "personal"


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
        learning_rate: of the steps; public.
    """

    arrays: Arrays
    steps: int
    weight: float
    learning_rate: float = 1.0


@dataclass(frozen=True, slots=True)
class LocalOnly:
    """The name of a model that stays in ``Memory.personal``: nothing here can be sent."""

    name: str


@dataclass(frozen=True, slots=True)
class Counted:
    """Sums over customers, as released by the plan, and the weight they count for."""

    sums: Arrays
    weight: float


Answer = Trained | LocalOnly | Counted
