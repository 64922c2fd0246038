"""The coordinator's half of BrandAgg: it relays, adds, and takes masks off; it learns a sum.

It keeps a :class:`Log`: the transcript's root, and the sums that some brands have not followed yet.
A brand that was away is given them with its next ``open``. Step numbers are those of ``brand.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Collected, Federation, Mark, NodeId, Request, Update
from fl.errors import Code
from fl.privacy.secagg import chain, fixedpoint, transcript
from fl.privacy.secagg.attempt import Attempt
from fl.privacy.secagg.identity import Identity
from fl.privacy.secagg.masks import THREADS, Ring
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.wire import Round

BACKLOG = 64  # sums kept for brands that were away


@dataclass(slots=True)
class Log:
    """What the coordinator keeps between rounds. Public, and nothing in it is secret.

    Attributes:
        root: of the transcript.
        sequence: of the last round, finished or not.
        finished: line and sum of past rounds, by sequence.
        followed: the last finished round each brand has been given.
        marks: how far the brands' ledgers had come, by identity key; of other runs too, as far as
            that was known before the round.
    """

    root: bytes
    sequence: int = 0
    finished: dict[int, tuple[str, Ring]] = field(default_factory=dict)
    followed: dict[NodeId, int] = field(default_factory=dict)
    marks: dict[bytes, Mark] = field(default_factory=dict)

    def results(self, node: NodeId) -> tuple[dict[str, Ring], dict[str, str]]:
        """The sums ``node`` has not been given, and their lines.

        Guarantee: all of it is public to the members.
        """
        last = self.followed.get(node, 0)
        new = [(s, line, total) for s, (line, total) in self.finished.items() if s > last]
        sums = {f"{chain.SUM}{s}": total for s, _, total in new}
        return sums, {f"{chain.LINE}{s}": line for s, line, _ in new}

    def told(self, nodes: list[NodeId], members: tuple[NodeId, ...]) -> None:
        """Note that ``nodes`` have followed all, and forget what nobody needs any more.

        Guarantee: none needed.
        """
        last = max(self.finished, default=0)
        self.followed |= {node: last for node in nodes}
        slowest = min(self.followed.get(node, 0) for node in members)
        kept = [s for s in sorted(self.finished) if s > slowest][-BACKLOG:]
        self.finished = {s: self.finished[s] for s in kept}


Record = Callable[[str], None]
Keep = Callable[[Ring], None]


def unrecorded(line: str) -> None:
    """Keep no transcript. Guarantee: none needed."""


def unkept(total: Ring) -> None:
    """Keep no sums. Guarantee: none needed."""


@dataclass(frozen=True, slots=True)
class CoordinatorHalf:
    """The coordinator in one run.

    Attributes:
        identity: signs results; its public half is in the plan.
        terms: roster and plan.
        log: kept from round to round.
        record: given each line of the transcript, failed rounds too.
        keep: given each sum, before its line; with them others can recompute the models.
        threads: for taking off masks.

    Guarantee: its memory and its transcript hold nothing that its brands did not agree to show it.
    """

    identity: Identity = field(repr=False)
    terms: Terms
    log: Log = field(repr=False)
    record: Record = unrecorded
    keep: Keep = unkept
    threads: int = THREADS

    @property
    def name(self) -> str:
        """As in the config. Guarantee: public."""
        return self.terms.rules.name

    @property
    def hides_updates(self) -> bool:
        """The coordinator learns the sum alone. Guarantee: see the package."""
        return True

    def collect(
        self, federation: Federation, requests: Mapping[NodeId, Request], zero: Arrays
    ) -> Collected:
        """One sum over the brands of ``requests`` that stay to the end.

        Without a sum there are no survivors, and ``absent`` names the reason for each brand.

        Raises:
            ValueError: there are no requests, or they do not carry one mapping of arrays.

        Guarantee: see ``BrandHalf``; the sum is exact on the grid of the fixed point.
        """
        request = _common(requests)
        self.log.sequence += 1
        attempts = 1 if self.terms.rules.recovers else self.terms.rules.max_attempts
        lines: list[str] = []
        reason = Code.FAILED
        for number in range(1, attempts + 1):
            about = self._round(number, request, zero)
            size = fixedpoint.length(zero)
            attempt = Attempt(
                self.terms, about, request, federation, size, self.threads, self.log.marks
            )
            outcome = attempt.run(sorted(requests), self.log.results)
            values = attempt.line(outcome)
            message = transcript.line_message(values)
            line = transcript.sealed(values, self.terms.sign(self.identity, about.sid, message))
            self.terms.once(about.sid, line, partial(tuple, (values, about)))  # known unread
            lines.append(line)
            if not isinstance(outcome, Code):
                self.keep(outcome)
            self.record(line)
            if not isinstance(outcome, Code):
                return self._finish(outcome, attempt, zero, lines)
            reason = outcome
            self.log.told(attempt.followed, self.terms.roster.names)
        reasons = {node: attempt.absent.get(node, reason) for node in requests}
        return Collected(Update(arrays.zeros_like(zero), 0.0), (), reasons, tuple(lines))

    def _round(self, attempt: int, request: Request, zero: Arrays) -> Round:
        return Round(
            self.terms.roster.hash,
            self.terms.plan.hash,
            self.terms.run,
            self.log.sequence,
            attempt,
            request.kind,
            request.number,
            bytes.fromhex(arrays.digest(request.arrays)),
            fixedpoint.layout(zero),
            self.log.root,
        )

    def _finish(self, total: Ring, attempt: Attempt, zero: Arrays, lines: list[str]) -> Collected:
        self.log.told(attempt.followed, self.terms.roster.names)
        self.log.root = transcript.next_root(self.log.root, lines[-1])
        total.flags.writeable = False  # all brands are given this array
        self.log.finished[self.log.sequence] = (lines[-1], total)
        names = tuple(self.terms.roster.names[i] for i in attempt.survivors)
        absent = {node: code for node, code in attempt.absent.items() if node not in names}
        update = fixedpoint.decode(total, zero, self.terms.rules.scale_bits)
        return Collected(update, names, absent, tuple(lines))


def _common(requests: Mapping[NodeId, Request]) -> Request:
    """The one request that all brands get."""
    first = next(iter(requests.values()), None)
    if first is None or any(
        (r.kind, r.number) != (first.kind, first.number) or r.arrays is not first.arrays
        for r in requests.values()
    ):
        raise ValueError("Expected the same request, with the same arrays, for every brand.")
    return first
