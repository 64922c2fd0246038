"""When a run is started again: after some days, or when enough brands have asked for it.

Asks are files that brands' people have sent (``fl/asking.py``); only those count that an enrolled
brand has signed since the newest run of the experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fl.asking import Ask, load_ask
from fl.errors import InputError
from fl.privacy.secagg.identity import Roster
from server.files import RunFiles
from server.home import Home

_AHEAD = pd.Timedelta(minutes=10)  # a brand's clock may be so far ahead


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to start again; either may be left out.

    Attributes:
        days: since the newest run began; > 0, or None.
        asks: brands that have asked since then; > 0, or None.
    """

    days: float | None = None
    asks: int | None = None

    def __post_init__(self) -> None:
        if self.days is None and self.asks is None:
            raise InputError("schedule", "names no reason to start", "give --every or --when-asked")
        if self.days is not None and not 0 < self.days < float("inf"):
            raise InputError("--every", f"{self.days:g} days are no interval", "use a number > 0")
        if self.asks is not None and self.asks < 1:
            raise InputError("--when-asked", f"{self.asks} brands ask for nothing", "use 1 or more")

    def due(self, newest: pd.Timestamp | None, asking: int, now: pd.Timestamp) -> str:
        """Why a run is to be started now; empty if it is not.

        Args:
            newest: when the experiment's newest run began, naive, in UTC; None before the first.
            asking: brands that ask.
            now: naive, in UTC.

        >>> at = pd.Timestamp("2026-05-01")
        >>> Schedule(7.0, 3).due(at, 2, at + pd.Timedelta(days=6))
        ''
        >>> Schedule(7.0, 3).due(at, 3, at + pd.Timedelta(days=6))
        '3 brands ask for it'
        """
        if self.asks is not None and asking >= self.asks:
            return f"{asking} brands ask for it"
        if self.days is None:
            return ""
        if newest is None:
            return "it never ran"
        return "the interval is over" if now - newest >= pd.Timedelta(days=self.days) else ""


def now() -> pd.Timestamp:
    """This moment, naive, in UTC."""
    return pd.Timestamp.now("UTC").tz_localize(None)


def newest(home: Home, experiment: str) -> tuple[pd.Timestamp | None, str]:
    """When the newest run of an experiment was proposed, naive, in UTC, and its id if it is still
    to begin, because nobody could be reached; None and nothing if there is no run.
    """
    found = [path.parent for path in home.runs.glob(f"{experiment}.*/offer.json")]
    runs = [RunFiles(home, f"{experiment}/{folder.name.rpartition('.')[2]}") for folder in found]
    if not runs:
        return None, ""
    last = max(runs, key=lambda run: run.began)
    at = pd.Timestamp(last.began).tz_localize(None)
    return at, last.run if last.status()["state"] == "new" else ""


def asking(
    home: Home,
    brands: Roster,
    experiment: str,
    since: pd.Timestamp | None,
    now: pd.Timestamp,
) -> tuple[Mapping[str, Ask], Mapping[Path, str]]:
    """The newest valid ask of each brand in ``asks/``, and why other files do not count."""
    found: dict[str, Ask] = {}
    left: dict[Path, str] = {}
    for path in sorted(home.asks.glob("*.json")):
        try:
            ask = load_ask(path)
        except InputError as error:
            left[path] = error.problem
            continue
        if why := _invalid(ask, brands, now):
            left[path] = why
        elif ask.experiment == experiment and (since is None or ask.moment > since):
            kept = found.get(ask.brand)
            found[ask.brand] = ask if kept is None else max(kept, ask, key=lambda a: a.moment)
    return found, left


def _invalid(ask: Ask, brands: Roster, now: pd.Timestamp) -> str:
    if ask.brand not in brands.index:
        return f"{ask.brand!r} is not enrolled"
    if not ask.is_of(brands.keys[ask.brand]):
        return f"{ask.brand} has not signed it"
    return "its date is in the future" if ask.moment > now + _AHEAD else ""
