"""When a node reads its data again, what has changed since the model was made, and what it offers.

State in, state out: ``data/state.json`` holds counts, shares and figures of the last reading that
was noted here and of the one the current model was made on; no row. It never leaves the brand.

An **offer** to take part in a new training is one bit that depends on customers' data, and no
counted door covers it. So a node only notes it for its people; whether it is told to a coordinator,
a person decides, and what is told is the offer alone: no reason, no figure, no date of the data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clients.brand_data import DataFolder, Reading, read
from clients.received import Received
from clients.score import known
from fl.data.drift import Moved, Profile, compare, profile
from fl.data.examples import Made
from fl.data.intake import Asked, sizes
from fl.data.mapping import Refresh
from fl.data.schema import Schema
from fl.errors import InputError
from fl.report.binary import brier, calibration_error
from fl.report.calibration import Curve, fit, spiegelhalter
from fl.report.files import atomic_write

VERSION = 1
Floats = npt.NDArray[np.float64]
_SURE = 3.29  # |Z| that right probabilities exceed once in a thousand times


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a model's probabilities fitted at one reading.

    Attributes:
        model: which one, by its digest.
        curve: from score to probability at this brand, as of then.
        error: expected calibration error, in [0, 1].
        brier: in [0, 1].
        z: Spiegelhalter's; standard normal where probabilities are right.
        rows: labelled ones.
        until: newest day that the labels cover, ISO 8601; empty for finished examples.
    """

    model: str
    curve: Curve
    error: float
    brier: float
    z: float
    rows: int
    until: str = ""


@dataclass(frozen=True, slots=True)
class DataState:
    """What a node knows of the last reading that it noted; previews and scores note nothing.

    Attributes:
        read_at: when, ISO 8601, UTC.
        rows: of each table.
        model: the current one, by its digest; empty before any.
        made_on: how features were spread when that model came; None before any refresh.
        fit: of the current model then; None without a model.
        offer: why the node offers to take part again, in words for its people; empty if not.
        offered_at: since when, ISO 8601; empty if it does not.
    """

    read_at: str
    rows: Mapping[str, int]
    model: str = ""
    made_on: Profile | None = None
    fit: Fit | None = None
    offer: tuple[str, ...] = ()
    offered_at: str = ""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """One refresh.

    Attributes:
        why: the data were read again (``first``, ``age``, ``new rows``, ``asked``).
        reading: the data.
        moved: every feature's change since the model was made, largest first.
        fit: of the current model to what is labelled now; None without a model or labels.
        state: as stored.
    """

    why: str
    reading: Reading
    moved: tuple[Moved, ...]
    fit: Fit | None
    state: DataState


