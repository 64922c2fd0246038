"""The files of one run at the coordinator."""

from __future__ import annotations

import fcntl
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from fl.agreement import Agreed, read
from fl.errors import InputError, Lost
from fl.privacy.proposal import Proposal
from fl.privacy.secagg.identity import SignedPlan
from fl.report.files import atomic_write
from server.home import Home

_log = logging.getLogger(__name__)


def statuses(home: Home) -> dict[str, dict[str, object]]:
    """What every run said last, by the name of its folder."""
    found = sorted(home.runs.glob("*/status.json"))
    return {path.parent.name: dict(json.loads(path.read_bytes())) for path in found}


def stands(said: Mapping[str, object]) -> str:
    """What a status says, for people: how far a run is, and whom an offer still waits for.

    >>> stands({"state": "offered", "number": 0, "rounds": 9, "brands": {"a": "ok", "b": "x"}})
    'offered, round 0 of 9; waiting for b (x)'
    """
    line = f"{said['state']}, round {said['number']} of {said.get('rounds', '?')}"
    brands = said.get("brands")
    known = brands if isinstance(brands, dict) else {}
    left = [f"{name} ({code})" for name, code in sorted(known.items()) if code != "ok"]
    return f"{line}; waiting for {', '.join(left)}" if left and "why" not in said else line


@dataclass(frozen=True)
class RunFiles:
    """``runs/NAME.HASH/`` of a run whose id is ``NAME/HASH``."""

    home: Home
    run: str

    @property
    def folder(self) -> Path:
        """Of this run."""
        return self.home.runs / self.run.replace("/", ".")

    @property
    def transcript(self) -> Path:
        """Of its secure sums; sums and first state are beside it."""
        return self.folder / "transcript.jsonl"

    @property
    def log(self) -> Path:
        """What its coordinator did, as JSON lines."""
        return self.folder / "log.jsonl"

    @property
    def checkpoint(self) -> Path:
        """After the last round."""
        return self.folder / "checkpoint.npz"

    @property
    def model(self) -> Path:
        """What was learned."""
        return self.folder / "model.npz"

    @cached_property
    def offer(self) -> bytes:
        """What brands are sent.

        Raises:
            InputError: there is no such run.
        """
        path = self.folder / "offer.json"
        if not path.exists():
            raise InputError("RUN", f"no run {self.run!r}", "see fl-server status")
        return path.read_bytes()

    @cached_property
    def agreed(self) -> Agreed:
        """The content, read.

        Raises:
            InputError: it is none for the package that is installed now.
        """
        try:
            return read(json.loads(self.offer)["content"])
        except ValueError as error:
            raise InputError(
                f"run {self.run}", f"cannot be read: {error}", "submit the experiment anew"
            ) from error

    @property
    def proposal(self) -> Proposal:
        """As signed."""
        return Proposal.from_json(json.loads(self.offer)["proposal"])

    @property
    def began(self) -> datetime:
        """When the run was proposed, in UTC; a copy of the folder keeps it."""
        return datetime.fromisoformat((self.folder / "began").read_text().strip())

    def begin(self) -> None:
        """Note that it is proposed now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        atomic_write(self.folder / "began", f"{now}\n".encode())

    def signatures(self) -> dict[str, str]:
        """Hex by brand, as far as brands have signed."""
        path = self.folder / "signatures.json"
        return dict(json.loads(path.read_bytes())) if path.exists() else {}

    def keep_signatures(self, signatures: Mapping[str, str]) -> None:
        """Store them."""
        raw = json.dumps(dict(signatures), sort_keys=True).encode()
        atomic_write(self.folder / "signatures.json", raw)

    def signed(self) -> SignedPlan:
        """The content with all signatures there are."""
        found = {n: bytes.fromhex(s) for n, s in self.signatures().items()}
        return SignedPlan(self.agreed.content, found)

    def say(self, state: str, number: int, **more: object) -> None:
        """Write ``status.json`` for people and programs that watch."""
        values = {"state": state, "number": number, "rounds": self.agreed.rounds, **more}
        atomic_write(self.folder / "status.json", json.dumps(values).encode())

    def stop(self, why: str) -> None:
        """Add to ``status.json`` that the run does not go on by itself; a refusal stays one."""
        said = self.status()
        state = "refused" if said["state"] == "refused" else "stopped"
        raw = json.dumps({**said, "state": state, "why": why}).encode()
        atomic_write(self.folder / "status.json", raw)

    @contextmanager
    def conducted(self) -> Iterator[None]:
        """Conduct the run in this block, as the only one: where it ends early, its status says why.

        Flower's server being lost is no reason to stop: the run is submitted again.

        Raises:
            InputError: another process conducts it, or it is done already.
        """
        with self.held():
            if self.status()["state"] == "done":
                raise InputError("RUN", "is done already", "see its model.npz")
            try:
                yield
            except Lost as error:
                _log.warning("Flower's server is away: %s", error)
                raise
            except InputError as error:
                _log.warning("stopped: %s", error)
                self.stop(str(error))
                raise
            except Exception as error:
                _log.exception("stopped")
                self.stop(f"unexpected {type(error).__name__}; see {self.log}")
                raise

    @contextmanager
    def held(self, seconds: float = 90.0) -> Iterator[None]:
        """Be the only coordinator of this run: one that was given up may still be about to end.

        Raises:
            InputError: another one does not end in time.
        """
        end = time.monotonic() + seconds
        with (self.folder / "lock").open("ab") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        why = "another process conducts it"
                        raise InputError("RUN", why, "stop that one, or wait for it") from None
                    time.sleep(0.2)
            yield

    @property
    def is_held(self) -> bool:
        """Whether a process conducts it at this moment."""
        with (self.folder / "lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def took(self, seconds: float) -> None:
        """Note how long one more round took, in ``seconds.json``."""
        path = self.folder / "seconds.json"
        known = list(json.loads(path.read_bytes())) if path.exists() else []
        atomic_write(path, json.dumps([*known, seconds]).encode())

    def status(self) -> dict[str, object]:
        """What :meth:`say` said last."""
        path = self.folder / "status.json"
        values = json.loads(path.read_bytes()) if path.exists() else {"state": "new", "number": 0}
        return dict(values)

    @property
    def number(self) -> int:
        """The last finished round, as :meth:`say` said."""
        number = self.status()["number"]
        return number if isinstance(number, int) else 0
