"""Files are replaced in one step or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def atomic_write(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write ``content`` so that a crash at any moment leaves the old file or the new one, whole.

    The bytes are on disk before the name changes. The new file is readable by its owner and, as the
    process's umask allows, by others; a ``private`` one by its owner alone, from its first byte on,
    and its name, too, is on disk when this returns: what follows may depend on it.

    Raises:
        OSError: the folder is missing, full or not writable; nothing is left behind.
    """
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, path)
    except BaseException:
        made.unlink()
        raise
    if private:
        _settle(path.parent)


def _settle(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
