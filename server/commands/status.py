"""``fl-server status``: brands and runs, from the coordinator's own files."""

from __future__ import annotations

import argparse
import sys

from fl.commands import Command, no_options

ABOUT = """\
Show the enrolled brands and every run: how many rounds are done, and how it stands.

Example
  fl-server status --home coordinator
"""


def _act(asked: argparse.Namespace) -> int:
    import json

    from server.home import Home, read_config
    from server.roster import cards, roster

    home = Home(asked.home)
    config, enrolled = read_config(home), cards(home)
    sys.stdout.write(f"Coordinator at {config.address}, SuperLink on 127.0.0.1:{config.port}\n")
    for card in enrolled:
        sys.stdout.write(f"  brand {card.name}: {card.fingerprint[:19]} ...\n")
    if enrolled:
        sys.stdout.write(f"  roster {roster(enrolled).hash.hex()}\n")
    for path in sorted(home.runs.glob("*/status.json")):
        said = json.loads(path.read_bytes())
        sys.stdout.write(
            f"  run {path.parent.name}: {said['state']}, round {said['number']} of "
            f"{said['rounds']}\n"
        )
    return 0


COMMAND = Command("status", "brands and runs", ABOUT, no_options, _act)
