"""Filed data sets in tests: there, or the test is skipped and says why."""

from __future__ import annotations

import pytest

from fl.data.catalog import DATASETS
from fl.data.dataset import DataSet
from fl.errors import InputError


def load(name: str, **options: object) -> DataSet:
    """A filed data set; where it is not on this machine, the test is skipped and says so."""
    try:
        return DATASETS[name](**options).load()  # type: ignore[arg-type]
    except InputError as error:
        if "is not on this machine" not in error.problem:
            raise
        pytest.skip(f"needs {name}: {error}")
