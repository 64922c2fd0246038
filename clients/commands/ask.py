"""``fl-node ask``: a person asks the coordinator for a new training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fl.commands import Command

ABOUT = """\
Write a signed file that asks for a new run of EXPERIMENT, for the coordinator's folder asks/. Send
it as you sent the card. fl-server schedule starts a run once enough brands have asked.

That this brand asks says one bit about its customers: that they have changed. The file says no
more than that, and when; why is shown here, for you alone. Without an offer of fl-node refresh it
is not written, unless you say --anyway.

Example
  fl-node ask conversion_deploy --out ask.json --home node
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="EXPERIMENT", help="such as conversion_deploy")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="to be sent")
    parser.add_argument("--anyway", action="store_true", help="ask without a measured change")


def _act(asked: argparse.Namespace) -> int:
    from clients.brand_data import now
    from clients.data_folder import DataFolder
    from clients.home import Home, read_config
    from clients.keys import load_identity
    from clients.refresh import load_state
    from fl.asking import Ask
    from fl.errors import InputError
    from fl.report.files import atomic_write

    home = Home(asked.home)
    name, state = read_config(home).name, load_state(DataFolder(asked.home))
    reasons = state.offer if state else ()
    if not reasons and not asked.anyway:
        why = "no change of the data was measured"
        raise InputError("ask", why, "run fl-node refresh first, or add --anyway")
    at = now().isoformat(timespec="seconds")
    atomic_write(asked.out, Ask(name, asked.experiment, at).signed(load_identity(home)).to_bytes())
    for reason in reasons:
        sys.stdout.write(f"For you alone: {reason}\n")
    sys.stdout.write(f"{asked.out} says: {name} asks for {asked.experiment}. Send it.\n")
    return 0


COMMAND = Command("ask", "ask for a new training", ABOUT, _options, _act)
