"""``fl-server status``: brands, certificates and runs, from the coordinator's own files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fl.commands import Command, no_options

if TYPE_CHECKING:
    from fl.welcome import Card
    from server.home import Home

ABOUT = """\
Show the enrolled brands and every run: how many rounds are done, and how it stands; and how many
days certificates are good for: with less than 14 left the exit code is 1; see fl-server renew.

Example
  fl-server status --home coordinator
"""


def _act(asked: argparse.Namespace) -> int:
    from server.certificates import days_left
    from server.files import stands, statuses
    from server.home import Home, read_config
    from server.roster import URGENT, cards, roster

    home = Home(asked.home)
    config, enrolled = read_config(home), cards(home)
    sys.stdout.write(f"Coordinator at {config.address}, SuperLink on 127.0.0.1:{config.port}\n")
    days = {name: days_left(home.key(f"{name}.pem").read_bytes()) for name in ("server", "ca")}
    sys.stdout.write(f"  certificates: server {days['server']} days, CA {days['ca']} days\n")
    for card in enrolled:
        said, left = _welcomed(home, card, enrolled)
        days[card.name] = left
        sys.stdout.write(f"  brand {card.name}: {card.fingerprint[:19]} ..., {said}\n")
    if enrolled:
        sys.stdout.write(f"  roster {roster(enrolled).hash.hex()}\n")
    for name, one in statuses(home).items():
        sys.stdout.write(f"  run {name}: {stands(one)}\n")
        if "why" in one:
            sys.stdout.write(f"    {one['why']}\n")
    urgent = sorted(name for name, left in days.items() if left < URGENT)
    if urgent:
        sys.stdout.write(f"Renew now (fl-server renew): {', '.join(urgent)}\n")
    return 1 if urgent else 0


def _welcomed(home: Home, card: Card, enrolled: Sequence[Card]) -> tuple[str, int]:
    """What is known of a brand's welcome, and the days that its certificate is good for."""
    from fl.welcome import load_welcome
    from server.certificates import days_left
    from server.roster import roster

    path = home.welcomes / f"{card.name}.json"
    if not path.exists():
        return "not welcomed yet: fl-server welcome", 365
    stored = load_welcome(path)
    left = days_left(stored.certificate.encode())
    if stored.brands.hash != roster(enrolled).hash:
        return f"{left} days, welcomed to another roster: fl-server welcome", left
    return f"{left} days", left


COMMAND = Command("status", "brands and runs", ABOUT, no_options, _act)