def load_state(folder: DataFolder) -> DataState | None:
    """The stored state; None before the first reading.

    Raises:
        InputError: the file is no state.
    """
    path = folder.file("state.json")
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        stored = values.get("made_on")
        fitted = values.get("fit")
        return DataState(
            str(values["read_at"]),
            {str(name): int(n) for name, n in values["rows"].items()},
            str(values["model"]),
            None if stored is None else Profile.read(stored),
            None if fitted is None else _fit(fitted),
            tuple(map(str, values["offer"])),
            str(values["offered_at"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "data state", "cannot be read", "move data/state.json away; the next reading makes one"
        ) from error


def save_state(folder: DataFolder, state: DataState) -> None:
    """Replace the stored state in one step."""
    values = asdict(state) | {"version": VERSION}
    if state.made_on is not None:
        values["made_on"] = state.made_on.plain()
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    atomic_write(folder.file("state.json"), text.encode(), private=True)


def due(state: DataState | None, rules: Refresh, rows: Mapping[str, int], now: pd.Timestamp) -> str:
    """Why data should be read again now, or an empty text.

    Args:
        state: of the last reading.
        rules: ``[refresh]`` of the mapping.
        rows: of each table now, see ``intake.sizes``.
        now: naive, in UTC.
    """
    if state is None or state.made_on is None:
        return "first"
    hours = (now - pd.Timestamp(state.read_at)).total_seconds() / 3600
    if not 0 <= hours <= rules.after_hours:  # a clock that was set back is no reason to wait
        return "age"
    more = sum(max(0, n - state.rows.get(name, 0)) for name, n in rows.items())
    return "new rows" if more >= rules.new_rows else ""


def refresh(
    folder: DataFolder,
    schema: Schema,
    received: Received | None,
    now: pd.Timestamp,
    *,
    asked: bool = False,
    accept_shorter: bool = False,
) -> Refreshed | None:
    """Read again if it is due, compare with what the model was made on, and note an offer.

    A model that was not seen before is taken to be made on the data as they are now.

    Args:
        folder: the node's.
        schema: of the run.
        received: the current model, if any.
        now: naive, in UTC.
        asked: read even if nothing is due.
        accept_shorter: whether tables may be much shorter than last time.

    Returns:
        None where nothing was due.

    Raises:
        InputError: see ``brand_data.read``; the stored state is then as it was.
    """
    site, state = folder.site(), load_state(folder)
    with site.open() as reader:
        counted = sizes(site.mapped, reader)
    why = due(state, site.mapped.refresh, counted, now) or ("asked" if asked else "")
    if not why:
        return None
    before = {} if state is None or accept_shorter else state.rows
    reading = read(folder, Asked(schema), now, before)
    examples = reading.examples()
    if state is None or state.made_on is None or state.model != _digest(received):
        state, moved = _begun(folder, schema, received, reading), list[Moved]()
    else:
        spread = profile(schema, examples.rows, state.made_on)
        moved = compare(state.made_on, spread)
    fitted = _fitted(folder, received, examples, state.fit)
    reasons = (
        *(
            f"{m.feature}: stability index {m.psi:.2f}"
            for m in moved
            if m.psi > max(m.chance, site.mapped.refresh.psi)
        ),
        *_worse(state.fit, fitted, site.mapped.refresh),
    )
    since = (state.offered_at or now.isoformat()) if reasons else ""
    state = replace(
        state, read_at=now.isoformat(), rows=reading.rows(), offer=reasons, offered_at=since
    )
    save_state(folder, state)
    return Refreshed(why, reading, tuple(moved), fitted, state)


def accept_sizes(folder: DataFolder, reading: Reading) -> None:
    """Compare the sizes of later readings with this one's; all else that is known stays."""
    state = load_state(folder) or DataState(reading.at.isoformat(), {})
    save_state(folder, replace(state, rows=reading.rows()))


def model_made(
    folder: DataFolder, schema: Schema, received: Received, reading: Reading
) -> DataState:
    """Note, after a run, that ``received`` was made on ``reading``; later ones are compared to it.

    An offer that was open is answered by this.
    """
    state = _begun(folder, schema, received, reading)
    save_state(folder, state)
    return state


def _begun(
    folder: DataFolder, schema: Schema, received: Received | None, reading: Reading
) -> DataState:
    """What later readings are compared with: this reading, and the model's fit to it."""
    examples = reading.examples()
    return DataState(
        reading.at.isoformat(),
        reading.rows(),
        _digest(received),
        profile(schema, examples.rows),
        _fitted(folder, received, examples, None),
    )


def _digest(received: Received | None) -> str:
    return "" if received is None else received.digest


def _fitted(
    folder: DataFolder, received: Received | None, examples: Made, before: Fit | None
) -> Fit | None:
    """How the model's probabilities fit now, by the curve of ``before`` if it is of this model.

    Now is the time that the labels cover; older outcomes would only hide what has changed.
    """
    if received is None:
        return None
    score_b, y_b, customer_b = known(folder, received, examples, examples.cutoff)
    if not len(y_b):
        return None
    same = before is not None and before.model == received.digest
    curve = before.curve if same and before is not None else fit(score_b, y_b, customer_b)
    p = curve(score_b)
    until = "" if examples.cutoff is None else examples.cutoff.isoformat()
    return Fit(
        received.digest,
        curve,
        calibration_error(y_b, p),
        brier(y_b, p),
        spiegelhalter(p, y_b),
        len(y_b),
        until,
    )


def _worse(before: Fit | None, now: Fit | None, rules: Refresh) -> tuple[str, ...]:
    """Whether probabilities that fitted when the model was made do not fit any more."""
    if before is None or now is None or before.model != now.model:
        return ()
    grown = now.error - before.error
    if grown <= rules.calibration or abs(now.z) <= max(_SURE, abs(before.z)):
        return ()
    return (f"calibration error grew by {grown:.3f} to {now.error:.3f}",)


def _fit(values: Mapping[str, Any]) -> Fit:
    curve = dict(values["curve"])
    losses = tuple((str(name), float(loss)) for name, loss in curve.pop("log_loss"))
    knots, heights = tuple(curve.pop("knots")), tuple(curve.pop("values"))
    made = Curve(knots=knots, values=heights, log_loss=losses, **curve)
    return Fit(**{**values, "curve": made})
