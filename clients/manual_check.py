"""The manual check's sheets on disk.

A sheet lies in ``data/manual/sheet-MARK.csv``; a filled-in one is known by its mark, whatever the
file is called. The last verdict is in ``data/manual/verdict.json`` and holds until the next.
"""

from __future__ import annotations

import json
from pathlib import Path

from clients.data_folder import DataFolder, unquoted, write_csv
from fl.data.consistency import Batch, Limits
from fl.data.manual import Judged, judge, mark, sheet
from fl.data.sources import read
from fl.errors import InputError
from fl.report.files import atomic_write


def draw_sheet(folder: DataFolder, batch: Batch, each: int, seed: int) -> Path:
    """Write a sheet for a person: ``each`` rows of every table at random, and the oddest."""
    made = sheet(batch.tables, each, seed)
    path = folder.file("manual", f"sheet-{mark(made)}.csv")
    write_csv(path, made)
    return path


def take_verdict(folder: DataFolder, filled: Path, limits: Limits) -> Judged:
    """Read a filled-in sheet and keep its verdict.

    Raises:
        InputError: it is no sheet of this node, is not filled in, or too many rows are wrong (that
            verdict is kept too).
    """
    columns = ("check", "table", "why", "row", "cells")
    rows = read(filled, "manual check", text=columns)
    known = {p.stem.removeprefix("sheet-") for p in folder.file("manual", "x").parent.glob("*.csv")}
    found = ""
    if set(columns) <= set(rows.columns):
        rows = rows.assign(**{name: unquoted(rows[name].astype("str")) for name in columns[1:]})
        found = mark(rows)
    judged = judge(rows, found if found in known else "of no sheet that this node has drawn")
    values = {
        "sheet": found,
        "rows": judged.rows,
        "wrong": judged.wrong,
        "upper": judged.upper,
        "odd": judged.odd,
    }
    text = json.dumps(values, indent=1) + "\n"
    atomic_write(folder.file("manual", "verdict.json"), text.encode(), private=True)
    judged.require(limits)
    return judged


def last_verdict(folder: DataFolder) -> Judged | None:
    """The verdict of the last filled-in sheet, if there is one.

    Raises:
        InputError: its file cannot be read.
    """
    path = folder.file("manual", "verdict.json")
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        return Judged(
            int(values["rows"]), int(values["wrong"]), float(values["upper"]), int(values["odd"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "manual check", "verdict.json cannot be read", "hand the filled-in sheet in again"
        ) from error
