"""What the coordinator must not forget between two rounds, and within one.

A **checkpoint** holds progress, the secure sum's log, how far ledgers had come and how long the
transcript was. Within a round, every finished trip to the brands is kept too (:class:`Trips`): a
coordinator that is killed anywhere starts the round again, is told by its own files what brands
have said already, and comes to the same sum, so that no brand is asked, and no budget charged, a
second time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from fl import arrays
from fl.audit.archive import files_beside
from fl.contracts import Federation, Mark, NodeId, Reply, Request
from fl.federation.wire import reply_bytes, reply_of, request_bytes
from fl.marks import from_json, to_json
from fl.privacy.secagg.coordinator import Log
from fl.privacy.secagg.peers import Marks
from fl.report.files import atomic_write
from server.coordinator import Absence, Progress

_NOTE = "(note)"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One run's checkpoint file; ``transcript`` is cut to the length it had."""

    path: Path
    transcript: Path

    def store(self, progress: Progress, log: Log | None, marks: Marks) -> None:
        """Replace the checkpoint in one step."""
        content = dict(arrays.within("state", progress.state))
        note = {
            "number": progress.number,
            "absences": [asdict(one) for one in progress.absences],
            "log": None if log is None else _log_note(log),
            "marks": to_json(marks),
            "sizes": [_size(path) for path in self._files],
        }
        if log is not None:
            content |= {f"sum/{s}": total for s, (_, total) in log.finished.items()}
        raw = np.frombuffer(json.dumps(note).encode(), np.uint8)
        atomic_write(self.path, arrays.to_bytes({**content, _NOTE: raw}), private=True)

    def load(self) -> tuple[Progress, Log | None, dict[bytes, Mark]] | None:
        """The stored progress, log and marks; what was written after it is cut off.

        The log's marks are these very marks.
        """
        if not self.path.exists():
            for path in self._files:
                path.unlink(missing_ok=True)
            return None
        content = arrays.from_bytes(self.path.read_bytes())
        note = json.loads(content.pop(_NOTE).tobytes())
        for path, size in zip(self._files, note["sizes"], strict=True):
            if path.exists():
                with path.open("r+b") as file:
                    file.truncate(size)
        absences = tuple(Absence(**one) for one in note["absences"])
        progress = Progress(note["number"], arrays.below("state", content), (), absences)
        sums, marks = arrays.below("sum", content), from_json(note["marks"])
        return progress, _log_of(note["log"], sums, marks) if note["log"] else None, marks

    @property
    def _files(self) -> tuple[Path, Path]:
        return self.transcript, files_beside(self.transcript).sums


def _log_note(log: Log) -> dict[str, object]:
    lines = {str(s): line for s, (line, _) in log.finished.items()}
    return {
        "root": log.root.hex(),
        "sequence": log.sequence,
        "lines": lines,
        "followed": dict(log.followed),
    }


def _log_of(note: Mapping[str, object], sums: arrays.Arrays, marks: dict[bytes, Mark]) -> Log:
    match note:
        case {
            "root": str(root),
            "sequence": int(sequence),
            "lines": dict(lines),
            "followed": dict(followed),
        }:
            finished = {int(s): (str(x), sums[str(s)].astype("<u4")) for s, x in lines.items()}
            return Log(bytes.fromhex(root), sequence, finished, followed, marks)
    raise ValueError("Expected the log of a secure sum.")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@dataclass(slots=True)
class Trips:
    """A federation that remembers every finished trip of the present round.

    Attributes:
        inner: who is really asked.
        run: the run's id.
        folder: of the present round's trips.
        number: of the next trip.
    """

    inner: Federation
    run: str
    folder: Path
    number: int = field(default=0)

    def nodes(self) -> Sequence[NodeId]:
        """As the inner one."""
        return self.inner.nodes()

    def ask(self, requests: Mapping[NodeId, Request]) -> Mapping[NodeId, Reply]:
        """Ask, or, where this very trip was made before, say what came back then."""
        self.number += 1
        path = self.folder / f"{self.number}.json"
        packed = {n: request_bytes(self.run, r) for n, r in sorted(requests.items())}
        trip = hashlib.sha256(b"".join(packed.values())).hexdigest()
        if path.exists():
            stored = json.loads(path.read_bytes())
            if stored["trip"] == trip:
                replies = stored["replies"].items()
                return {node: reply_of(base64.b64decode(text)) for node, text in replies}
        replies = self.inner.ask(requests)
        packed_replies = {
            node: base64.b64encode(reply_bytes(reply)).decode() for node, reply in replies.items()
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        raw = json.dumps({"trip": trip, "replies": packed_replies}).encode()
        atomic_write(path, raw, private=True)
        return replies

    def clear(self) -> None:
        """The round is in the checkpoint: forget its trips."""
        for path in self.folder.glob("*.json"):
            path.unlink()
        self.number = 0
