"""The numbers of a private plan, checked once for all plans, and its source of noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from fl.errors import InputError
from fl.events import Composed
from fl.privacy import accounting
from fl.privacy.noise import InsecureNoiseForTests, NoiseSource, SecureRandom

RUN_STATE = {"run_state": True}  # of a field: known when a run starts, never configured
SOURCES = ("secure", "insecure_noise_for_tests")


def source(name: str, seed: int) -> NoiseSource:
    """A fresh noise source.

    Guarantee: under ``secure`` nothing depends on ``seed``; any other name is one of tests.
    """
    return SecureRandom() if name == "secure" else InsecureNoiseForTests(seed)


def known(sigma: float) -> float:
    """``sigma``, if it has been set. Guarantee: > 0.

    Raises:
        ValueError: the plan has not been calibrated.
    """
    if not sigma:
        raise ValueError("Expected a calibrated plan: its noise is not known yet.")
    return sigma


class Numbers(Protocol):
    """What every private plan states."""

    @property
    def epsilon(self) -> float | None: ...
    @property
    def delta(self) -> float: ...
    @property
    def noise_multiplier(self) -> float | None: ...
    @property
    def clip_norm(self) -> float: ...
    @property
    def sampling_rate(self) -> float: ...
    @property
    def accountant(self) -> str: ...
    @property
    def noise_source(self) -> str: ...


def check(plan: Numbers, *, positive: Mapping[str, float], whole: Mapping[str, float]) -> None:
    """Refuse numbers that promise nothing.

    Guarantee: afterwards every number is in the range that the plans' own guarantees assume.

    Args:
        positive: further fields, > 0 and finite.
        whole: further fields, >= 0 and finite.

    Raises:
        ValueError: naming the field and its range.
        InputError: an accountant that is unknown, or whose figures are no upper bounds.
    """
    accounting.epsilon(plan.accountant, Composed(), 1e-5)
    epsilon, noise_multiplier = plan.epsilon, plan.noise_multiplier
    if (epsilon is None) == (noise_multiplier is None):
        raise ValueError(
            f"Expected one of epsilon={epsilon} and noise_multiplier={noise_multiplier} to be set, "
            "and the other to be null."
        )
    if epsilon is not None and not 0 < epsilon < math.inf:
        raise ValueError(f"Expected epsilon={epsilon} > 0 and finite.")
    if not 1e-9 <= plan.delta < 1:
        raise ValueError(f"Expected delta={plan.delta} in [1e-9, 1).")
    if not 0 < plan.sampling_rate <= 1:
        raise ValueError(f"Expected sampling_rate={plan.sampling_rate} in (0, 1].")
    if plan.noise_source not in SOURCES:
        raise ValueError(f"Expected noise_source={plan.noise_source!r} to be one of {SOURCES}.")
    above = {"clip_norm": plan.clip_norm, **positive}
    if noise_multiplier is not None:
        above["noise_multiplier"] = noise_multiplier
    for name, value in above.items():
        if not 0 < value < math.inf:
            raise ValueError(f"Expected {name}={value} > 0 and finite.")
    for name, value in whole.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"Expected {name}={value} >= 0.")


def only_a_share() -> InputError:
    """The refusal of local training under ``distributed``. Guarantee: names no data."""
    return InputError(
        "algorithm",
        "trains for several steps at a brand, where privacy=distributed has only a share of the "
        "noise: a step would build on a model that is not private",
        "choose algorithm=fedsgd (one sum a step), or privacy=local",
    )
