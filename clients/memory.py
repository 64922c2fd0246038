"""What a brand keeps between messages, as a file only the brand can read.

A node's process may be new for every message, so nothing may live in it: state in, state out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from fl.arrays import Arrays, below, from_bytes, to_bytes, within
from fl.contracts import Memory
from fl.report.files import atomic_write


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """One brand's memory on its own disk, readable by its owner only."""

    path: Path

    def load(self) -> Memory:
        """The last memory, or an empty one before the first message."""
        if not self.path.exists():
            return Memory()
        stored = from_bytes(self.path.read_bytes())
        protocol = {k: a.tobytes() for k, a in below("protocol", stored).items()}
        personal: dict[str, Arrays] = {}
        for path, array in below("personal", stored).items():
            name, _, part = path.partition("/")
            personal[unquote(name)] = {**personal.get(unquote(name), {}), part: array}
        return Memory(below("arrays", stored), personal, protocol)

    def save(self, memory: Memory) -> None:
        """Replace the file in one step; a crash leaves the old one whole.

        Call it before the reply is sent, and after a refusal too: what the secure sum has handed
        out must not be forgotten.
        """
        protocol = {k: np.frombuffer(v, np.uint8) for k, v in memory.protocol.items()}
        parts = within("arrays", memory.arrays) | within("protocol", protocol)
        for name, model in memory.personal.items():
            parts |= within(f"personal/{quote(name, safe='')}", model)
        atomic_write(self.path, to_bytes(parts), private=True)
