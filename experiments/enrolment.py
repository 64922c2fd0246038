"""Both halves of the secure sum for one training of a benchmark, and its transcript on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fl.arrays import Arrays, to_bytes
from fl.audit.archive import append_sum, describe, files_beside
from fl.audit.shares import fitted
from fl.contracts import Algorithm, BrandSum, NodeId, SecureSum, Witness
from fl.errors import InputError
from fl.privacy import PlainSum, Plan, Summing
from fl.privacy.secagg.masks import Ring
from fl.report.files import atomic_write


def enrolled(
    summing: Summing,
    brands: Iterable[NodeId],
    algorithms: Mapping[str, Algorithm],
    plan: Plan,
    first: Arrays,
    *,
    witnesses: Mapping[NodeId, Witness] | None = None,
    transcript: Path | None = None,
    rounds: int = 1,
) -> tuple[SecureSum, Mapping[NodeId, BrandSum]]:
    """The coordinator's half and each brand's, for a training that starts at state ``first``.

    A "federation" of one brand (the arms ``alone`` and ``pooled``) has nobody to hide from.

    Args:
        witnesses: the brands' ledgers, where they have one.
        transcript: the file for the rounds' lines, if the secure sum leaves any; it is replaced, as
            are the sums and the first state beside it (``fl/audit/archive.py``).
        rounds: of the course, where what is summed differs from round to round.

    Raises:
        InputError: the secure sum cannot work with so many brands.
    """
    names = list(brands)
    archive = _Archive(transcript, first)
    archive.clear()
    try:
        chosen = PlainSum() if len(names) == 1 else fitted(summing, plan, algorithms, first, rounds)
        return chosen.enrol(
            names,
            algorithms=algorithms,
            plan=plan,
            first=first,
            witnesses=witnesses,
            record=archive.line,
            keep=archive.total,
            course=describe(algorithms, plan),
        )
    except ValueError as error:
        remedy = "change secure_sum.*, or set secure_sum=plain"
        raise InputError("secure_sum", str(error).rstrip("."), remedy) from error


@dataclass(frozen=True, slots=True)
class _Archive:
    """A training's transcript and, beside it, what its models can be recomputed from."""

    path: Path | None
    first: Arrays

    def clear(self) -> None:
        """Take away what an earlier try has left."""
        for path in (self.path, *files_beside(self.path)) if self.path else ():
            path.unlink(missing_ok=True)

    def line(self, line: str) -> None:
        """One more line; with the header, the first state."""
        if self.path is None:
            return
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(files_beside(self.path).first, to_bytes(self.first))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def total(self, total: Ring) -> None:
        """One more sum; it comes before its line, so a crash leaves one too many, never too few."""
        if self.path is not None:
            with files_beside(self.path).sums.open("ab") as file:
                append_sum(file, total)
