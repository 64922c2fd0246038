"""Prepared rows are made once, and anew when anything they are made of changes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fl.data.prepared import FOLDER, kept


def test_rows_are_made_once_until_the_file_or_the_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    source, code = tmp_path / "file.rda", tmp_path / "code.py"
    source.write_text("one")
    code.write_text("pass")
    made: list[int] = []

    def make() -> pd.DataFrame:
        made.append(1)
        return pd.DataFrame({"store": ["a"], "units": [1.5], "cut": [0]})

    first, again = kept(source, code, make), kept(source, code, make)
    pd.testing.assert_frame_equal(first, again)
    assert len(made) == 1
    source.write_text("two")
    kept(source, code, make)
    code.write_text("other")
    kept(source, code, make)
    assert len(made) == 3


def test_a_damaged_or_forbidden_cache_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    source = tmp_path / "file.rda"
    source.write_text("one")
    rows = pd.DataFrame({"units": [1.5]})
    kept(source, source, lambda: rows)
    (stored,) = (tmp_path / "cache").iterdir()
    stored.write_bytes(b"PAR1 not at all")
    pd.testing.assert_frame_equal(kept(source, source, lambda: rows), rows)
    pd.testing.assert_frame_equal(pd.read_parquet(stored), rows)  # and is whole again
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file" / "below"))  # cannot be made
    pd.testing.assert_frame_equal(kept(source, source, lambda: rows), rows)
