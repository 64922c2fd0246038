"""``fl-audit``: check what a brand recorded, without believing it. Imports on demand: fast help."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fl.audit.verify import Figures
    from fl.events import PrivacyEvent

ABOUT = """\
fl-audit: was every use of the customers' data booked, allowed and rightly computed?

It reads files that a brand hands over, checks every signature in them, and computes every epsilon
anew. Nothing is changed, and no data of customers is needed.
"""

LEDGER = """\
Check a brand's ledger: the chain of hashes, the signature of every entry, that each round was
within what its run had reserved, and that no budget was overspent by the recomputed figures.

What you should have from somewhere else than the brand's own disk:
  --key    the brand's public key. Without it, anybody could have written the whole file.
  --head   a head that the coordinator, a peer or you noted earlier. Without it, a ledger that was
           set back to an older state looks like a shorter one.

In the table, "reserved" is what a run was allowed, "committed" what it may have used. A run that
is still open counts as reserved: a crash counts as spent.

Example
  fl-audit ledger ledger.jsonl --key 3d4017c3... --head 9f86d081...
"""

EPSILON = """\
Check what a run promised: DIR is the folder of a finished run of fl-run (run.json, ledgers/).

For every arm with a guarantee:
  customer, person, meaning  computed again from the stated events, by two accountants (pld, prv)
  words                      the printed statement is the one that these figures give
  ledger                     chain of hashes and every signature of each keeper's ledger
  bill                       what that ledger committed, before data was touched, is what was stated

A statement is about its costliest seed, and so are the ledgers that are read; any other ledger can
be checked with fl-audit ledger. A run whose arms promise nothing passes, and says so.

What it cannot see: whether the software that trained did what it booked.

Example
  fl-audit epsilon runs/privacy_utility
"""

TRANSCRIPT = """\
Check who was in each secure sum of a run, and that its models follow from these sums: DIR is the
folder of a finished run of fl-run with secure_sum=brandagg (run.json, transcripts/, ledgers/), or
the folder of a run of fl-server (offer.json, transcript.jsonl, model.npz).

For every training:
  transcript  all brands signed the plan; every signature, list of survivors and hash of each round;
              each round follows from the one before
  shares      under a guarantee for customers: shares of the noise, and the fewest brands of a sum,
              are for the brands on the roster, not for more
  models      recomputed from the published sums (*.sums.npy) and the signed settings: every model
              that brands were asked to train is the one that follows
  model       models.npz has the last of them
  heads       the ledger's head that each brand signed is in its ledger, in order, and every sum was
              booked before

SKIP says what could not be looked at, such as a run that kept no sums.

What it cannot see: whether brands trained as agreed, whether the first model was the one they meant
to start from, and rounds that led to no sum and were left out.

Example
  fl-audit transcript runs/privacy_utility
"""

CODES = "Exit codes: 0 all in order, 1 something is not, 2 a mistake in what was asked."

_HEX = re.compile(r"[0-9a-f]{64}")


def main() -> None:
    """The command line."""
    sys.exit(command(sys.argv[1:]))


def command(arguments: Sequence[str]) -> int:
    """Run ``arguments`` and return the exit code."""
    parser = _parser()
    if not arguments:
        parser.print_help()
        return 0
    try:
        asked = parser.parse_args(arguments)
    except SystemExit as stop:  # argparse has said why, or printed its help
        return int(stop.code or 0)
    if asked.command in ("epsilon", "transcript"):
        return _run(asked.command, asked.folder)
    return _ledger(asked.file, asked.key, asked.head)


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "fl-audit", description=ABOUT, epilog=CODES, formatter_class=shape
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )
    ledger = commands.add_parser(
        "ledger",
        help="check a ledger and recompute every epsilon in it",
        description=LEDGER,
        epilog=CODES,
        formatter_class=shape,
    )
    ledger.add_argument("file", type=Path, metavar="FILE", help="the brand's ledger.jsonl")
    ledger.add_argument("--key", type=_hex, metavar="PUBLICKEY", help="64 hex digits")
    ledger.add_argument("--head", type=_hex, metavar="HEX", help="64 hex digits")
    epsilon = commands.add_parser(
        "epsilon",
        help="recompute every epsilon that a run states, and compare it with the ledgers",
        description=EPSILON,
        epilog=CODES,
        formatter_class=shape,
    )
    transcript = commands.add_parser(
        "transcript",
        help="verify every secure sum of a run, and recompute its models from them",
        description=TRANSCRIPT,
        epilog=CODES,
        formatter_class=shape,
    )
    for of_a_run in (epsilon, transcript):
        of_a_run.add_argument("folder", type=Path, metavar="DIR", help="of a finished run")
    return parser


def _hex(text: str) -> str:
    if not _HEX.fullmatch(text.lower()):
        raise argparse.ArgumentTypeError(f"expected 64 hex digits, got {text!r}")
    return text.lower()


def _ledger(path: Path, key: str | None, head: str | None) -> int:
    try:
        path.open("rb").close()
    except OSError as error:
        sys.stderr.write(f"fl-audit: {path}: {error.strerror}. To fix it: check the path.\n")
        return 2
    from fl.audit.verify import as_text, audit_ledger
    from fl.errors import InputError

    try:
        audit = audit_ledger(path, _recompute, public_key=key, head=head)
    except InputError as error:
        sys.stdout.write(f"FAIL  {error}\n")
        return 1
    sys.stdout.write(as_text(audit, public_key=key, head=head))
    return 0 if audit.holds else 1


def _run(what: str, folder: Path) -> int:
    from fl.audit.deployed import audit_deployed, is_deployed
    from fl.audit.folder import as_text
    from fl.audit.recompute import audit_run
    from fl.audit.transcripts import audit_transcripts
    from fl.errors import InputError

    try:
        if what == "epsilon":
            audit = audit_run(folder)
        else:
            audit = (audit_deployed if is_deployed(folder) else audit_transcripts)(folder)
    except InputError as error:
        sys.stderr.write(f"fl-audit: {error}\n")
        return 2
    sys.stdout.write(as_text(audit))
    return 0 if audit.holds else 1


def _recompute(event: PrivacyEvent, delta: float) -> Figures:
    from fl.privacy.accounting import both

    figures = both(event, delta)
    return {"pld": figures.pld, "prv": figures.prv, "rdp": figures.rdp}


if __name__ == "__main__":
    main()
