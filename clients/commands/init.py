"""``fl-node init``: keys, a policy that allows nothing yet, and files to fill in."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fl.commands import Command

ABOUT = """\
Make a node: keys that only you can read, a policy that allows nothing until you edit it, and
sample files.

Then
  1. read the card's fingerprint to the coordinator over the telephone and send it card.json
  2. fl-node join with the welcome file that the coordinator sends back
  3. edit mapping.toml (your data), policy.toml (tasks, columns, budgets, coordinators)
  4. fl-node check, then fl-node start

The brands of a federation share a secret that the coordinator must not have. The first brand makes
it (--new-federation-key) and hands keys/federation.key to the others over a channel of their own.

Roles are people, and files they may write: the data steward owns mapping.toml and policy.toml, the
operator node.toml and the process, the approver a key of his own (see fl-node approve); the auditor
reads ledger.jsonl and card.json and needs nothing else.

Examples
  fl-node init --home node --name brand-a --new-federation-key
  fl-node init --home node --name brand-b --federation-key federation.key
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="this brand's id, as on the roster")
    secret = parser.add_mutually_exclusive_group(required=True)
    secret.add_argument(
        "--federation-key", type=Path, metavar="FILE", help="from another brand: 32 bytes"
    )
    secret.add_argument(
        "--new-federation-key", action="store_true", help="be the brand that makes it"
    )


def _act(asked: argparse.Namespace) -> int:
    import secrets

    from clients.brand_data import write_samples
    from clients.home import NODE, Home
    from clients.keys import make_keys, read_secret
    from fl.errors import InputError
    from fl.privacy.policy_file import write_template
    from fl.private_files import write_private
    from fl.report.files import atomic_write
    from fl.welcome import NAME, to_bytes

    if not NAME.fullmatch(asked.name):
        raise InputError("--name", f"{asked.name!r}", "use 1 to 64 letters, digits and . _ -")
    home = Home(asked.home)
    if home.config.exists():
        raise InputError(
            f"--home {asked.home}", "there is a node already", "choose a new folder; keys are kept"
        )
    if asked.federation_key is not None and not asked.federation_key.is_file():
        raise InputError(
            "--federation-key",
            f"no file {str(asked.federation_key)!r}",
            "get it from the first brand, which makes it with --new-federation-key",
        )
    shared = secrets.token_bytes(32) if asked.new_federation_key else None
    shared = shared or read_secret(asked.federation_key)
    home.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.key("").mkdir(exist_ok=True, mode=0o700)
    home.runs.mkdir(exist_ok=True, mode=0o700)
    card = make_keys(home, asked.name, shared)
    atomic_write(home.card, to_bytes(card) + b"\n")
    write_template(home.policy)
    write_samples(home.folder)
    write_private(home.config, NODE.format(name=asked.name).encode(), "node.toml")
    sys.stdout.write(
        f"Node {asked.name} is in {asked.home}\n"
        f"Send {home.card} to the coordinator, and read this aloud when it calls back:\n"
        f"  {card.fingerprint}\n"
        f"Next: edit {home.mapping} and {home.policy}; see fl-node init --help\n"
    )
    return 0


COMMAND = Command("init", "make keys, a policy and sample files", ABOUT, _options, _act)
