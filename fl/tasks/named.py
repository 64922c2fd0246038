"""Named groups of customers: conditions on columns that a marketer can read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fl.contracts import Floats

_CONDITION = re.compile(r"(change )?(\w+) (<=|>=|<|>) (-?\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Rule:
    """A named group of customers: all conditions hold, each ``COLUMN OP NUMBER``.

    ``change COLUMN`` is the column less its value at the earlier date; a customer that was not
    there then does not meet it.
    """

    name: str
    conditions: tuple[str, ...]

    def __post_init__(self) -> None:
        for condition in self.conditions:
            if not _CONDITION.fullmatch(condition):
                raise ValueError(
                    f"Expected {condition!r} of rule {self.name!r} to read COLUMN OP NUMBER, such "
                    "as 'baskets >= 3' or 'change spend < -10'."
                )
        if not self.conditions:
            raise ValueError(f"Expected rule {self.name!r} to have a condition.")

    @property
    def columns(self) -> tuple[tuple[str, bool], ...]:
        """Each condition's column, and whether its change is meant."""
        return tuple((m[2], bool(m[1])) for m in map(_CONDITION.fullmatch, self.conditions) if m)

    def holds(self, now: Mapping[str, Floats], before: Mapping[str, Floats]) -> Floats:
        """1 where all conditions hold, else 0; float64 ``[b]``."""
        met = np.ones(len(next(iter(now.values()))), np.bool_)
        for condition in self.conditions:
            found = _CONDITION.fullmatch(condition)
            if found is None:
                raise ValueError(f"Expected {condition!r} to be a condition.")
            change, name, sign, number = found.groups()
            value = now[name] - before[name] if change else now[name]
            edge = float(number)
            compared = {
                "<=": value <= edge,
                ">=": value >= edge,
                "<": value < edge,
                ">": value > edge,
            }
            met &= compared[sign]
        return met.astype(np.float64)
