"""What an epsilon means: how often an attacker finds out whether a customer was in the data.

The attacker sees everything released, knows all other customers, and must tell "in" from "out". The
figures bound every such attacker (the best test of Neyman and Pearson), from the privacy loss
distribution and not from epsilon, which is looser: Kulynych et al., NeurIPS 2024, arXiv 2407.02191,
Algorithm 1, by its authors' library ``riskcal``.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl.events import PrivacyEvent
from fl.privacy.losses import loss_distribution, releases

_DELTA = 1e-5  # only sets the grid


@dataclass(frozen=True, slots=True)
class Meaning:
    """Ceilings for every membership attack, in [0, 1].

    Attributes:
        advantage: true positive rate minus false positive rate, at the attacker's best threshold.
        tpr_at_fpr_0001: customers found, when 0.1 % of the others may be accused wrongly.
        tpr_at_fpr_001: the same at 1 %.
    """

    advantage: float
    tpr_at_fpr_0001: float
    tpr_at_fpr_001: float


def meaning(event: PrivacyEvent) -> Meaning:
    """The ceilings of ``event``.

    Guarantee: upper bounds for add or remove one unit, from a distribution that dominates the
    mechanism. An unbounded event allows 1; nothing released allows guessing only.

    >>> from fl.events import Composed
    >>> meaning(Composed())
    Meaning(advantage=0.0, tpr_at_fpr_0001=0.001, tpr_at_fpr_001=0.01)
    """
    if (found := releases(event)) is None:
        return Meaning(1.0, 1.0, 1.0)
    if not found:
        return Meaning(0.0, 0.001, 0.01)
    import numpy as np
    from riskcal.analysis import get_advantage_from_pld, get_beta_from_pld

    distribution = loss_distribution(found, _DELTA)
    missed = get_beta_from_pld(distribution, alpha=np.array([0.001, 0.01]))
    return Meaning(
        float(get_advantage_from_pld(distribution)), float(1 - missed[0]), float(1 - missed[1])
    )
