"""Durable lines of one file, with one writer. It knows nothing about what the lines say.

Three files: ``ledger.jsonl`` (the lines), ``ledger.lock`` (held by its writer) and ``ledger.head``
(number and hash of the last line, written after each append: a copy of the lines that was set back
lacks that hash). A line is appended by write and fsync, and counts as written only when fsync has
returned; so a last line without its newline was never acted on. ``ledger.head`` is not synced: a
power cut can leave it behind the lines, which is harmless, and never ahead of them.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from fl.errors import InputError


class Journal:
    """The open files of one ledger. Usable by the process that opened it, until closed.

    Guarantee: while it is open no other process appends to the file through a ``Journal``.

    Raises:
        InputError: another process writes to it, or the folder is missing or not writable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pid = os.getpid()
        self._lines = -1
        self._head = -1
        self._size = 0
        self._lock = self._take_lock()

    def create(self, first: bytes) -> None:
        """Begin the file with the line ``first``.

        Guarantee: after a crash the file is there with this line, or not there at all.

        Raises:
            InputError: there is, or was, a ledger of this name.
        """
        for known in (self.path, self._beside(".head")):
            if known.exists():
                raise InputError(
                    f"ledger {self.path}",
                    f"{known.name} is there already",
                    "open that ledger, or choose another folder for another data set",
                )
        draft = self._beside(".draft")
        with open(draft, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(first + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self.start()

    def start(self) -> None:
        """Open the files for appending.

        Guarantee: changes nothing.

        Raises:
            InputError: no such ledger.
        """
        try:
            self._lines = os.open(self.path, os.O_RDWR | os.O_APPEND)
            self._head = os.open(self._beside(".head"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unusable(self.path, error) from error
        self._size = os.fstat(self._lines).st_size

    def read(self) -> bytes:
        """All bytes of the file.

        Guarantee: read through the handle that will append, so nobody can swap the file between.
        """
        return os.pread(self._lines, self._size, 0)

    def append(self, line: bytes) -> None:
        """Write ``line`` and a newline, and wait until the disk has them.

        Guarantee: if this returns, the line survives a crash. If it raises, it may or may not be
        there: close the journal, and open it again to find out.

        Raises:
            InputError: the file was replaced or changed by somebody else, or after :meth:`close`.
            OSError: the disk is full or failing.
        """
        self._still_ours()
        content = line + b"\n"
        left = memoryview(content)
        while left:
            left = left[os.write(self._lines, left) :]
        os.fsync(self._lines)
        self._size += len(content)

    def cut(self, size: int) -> None:
        """Remove everything after the first ``size`` bytes.

        Guarantee: only ever called on a last line that was not finished, hence never acted on.
        """
        self._still_ours()
        os.ftruncate(self._lines, size)
        os.fsync(self._lines)
        self._size = size

    def publish(self, number: int, head: str) -> None:
        """Note beside the file that line ``number`` (from 0) is its last and has hash ``head``.

        Guarantee: called after :meth:`append` returned, so the note never runs ahead of the lines.
        """
        os.pwrite(self._head, f"{number:012d} {head}\n".encode(), 0)

    def published(self) -> tuple[int, str] | None:
        """Number and hash of the last noted line; None when nothing was ever noted.

        Guarantee: what :meth:`publish` wrote last, unless somebody changed it.

        Raises:
            InputError: the note is not readable.
        """
        note = os.pread(self._head, 200, 0)
        if not note:
            return None
        number, _, head = note.decode("ascii", "replace").strip().partition(" ")
        if not number.isdigit() or len(head) != 64:
            raise InputError(
                f"ledger {self.path}",
                "the note of its last line (.head) is damaged",
                "give a head that the coordinator or a peer holds, after removing the note",
            )
        return int(number), head

    def close(self) -> None:
        """Let go of files and lock; a second call does nothing.

        Guarantee: nothing is lost; every appended line is on disk already.
        """
        for handle in (self._lines, self._head, self._lock):
            if handle >= 0:
                os.close(handle)
        self._lines = self._head = self._lock = -1

    def _take_lock(self) -> int:
        path = self._beside(".lock")
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 40, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise InputError(
                f"ledger {self.path}",
                f"process {holder} is writing to it",
                "wait until that process ends, or stop it; never remove the lock file",
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        return handle

    def _still_ours(self) -> None:
        """The file at the path is the one we hold, and nobody else wrote to it."""
        if self._lines < 0:
            raise InputError(f"ledger {self.path}", "is closed", "open it again")
        if os.getpid() != self._pid:
            raise InputError(
                f"ledger {self.path}", "was opened by another process", "open it in this one"
            )
        try:
            there, held = os.stat(self.path), os.fstat(self._lines)
        except OSError as error:
            raise _unusable(self.path, error) from error
        if not os.path.samestat(there, held) or held.st_size != self._size:
            raise InputError(
                f"ledger {self.path}",
                "was replaced or changed while it was open",
                "find out who did it, then compare the file with its published heads",
            )

    def _beside(self, suffix: str) -> Path:
        return self.path.with_suffix(suffix)


def _unusable(path: Path, error: OSError) -> InputError:
    why = error.strerror or type(error).__name__
    return InputError(f"ledger {path}", why, "check the path and who may write there")
