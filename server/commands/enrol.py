"""``fl-server enrol`` and ``fl-server welcome``: who takes part, checked by telephone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fl.commands import Command, no_options

ENROL = """\
Put a brand on the roster. Call the brand on a number you know and let it read the fingerprint of
its card to you: --fingerprint is what you heard, not what the file says. A card that was swapped on
its way would let somebody else take part in the brand's name.

Enrol between runs: a run is for the roster that it was offered to, and cannot be resumed under
another one. Afterwards all brands need new welcomes.

Example
  fl-server enrol card.json --fingerprint "91c2 0f3a ..." --home coordinator
"""

WELCOME = """\
Write every enrolled brand its welcome file: address, certificates, roster, bundles. Send each brand
its own, and read the fingerprint aloud when it calls. A brand that is enrolled later changes the
roster, so all brands need new ones; without such news the files stay as they are. Certificates are
for a year: see fl-server renew.

Example
  fl-server welcome --home coordinator
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="CARD", help="the brand's card.json")
    parser.add_argument("--fingerprint", required=True, help="as read aloud over the telephone")


def _enrol(asked: argparse.Namespace) -> int:
    from fl.errors import InputError
    from fl.report.files import atomic_write
    from fl.welcome import load_card, same_fingerprint, to_bytes
    from server.certificates import brand_certificate
    from server.files import statuses
    from server.home import Home, read_config

    home, card = Home(asked.home), load_card(asked.file)
    read_config(home)
    if not same_fingerprint(asked.fingerprint, card.fingerprint):
        raise InputError(
            "--fingerprint", "is not that of the card", "ask for the card again; believe neither"
        )
    brand_certificate((home.key("ca.key"), home.key("ca.pem")), card.name, card.supernode)
    path = home.brands / f"{card.name}.json"
    news = not path.exists()
    if not news and load_card(path) != card:
        raise InputError(f"brand {card.name}", "is enrolled with other keys", "remove its card")
    atomic_write(path, to_bytes(card) + b"\n")
    sys.stdout.write(f"Enrolled {card.name}: {len(list(home.brands.glob('*.json')))} brands\n")
    for run, said in statuses(home).items():
        if news and said["state"] not in ("done", "refused"):
            sys.stdout.write(f"  run {run} was for the roster before and cannot be resumed\n")
    if news and any(home.welcomes.glob("*.json")):
        sys.stdout.write("  all brands need new welcomes: fl-server welcome\n")
    return 0


def _welcome(asked: argparse.Namespace) -> int:
    from server.home import Home
    from server.roster import write_welcomes

    for path, made, news in write_welcomes(Home(asked.home)):
        sys.stdout.write(f"{path}{'' if news else ': as before'}\n  {made.fingerprint}\n")
    return 0


COMMAND = Command("enrol", "put a brand on the roster", ENROL, _options, _enrol)
WELCOMES = Command("welcome", "write what each brand is sent", WELCOME, no_options, _welcome)
