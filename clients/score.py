"""Score this brand's own customers with a received model: probability, reasons, hand-over list.

Nothing leaves the brand, so nothing is charged: the model was paid for when it was trained. What is
written names customers, and is for its owner alone.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from clients.brand_data import DataFolder, Reading, write_csv
from clients.outcomes import outcomes, remember
from clients.received import Received
from fl.data.examples import Made
from fl.data.handover import Team, assign
from fl.errors import InputError
from fl.report.calibration import Curve, fit
from fl.report.files import atomic_write
from fl.report.reasons import contributions, largest, log_odds, texts

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of one reading.

    Attributes:
        table: one line per row scored, best first: ``rank``, ``customer``, ``score`` (log odds),
            ``probability``, ``team``, ``reason_1`` ...
        curve: from score to probability, as fitted on this brand's labelled rows.
        labelled: how many of them there were.
    """

    table: pd.DataFrame
    curve: Curve
    labelled: int

    def handed_over(self) -> pd.DataFrame:
        """The lines of those who were given to a team, best first."""
        return self.table[self.table["team"].notna()].reset_index(drop=True)


def score(
    received: Received,
    rows: Made,
    labelled: tuple[Floats, Floats, npt.NDArray[np.int64]],
    teams: Sequence[Team],
    *,
    reasons: int = 3,
) -> Scored:
    """Score ``rows`` and hand the best customers to the teams.

    Args:
        received: the model.
        rows: of this brand; no label is read.
        labelled: log odds, labels and customers to fit probabilities on, see :func:`known`.
        teams: see ``handover.py``; a customer is handed over once, by its best row.
        reasons: of each row, >= 0.

    Raises:
        InputError: a column that the model reads is not there.
    """
    model = received.module()
    x, c = received.schema.features(rows.rows, "data")
    x_bf, c_bg = torch.from_numpy(x), torch.from_numpy(c)
    score_b = log_odds(model, x_bf, c_bg)
    curve = fit(*labelled)
    probability_b = curve(score_b)
    order = np.argsort(-score_b, kind="stable")
    table = pd.DataFrame(
        {
            "rank": np.arange(1, len(order) + 1),
            "customer": rows.name.to_numpy()[order],
            "score": score_b[order],
            "probability": probability_b[order],
        }
    )
    best = ~table["customer"].duplicated().to_numpy()
    team = np.full(len(table), None, object)
    ranked = rows.rows.iloc[order]
    team[best] = assign(-np.flatnonzero(best).astype(float), ranked[best], teams)
    table["team"] = team
    if reasons and len(table):
        each_bk = contributions(received.architecture.name, model, x_bf, c_bg)[order]
        found = texts(received.schema, x_bf[order], c_bg[order], each_bk, largest(each_bk, reasons))
        for number, column in enumerate(zip(*found, strict=True), start=1):
            table[f"reason_{number}"] = list(column)
    return Scored(table, curve, len(labelled[0]))


def known(
    folder: DataFolder,
    received: Received,
    examples: Made | None,
    since: pd.Timestamp | None = None,
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """What is known of the model's scores at this brand: labelled rows, and outcomes.

    Args:
        folder: with the outcomes of customers that were handed over with this model.
        received: the model.
        examples: rows with labels; None where there are none.
        since: outcomes of days before it are left out; None takes all.

    Returns:
        Log odds, labels (0 or 1) and customers, ``[n]`` each; a customer that is in both has one
        number.
    """
    score_b, y_b = np.empty(0), np.empty(0)
    customer_b = np.empty(0, np.int64)
    if examples is not None and len(examples.rows):
        x, c = received.schema.features(examples.rows, "data")
        score_b = log_odds(received.module(), torch.from_numpy(x), torch.from_numpy(c))
        y_b = received.schema.positives(examples.rows, "data").to_numpy(np.float64)
        customer_b = examples.customer
    done = outcomes(folder)
    done = done[done["model"] == received.digest]
    if since is not None:
        done = done[done["date"] >= since]
    if len(done):
        score_b = np.concatenate([score_b, done["score"].to_numpy(np.float64)])
        y_b = np.concatenate([y_b, done["outcome"].to_numpy(np.float64)])
        customer_b = np.concatenate([customer_b, _numbers(done["customer"], examples)])
    return score_b, y_b, customer_b


def _numbers(names: pd.Series, examples: Made | None) -> npt.NDArray[np.int64]:
    """The numbers that customers have in this reading, negative ones where they are not in it."""
    own = -1 - pd.Series(pd.factorize(names)[0], names.index)
    if examples is not None:
        read = pd.Series(examples.customer, examples.name.to_numpy())
        own = names.map(read[~read.index.duplicated()]).fillna(own)
    return own.to_numpy(np.int64)


def to_score(reading: Reading) -> Made:
    """The rows to score: portraits as of the day after the newest event, or the finished rows."""
    made = reading.latest()
    if made.rows.empty:
        raise InputError("data", "there is nobody to score", "see fl-node check")
    return made


def usable(path: Path | None) -> None:
    """Refuse a file that could not be written, before any work is done.

    Raises:
        InputError: another ending than ``.csv`` or ``.parquet``, or no such folder.
    """
    if path is None:
        return
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(
            "out",
            f"cannot write {path.suffix or 'a file without ending'}",
            "name a .csv or .parquet file",
        )
    if not path.absolute().parent.is_dir():
        raise InputError("out", f"no folder {str(path.parent)!r}", "make it first")


def write(path: Path, table: pd.DataFrame) -> None:
    """Write scores to ``path`` (``.csv`` or ``.parquet``), for its owner alone, in one step.

    Raises:
        InputError: another ending.
    """
    usable(path)
    if path.suffix.lower() == ".csv":
        write_csv(path, table)
        return
    out = io.BytesIO()
    table.to_parquet(out, index=False)
    atomic_write(path, out.getvalue(), private=True)


def keep_list(
    folder: DataFolder, received: Received, handed: pd.DataFrame, at: pd.Timestamp
) -> None:
    """Remember who was handed over, with which score, for their outcomes to come."""
    if len(handed):
        remember(folder, handed.assign(model=received.digest, at=at.floor("s").as_unit("s")))
