"""How far the ledgers of brands have come, as whoever saw it remembers it from run to run.

A node keeps such a file of its partners' ledgers and its own; a coordinator of all brands'. Marks
are by the brands' identity keys. They only grow: the file is worth what it remembers.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fl.contracts import NO_LEDGER, Mark
from fl.errors import InputError
from fl.privacy.secagg.peers import Marks
from fl.report.files import atomic_write

VERSION = 1


def to_json(marks: Marks) -> dict[str, list[object]]:
    """As JSON values.

    >>> to_json({b"k": Mark(2, b"h")})
    {'6b': [2, '68']}
    """
    return {key.hex(): [mark.entries, mark.head.hex()] for key, mark in sorted(marks.items())}


def from_json(values: Mapping[str, object]) -> dict[bytes, Mark]:
    """The inverse of :func:`to_json`.

    Raises:
        ValueError: something else.
    """
    found: dict[bytes, Mark] = {}
    for key, value in values.items():
        match value:
            case [int(entries), str(head)] if entries >= 0:
                found[bytes.fromhex(key)] = Mark(entries, bytes.fromhex(head))
            case _:
                raise ValueError("Expected a number of entries and a head.")
    return found


@dataclass(frozen=True, slots=True)
class MarksFile:
    """Marks on the disk of one node or one coordinator, readable by its owner only."""

    path: Path

    def load(self) -> dict[bytes, Mark]:
        """All marks; none before the first.

        Raises:
            InputError: it is damaged, or of another version.
        """
        if not self.path.exists():
            return {}
        try:
            match json.loads(self.path.read_bytes()):
                case {"version": 1, "marks": dict(marks)}:
                    return from_json(marks)
        except (OSError, ValueError) as error:
            raise self._unusable() from error
        raise self._unusable()

    def merge(self, marks: Marks) -> dict[bytes, Mark]:
        """Take up what is further than it was; on disk before this returns.

        Returns:
            All marks, the furthest of each.

        Raises:
            InputError: the file is damaged.
            OSError: it cannot be written; it stays as it was.
        """
        with self.path.with_suffix(".lock").open("ab") as lock:  # runs of one coordinator
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = self.load()
            more = {k: m for k, m in marks.items() if m.entries > kept.get(k, NO_LEDGER).entries}
            if more:
                kept |= more
                raw = json.dumps({"version": VERSION, "marks": to_json(kept)}).encode()
                atomic_write(self.path, raw, private=True)
        return kept

    def _unusable(self) -> InputError:
        return InputError(
            f"marks {self.path}",
            "is damaged, or of another version",
            "restore it; without it, a ledger that was set back is not noticed here",
        )
