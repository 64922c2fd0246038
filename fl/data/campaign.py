"""Who was treated in a campaign, and how that was decided: what an effect can be read from.

A treated group and a control group are comparable only if chance divided customers between them.
Where something else did (observational data), a difference of rates is no effect, and the design
has to say so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.data.columns import text_cells
from fl.errors import InputError

Codes = npt.NDArray[np.int64]

RANDOMISED, OBSERVATIONAL = "randomised", "observational"


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign.

    Attributes:
        treatment: the column that says what each customer got.
        control: its value, as text, for customers who got nothing.
        arms: its values, as text, for what the others got; in the order of reports.
        design: ``randomised`` or ``observational``. There is no default: it must be known.
        shares: probability of control and of each arm, where the design fixed it, adding up to 1;
            empty: equal shares are not assumed, observed ones are used.
        treated_on, outcome_on: columns of dates: when a customer was treated, when the outcome was
            seen. A treatment after the outcome cannot have caused it.
    """

    treatment: str
    control: str
    arms: tuple[str, ...]
    design: str
    shares: tuple[float, ...] = ()
    treated_on: str | None = None
    outcome_on: str | None = None

    def __post_init__(self) -> None:
        if not self.arms or len({self.control, *self.arms}) != len(self.arms) + 1:
            raise ValueError(
                f"Expected arms={list(self.arms)} to be some different values, and control="
                f"{self.control!r} to be none of them."
            )
        if self.design not in (RANDOMISED, OBSERVATIONAL):
            raise ValueError(
                f"Expected design={self.design!r} to be {RANDOMISED!r} or {OBSERVATIONAL!r}."
            )
        if self.shares and (
            len(self.shares) != len(self.arms) + 1
            or min(self.shares) <= 0
            or abs(sum(self.shares) - 1) > 1e-6
        ):
            raise ValueError(
                f"Expected shares={list(self.shares)}: one for control and each arm, all > 0, "
                "adding up to 1."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Control, then the arms; a code is a place here."""
        return (self.control, *self.arms)

    @property
    def columns(self) -> tuple[str, ...]:
        """Its columns: none of them may be a feature."""
        return tuple(c for c in (self.treatment, self.treated_on, self.outcome_on) if c)

    def codes(self, table: pd.DataFrame, where: str = "table") -> Codes:
        """The arm of each row, int64 ``[n]``, 0 for control.

        Raises:
            InputError: a missing column, a value that is no arm, a customer who was treated after
                the outcome.
        """
        for name in self.columns:
            if name not in table.columns:
                raise InputError(
                    f"{where}, column {name}",
                    f"not among the columns {list(map(str, table.columns))}",
                    "add the column, or correct data.campaign",
                )
        values = text_cells(table[self.treatment])
        codes = values.map({name: code for code, name in enumerate(self.names)})
        if (unknown := codes.isna().to_numpy()).any():
            at = int(np.argmax(unknown))
            raise InputError(
                f"{where}, column {self.treatment}, row {_row(values, at)}",
                f"value {values.iloc[at]!r} is neither the control {self.control!r} nor one of the "
                f"arms {list(self.arms)} ({int(unknown.sum())} such rows)",
                "correct the row, leave it out, or name the arm (data.campaign.arms)",
            )
        found: Codes = np.asarray(codes, np.int64)
        self._check_order(table, found, where)
        return found

    def of_customers(self, table: pd.DataFrame, customers: Codes, where: str) -> Codes:
        """As :meth:`codes`, the same for all rows of a customer (int64 ``[n]``, equal for those).

        Raises:
            InputError: see :meth:`codes`; or a customer is in several arms.
        """
        found = self.codes(table, where)
        seen = pd.Series(found).groupby(customers).nunique()
        if len(seen) and int(seen.max()) > 1:
            raise InputError(
                f"{where}, column {self.treatment}",
                f"{int((seen > 1).sum())} customers are in more than one arm",
                "keep the arm that a customer was assigned to first, or leave these customers out",
            )
        return found

    def _check_order(self, table: pd.DataFrame, codes: Codes, where: str) -> None:
        """A customer whose treatment followed the outcome was chosen by it."""
        if self.treated_on is None or self.outcome_on is None:
            return
        treated, seen = (_dates(table[c], c, where) for c in (self.treated_on, self.outcome_on))
        if (undated := ((codes > 0) & treated.isna().to_numpy())).any():
            at = int(np.argmax(undated))
            raise InputError(
                f"{where}, column {self.treated_on}, row {_row(treated, at)}",
                f"a treated customer has no date of treatment ({int(undated.sum())} such rows)",
                "fill in the date, or leave data.campaign.treated_on out",
            )
        late = (codes > 0) & (treated > seen).to_numpy()  # an outcome that never came has no date
        if late.any():
            at = int(np.argmax(late))
            raise InputError(
                f"{where}, column {self.treated_on}, row {_row(treated, at)}",
                f"the treatment came after the outcome ({int(late.sum())} such rows): it cannot "
                "have caused it, and who was treated may depend on it",
                "count outcomes after the treatment only, or leave these customers out",
            )


def stated(campaign: Campaign | None) -> Campaign:
    """The campaign of a data set, for a task that needs one.

    Raises:
        InputError: there is none.
    """
    if campaign is None:
        raise InputError(
            "data.campaign",
            "is not stated: it is not known who was treated",
            "choose data=hillstrom or data=karlan_list, or state it for your own table: "
            "data.campaign='{treatment: COLUMN, control: VALUE, arms: [VALUES], "
            "design: randomised}'",
        )
    return campaign


def _dates(values: pd.Series, column: str, where: str) -> pd.Series:
    try:
        return pd.to_datetime(values, format="ISO8601" if values.dtype == object else None)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{where}, column {column}", "holds cells that are no dates", "write YYYY-MM-DD"
        ) from error


def _row(values: pd.Series, at: int) -> str:
    """The row at position ``at``, as a reader of the file counts: from 1, below the header."""
    label = values.index[at]
    return str(label + 1 if isinstance(label, int | np.integer) else label)
