"""What a question's run may do beside counting: comparisons of their own, shown in its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fl.report.answers import Block
from fl.report.rows import Row


@dataclass(frozen=True, slots=True)
class Extra:
    """What comparisons add to a question's results and report."""

    rows: Sequence[Row] = ()
    blocks: Sequence[Block] = ()


class Beside(Protocol):
    """Comparisons that belong to a question."""

    def carry_out(self, out: Path) -> None:
        """Run them below ``out``, or take them up; raises ``InputError``."""

    def found(self, out: Path) -> Extra:
        """What they found, when all are done."""
