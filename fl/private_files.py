"""Files of their owner: secrets that nobody else may read, settings that nobody else may write."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from fl.errors import InputError


def read_private(
    path: Path,
    where: str,
    *,
    length: int | None = None,
    lost: str = "check the path, or make one",
    leaked: str = "make a new one, or chmod 600 if nobody did",
) -> bytes:
    """A secret that its owner alone may read.

    Guarantee: the bytes are those of the very file whose permissions were looked at.

    Args:
        path: of the file.
        where: what messages call it.
        length: in bytes, where there is only one.
        lost: what to do where it cannot be read.
        leaked: what to do where others may read it.

    Raises:
        InputError: it cannot be read, others can read it, or it has another length.
    """
    mode, raw = _read(path, where, lost)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(where, "others may read it", leaked)
    if length is not None and len(raw) != length:
        raise InputError(where, f"is not {length} bytes", "restore it from a backup")
    return raw


def read_trusted(path: Path, where: str, *, lost: str) -> str:
    """The text of a file that decides what its owner's side does.

    Guarantee: a file that others may write is not believed; as :func:`read_private` otherwise.

    Raises:
        InputError: it cannot be read, is not UTF-8, or others can write it.
    """
    mode, raw = _read(path, where, lost)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(where, "others may write it", "chmod go-w it, then check its content")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(where, "is not UTF-8", "save it as UTF-8") from error


def write_private(path: Path, content: bytes, what: str) -> None:
    """Write a new file, of the kind ``what``, that its owner alone may read.

    Guarantee: mode 0600 from the first byte on, whole or not there; an existing file is never
    replaced.

    Raises:
        InputError: the file exists or cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(name, path)
        finally:
            os.unlink(name)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(f"{what} {path}", why, "choose a new file in a writable folder") from error


def _read(path: Path, where: str, lost: str) -> tuple[int, bytes]:
    """Mode and content of one opened file: what its name means may change in between."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mode, file.read()
    except OSError as error:
        raise InputError(where, error.strerror or type(error).__name__, lost) from error
