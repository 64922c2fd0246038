"""The folder of a finished run, and what checking it found: what all audits of a run share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fl.audit.verify import printable
from fl.errors import InputError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        holds: None where it could not be looked at.
        name: what was looked at.
        detail: the numbers, or what is wrong.
    """

    holds: bool | None
    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunAudit:
    """The checks of a run: what they are about (the whole run, then each arm), and the checks."""

    parts: Sequence[tuple[str, Sequence[Check]]]

    @property
    def holds(self) -> bool:
        """Whether nothing that was looked at is wrong."""
        return all(check.holds is not False for _, part in self.parts for check in part)


def read_run(folder: Path) -> object:
    """The values of ``run.json``; None if it is not JSON.

    Raises:
        InputError: ``folder`` is not that of a finished run.
    """
    path = folder / "run.json"
    try:
        content = path.read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(str(path), why, "name the folder of a finished run") from error
    try:
        values: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if isinstance(values, dict) and values.get("status") == "running":
        raise InputError(str(path), "the run is not finished", f"run fl-run resume={folder} first")
    return values


def damaged(problem: str) -> RunAudit:
    """What is found where ``run.json`` cannot be used."""
    return RunAudit((("run", (Check(False, "run.json", problem),)),))


def as_text(audit: RunAudit) -> str:
    """The audit for a terminal: a line for each check, below the arm it is about."""
    words = {True: "PASS", False: "FAIL", None: "SKIP"}
    lines: list[str] = []
    for arm, checks in audit.parts:
        lines += ["", arm] if lines else [arm]
        lines += [f"{words[c.holds]}  {c.name:<10}  {c.detail}" for c in checks]
    return "".join(f"{printable(line)}\n" for line in lines)
