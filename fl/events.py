"""What a release cost, as data: the accountant is replaceable, and an auditor can recompute it.

An event says which mechanism touched the data; it holds public numbers only. It is written into a
brand's ledger before the data is touched, and any accountant may turn it into an epsilon later.
The idea is ``DpEvent`` of google/differential-privacy (dp_accounting); ours is a closed set, so an
event that nobody can account for cannot be made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Gaussian noise on a sum in which one unit changes at most ``clip`` in L2 (add or remove).

    Attributes:
        noise_multiplier: standard deviation of the noise divided by that sensitivity, > 0.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        if not 0 < self.noise_multiplier < math.inf:
            raise ValueError(f"Expected noise_multiplier={self.noise_multiplier} > 0.")


@dataclass(frozen=True, slots=True)
class Sampled:
    """An event on a Poisson sample: every unit is in it with probability ``rate``, by itself.

    Attributes:
        rate: in (0, 1]; 1 is the event without sampling.
        event: what was done with the sample.
    """

    rate: float
    event: Gaussian

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"Expected rate={self.rate} in (0, 1].")


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same event ``times`` times, >= 0, each with fresh randomness."""

    event: PrivacyEvent
    times: int

    def __post_init__(self) -> None:
        if self.times < 0:
            raise ValueError(f"Expected times={self.times} >= 0.")


@dataclass(frozen=True, slots=True)
class Composed:
    """Several events on the same data; order does not matter, empty is free."""

    events: tuple[PrivacyEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Unbounded:
    """An exact release: no finite epsilon covers it."""


PrivacyEvent = Gaussian | Sampled | Repeated | Composed | Unbounded


def to_json(event: PrivacyEvent) -> dict[str, Any]:
    """Plain values, for ledgers and ``run.json``; inverse of :func:`from_json`.

    >>> to_json(Repeated(Sampled(0.1, Gaussian(1.5)), 20))["times"]
    20
    """
    match event:
        case Gaussian(noise_multiplier):
            return {"kind": "gaussian", "noise_multiplier": noise_multiplier}
        case Sampled(rate, inner):
            return {"kind": "sampled", "rate": rate, "event": to_json(inner)}
        case Repeated(inner, times):
            return {"kind": "repeated", "times": times, "event": to_json(inner)}
        case Composed(events):
            return {"kind": "composed", "events": [to_json(inner) for inner in events]}
        case Unbounded():
            return {"kind": "unbounded"}


def from_json(values: Mapping[str, Any]) -> PrivacyEvent:
    """The event that :func:`to_json` described.

    Raises:
        ValueError: not such a description, or a number out of range.
    """
    match dict(values):
        case {"kind": "gaussian", "noise_multiplier": int() | float() as sigma, **rest} if not rest:
            return Gaussian(float(sigma))
        case {"kind": "sampled", "rate": int() | float() as rate, "event": inner, **rest} if (
            not rest
        ):
            event = from_json(inner)
            if not isinstance(event, Gaussian):
                raise ValueError("Expected a sampled event to be gaussian.")
            return Sampled(float(rate), event)
        case {"kind": "repeated", "times": int() as times, "event": inner, **rest} if not rest:
            return Repeated(from_json(inner), times)
        case {"kind": "composed", "events": list() as events, **rest} if not rest:
            return Composed(tuple(from_json(inner) for inner in events))
        case {"kind": "unbounded", **rest} if not rest:
            return Unbounded()
    raise ValueError(f"Expected a privacy event, got {dict(values)!r}.")
