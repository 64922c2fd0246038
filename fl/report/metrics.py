"""Every metric that a task can be reported by, once, for every arm: offline benchmark metrics.

Offline means that the evaluator holds all test rows of all brands. That is a benchmark's liberty,
not something a federation could do; what a federation may learn about quality is a query.

A metric is a function of what is true of the rows and of what a model says of them; which of them
a task is reported by, and in which order, stands in the task's options (``fl/tasks``).

scipy is imported where it is used: it takes longer to load than most commands take to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from fl.report.binary import NAN as NAN
from fl.report.binary import auc, brier, lift_top_decile, pr_auc
from fl.report.classes import accuracy, calibration_error, log_loss, macro_f1
from fl.report.ranking import auuc_metric, policy_metric, qini_metric
from fl.report.recommending import (
    coverage,
    hr_at_10,
    hr_at_10_of_100,
    ndcg_at_10,
    ndcg_at_10_of_100,
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, which can be called like its function.

    Attributes:
        function: from ``Trained.truth`` and ``Trained.scores`` of some rows to a number.
        label: its name in tables and plots.
        higher_is_better: its direction.
        meaning: one sentence for a reader who does not know it.
    """

    function: Callable[[Any, Any], float]
    label: str
    higher_is_better: bool
    meaning: str

    def __call__(self, y: Any, p: Any) -> float:
        return self.function(y, p)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "auc": Metric(
            auc,
            "AUC",
            True,
            "The chance that a random positive row is ranked above a random negative one; "
            "0.5 is guessing.",
        ),
        "pr_auc": Metric(
            pr_auc,
            "PR AUC",
            True,
            "Average share of true positives among the best-ranked rows; guessing gives the "
            "base rate.",
        ),
        "accuracy": Metric(
            accuracy,
            "Accuracy",
            True,
            "Share of rows predicted right, at a threshold of 0.5 or as the most probable class.",
        ),
        "macro_f1": Metric(
            macro_f1,
            "Macro F1",
            True,
            "Harmonic mean of precision and recall of each class, averaged over the classes: rare "
            "ones count as much as common ones.",
        ),
        "log_loss": Metric(
            log_loss,
            "Log loss",
            False,
            "Average surprise at the true labels, in nats; it punishes confident mistakes.",
        ),
        "brier": Metric(
            brier, "Brier score", False, "Average squared distance of probability and label."
        ),
        "calibration_error": Metric(
            calibration_error,
            "Calibration error",
            False,
            "Average distance between predicted and observed rates over ten groups of equal size.",
        ),
        "lift_top_decile": Metric(
            lift_top_decile,
            "Lift, top decile",
            True,
            "How many times more positives the best-ranked tenth holds than a random tenth.",
        ),
        "ndcg_at_10": Metric(
            ndcg_at_10,
            "NDCG@10",
            True,
            "How high the items wanted next stand among the ten recommended from the whole "
            "catalogue: 1 at the top, less further down, 0 outside.",
        ),
        "hr_at_10": Metric(
            hr_at_10,
            "HR@10",
            True,
            "Share of the items wanted next that are among the ten recommended.",
        ),
        "ndcg_at_10_of_100": Metric(
            ndcg_at_10_of_100,
            "NDCG@10 of 100",
            True,
            "NDCG@10 against 99 items drawn from those the customer does not have, in expectation "
            "over the draw; far easier, and for comparison with the literature only.",
        ),
        "hr_at_10_of_100": Metric(
            hr_at_10_of_100,
            "HR@10 of 100",
            True,
            "HR@10 against 99 drawn items, likewise.",
        ),
        "coverage": Metric(
            coverage, "Coverage", True, "Share of the catalogue that is recommended to anybody."
        ),
        "qini": Metric(
            qini_metric,
            "Qini",
            True,
            "Area between the uplift curve and random targeting, in outcomes per customer, mean "
            "over the campaign's arms; 0 is guessing.",
        ),
        "auuc": Metric(
            auuc_metric,
            "AUUC",
            True,
            "Area below the uplift curve, in outcomes per customer, mean over the campaign's arms; "
            "guessing gives half of the average effect.",
        ),
        "policy_top_30": Metric(
            policy_metric,
            "Value, best 30 %",
            True,
            "What treating only the best-ranked 30 % brings, in outcomes per customer of all; "
            "guessing gives 30 % of the average effect.",
        ),
    }
)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % Student-t interval of a mean over seeds: ``(mean, low, high)``.

    NaNs are dropped. One value has no interval (low = high = NaN); no value has no mean either. The
    interval covers the spread of seeds (splits, initial weights, order of rows), not of data sets.

    >>> [round(v, 4) for v in interval([1.0, 2.0, 3.0])]  # t(0.975, 2) = 4.3027, sd / sqrt(3)
    [2.0, -0.4841, 4.4841]
    """
    kept = [float(value) for value in values if not np.isnan(value)]
    if not kept:
        return NAN, NAN, NAN
    mean = float(np.mean(kept))
    if len(kept) == 1:
        return mean, NAN, NAN
    from scipy.special import stdtrit

    half = float(stdtrit(len(kept) - 1, 0.975) * np.std(kept, ddof=1) / np.sqrt(len(kept)))
    return mean, mean - half, mean + half
