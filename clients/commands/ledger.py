"""``fl-node ledger``: what was booked, for people; for proof there is ``fl-audit ledger``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from fl.commands import Command

if TYPE_CHECKING:
    from clients.home import Home
    from fl.privacy.ledger import Ledger

ABOUT = """\
Show this brand's ledger: every run, what it reserved and what it committed before data was
touched, and every refusal. An auditor needs nothing else but the public key. To have every
signature and every epsilon checked by other code:
  fl-audit ledger DIR/ledger.jsonl --key $(the "ledger" key of card.json)

Two things may be written, each as one more signed entry, and only while the node is stopped:
  --settle RUN closes a run that was given up: what it reserved and did not use counts as free
  again, and it can never go on here.
  --renew EPSILON begins a new budget beside those that were used. What customers lose is the sum
  of all budgets, which [limits] epsilon_lifetime of policy.toml must allow too.

Examples
  fl-node ledger --home node
  fl-node ledger --home node --settle conversion_deploy/9992a0c4
  fl-node ledger --home node --renew 3 --reason "new customers since 2026, agreed by the board"
"""


def _options(parser: argparse.ArgumentParser) -> None:
    written = parser.add_mutually_exclusive_group()
    written.add_argument("--settle", metavar="RUN", help="an open run, or the start of its name")
    written.add_argument("--renew", type=float, metavar="EPSILON", help="a further budget, > 0")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; kept in the ledger")


def _act(asked: argparse.Namespace) -> int:
    from clients.home import Home
    from fl.errors import InputError

    home = Home(asked.home)
    if not home.ledger.exists():
        sys.stdout.write("No ledger yet: nothing was ever booked. The first run opens it.\n")
        return 0
    if asked.settle is not None or asked.renew is not None:
        with _opened(home) as ledger:
            if asked.settle is not None:
                run = _open_run(ledger, asked.settle)
                ledger.settle(run)
                sys.stdout.write(f"Settled {run}: it can never go on here.\n")
            else:
                ledger.renew(asked.renew, asked.reason)
                sys.stdout.write(f"Renewed: a further budget of epsilon {asked.renew:g}.\n")
    elif asked.reason:
        raise InputError("--reason", "is for --renew", "say --renew EPSILON too")
    return _show(home)


def _opened(home: Home) -> Ledger:
    from clients.home import read_config
    from clients.standing import load_policy, open_ledger

    return open_ledger(home, read_config(home), load_policy(home))


def _open_run(ledger: Ledger, named: str) -> str:
    from fl.errors import InputError

    runs = ledger.open_runs()
    found = [run for run in runs if run == named] or [run for run in runs if run.startswith(named)]
    if len(found) != 1:
        listed = ", ".join(runs) or "none"
        raise InputError("--settle", f"{named!r} is not one open run", f"open: {listed}")
    return found[0]


def _show(home: Home) -> int:
    from clients.standing import books_of
    from fl.audit.verify import checked
    from fl.privacy.budget import budgets
    from fl.welcome import load_card

    audit, text = checked(home.ledger, public_key=load_card(home.card).ledger)
    sys.stdout.write(text)
    if audit is None:
        return 1
    if (books := books_of(home)) is not None:
        sys.stdout.write(f"What decides about the next run: {budgets(books)[-1]}\n")
    return 0 if audit.holds else 1


COMMAND = Command("ledger", "show and check what was booked; settle, renew", ABOUT, _options, _act)
