"""Computing a privacy statement again from its own events, for ``fl-audit epsilon``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from fl.privacy.accounting import TOLERANCE, Epsilons
from fl.privacy.statement import Statement, statement

FIGURES = ("customer.", "person.")
MEANING = 1e-4  # attack rates differ by the grid only


def recompute(values: Mapping[str, object]) -> list[str]:
    """What does not agree in a statement of ``run.json``; empty if all is well.

    Every figure is computed again from the events, and the two accountants are held against each
    other. Epsilons may differ by 0.02, the sum of both accountants' own error bounds, or by 0.1 %
    where that is more (grids are wider for large epsilons). Parameters must be equal.

    Guarantee: a stated figure that its own events do not support is named. Whether the events are
    what happened is for ledgers and transcripts to say.

    Raises:
        InputError: not a statement.
    """
    stated = Statement.from_json(values)
    fresh = statement(stated.events, stated.conditions)
    old, new = dict(_leaves(values)), dict(_leaves(fresh.to_json()))
    found = [
        f"{path}: stated {_word(old, path)}, recomputed {_word(new, path)}"
        for path in sorted({*old, *new})
        if not _agree(path, old.get(path, ""), new.get(path, ""))
    ]
    checked = {"customer": stated.customer} | ({} if stated.mixture else {"person": stated.person})
    return found + [
        f"{name}: the accountants disagree, pld {e.pld:.3f} and prv {e.prv:.3f}"
        for name, e in checked.items()
        if not _close(e)
    ]


def _close(e: Epsilons) -> bool:
    """An infinite PRV has run out of grid; its being so is recomputed like any figure."""
    return math.isinf(e.prv) or math.isclose(e.pld, e.prv, rel_tol=1e-3, abs_tol=TOLERANCE)


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every plain value below ``value``, with the road to it."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}.{number}")
    else:
        yield path, value


def _agree(path: str, old: object, new: object) -> bool:
    if isinstance(old, int | float) and isinstance(new, int | float):
        if path.startswith(FIGURES):
            return math.isclose(old, new, rel_tol=1e-3, abs_tol=TOLERANCE)
        if path.startswith("meaning."):
            return math.isclose(old, new, rel_tol=0.01, abs_tol=MEANING)
    return old == new


def _word(values: Mapping[str, object], path: str) -> str:
    value = values.get(path, "nothing")
    if value is None:
        return "no bound"
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"
