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

CODES = "Exit codes: 0 verified, 1 the ledger is not in order, 2 a mistake in what was asked."

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
    return _ledger(asked.file, asked.key, asked.head)


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "fl-audit", description=ABOUT, epilog=CODES, formatter_class=shape
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
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


def _recompute(event: PrivacyEvent, delta: float) -> Figures:
    from fl.privacy.accounting import both

    figures = both(event, delta)
    return {"pld": figures.pld, "prv": figures.prv, "rdp": figures.rdp}


if __name__ == "__main__":
    main()
