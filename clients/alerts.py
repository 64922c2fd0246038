"""The messages a brand should answer first: a list that is written at the brand and never leaves.

It holds customers' own words, so it is readable by the brand's user alone, and nothing of it goes
into a report. The model is the federated one; reading a brand's own messages with it costs nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from clients.data_folder import write_csv
from fl.contracts import Floats


def alert_list(messages: pd.Series, scores_bc: Floats, alert: int, most: int) -> pd.DataFrame:
    """Messages whose most probable class is ``alert``, the surest first: row, probability, message.

    Args:
        messages: ``[b]``; their index plus one is the row of the file that they came from.
        scores_bc: probability of each class.
        alert: the class.
        most: how many are listed, >= 1.
    """
    chosen = np.flatnonzero(scores_bc.argmax(1) == alert)
    order = chosen[np.argsort(-scores_bc[chosen, alert], kind="stable")][:most]
    return pd.DataFrame(
        {
            "row": [int(i) + 1 for i in messages.index[order]],
            "probability": scores_bc[order, alert].round(4),
            "message": [str(text) for text in messages.iloc[order]],
        }
    )


def write_alerts(path: Path, alerts: pd.DataFrame) -> None:
    """Write a list in one step, as CSV that spreadsheets read as UTF-8, for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, alerts)
