"""How numeric features are scaled: by the schema's public bounds, or by a brand's own rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from fl.contracts import Examples, concatenate

SCALINGS = ("bounds", "own")


def by_own_rows(splits: Mapping[str, Examples]) -> dict[str, Examples]:
    """Standardise numeric features by the mean and deviation of one brand's own known rows.

    Known are train and validation rows. The result depends on the brand's rows, so a plan with a
    guarantee refuses it; it serves recipes that were published with it. A feature that is constant
    among the known rows is only centred.

    Args:
        splits: encoded rows of one brand, by split.
    """
    x_bf = concatenate([splits[s] for s in splits if s != "test"]).x_bf.double()
    mean_f = x_bf.mean(0)
    deviation_f = torch.sqrt(((x_bf - mean_f) ** 2).sum(0) / max(1, len(x_bf) - 1))
    deviation_f = torch.where(deviation_f > 1e-9, deviation_f, 1.0)
    return {
        split: replace(rows, x_bf=((rows.x_bf.double() - mean_f) / deviation_f).float())
        for split, rows in splits.items()
    }
