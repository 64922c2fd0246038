"""``fl-audit``: check what a brand recorded, without believing it. Imports on demand: fast help."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fl.commands import Command, Program

if TYPE_CHECKING:
    from fl.audit.folder import RunAudit

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
  heads       the ledger's head that each brand signed is in its ledger, at the place that it signed
              with it, and every sum was booked before; of fl-server's runs, for each --ledger

SKIP says what could not be looked at, such as a run that kept no sums.

What it cannot see: whether brands trained as agreed, whether the first model was the one they meant
to start from, and rounds that led to no sum and were left out.

Example
  fl-audit transcript runs/privacy_utility
  fl-audit transcript coordinator/runs/winter.9992a0c4 --ledger brand-a.jsonl --ledger brand-b.jsonl
"""

_HEX = re.compile(r"[0-9a-f]{64}")


def _ledger_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the brand's ledger.jsonl")
    parser.add_argument("--key", type=_hex, metavar="PUBLICKEY", help="64 hex digits")
    parser.add_argument("--head", type=_hex, metavar="HEX", help="64 hex digits")


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="of a finished run")


def _transcript_options(parser: argparse.ArgumentParser) -> None:
    _run_options(parser)
    parser.add_argument(
        "--ledger", type=Path, action="append", default=[], metavar="FILE", help="a brand's"
    )


def _hex(text: str) -> str:
    if not _HEX.fullmatch(text.lower()):
        raise argparse.ArgumentTypeError(f"expected 64 hex digits, got {text!r}")
    return text.lower()


def _ledger(asked: argparse.Namespace) -> int:
    from fl.audit.verify import as_text, audit_ledger, recomputed
    from fl.errors import InputError

    asked.file.open("rb").close()  # no such file is a mistake; what is in it may be a failure
    try:
        audit = audit_ledger(asked.file, recomputed, public_key=asked.key, head=asked.head)
    except InputError as error:
        sys.stdout.write(f"FAIL  {error}\n")
        return 1
    sys.stdout.write(as_text(audit, public_key=asked.key, head=asked.head))
    return 0 if audit.holds else 1


def _epsilon(asked: argparse.Namespace) -> int:
    from fl.audit.recompute import audit_run

    return _told(audit_run(asked.folder))


def _transcript(asked: argparse.Namespace) -> int:
    from fl.audit.deployed import audit_deployed, is_deployed
    from fl.audit.transcripts import audit_transcripts
    from fl.errors import InputError

    if is_deployed(asked.folder):
        return _told(audit_deployed(asked.folder, asked.ledger))
    if asked.ledger:
        raise InputError("--ledger", "is for runs of fl-server", "leave it out: DIR has ledgers/")
    return _told(audit_transcripts(asked.folder))


def _told(audit: RunAudit) -> int:
    from fl.audit.folder import as_text

    sys.stdout.write(as_text(audit))
    return 0 if audit.holds else 1


PROGRAM = Program(
    "fl-audit",
    ABOUT,
    (
        Command(
            "ledger",
            "check a ledger and recompute every epsilon in it",
            LEDGER,
            _ledger_options,
            _ledger,
        ),
        Command(
            "epsilon",
            "recompute every epsilon that a run states, and compare it with the ledgers",
            EPSILON,
            _run_options,
            _epsilon,
        ),
        Command(
            "transcript",
            "verify every secure sum of a run, and recompute its models from them",
            TRANSCRIPT,
            _transcript_options,
            _transcript,
        ),
    ),
)


def main() -> None:
    """The command line."""
    PROGRAM.main()


def command(arguments: Sequence[str]) -> int:
    """Run ``arguments`` and return the exit code."""
    return PROGRAM.run(arguments)


if __name__ == "__main__":
    main()
