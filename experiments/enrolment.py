"""Both halves of the secure sum for one training of a benchmark, and its transcript on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from experiments.settings import Settings
from fl.arrays import Arrays
from fl.contracts import Algorithm, BrandSum, NodeId, SecureSum
from fl.errors import InputError
from fl.privacy.plain import PlainSum


def enrolled(
    how: Settings,
    brands: Iterable[NodeId],
    algorithms: Mapping[str, Algorithm],
    first: Arrays,
    transcript: Path | None = None,
) -> tuple[SecureSum, Mapping[NodeId, BrandSum]]:
    """The coordinator's half and each brand's, for a training that starts at state ``first``.

    A "federation" of one brand (the arms ``alone`` and ``pooled``) has nobody to hide from.

    Args:
        transcript: the file for the rounds' lines, if the secure sum leaves any; it is replaced.

    Raises:
        InputError: the secure sum cannot work with so many brands.
    """
    names = list(brands)
    if len(names) == 1:
        return PlainSum().enrol(names, algorithms=algorithms, plan=how.plan, first=first)
    try:
        return how.summing.enrol(
            names, algorithms=algorithms, plan=how.plan, first=first, record=_recorder(transcript)
        )
    except ValueError as error:
        remedy = "change secure_sum.*, or set secure_sum=plain"
        raise InputError("secure_sum", str(error).rstrip("."), remedy) from error


def _recorder(path: Path | None) -> Callable[[str], None]:
    if path is None:
        return lambda line: None
    path.unlink(missing_ok=True)

    def record(line: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    return record
