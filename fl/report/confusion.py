"""Classes of messages in a report: what is found, what it is taken for, and at which brand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fl.report.table import DASH, Table
from fl.report.values import mapping, real, sequence

MOST_CLASSES = 40


def class_table(run: Mapping[str, object]) -> Table | None:
    """One line per class, the least found first; None where a run has no classes."""
    entry = mapping(run.get("confusion"))
    names = [str(name) for name in sequence(entry.get("classes"))]
    counts = np.array([[real(n) for n in sequence(row)] for row in sequence(entry.get("counts"))])
    if not names or counts.shape != (len(names), len(names)) or not np.isfinite(counts).all():
        return None
    true, guessed, right = counts.sum(1), counts.sum(0), counts.diagonal()
    found = np.where(true > 0, right / np.maximum(true, 1), np.nan)
    order = np.argsort(np.where(np.isnan(found), 2.0, found), kind="stable")[:MOST_CLASSES]
    lines = []
    for i in order:
        wrong = counts[i] * (np.arange(len(names)) != i)
        other = names[int(wrong.argmax())] if wrong.any() else DASH
        share = right[i] / guessed[i] if guessed[i] else float("nan")
        lines.append((names[i], f"{true[i]:.0f}", _percent(found[i]), _percent(share), other))
    note = "Test messages of all brands and seeds, federated model. "
    note += "Found: of the messages of a class, how many it names. Right: of those it names so, "
    note += "how many are."
    if len(names) > MOST_CLASSES:
        note += f" The {MOST_CLASSES} of {len(names)} classes that are found least."
    header = ("Class", "Messages", "Found", "Right", "Most often taken for")
    return Table("What is taken for what", header, tuple(lines), note)


def alert_table(run: Mapping[str, object]) -> Table | None:
    """How many of each brand's messages look like the class it is alerted to; no words."""
    entry = mapping(run.get("alerts"))
    brands = mapping(entry.get("brands"))
    shares = {
        b: (real(mapping(s).get("looks")), real(mapping(s).get("is"))) for b, s in brands.items()
    }
    if not shares:
        return None
    ordered = sorted(shares.items(), key=lambda item: -item[1][0])
    kind = str(entry.get("class"))
    return Table(
        f"Whose messages look {kind}",
        ("Brand", f"Look {kind}", f"Are {kind}"),
        tuple((brand, _percent(looks), _percent(true)) for brand, (looks, true) in ordered),
        "Share of test messages, federated model. Each brand finds its own list of messages to "
        "answer first in its folder; no message is in this report.",
    )


def _percent(share: float) -> str:
    return DASH if np.isnan(share) else f"{100 * share:.1f} %"
