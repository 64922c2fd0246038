"""Where rows come from: a CSV file, a Parquet file, or a pandas frame already in memory."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from fl.errors import InputError

_CHUNK = 100_000  # rows that are counted at a time
_SEPARATORS = ",;\t|"
_NOTHING = ("NA", "N/A", "n/a", "<NA>", "NaN", "nan", "NULL", "Null", "null", "None")


def read(
    source: str | Path | pd.DataFrame,
    field: str = "data.path",
    *,
    empty: bool = False,
    text: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a whole table.

    Args:
        source: a frame, or a path ending in ``.csv``, ``.tsv``, ``.txt``, ``.data``, ``.parquet``.
        field: the config field that named it, for messages.
        empty: whether a header without rows is a table.
        text: columns that are read as text, so that ``007`` stays ``007`` in a CSV file, and a long
            number beside an empty cell keeps all its digits in a Parquet file.

    Raises:
        InputError: no such file, another ending, no rows, or no table in it.
    """
    if isinstance(source, pd.DataFrame):
        return source.reset_index(drop=True)
    path = Path(source)
    with _told(path, field):
        table = _parquet(path, text) if _is_parquet(path) else _csv(path, field, text)
    if table.empty and not empty:
        raise InputError(
            field, f"{path.name!r} has no rows", "give a file with data below a header"
        )
    return table


def column_names(path: Path, field: str = "data.path") -> tuple[str, ...]:
    """What the columns of a file are called, in order; of a CSV file two lines are read.

    Raises:
        InputError: as :func:`read`, as far as the header shows it.
    """
    with _told(path, field):
        if _is_parquet(path):
            from pyarrow import parquet

            schema = parquet.read_schema(path)
            return tuple(map(str, schema.empty_table().to_pandas().columns))
        return tuple(_header(path, field)[1])


def row_count(path: Path, field: str = "data.path") -> int:
    """How many rows :func:`read` would give; of a CSV file only one column becomes cells.

    Raises:
        InputError: no such file, another ending, or no table in it.
    """
    with _told(path, field):
        if _is_parquet(path):
            from pyarrow import parquet

            return int(parquet.read_metadata(path).num_rows)
        separator, columns = _header(path, field)
        parts = pd.read_csv(
            path,
            sep=separator,
            encoding="utf-8-sig",
            skipinitialspace=True,
            names=columns,
            header=0,
            usecols=[0],
            dtype=str,
            chunksize=_CHUNK,
        )
        with parts:
            return sum(map(len, parts))


@contextmanager
def _told(path: Path, field: str) -> Iterator[None]:
    """What is wrong with a file, as ``InputError``."""
    if not path.is_file():
        raise InputError(field, f"no file {str(path)!r}", "check the path and its spelling")
    try:
        yield
    except (ValueError, csv.Error, UnicodeDecodeError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            field, f"cannot read {path.name!r} as a table: {first}", "check the file's format"
        ) from error


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _parquet(path: Path, text: Sequence[str]) -> pd.DataFrame:
    """Whole numbers of ``text`` become text before an empty cell would make them floats."""
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(path)
    for i, field in enumerate(table.schema):
        whole = pa.types.is_integer(field.type) or pa.types.is_decimal(field.type)
        if field.name in text and whole:
            table = table.set_column(i, field.name, table[i].cast(pa.string()))
    frame: pd.DataFrame = table.to_pandas()
    return frame


def data_folder() -> Path | None:
    """The folder of filed data sets: ``CROSSBRAND_DATA``, else ``../shared/data`` if it exists."""
    if named := os.environ.get("CROSSBRAND_DATA"):
        return Path(named)
    usual = Path("../shared/data")
    return usual if usual.is_dir() else None


def filed(folder: str, file: str, title: str, publisher: str) -> Path:
    """Where a filed data set lies on this machine.

    Args:
        folder, file: its place below the folder of data sets.
        title, publisher: what it is and who offers it, for the message where it is missing.

    Raises:
        InputError: there is no folder of data sets, or the file is not in it.
    """
    root = data_folder()
    path = None if root is None else root / folder / file
    if path is None or not path.is_file():
        raise InputError(
            "data.name",
            f"the data set {title!r} ({publisher}) is not on this machine"
            + ("" if root is None else f": no {folder}/{file} in {str(root)!r}"),
            f"get it from its publisher, {publisher}, put it at FOLDER/{folder}/{file} and set "
            "CROSSBRAND_DATA=FOLDER; or choose data=panel, which needs no file",
        )
    return path


def _header(path: Path, field: str) -> tuple[str, list[str]]:
    """The separator of a CSV file, and the names of its columns without spaces around them."""
    if path.suffix.lower() not in (".csv", ".tsv", ".txt", ".data"):
        raise InputError(
            field, f"{path.name!r} is neither CSV nor Parquet", "convert it to .csv or .parquet"
        )
    with path.open(encoding="utf-8-sig", newline="") as file:
        separator = max(_SEPARATORS, key=file.readline().count)
        file.seek(0)
        cells = csv.reader(file, delimiter=separator, skipinitialspace=True)
        lines = (line for line in cells if line)
        heads, first = [name.strip() for name in next(lines, [])], next(lines, [])
    names = [name or f"Unnamed: {i}" for i, name in enumerate(heads)]
    if repeated := [name for name in names if names.count(name) > 1]:  # pandas would rename one
        raise InputError(field, f"two columns are called {repeated[0]!r}", "rename one")
    if len(first) > len(names):  # pandas would shift the names by one column
        raise InputError(
            field,
            f"the rows of {path.name!r} have more cells than its header",
            "name every column, or remove the separators at the ends of rows",
        )
    return separator, names


def _csv(path: Path, field: str, text: Sequence[str]) -> pd.DataFrame:
    separator, names = _header(path, field)
    rows = pd.read_csv(
        path,
        sep=separator,
        encoding="utf-8-sig",
        skipinitialspace=True,
        low_memory=False,
        names=names,
        header=0,
        dtype=dict.fromkeys((name for name in names if name in text), str),
        keep_default_na=False,  # NA may be a region, Null a family's name
        na_values=[""],
    )
    return rows.assign(**{n: _numbers(rows[n]) for n in names if n not in text})


def _numbers(cells: pd.Series) -> pd.Series:
    """A column of numbers where some cells say NA, null, ... (R and SQL write so) is numbers."""
    if cells.dtype.kind in "biufc":
        return cells
    words = cells.isin(_NOTHING)
    if not words.any():
        return cells
    numbers = pd.to_numeric(cells.mask(words), errors="coerce")
    return cells if (numbers.isna() & cells.notna() & ~words).any() else numbers
