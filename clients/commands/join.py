"""``fl-node join``: take up the coordinator's welcome, after comparing its fingerprint."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fl.commands import Command

ABOUT = """\
Take up the welcome file that the coordinator sent: its address, certificates, the roster of brands
and the bundles this node may act on. Before, call the coordinator and let it read the fingerprint
to you: --fingerprint is what you heard, not what the file says.

From then on the node pins all of it. Another roster or another bundle needs a new welcome, and
--replace.

Example
  fl-node join welcome.json --fingerprint "0f3a 91c2 ..." --home node
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="WELCOME", help="from the coordinator")
    parser.add_argument("--fingerprint", required=True, help="as read aloud over the telephone")
    parser.add_argument("--replace", action="store_true", help="give up the present welcome")


def _act(asked: argparse.Namespace) -> int:
    from clients.home import Home, read_config
    from fl.errors import InputError
    from fl.report.files import atomic_write
    from fl.welcome import load_card, load_welcome, same_fingerprint, to_bytes

    home = Home(asked.home)
    name, welcome, card = read_config(home).name, load_welcome(asked.file), load_card(home.card)
    if not same_fingerprint(asked.fingerprint, welcome.fingerprint):
        raise InputError(
            "--fingerprint", "is not that of the file", "ask for the file again; believe neither"
        )
    if welcome.name != name or welcome.brands.keys.get(name, b"").hex() != card.identity:
        raise InputError(
            f"welcome {asked.file}", f"does not have {name}'s key", "send card.json again"
        )
    if home.welcome.exists() and not asked.replace:
        raise InputError(f"welcome {home.welcome}", "is there already", "add --replace to change")
    atomic_write(home.welcome, to_bytes(welcome) + b"\n", private=True)
    sys.stdout.write(
        f"Coordinator at {welcome.address}; brands: {', '.join(welcome.brands.names)}\n"
        f"For [coordinators] in {home.policy}, if you agree to its proposals:\n"
        f'  coordinator = "{welcome.signing}"\n'
    )
    return 0


COMMAND = Command("join", "take up the coordinator's welcome", ABOUT, _options, _act)
