"""``fl-node status``: runs, answers and the budget that is left, from this node's own files."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from fl.commands import Command, no_options

if TYPE_CHECKING:
    from clients.home import Home

ABOUT = """\
Show the runs this node knows, how many answers it has booked in each, and the budget that is left.
Reads node.toml, the ledger and what is kept of the last reading; checks no signature (fl-node
ledger does), and does not need the node to run.

Example
  fl-node status --home node
"""


def _act(asked: argparse.Namespace) -> int:
    from clients.home import Home, read_config
    from clients.standing import books_of
    from fl.privacy.budget import budgets

    home = Home(asked.home)
    config = read_config(home)
    sys.stdout.write(f"Node {config.name}\n{_data(home)}")
    books = books_of(home)
    if books is None:
        sys.stdout.write("No ledger yet: no run was admitted.\n")
        return 0
    for name, run in books.runs.items():
        state = "settled" if run.settled else "open"
        sys.stdout.write(f"  run {name}: {len(run.occasions)} answers booked, {state}\n")
    for code, of in books.refusals:
        sys.stdout.write(f"  refused {code} {of}\n")
    sys.stdout.write(f"Data set {books.opening.dataset}: {budgets(books)[-1]}\n")
    return 0


def _data(home: Home) -> str:
    """The last accepted reading, and what it offers; from the stored state alone."""
    from clients.data_folder import DataFolder
    from clients.refresh import load_state

    if (state := load_state(DataFolder(home.folder))) is None:
        return ""
    rows = ", ".join(f"{name} {count:,}" for name, count in state.rows.items())
    text = f"Data read {state.read_at}: {rows}\n"
    return text + "".join(f"  offers to train again: {reason}\n" for reason in state.offer)


COMMAND = Command("status", "runs, answers, budget left", ABOUT, no_options, _act)
