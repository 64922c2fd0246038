"""``fl-node statement``: what a run promises this brand's customers, from what was booked here."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from fl.commands import Command

if TYPE_CHECKING:
    from clients.home import Home
    from clients.offer import Offer
    from fl.events import PrivacyEvent

ABOUT = """\
Show the privacy statement of a run: whose presence is hidden and how well, for a customer of this
brand and for a person who is a customer of several, what an attacker could find out, who is trusted
with what, and what no figure covers. Figures are computed from the signed plan and from what this
node's own ledger has booked for the run; before it has begun, from what the plan would cost.
Takes a minute for plans of many different rounds.

Example
  fl-node statement conversion_deploy/9992a0c4 --home node
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="its id, or the start of it")


def _act(asked: argparse.Namespace) -> int:
    from clients.consent import one_offer
    from clients.home import Home, read_config
    from fl.contracts import Unit
    from fl.privacy.promise import conditions
    from fl.privacy.statement import statement

    home = Home(asked.home)
    offer = one_offer(home, asked.run)
    agreed = offer.agreed
    sys.stdout.write(f"Run {offer.run}\n")
    if agreed.plan.unit is Unit.NONE:
        sys.stdout.write("NO PRIVACY GUARANTEE: plan 'none'; exact values leave each brand.\n")
        return 0
    event, how = _event(home, offer)
    held = conditions(agreed.plan)
    keeper = "sum" if held.joint else read_config(home).name
    sys.stdout.write(f"{how}\n")
    for line in statement({keeper: event}, held).lines():
        sys.stdout.write(f"{line}\n")
    return 0


def _event(home: Home, offer: Offer) -> tuple[PrivacyEvent, str]:
    """What the run cost here so far, or would; and in words which of them it is."""
    from clients.standing import books_of
    from fl.events import Composed
    from fl.privacy.bills import events

    books = books_of(home)
    run = books.runs.get(offer.run) if books else None
    if run is None:
        return offer.agreed.event, "Not begun here: what it would cost."
    booked = f"{len(run.occasions)} of {offer.agreed.rounds} rounds are booked in this ledger"
    still = "it is settled" if run.settled else "open: what it has reserved counts"
    return Composed(events(run.owed())), f"{booked}; {still}."


COMMAND = Command("statement", "what a run promises customers", ABOUT, _options, _act)
