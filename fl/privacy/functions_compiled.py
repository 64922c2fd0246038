"""Sigmoid and tanh in float32 as polynomials, compiled into the loops that call them.

Importing this needs numba. The exponential is Cephes' ``expf`` (Moshier, "Methods and Programs for
Mathematical Functions", 1989), tanh the quotient of polynomials of degrees 13 and 6 that Eigen uses
too; both without branches, so the processor takes eight or sixteen values at once. What is not a
number stays so: no optimisation here assumes otherwise. numba keeps what it compiled until the file
of the *calling* loop changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

_MATH = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, not ninf

F = TypeVar("F", bound=Callable[..., Any])


def compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    """The loop for this processor; compiled at its first call, and kept on disk."""
    made: Callable[..., Any] = njit(fastmath=_MATH, cache=True, nogil=True)(loop)
    return made


def _inside(function: F) -> F:
    """The function as a part of each loop that calls it."""
    made: Any = njit(fastmath=_MATH, inline="always")(function)
    return cast(F, made)


def _sigmoid(z: np.float32) -> np.float32:
    """``1 / (1 + exp(-z))`` within 2e-7; exactly 1 far right, below 1e-37 far left."""
    one, most = np.float32(1), np.float32(87)
    u = -z
    u = most if u > most else u
    u = -most if u < -most else u
    n = np.rint(u * np.float32(1.44269504088896341))  # exp(u) = 2^n exp(t)
    t = u - n * np.float32(0.693359375) - n * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * t + np.float32(1.3981999507e-3)
    p = p * t + np.float32(8.3334519073e-3)
    p = p * t + np.float32(4.1665795894e-2)
    p = p * t + np.float32(1.6666665459e-1)
    p = p * t + np.float32(5.0000001201e-1)
    power = np.int32(np.int32(np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    result: np.float32 = one / (one + (p * (t * t) + t + one) * power)
    return result


def _tanh(x: np.float32) -> np.float32:
    """Within 4e-7; exactly 1 from 9 on, so that a saturated unit has no slope."""
    most, one = np.float32(7.90531110763549805), np.float32(1)
    x, far = most if x > most else x, x
    x = -most if x < -most else x
    s = x * x
    p = np.float32(-2.76076847742355e-16)
    p = p * s + np.float32(2.00018790482477e-13)
    p = p * s + np.float32(-8.60467152213735e-11)
    p = p * s + np.float32(5.12229709037114e-08)
    p = p * s + np.float32(1.48572235717979e-05)
    p = p * s + np.float32(6.37261928875436e-04)
    p = p * s + np.float32(4.89352455891786e-03)
    q = np.float32(1.19825839466702e-06)
    q = q * s + np.float32(1.18534705686654e-04)
    q = q * s + np.float32(2.26843463243900e-03)
    q = q * s + np.float32(4.89352518554385e-03)
    result = x * p / q
    result = one if far > np.float32(9) else result
    return -one if far < np.float32(-9) else result


sigmoid = _inside(_sigmoid)
tanh = _inside(_tanh)
