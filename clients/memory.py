"""What a brand keeps between messages, as a file only the brand can read.

A node's process may be new for every message, so nothing may live in it: state in, state out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fl.arrays import from_bytes, to_bytes
from fl.contracts import Memory
from fl.report.files import atomic_write


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """One brand's memory on its own disk, readable by its owner only."""

    path: Path

    def load(self) -> Memory:
        """The last memory, or an empty one before the first message."""
        return Memory(from_bytes(self.path.read_bytes())) if self.path.exists() else Memory()

    def save(self, memory: Memory) -> None:
        """Replace the file in one step; a crash leaves the old one whole."""
        atomic_write(self.path, to_bytes(memory.arrays))
        os.chmod(self.path, 0o600)
