"""The register of past releases: a file of JSON lines that a release is held against.

What may not be released is decided in ``fl/privacy/releases.py``.
"""

from __future__ import annotations

import fcntl
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fl.errors import InputError
from fl.privacy.releases import Release, refuse_differencing
from fl.report.files import atomic_write

if TYPE_CHECKING:
    from experiments.questions.inquiry import Inquiry


def check_alone(how: Inquiry) -> None:
    """A register is about releases: one seed, under one guarantee, is one.

    Raises:
        InputError: the run would be several.
    """
    if len(how.seeds) > 1 or len(how.plans) > 1:
        raise InputError(
            "task.register",
            f"{len(how.seeds)} seeds under {len(how.plans)} guarantees are several releases of the "
            "same data",
            "set seeds=1 plans=null 'epsilons=[]' and the release's own guarantee (privacy=NAME), "
            "or leave the register out",
        )


def check(path: Path, new: Release) -> None:
    """Hold a release against those in the file.

    Raises:
        InputError: its brands differ by too few from an earlier one's, or the file is damaged.
    """
    refuse_differencing(read(path), new)


def claim(path: Path, new: Release) -> None:
    """Hold a release against the file and write it down, before anything of it is published.

    A crash in between leaves a release that is registered and was not published, never one that was
    published and is not registered; taken up again, the run finds its own line. One run at a time
    holds the file, so that two cannot pass each other. The same release again is one line.

    Raises:
        InputError: as :func:`check`; nothing is written then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        past = read(path)
        if new in past:
            return
        refuse_differencing(past, new)
        known = path.read_bytes() if path.exists() else b""
        line = json.dumps({**asdict(new), "metrics": dict(new.metrics)}, ensure_ascii=False)
        atomic_write(path, known + line.encode() + b"\n")


def read(path: Path) -> list[Release]:
    """All releases of the file, oldest first; none if there is no file yet.

    Raises:
        InputError: a line that is not one of a register.
    """
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            values = json.loads(line)
            found.append(
                Release(
                    str(values["subject"]),
                    tuple(map(str, values["cohort"])),
                    str(values["segment"]),
                    tuple((str(name), str(how)) for name, how in values["metrics"].items()),
                    int(values["least"]),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                "task.register",
                f"line {number} of {str(path)!r} is no past release",
                "restore the file: without it nobody knows what may be released",
            ) from error
    return found
