"""What must outlive the message: kept in one place, for brands that no process belongs to.

Ray's actors take any brand's message. So an actor asks here for the brand and its memory, and hands
the memory back before it replies; ledgers are written here, on the disk of whoever runs the
experiment. In a deployment all this is in the brand's own folder (``clients/service.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.at_rest import AtRest
from fl.contracts import Mark, Memory
from fl.errors import Code, Refused
from fl.events import PrivacyEvent

Place = int  # Flower's id of a node


@dataclass(slots=True)
class Desk:
    """The brands of the trainings that are going on, by training and place."""

    nodes: dict[str, Mapping[Place, Any]] = field(default_factory=dict)
    memories: dict[str, dict[Place, Memory]] = field(default_factory=dict)

    def open(self, run: str, nodes: Mapping[Place, Any], memories: Mapping[Place, Memory]) -> None:
        """Begin a training.

        Args:
            nodes: stand for the brands' nodes; they are handed out as they are.
        """
        self.nodes[run], self.memories[run] = nodes, dict(memories)

    def close(self, run: str) -> None:
        """A training is over."""
        self.nodes.pop(run, None)
        self.memories.pop(run, None)

    def take(self, run: str, place: Place) -> tuple[Any, Memory]:
        """A brand, and its memory as last kept.

        Raises:
            KeyError: no such training, or nobody at that place.
        """
        return self.nodes[run][place], self.memories[run][place]

    def keep(self, run: str, place: Place, memory: Memory) -> None:
        """A brand's memory after a message."""
        self.memories[run][place] = memory

    def left(self, run: str, places: Sequence[Place]) -> dict[Place, Memory]:
        """The memories as last kept."""
        return {place: self.memories[run][place] for place in places}

    def mark(self, ledger: AtRest) -> Mark:
        """How far a ledger has come."""
        return ledger.mark

    def commit(self, ledger: AtRest, run: str, occasion: str, event: PrivacyEvent) -> Code | None:
        """Book one round; the code if that was refused."""
        try:
            ledger.commit(run, occasion, event)
        except Refused as refusal:
            return refusal.code
        return None

    def refuse(self, ledger: AtRest, code: Code, evidence: str, run: str) -> None:
        """Record that a request was turned down."""
        ledger.refuse(code, evidence, run)
