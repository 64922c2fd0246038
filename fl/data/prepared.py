"""Rows that take long to read are kept, prepared, for the next time.

Below ``CROSSBRAND_CACHE`` (``~/.cache/crossbrand-fl`` without it), as Parquet, under a name made of
the publisher's file and of the code that prepares it: if either changes, the rows are made anew.
Only for public data sets; what a brand's own tables hold is never kept.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

FOLDER = "CROSSBRAND_CACHE"


def kept(source: Path, code: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The rows that ``make`` prepares from ``source``; from the cache if they are there, whole.

    A cache that cannot be read or written costs time only.

    Args:
        source: the publisher's file.
        code: the module that prepares its rows.
        make: prepares them.
    """
    digest = hashlib.sha256(source.read_bytes() + code.read_bytes()).hexdigest()
    path = _folder() / f"{source.stem}-{digest[:32]}.parquet"
    if path.is_file():
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError):  # damaged: made anew below
            path.unlink(missing_ok=True)
    rows = make()
    try:
        _write(path, rows)
    except OSError:  # no room, or no right to write: the next run prepares them again
        return rows
    return rows


def _folder() -> Path:
    named = os.environ.get(FOLDER)
    return Path(named) if named else Path("~/.cache/crossbrand-fl").expanduser()


def _write(path: Path, rows: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        rows.to_parquet(name)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
