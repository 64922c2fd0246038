"""A ledger, checked and recomputed: what each run reserved, committed and cost.

Every epsilon here is computed anew from the recorded events; no epsilon in a file is believed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fl.errors import InputError
from fl.events import Composed, PrivacyEvent
from fl.privacy.bills import Bill, events
from fl.privacy.books import Books
from fl.privacy.reading import Reading, verify

Figures = Mapping[str, float]
Recompute = Callable[[PrivacyEvent, float], Figures]
"""Epsilons of an event at a delta by accountant: ``pld``, ``prv`` and ``rdp``."""

ACCOUNTANTS = ("pld", "prv", "rdp")
DECIDES = "rdp"  # the accountant whose figure a budget is compared with
SLACK = 1e-6  # of a budget; for another version's rounding, nothing else


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run: ``rounds`` it committed, and what its reservation and its commits cost."""

    run: str
    budget: int
    state: str
    rounds: int
    reserved: Figures
    committed: Figures


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One budget: from 1, its epsilon, why it was opened, and what counts against it."""

    number: int
    epsilon: float
    reason: str
    spent: Figures

    @property
    def holds(self) -> bool:
        """Whether what counts is within the budget."""
        return self.spent[DECIDES] <= self.epsilon * (1 + SLACK)


@dataclass(frozen=True, slots=True)
class LedgerAudit:
    """A verified ledger and its recomputed figures.

    Attributes:
        reading: entries and books.
        runs, budgets: one row each, in order.
        lifetime: of the data set, over all budgets.
        refusals: how often each code was given.
    """

    reading: Reading
    runs: tuple[RunRow, ...]
    budgets: tuple[BudgetRow, ...]
    lifetime: Figures
    refusals: Mapping[str, int]

    @property
    def holds(self) -> bool:
        """Whether no budget was overspent."""
        return all(row.holds for row in self.budgets)


def recomputed(event: PrivacyEvent, delta: float) -> Figures:
    """What ``event`` costs by every accountant."""
    from fl.privacy.accounting import both

    found = both(event, delta)
    return {"pld": found.pld, "prv": found.prv, "rdp": found.rdp}


def audit_ledger(
    path: Path,
    recompute: Recompute = recomputed,
    *,
    public_key: str | None = None,
    head: str | None = None,
) -> LedgerAudit:
    """Check the ledger at ``path`` and recompute every epsilon in it.

    Args:
        recompute: epsilons of an event at a delta, by accountant.
        public_key: the brand's, 64 hex digits, as it was given to the auditor.
        head: published at some time, 64 hex digits.

    Raises:
        InputError: the chain, a signature, the bookkeeping or the head is wrong; names the line.
    """
    reading = verify(path, public_key=public_key, head=head, every_signature=True)
    books = reading.books

    def figures(cost: Bill) -> Figures:
        if not cost:
            return dict.fromkeys(ACCOUNTANTS, 0.0)
        return recompute(Composed(events(cost)), books.opening.delta)

    runs = tuple(
        RunRow(
            name,
            run.period + 1,
            "settled" if run.settled else "open",
            len(run.occasions),
            figures(run.reserved),
            figures(run.committed),
        )
        for name, run in books.runs.items()
    )
    budgets = tuple(
        BudgetRow(number + 1, epsilon, reason, figures(books.spent(number)))
        for number, (epsilon, reason) in enumerate(zip(books.budgets, books.reasons, strict=True))
    )
    refusals = Counter(code for code, _ in books.refusals)
    return LedgerAudit(reading, runs, budgets, figures(books.lifetime()), refusals)


def checked(
    path: Path, *, public_key: str | None = None, head: str | None = None
) -> tuple[LedgerAudit | None, str]:
    """The audit of :func:`audit_ledger` and its text; no audit where the ledger itself is wrong."""
    try:
        audit = audit_ledger(path, public_key=public_key, head=head)
    except InputError as error:
        return None, f"FAIL  {error}\n"
    return audit, as_text(audit, public_key=public_key, head=head)


def as_text(audit: LedgerAudit, *, public_key: str | None, head: str | None) -> str:
    """The audit for a terminal: what was checked, then a table of runs."""
    books = audit.reading.books
    lines = [*_about(books), "", *_verdicts(audit, public_key, head), ""]
    lines += _table(audit.runs) if audit.runs else ["No run was ever reserved."]
    said = ", ".join(f"{n} x {code}" for code, n in sorted(audit.refusals.items()))
    lines += ["", f"Refused: {said or 'nothing'}"]
    lines += [f"Whole life of the data set: epsilon {_triple(audit.lifetime)} (pld / prv / rdp)"]
    return "".join(f"{printable(line)}\n" for line in lines)


def printable(line: str) -> str:
    """``line`` as it is, or escaped: names in a file may not steer the auditor's terminal."""
    return line if line.isprintable() else line.encode("unicode_escape").decode()


def _about(books: Books) -> list[str]:
    opening = books.opening
    return [
        f"Brand     {opening.brand}, data set {opening.dataset[:16]}",
        f"Promise   unit {opening.unit}, neighbours {opening.relation}, delta {opening.delta:g}",
        f"Key       {books.public_key}",
        f"Head      {books.head}",
        f"Software  {opening.software}",
    ]


def _verdicts(audit: LedgerAudit, public_key: str | None, head: str | None) -> list[str]:
    entries = audit.reading.entries
    lines = [
        f"PASS  chain       {len(entries)} entries, each follows the one before",
        f"PASS  signatures  {len(entries)} of {len(entries)}, by the key above",
        "PASS  order       every commit lies within its run's reservation",
    ]
    if public_key is None:
        lines.append("SKIP  key         not given, so the key above is only what the file says")
    else:
        lines.append("PASS  key         is the one you gave")
    if head is None:
        lines.append("SKIP  head        not given, so entries missing at the end would not show")
    else:
        newer = len(entries) - 1 - next(e.seq for e in entries if e.hash == head)
        lines.append(f"PASS  head        is in the chain, {newer} entries before the end")
    for row in audit.budgets:
        verdict = "PASS" if row.holds else "FAIL"
        of = "no limit" if row.epsilon == math.inf else f"epsilon {row.epsilon:g}"
        why = f" ({row.reason})" if row.reason else ""
        spent = f"spent {row.spent[DECIDES]:.4g} ({DECIDES}) of {of}{why}"
        lines.append(f"{verdict}  budget {row.number:<4} {spent}")
    return lines


def _table(rows: tuple[RunRow, ...]) -> list[str]:
    head = ("run", "budget", "state", "rounds", "reserved pld/prv/rdp", "committed pld/prv/rdp")
    cells = [
        (r.run, str(r.budget), r.state, str(r.rounds), _triple(r.reserved), _triple(r.committed))
        for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, tuple("-" * width for width in widths), *cells)
    ]


def _triple(figures: Figures) -> str:
    return " / ".join(f"{figures[name]:.4g}" for name in ACCOUNTANTS)
