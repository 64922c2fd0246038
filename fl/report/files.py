"""Files are replaced in one step or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def atomic_write(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write ``content`` so that a crash at any moment leaves the old file or the new one, whole.

    The bytes are on disk before the name changes. The new file is readable by its owner and, as the
    process's umask allows, by others; a ``private`` one by its owner alone, from its first byte on.

    Raises:
        OSError: the folder is missing, full or not writable; nothing is left behind.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not private:  # as it is made, only its owner reads it
            os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
