"""``fl-node approve``: a person's signature under one run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fl.commands import Command

if TYPE_CHECKING:
    from fl.errors import Code

ABOUT = """\
Show what a run would read, release and cost, and sign it if --key is given. The signature is of a
person that policy.toml names in [approval.people]; it is for this run in every detail.

  --new-key makes such a key: keep it where the node's operator cannot read it.

Examples
  fl-node approve --home node                      list what was offered
  fl-node approve RUN --home node                  show one run
  fl-node approve --new-key ~/ann.pem              prints the public key for policy.toml
  fl-node approve RUN --person ann --key ~/ann.pem --home node
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="its id, or the start of it")
    parser.add_argument("--person", help="as in policy.toml")
    parser.add_argument("--key", type=Path, metavar="FILE", help="that person's private key")
    parser.add_argument("--new-key", type=Path, metavar="FILE", help="make a person's key")


def _act(asked: argparse.Namespace) -> int:
    from clients.consent import one_of, said_of, stored_offers
    from clients.home import Home
    from clients.offer import Offer, RunFiles
    from fl.errors import Code, InputError
    from fl.privacy.proposal import Approval
    from fl.privacy.signing import SigningKey

    if asked.new_key:
        key = SigningKey.generate()
        key.save(asked.new_key)
        sys.stdout.write(f"{key.public}\n")
        return 0
    home = Home(asked.home)
    offers: dict[str, Offer] = {}
    for run, offer in stored_offers(home):
        if isinstance(offer, Code):
            sys.stderr.write(f"{run}: no offer any more ({offer})\n")
        else:
            offers[run] = offer
    if not asked.run:
        for run, offer in offers.items():
            over = RunFiles(home, run).model.exists()
            sys.stdout.write(f"{run}  {'over' if over else _answer(said_of(home, offer))}\n")
        if not offers:
            sys.stdout.write("No run was offered yet.\n")
        return 0
    offer = one_of(offers.values(), asked.run)
    _show(offer)
    if asked.key:
        if not asked.person:
            raise InputError("--person", "is missing", "name who signs, as in policy.toml")
        approval = Approval.give(SigningKey.load(asked.key), asked.person, offer.proposal)
        approval.save(RunFiles(home, offer.run).approval)
        sys.stdout.write(f"Approved by {asked.person}\n")
    sys.stdout.write(f"  here: {_answer(said_of(home, offer))}\n")
    return 0


def _answer(codes: tuple[Code, ...]) -> str:
    """What this brand would say, before the data is counted."""
    from fl.errors import Code
    from fl.privacy.policy_file import explained

    if codes == (Code.POLICY_APPROVAL,):
        return "waits for a person's signature"
    return f"refused for {explained(codes)}" if codes else "allowed"


def _show(offer: object) -> None:
    from clients.offer import Offer
    from fl.privacy import CustomerPrivacy

    if not isinstance(offer, Offer):
        raise TypeError("Expected an offer.")
    p, agreed = offer.proposal, offer.agreed
    plan = agreed.plan
    counted = (
        f"  noise counts on {plan.brands} brands, of which {plan.dropouts} may be missing and "
        f"{plan.colluders} may collude\n"
        if isinstance(plan, CustomerPrivacy) and plan.needs_hidden_updates
        else ""
    )
    sys.stdout.write(
        f"Run {p.run}\n  task {p.task!a}, {agreed.rounds} rounds, algorithm "
        f"{agreed.algorithms['train'].name}\n  columns {', '.join(map(ascii, p.columns))}\n"
        f"  privacy {p.plan}, unit {p.unit}: epsilon {p.epsilon:.3f} at delta {p.delta:g} by "
        f"{p.accountant}, clip {p.clip_norm:g}, noise {p.noise_source}\n{counted}"
        f"  leaves here: {agreed.leaves}\n"
        f"  at least {p.brands} brands in a sum, "
        f"{'secure sum' if agreed.protected else 'NO secure sum'}\n"
        f"  asked for by {p.requested_by!a}, coordinator {p.coordinator}\n"
    )


COMMAND = Command("approve", "show an offered run, and sign it", ABOUT, _options, _act)
