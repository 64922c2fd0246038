"""Metrics of rankings, as means over rows of what the preference task says of each of them.

``told`` is ``[b, 7 + 10]``: 1, log loss, hit, gain, the last two among 99 sampled items, size of
the catalogue, the ten items recommended (see ``fl/tasks/preference.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fl.report.binary import NAN

_HIT, GAIN, _HIT_SAMPLED, _GAIN_SAMPLED, _SIZE = 2, 3, 4, 5, 6


def _mean_of(column: int) -> Callable[[Any, Any], float]:
    def metric(truth: Any, told: Any) -> float:
        return float(np.mean(told[:, column])) if len(told) else NAN

    return metric


hr_at_10, ndcg_at_10 = _mean_of(_HIT), _mean_of(GAIN)
hr_at_10_of_100, ndcg_at_10_of_100 = _mean_of(_HIT_SAMPLED), _mean_of(_GAIN_SAMPLED)


def coverage(truth: Any, told: Any) -> float:
    """Share of the catalogue that is recommended to anybody, in (0, 1]. NaN without rows.

    >>> coverage(None, np.array([[1, 0, 0, 0, 0, 0, 20, *range(1, 11)]]))
    0.5
    """
    if not len(told):
        return NAN
    return len(np.unique(told[:, _SIZE + 1 :])) / float(told[0, _SIZE])
