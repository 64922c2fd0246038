"""A run from offer to model, over any federation: the coordinator's half of ``clients/service.py``.

1. ``offer`` to all brands until each has signed; people may take their time
2. ``begin`` with all signatures: brands reserve their budgets and read their data
3. rounds, each followed by a checkpoint; a round without a sum is void and counts as one
4. ``finish`` with the model

Every step can be taken again: a coordinator that was killed starts from its files.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fl.agreement import ending
from fl.arrays import to_bytes
from fl.audit.archive import append_sum, files_beside
from fl.contracts import Federation, Mark, NodeId, Reply, Request, SecureSum
from fl.errors import Code, InputError, NoAnswer
from fl.federation.wire import codes_of
from fl.marks import MarksFile
from fl.privacy import PlainSum
from fl.privacy.policy_file import explained
from fl.privacy.secagg.coordinator import CoordinatorHalf, Log
from fl.privacy.secagg.identity import Roster
from fl.privacy.secagg.masks import Ring
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.transcript import header
from fl.report.files import atomic_write
from server.checkpoint import Checkpoint, Trips
from server.coordinator import Absence, Coordinator, Progress
from server.files import RunFiles
from server.roster import load_identity
from server.vouched import Vouched

_log = logging.getLogger(__name__)
_PATIENT = {Code.SILENT, Code.FAILED, Code.POLICY_APPROVAL}  # may change by waiting
MOST_VOID = 5  # rounds in a row
LONGEST = 60.0  # seconds between two offers


@dataclass(frozen=True, slots=True)
class Conduct:
    """One run being conducted.

    Attributes:
        files: of the run.
        roster: the brands that must sign.
        federation: how they are asked.
        approval: seconds that signatures may take.
        pause: seconds between two offers; twice as long each time while people think, up to
            ``LONGEST``.
    """

    files: RunFiles
    roster: Roster
    federation: Federation
    approval: float = 86_400.0
    pause: float = 1.0

    def run(self) -> Progress:
        """All of it; from where an earlier try left it. See ``RunFiles.conducted``.

        Raises:
            InputError: a brand refuses, signatures take too long, or rounds fail again and again.
            Lost: what carries requests is away.
        """
        if json.loads(self.files.offer)["roster"] != self.roster.hash.hex():
            raise InputError("run", "was offered to another roster", "submit the experiment anew")
        self._gather("offered", {"offer": self.files.offer})
        signatures = json.dumps(self.files.signatures(), sort_keys=True).encode()
        self._gather("beginning", {"signatures": signatures})
        progress = self._rounds()
        model = self.files.agreed.algorithms["train"].params(progress.state)
        atomic_write(self.files.model, to_bytes(model))
        signature = load_identity(self.files.home).sign(ending(self.files.run, model))
        last = self.federation.ask(self._all("finish", {"signature": signature}, model))
        told = [node for node, reply in last.items() if reply.code is Code.OK]
        self.files.say("done", progress.number, told=sorted(told))
        return progress

    def _all(
        self, kind: str, config: Mapping[str, bytes], model: object = None
    ) -> dict[str, Request]:
        arrays = model if isinstance(model, dict) else {}
        return {n: Request(kind, 1, arrays, dict(config)) for n in self.roster.names}

    def _gather(self, state: str, config: Mapping[str, bytes]) -> None:
        """Ask until every brand has said OK; a refusal that waiting cannot mend stops the run."""
        kind = "offer" if "offer" in config else "begin"
        said: dict[NodeId, Code] = {}
        words: dict[NodeId, str] = {}
        deadline, pause = time.monotonic() + self.approval, self.pause
        while True:
            left = {n: r for n, r in self._all(kind, config).items() if said.get(n) != Code.OK}
            replies = self.federation.ask(left)
            said |= {n: replies[n].code if n in replies else Code.SILENT for n in left}
            if kind == "offer":
                said |= self._signed(replies)
            before, words = words, {node: str(code) for node, code in sorted(said.items())}
            if words != before:
                _log.info("%s: %s", kind, words)
            refused = {
                n: codes_of(replies[n]) if n in replies and replies[n].code is c else (c,)
                for n, c in said.items()
                if c is not Code.OK and c not in _PATIENT
            }
            self.files.say("refused" if refused else state, self.files.number, brands=words)
            if refused:
                raise InputError("run", _refusal(refused, said), "change the run, or ask them")
            if all(code is Code.OK for code in said.values()):
                return
            if time.monotonic() > deadline:
                raise InputError("run", f"nobody waits any longer: {words}", "resume it later")
            time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
            # a brand that is silent may be there any moment; a person, or a database, takes longer
            away = Code.SILENT in said.values()
            pause = self.pause if away else min(2 * pause, max(LONGEST, self.pause))

    def _signed(self, replies: Mapping[NodeId, Reply]) -> dict[NodeId, Code]:
        """Keep signatures that hold; a brand whose signature does not is refused."""
        plan, wrong = self.files.signed(), {}
        for node, reply in replies.items():
            if reply.code is not Code.OK:
                continue
            signature = reply.config.get("signature")
            if isinstance(signature, bytes):
                plan = replace(plan, signatures={**plan.signatures, node: signature})
            if node in plan.unsigned(self.roster):
                wrong[node] = Code.BAD_SIGNATURE
        good = {n: s.hex() for n, s in plan.signatures.items() if n not in wrong}
        self.files.keep_signatures(good)
        return wrong

    def _rounds(self) -> Progress:
        files, agreed = self.files, self.files.agreed
        keeper, seen = Checkpoint(files.checkpoint, files.transcript), MarksFile(files.home.marks)
        stored = keeper.load()
        progress, log, marks = stored or (Progress(0, agreed.first), None, seen.load())
        trips = Trips(self.federation, files.run, files.folder / "trips")
        if not stored:
            trips.clear()
        summing = self._summing(log, marks)
        log = summing.log if isinstance(summing, CoordinatorHalf) else None
        if not stored:
            keeper.store(progress, log, marks)
        coordinator = Coordinator(
            trips if agreed.protected else Vouched(trips, self.roster, files.run, marks),
            agreed.algorithms["train"],
            agreed.plan,
            summing,
            agreed.seed,
            None,
            lambda sums: {},
            agreed.rounds,
        )
        void = 0
        while progress.number < agreed.rounds:
            began = time.monotonic()
            try:
                progress, void = coordinator.advance(progress, agreed.rounds), 0
            except NoAnswer as failure:
                void += 1
                number = progress.number + 1
                gone = [Absence(number, n, c) for n, c in sorted(failure.absent.items())]
                progress = replace(progress, number=number, absences=(*progress.absences, *gone))
            marks |= seen.merge(marks)  # between rounds: nobody has signed for the next one yet
            keeper.store(progress, log, marks)
            trips.clear()
            taken = round(time.monotonic() - began, 3)
            files.say("running", progress.number, seconds=taken, void=void)
            files.took(taken)
            absent = {a.brand: a.code for a in progress.absences if a.number == progress.number}
            _log.info("round %d: %.1f s, absent: %s", progress.number, taken, absent or "nobody")
            if void >= MOST_VOID:
                raise InputError("run", f"{void} rounds in a row had no sum", "resume it later")
        return progress

    def _summing(self, log: Log | None, marks: dict[bytes, Mark]) -> SecureSum:
        files, agreed = self.files, self.files.agreed
        if not agreed.protected:
            return PlainSum(most_weight=agreed.plan.most_weight)
        terms = Terms(self.roster, files.signed())
        identity = load_identity(files.home)
        if log is None:
            atomic_write(files_beside(files.transcript).first, to_bytes(agreed.first))
            self._record(header(terms))
            log = Log(terms.first_root, marks=marks)
        return CoordinatorHalf(identity, terms, log, self._record, self._keep)

    def _record(self, line: str) -> None:
        with self.files.transcript.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _keep(self, total: Ring) -> None:
        with files_beside(self.files.transcript).sums.open("ab") as file:
            append_sum(file, total)


def _refusal(refused: Mapping[NodeId, tuple[Code, ...]], said: Mapping[NodeId, Code]) -> str:
    """Who refuses, and who has not been heard, and so may refuse next."""
    listed = ", ".join(f"{n} ({explained(c)})" for n, c in sorted(refused.items()))
    silent = sorted(n for n, code in said.items() if code is Code.SILENT)
    return f"is refused by {listed}" + (f"; no answer yet from {', '.join(silent)}" * bool(silent))
