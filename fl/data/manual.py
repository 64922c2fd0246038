"""Level 3 of three: a person looks at a sample, and what is found wrong decides.

A sheet holds rows drawn at random, whose share of wrong rows says something about all rows, and
rows drawn because they look odd, which say where to look. Only the random ones count for the limit.
The sheet's own hash is in its name, so that a sheet that was filled in is the one that was drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from fl.data.consistency import Limits
from fl.data.contract import Checked
from fl.errors import InputError
from fl.seeds import numpy_generator

COLUMNS = ("check", "table", "why", "row", "verdict", "note")
VERDICTS = ("ok", "wrong")
RANDOM = "drawn at random"


@dataclass(frozen=True, slots=True)
class Judged:
    """What a filled-in sheet says.

    Attributes:
        rows: of the sheet that count: those drawn at random.
        wrong: of them.
        upper: end of the exact one-sided 97.5 % interval (Clopper & Pearson, "The Use of Confidence
            or Fiducial Limits", Biometrika 1934) of the share of wrong rows.
        odd: rows drawn because they look odd that are wrong.
    """

    rows: int
    wrong: int
    upper: float
    odd: int

    def require(self, limits: Limits) -> None:
        """Stop where too many rows may be wrong.

        Raises:
            InputError: the interval goes beyond ``limits.wrong_share``.
        """
        if self.upper > limits.wrong_share:
            raise InputError(
                "manual check",
                f"{self.wrong} of {self.rows} rows are wrong, so up to {self.upper:.1%} of all may "
                f"be; limits.wrong_share = {limits.wrong_share:g}",
                "mend the data, or look at more rows (fl-node check --sample N)",
            )


def sheet(tables: tuple[Checked, ...], each: int, seed: int) -> pd.DataFrame:
    """The rows to look at: of every table ``each`` at random, and the oddest.

    Odd are the extremes of every number and the newest and oldest times. Cells are text.
    """
    parts = []
    for table in tables:
        rng = numpy_generator(seed, "manual check", table.name)
        count = min(each, len(table.rows))
        drawn = rng.choice(max(1, len(table.rows)), count, replace=False)
        parts += [_entry(table, at, RANDOM) for at in sorted(drawn.tolist())]
        parts += [_entry(table, at, why) for why, at in _odd(table.rows).items()]
    made = pd.DataFrame(parts, columns=[*COLUMNS[1:4], "cells"])
    made.insert(0, "check", range(1, len(made) + 1))
    return made.assign(verdict="", note="")


def mark(made: pd.DataFrame) -> str:
    """What tells one sheet from another: 16 hex digits over all that a person must not change."""
    fixed = made[["check", "table", "why", "row", "cells"]].astype(str)
    text = "\n".join("\t".join(line) for line in fixed.itertuples(index=False))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def judge(filled: pd.DataFrame, expected: str) -> Judged:
    """Read a filled-in sheet.

    Args:
        filled: as it came back.
        expected: :func:`mark` of the sheet that was drawn.

    Raises:
        InputError: another sheet, changed cells, or a verdict that is missing or unknown.
    """
    where = "manual check"
    for column in ("check", "table", "why", "row", "cells", "verdict"):
        if column not in filled.columns:
            raise InputError(where, f"has no column {column!r}", "fill in the sheet as it was made")
    verdict = filled["verdict"].fillna("").astype(str).str.strip().str.lower()
    unknown = ~verdict.isin(VERDICTS)
    if unknown.any():
        at = int(filled["check"][unknown].iloc[0])
        raise InputError(
            f"{where}, check {at}",
            f"the verdict is neither ok nor wrong ({int(unknown.sum())} such rows)",
            "write ok or wrong beside every row",
        )
    if mark(filled) != expected:
        raise InputError(
            where, "is not the sheet that was drawn", "change only the columns verdict and note"
        )
    drawn, wrong = filled["why"] == RANDOM, verdict == "wrong"
    rows, bad = int(drawn.sum()), int((drawn & wrong).sum())
    return Judged(rows, bad, _upper(bad, rows), int((~drawn & wrong).sum()))


def _upper(wrong: int, rows: int) -> float:
    from scipy.stats import beta

    return 1.0 if wrong >= rows else float(beta.ppf(0.975, wrong + 1, rows - wrong))


def _entry(table: Checked, at: int, why: str) -> Mapping[str, object]:
    row = table.rows.iloc[at]
    cells = " | ".join(f"{name}={value}" for name, value in row.items() if pd.notna(value))
    return {
        "table": table.name,
        "why": why,
        "row": int(table.rows.index[at]) + 1,
        "cells": " ".join(cells.split()),
    }


def _odd(rows: pd.DataFrame) -> dict[str, int]:
    """Reason -> position of the row."""
    odd: dict[str, int] = {}
    for name in rows.columns:
        column = rows[name]
        if column.dtype.kind not in "fiumM" or column.notna().sum() < 2:
            continue
        filled = column.reset_index(drop=True).dropna()
        odd[f"largest {name}"] = int(filled.index[int(filled.to_numpy().argmax())])
        odd[f"smallest {name}"] = int(filled.index[int(filled.to_numpy().argmin())])
    return odd
