"""What a run has finished so far, on disk: the reason a killed run can be taken up again.

One file per piece of work, written in one step, named by what it is (``seed-0/federated/trial-2``).
A piece that is there is never computed again; one that is not is computed from derived seeds, so a
resumed run ends with the same arrays as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from fl import arrays
from fl.arrays import Arrays
from fl.config import choose, plain, run_state
from fl.privacy import PLANS, Plan
from fl.report.files import atomic_write
from server.coordinator import Absence, Best, Point, Progress

_NOTE = "(note)"  # the JSON part of a file, stored as bytes beside the arrays


@dataclass(frozen=True, slots=True)
class Piece:
    """Arrays, and a JSON note about them."""

    arrays: Arrays
    note: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Journal:
    """A folder of pieces."""

    folder: Path

    def get(self, key: str) -> Piece | None:
        """The piece of this name, or None if it is still to be done."""
        path = self._path(key)
        if not path.exists():
            return None
        content = arrays.from_bytes(path.read_bytes())
        note = json.loads(content.pop(_NOTE).tobytes())
        return Piece(content, note)

    def put(self, key: str, piece: Piece) -> None:
        """Store a piece in one step."""
        note = np.frombuffer(json.dumps(piece.note).encode(), np.uint8)
        path = self._path(key)
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write(path, arrays.to_bytes({**piece.arrays, _NOTE: note}))

    def _path(self, key: str) -> Path:
        """A name for people and a digest for the machine: brand ids may hold any character."""
        shown = re.sub(r"[^A-Za-z0-9_-]+", ".", key)[:80]
        return self.folder / f"{shown}.{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"


def from_progress(
    progress: Progress,
    memories: Mapping[str, tuple[Arrays, Mapping[str, Arrays]]],
    plan: Plan,
    *,
    done: bool,
) -> Piece:
    """A training as a piece: the coordinator's progress, the brands' memories, the plan in force.

    Of each memory, the algorithm's arrays and the personal models by name.
    """
    best = progress.best
    content = {
        **arrays.within("state", progress.state),
        **(arrays.within("best", best.params) if best else {}),
    }
    for brand, (kept, personal) in memories.items():
        content |= arrays.within(f"memory/{part_of_path(brand)}", kept)
        for name, model in personal.items():
            content |= arrays.within(f"personal/{part_of_path(brand)}/{part_of_path(name)}", model)
    note = {
        "number": progress.number,
        "done": done,
        "plan": stored_plan(plan),
        "personal": {brand: sorted(personal) for brand, (_, personal) in memories.items()},
        "history": [asdict(point) for point in progress.history],
        "absences": [asdict(absence) for absence in progress.absences],
        "best": {"number": best.number, "log_loss": best.log_loss} if best else None,
    }
    return Piece(content, note)


def to_progress(piece: Piece) -> Progress:
    """The inverse of :func:`from_progress`, for the coordinator."""
    note, best = piece.note, piece.note["best"]
    return Progress(
        number=note["number"],
        state=arrays.below("state", piece.arrays),
        history=tuple(Point(**point) for point in note["history"]),
        absences=tuple(Absence(**absence) for absence in note["absences"]),
        best=Best(**best, params=arrays.below("best", piece.arrays)) if best else None,
    )


def memory_of(piece: Piece, brand: str) -> tuple[Arrays, dict[str, Arrays]]:
    """One brand's memory in a stored training: the algorithm's arrays, and personal models."""
    names = piece.note["personal"].get(brand, [])
    own = f"personal/{part_of_path(brand)}"
    personal = {n: arrays.below(f"{own}/{part_of_path(n)}", piece.arrays) for n in names}
    return arrays.below(f"memory/{part_of_path(brand)}", piece.arrays), dict(personal)


def part_of_path(name: str) -> str:
    """``name`` as one part of a path of names: a brand ``a/b`` has nothing below brand ``a``."""
    return quote(name, safe="")


def stored_plan(plan: Plan) -> dict[str, Any]:
    """A plan with its noise, as plain values."""
    return {"config": plain(plan), "run_state": run_state(plan)}


def plan_from(stored: Mapping[str, Any]) -> Plan:
    """The inverse of :func:`stored_plan`."""
    return replace(choose(PLANS, stored["config"], "privacy"), **stored["run_state"])
