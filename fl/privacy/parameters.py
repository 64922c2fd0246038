"""The numbers of a private plan, checked once for all plans, and its source of noise."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fl.privacy.noise import InsecureNoiseForTests, NoiseSource, SecureRandom

RUN_STATE = {"run_state": True}  # of a field: known when a run starts, never configured
SOURCES = ("secure", "insecure_noise_for_tests")


def source(name: str, seed: int) -> NoiseSource:
    """A fresh noise source.

    Guarantee: under ``secure`` nothing depends on ``seed``; any other name is one of tests.
    """
    return SecureRandom() if name == "secure" else InsecureNoiseForTests(seed)


def check(
    *,
    epsilon: float | None,
    delta: float,
    noise_multiplier: float | None,
    clip_norm: float,
    sampling_rate: float,
    noise_source: str,
    others: Mapping[str, float],
) -> None:
    """Refuse numbers that promise nothing.

    Guarantee: afterwards every number is in the range that the plans' own guarantees assume.

    Raises:
        ValueError: naming the field and its range.
    """
    if (epsilon is None) == (noise_multiplier is None):
        raise ValueError(
            f"Expected one of epsilon={epsilon} and noise_multiplier={noise_multiplier} to be set, "
            "and the other to be null."
        )
    if epsilon is not None and not 0 < epsilon < math.inf:
        raise ValueError(f"Expected epsilon={epsilon} > 0 and finite.")
    if not 1e-9 <= delta < 1:
        raise ValueError(f"Expected delta={delta} in [1e-9, 1).")
    if not 0 < sampling_rate <= 1:
        raise ValueError(f"Expected sampling_rate={sampling_rate} in (0, 1].")
    if noise_source not in SOURCES:
        raise ValueError(f"Expected noise_source={noise_source!r} to be one of {SOURCES}.")
    positive = {"clip_norm": clip_norm, **others}
    if noise_multiplier is not None:
        positive["noise_multiplier"] = noise_multiplier
    for name, value in positive.items():
        if not 0 < value < math.inf:
            raise ValueError(f"Expected {name}={value} > 0 and finite.")
