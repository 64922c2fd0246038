"""Commands run in this process; what they change of it is put back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fl.data.sources import data_folder


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, so that a test can see what is left in it; filed data stay found."""
    if (filed := data_folder()) is not None:
        monkeypatch.setenv("CROSSBRAND_DATA", str(filed.resolve()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
