"""The data part of ``fl-node check``: what a reading found, in words, for this brand's eyes."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from clients.brand_data import Reading
from fl.data.consistency import Batch
from fl.data.contract import REASONS

MOST = 5  # reasons and conflicts that are listed


def lines(reading: Reading) -> Iterator[str]:
    """What a reading found, for this brand's eyes: counts, reasons, identities."""
    yield from batch_lines(reading.batch)
    resolved = reading.resolved()
    if resolved is None:
        return
    yield f"customers: {len(resolved.pseudonym):,} of {len(resolved.customer):,} records"
    for kind, cells in resolved.identifiers.items():
        if cells:
            yield f"  {kind}: {cells:,} read, {resolved.unreadable[kind]:,} are none"
    names = reading.people.records["name"] if reading.people is not None else pd.Series(dtype=str)
    for conflict in resolved.conflicts[:MOST]:
        by = " and ".join(conflict.joined_by) or "a member id"
        who = ", ".join(names.iloc[list(conflict.records[:3])])
        said = (
            f"one customer has {conflict.count} member ids, joined by {by}"
            if conflict.kind == "two members"
            else f"one {by} is in {conflict.count} records and joins none of them"
        )
        yield f"  conflict: {said} ({who} ...)"
    if len(resolved.conflicts) > MOST:
        yield f"  and {len(resolved.conflicts) - MOST} more conflicts"


def batch_lines(batch: Batch) -> Iterator[str]:
    """Tables, rejected rows by reason, findings."""
    for table in batch.tables:
        yield f"{table.name}: {table.read:,} rows, {len(table.rejected):,} rejected"
        reasons = table.rejected[REASONS].str.split("; ").explode().value_counts()
        for reason, count in reasons.head(MOST).items():
            yield f"  rejected: {reason} ({count:,})"
        for finding in table.findings:
            yield f"  found: {finding.problem}" + (f" ({finding.rows:,})" if finding.rows else "")
