"""Reading ``run.json``: any entry may be missing, null, or of another type."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fl.report.metrics import NAN


def brand_sizes(run: Mapping[str, object]) -> dict[str, float]:
    """Customers (or else rows) per brand, where the run says so."""
    brands = mapping(mapping(run.get("data")).get("brands"))
    entries = {brand: mapping(entry) for brand, entry in brands.items()}
    sizes = {b: real(entry.get("customers", entry.get("rows"))) for b, entry in entries.items()}
    return {brand: size for brand, size in sizes.items() if size > 0}


def mapping(value: object) -> Mapping[str, object]:
    """``value`` if it is a mapping, else an empty one: entries of a run may be missing."""
    return {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else {}


def sequence(value: object) -> Sequence[object]:
    """``value`` if it is a list or tuple, else an empty one."""
    return value if isinstance(value, list | tuple) else ()


def real(value: object) -> float:
    """``value`` if it is a finite number, else NaN."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else NAN


def runtime(run: Mapping[str, object]) -> str:
    """Which runtime a run had, and how often it answered which way.

    >>> runtime({"runtime": {"name": "cohort", "answers": {"formula": 90, "one by one": 2}}})
    'cohort: 90 formula, 2 one by one'
    """
    how = mapping(run.get("runtime"))
    answers = [f"{count} {way}" for way, count in mapping(how.get("answers")).items()]
    return ": ".join(part for part in (str(how.get("name") or ""), ", ".join(answers)) if part)
