"""Who is handed to which team: the best scores first, as many as each team can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.data.columns import texts
from fl.errors import InputError


@dataclass(frozen=True, slots=True)
class Team:
    """``[[teams]]`` of the mapping file.

    Attributes:
        name: of the team.
        capacity: customers it can take, >= 0.
        where: a feature -> the values (as text) of the customers it takes; empty takes all.
    """

    name: str
    capacity: int
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.capacity < 0:
            raise ValueError(f"Expected capacity={self.capacity} >= 0 for team {self.name!r}.")


def parse(text: str) -> Team:
    """A team from a command line.

    >>> parse("calls=200")
    Team(name='calls', capacity=200, where={})

    Raises:
        InputError: not NAME=CAPACITY.
    """
    name, _, capacity = text.rpartition("=")
    if not name or not capacity.isascii() or not capacity.isdigit():
        raise InputError("--team", f"{text!r}", "write NAME=CAPACITY, such as calls=200")
    return Team(name, int(capacity))


def assign(
    priority_b: npt.NDArray[np.float64], rows: pd.DataFrame, teams: Sequence[Team]
) -> npt.NDArray[np.object_]:
    """The team of each customer, None for those that no team has room for, object ``[b]``.

    Customers are taken by descending priority (equal ones in the order of rows); each goes to
    the team with most room left among those that take it, the first named of equal ones.

    >>> who = assign(np.array([0.2, 0.9, 0.5]), pd.DataFrame(index=range(3)), [Team("a", 2)])
    >>> who.tolist()
    [None, 'a', 'a']

    Raises:
        InputError: two teams of one name, or a feature that the rows do not have.
    """
    names = [team.name for team in teams]
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise InputError("mapping, teams", f"two are called {repeated[0]!r}", "rename one")
    takes = np.stack([_takes(team, rows) for team in teams], 1) if teams else None
    given = np.full(len(rows), None, object)
    if takes is None:
        return given
    room = [team.capacity for team in teams]
    for at in np.argsort(-priority_b, kind="stable").tolist():
        if not any(room):
            break
        free = [t for t in range(len(teams)) if room[t] and takes[at, t]]
        if free:
            best = max(free, key=lambda t: room[t])  # the first of equal ones
            room[best] -= 1
            given[at] = names[best]
    return given


def _takes(team: Team, rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    mask = np.ones(len(rows), bool)
    for feature, values in team.where.items():
        if feature not in rows.columns:
            raise InputError(
                f"mapping, team {team.name}",
                f"there is no feature {feature!r}",
                f"use one of {', '.join(map(str, rows.columns))}",
            )
        mask &= texts(rows[feature]).isin(values).to_numpy(bool)
    return mask


def nobody_has(rows: pd.DataFrame, teams: Sequence[Team]) -> list[str]:
    """The values of ``where`` that not one of the rows has, in words: a slip of the pen, or not.

    >>> rows = pd.DataFrame({"region": [1.0, None]})
    >>> nobody_has(rows, [Team("a", 1, {"region": ("1", "n")})])
    ["team a: no customer has region = 'n'"]
    """
    return [
        f"team {team.name}: no customer has {feature} = {value!r}"
        for team in teams
        for feature, values in team.where.items()
        for value in sorted(set(values) - set(texts(rows[feature]).unique()))
    ]
