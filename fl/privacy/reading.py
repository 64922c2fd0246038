"""Reading a ledger that somebody else wrote: verified entries, or the line that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fl.contracts import Mark
from fl.errors import Code, InputError
from fl.privacy.books import Books
from fl.privacy.entries import Entry, chain, key_of, wrong_line
from fl.privacy.journal import Journal


@dataclass(frozen=True, slots=True)
class Reading:
    """A verified ledger.

    Attributes:
        entries: all of them.
        books: what they add up to.
        size: bytes of the file.
    """

    entries: tuple[Entry, ...]
    books: Books
    size: int

    def holds(self, head: str) -> bool:
        """Whether ``head`` is the hash of one of the lines.

        Guarantee: if so, everything up to that line is what the holder of ``head`` saw.
        """
        return any(entry.hash == head for entry in self.entries)

    def reaches(self, mark: Mark) -> bool:
        """Whether the ledger was at ``mark`` once, or is now.

        Guarantee: if so, it has every entry that the signer of ``mark`` had.
        """
        return reaches([entry.hash for entry in self.entries], mark)


def reaches(heads: Sequence[str], mark: Mark) -> bool:
    """Whether a ledger whose lines have the hashes ``heads`` was at ``mark`` once, or is now.

    Guarantee: of :meth:`Reading.reaches`.
    """
    if not mark.entries:
        return True
    return mark.entries <= len(heads) and heads[mark.entries - 1] == mark.head.hex()


def read(path: Path) -> tuple[Entry, ...]:
    """The verified entries of the ledger at ``path``.

    Guarantee: see :func:`verify`, with nothing known beforehand.

    Raises:
        InputError: see :func:`verify`.
    """
    return verify(path).entries


def verify(
    path: Path,
    *,
    public_key: str | None = None,
    head: str | None = None,
    every_signature: bool = False,
) -> Reading:
    """Check chain, signatures and bookkeeping of the ledger at ``path``.

    Guarantee: the entries were signed by one key in this order, and none was taken out or changed;
    no run committed more than it reserved. With ``public_key`` that key is the brand's. With
    ``head`` every entry up to that published head is there; without it, a ledger that lost its
    newest entries cannot be told from a shorter one.

    Args:
        public_key: the brand's, 64 hex digits.
        head: published at some time, 64 hex digits.
        every_signature: check each one; otherwise the last, which covers all (``entries.chain``).

    Raises:
        InputError: names the file and the line, and what is wrong.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(f"ledger {path}", why, "check the path") from error
    reading = replay(content, str(path), public_key=public_key, every_signature=every_signature)
    if head is not None and not reading.holds(head):
        raise behind(str(path), head)
    return reading


def replay(
    content: bytes, where: str, *, public_key: str | None, every_signature: bool = False
) -> Reading:
    """Check the bytes of a ledger.

    Guarantee: as :func:`verify`, apart from the head.

    Raises:
        InputError: names the first line that is wrong.
    """
    lines = content.split(b"\n")
    if not lines[0]:
        raise InputError(f"ledger {where}", "has no entry", "take another copy")
    if rest := lines.pop():
        number = len(lines) + 1
        raise wrong_line(
            where, number, f"stops after {len(rest)} bytes without an end: cut off, or a crash"
        )
    signed_with = key_of(lines[0], where)
    if public_key is not None and signed_with != public_key:
        raise wrong_line(where, 1, f"is signed with the key {signed_with[:16]}..., not with yours")
    entries = chain(lines, where, public_key=signed_with, every_signature=every_signature)
    return Reading(entries, _booked(entries, where), len(content))


def _booked(entries: Sequence[Entry], where: str) -> Books:
    entry = entries[0]
    try:
        books = Books.begin(entry)
        for entry in entries[1:]:
            books.book(entry)
    except (ValueError, RecursionError) as error:
        raise wrong_line(where, entry.seq + 1, str(error)) from error
    return books


def not_set_back(
    journal: Journal, reading: Reading, published: Sequence[str], signed: Mark
) -> None:
    """Stop a ledger that lacks entries which somebody has seen.

    Guarantee: see :meth:`fl.privacy.ledger.Ledger.open`.

    Raises:
        InputError: it lacks one, or its noted head is missing and nothing stands for it.
    """
    if not reading.reaches(signed):
        raise behind(str(journal.path), signed.head.hex())
    for head in published:
        if not reading.holds(head):
            raise behind(str(journal.path), head)
    note = journal.published()
    if note is None and len(reading.entries) > 1 and not published:
        raise InputError(
            f"ledger {journal.path}",
            "the note of its last line (.head) is missing, so it may have been set back",
            "give a head that the coordinator or a peer holds",
            code=Code.LEDGER_SET_BACK,
        )
    if note is not None and not reading.holds(note[1]):
        raise behind(str(journal.path), note[1])


def behind(where: str, head: str) -> InputError:
    """The error for a ledger that lacks a published head.

    Guarantee: a ledger is not used after it, so what it forgot cannot be spent again.
    """
    return InputError(
        f"ledger {where}",
        f"lacks the published head {head[:16]}...: it was set back or forked",
        "restore the newer copy that has it; if it is lost, this data set's budget counts as "
        "spent, and the brand enrols again with new keys, which every partner sees",
        code=Code.LEDGER_SET_BACK,
    )
