"""Attacks that once worked, each as the attacker would carry it out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from clients.memory import MemoryFile
from fl.contracts import Memory


def test_no_other_user_can_read_a_memory_at_the_moment_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the masks' keys: a file that is closed to others a moment later was open."""
    seen: list[int] = []
    replace_file = os.replace

    def watched(old: str, new: Path) -> None:
        replace_file(old, new)
        seen.append(stat.S_IMODE(new.stat().st_mode))

    monkeypatch.setattr("fl.report.files.os.replace", watched)
    MemoryFile(tmp_path / "memory").save(Memory(protocol={"key": b"secret"}))
    assert seen == [0o600]
