"""``fl-node ledger``: what was booked, for people; for proof there is ``fl-audit ledger``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from fl.commands import Command, no_options

if TYPE_CHECKING:
    from fl.audit.verify import Figures
    from fl.events import PrivacyEvent

ABOUT = """\
Show this brand's ledger: every run, what it reserved and what it committed before data was
touched, and every refusal. Reads only; an auditor needs nothing else but the public key.

To have every signature and every epsilon checked by other code:
  fl-audit ledger DIR/ledger.jsonl --key $(the "ledger" key of card.json)

Example
  fl-node ledger --home node
"""


def _act(asked: argparse.Namespace) -> int:
    from clients.home import Home
    from fl.audit.verify import as_text, audit_ledger
    from fl.errors import InputError
    from fl.privacy.accounting import both
    from fl.welcome import load_card

    def _figures(event: PrivacyEvent, delta: float) -> Figures:
        found = both(event, delta)
        return {"pld": found.pld, "prv": found.prv, "rdp": found.rdp}

    home = Home(asked.home)
    if not home.ledger.exists():
        sys.stdout.write("No ledger yet: nothing was ever booked. The first run opens it.\n")
        return 0
    key = load_card(home.card).ledger
    try:
        audit = audit_ledger(
            home.ledger,
            _figures,
            public_key=key,
            head=None,
        )
    except InputError as error:
        sys.stdout.write(f"FAIL  {error}\n")
        return 1
    sys.stdout.write(as_text(audit, public_key=key, head=None))
    return 0 if audit.holds else 1


COMMAND = Command("ledger", "show and check what was booked", ABOUT, no_options, _act)
