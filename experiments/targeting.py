"""How well the arms of a comparison say whom to treat, measured over customers: for ``run.json``.

Where seeds are folds (``preparation.folds``), every customer is scored by models that never saw
it, so one *pass* of folds measures on all customers, which narrows intervals over customers as much
as the test rows of one seed allow. Folds are divisions at random, and so passes differ: the figure
is the mean over passes, and its interval takes in both chance in the customers (influence
functions, see ``fl/report/ranking.py``) and the spread of passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.arms import ALL, arm_keys
from experiments.promises import composed
from experiments.settings import Settings, epsilon_of
from experiments.summary import Pieces, scored_rows
from fl.contracts import Floats
from fl.data.campaign import Campaign, stated
from fl.data.schema import Schema
from fl.report.ranking import Estimate, Ranked, above_random, auuc, policy_value, qini, ranked

SHARES = tuple(step / 20 for step in range(21))  # of customers treated, where curves are taken
TOP = 0.3
ANY = "any of them"


def targeting(how: Settings, schema: Schema, pieces: Pieces) -> dict[str, Any]:
    """Entry ``uplift``: for each arm of the comparison, each arm of the campaign and any of them,
    Qini, AUUC and what the best 30 % bring beyond as many at random, with 95 % intervals; and the
    policy's curve ``[share, value, low, high, excess, low, high]``.

    Customers count once in a pass. Without folds there is one pass, the first seed's test rows:
    other seeds divide the same customers again and are no further customers. ``epsilon`` is that of
    one training, ``epsilon_of_all`` that of the ``trainings`` in which one customer may be.
    """
    campaign, found = stated(schema.campaign), []
    for key, (arm, variant) in arm_keys(how).items():
        trainings, whole = (composed(how, pieces, key) if variant else None) or (None, None)
        for name, by_pass in _ranked(how, campaign, pieces, key).items():
            found.append(
                {
                    "arm": arm,
                    "privacy": variant.label if variant else "none",
                    "plan": variant.plan.name if variant else "none",
                    "epsilon": epsilon_of(variant.plan) if variant else None,
                    "trainings": trainings,
                    "epsilon_of_all": whole,
                    "algorithm": (variant or how.variants[0]).algorithm.name,
                    "campaign": name,
                    "customers": len(by_pass[0].psi),
                    "qini": _told(by_pass, qini),
                    "auuc": _told(by_pass, auuc),
                    "top": _told(by_pass, lambda by: above_random(by, TOP)),
                    "curve": [_at(by_pass, share) for share in SHARES],
                }
            )
    return {"uplift": {"learner": getattr(how.options, "learner", ""), "passes": len(passes(how)),
                       "folds": how.preparation.folds, "arms": found}}  # fmt: skip


def passes(how: Settings) -> list[tuple[int, ...]]:
    """The seeds that test every customer once, for each division that has all of its folds."""
    folds = how.preparation.folds
    divisions: dict[int, set[int]] = {}
    for seed in how.seeds if folds else ():
        divisions.setdefault(seed // folds, set()).add(seed)
    whole = [tuple(sorted(seeds)) for seeds in divisions.values() if len(seeds) == folds]
    return whole or [how.seeds[:1]]


def _ranked(how: Settings, campaign: Campaign, pieces: Pieces, key: str) -> dict[str, list[Ranked]]:
    """By arm of the campaign, the customers of each pass; arms without customers are left out."""
    found: dict[str, list[Ranked]] = {}
    for seeds in passes(how):
        parts = [s for seed in seeds if (s := scored_rows(pieces[seed], key, ALL)) is not None]
        if len(parts) < len(seeds):
            return {}
        truth, scores = (np.concatenate(x) for x in zip(*parts, strict=True))
        for name, by in _campaigns(campaign, truth, scores):
            found.setdefault(name, []).append(by)
    return {name: by for name, by in found.items() if len(by) == len(passes(how))}


def _campaigns(campaign: Campaign, truth: Floats, scores: Floats) -> list[tuple[str, Ranked]]:
    """Each arm against control by its own score; all arms as one by the mean of their scores.

    A customer who gets one of the arms at random, as the design's shares say, gains the mean of
    their effects in these shares.
    """
    arm, y = truth[:, 0], truth[:, 1]
    shares = np.asarray(campaign.shares[1:])
    asked = [(name, (arm == 0) | (arm == code), scores[:, code - 1])
             for code, name in enumerate(campaign.arms, 1)]  # fmt: skip
    if len(campaign.arms) > 1:
        asked.append((ANY, np.ones(len(arm), bool), scores @ (shares / shares.sum())))
    ranks = [(name, ranked((arm[who] > 0) * 1.0, y[who], s[who])) for name, who, s in asked]
    return [(name, by) for name, by in ranks if by is not None]


def _told(by_pass: Sequence[Ranked], measure: Callable[[Ranked], Estimate]) -> list[float]:
    """Mean over passes, and the interval of customers and passes together."""
    each = [measure(by) for by in by_pass]
    values = np.array([e.value for e in each])
    between = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
    within = float(np.mean([e.error**2 for e in each]))
    whole = Estimate(float(values.mean()), float(np.sqrt(within + between)))
    return [whole.value, whole.low, whole.high]


def _at(by_pass: Sequence[Ranked], share: float) -> list[float]:
    return [share, *_told(by_pass, lambda by: policy_value(by, share)),
            *_told(by_pass, lambda by: above_random(by, share))]  # fmt: skip
