"""A deployed run at its coordinator, checked: the offer, the transcript, the model that follows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fl.arrays import digest, from_bytes
from fl.audit.archive import course_of
from fl.audit.folder import Check, RunAudit
from fl.audit.heads import Heads, check_heads
from fl.audit.shares import counted
from fl.audit.transcripts import Followed, beside
from fl.contracts import Unit
from fl.errors import InputError
from fl.privacy.proposal import Proposal
from fl.privacy.secagg import verify_transcript
from fl.privacy.secagg.identity import Roster, SignedPlan


def is_deployed(folder: Path) -> bool:
    """Whether ``folder`` is that of a run of ``fl-server``."""
    return (folder / "offer.json").exists()


def audit_deployed(folder: Path, ledgers: Sequence[Path] = ()) -> RunAudit:
    """Check a run of ``fl-server``, in its folder below ``runs``.

    Args:
        ledgers: of brands, to hold against what they signed in the run.

    Raises:
        InputError: it was run without a secure sum, which signs nothing.
    """
    try:
        offer = json.loads((folder / "offer.json").read_bytes())
        proposal, content = Proposal.from_json(offer["proposal"]), dict(offer["content"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        return RunAudit((("run", (Check(False, "offer", f"{type(error).__name__}: {error}"),)),))
    if not (folder / "transcript.jsonl").exists():
        raise InputError(str(folder), "has no transcript", "name a run with a secure sum")
    return RunAudit(
        (
            ("offer", tuple(_offer(proposal, content))),
            ("transcript", tuple(_transcript(folder, str(offer.get("roster")), content, ledgers))),
        )
    )


def _offer(proposal: Proposal, content: Mapping[str, object]) -> Iterator[Check]:
    yield Check(proposal.is_signed(), "proposal", f"signed by {proposal.coordinator}")
    named = proposal.run.rpartition("/")[2] == SignedPlan(content).hash.hex()
    yield Check(named, "run", proposal.run if named else "its id is not the hash of its content")


def _transcript(
    folder: Path, pinned: str, content: Mapping[str, object], ledgers: Sequence[Path]
) -> Iterator[Check]:
    path = folder / "transcript.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        values = [json.loads(line) for line in lines]
        roster = Roster.from_json(values[0]["roster"])
        course = course_of(content["course"])
        sums, first, missing = beside(path, values)
    except (OSError, ValueError, LookupError, TypeError) as error:
        yield Check(False, "transcript", f"cannot be read: {type(error).__name__}: {error}")
        return
    same = roster.hash.hex() == pinned
    yield Check(same, "roster", pinned if same else "is not the one that the offer names")
    followed = None if missing else Followed(course, first, [digest(first)])
    verdict = verify_transcript(
        lines, roster, follow=followed, first=None if missing else first, sums=sums
    )
    if verdict.terms is None or verdict.problem:
        yield Check(False, "transcript", verdict.problem)
        return
    offered = verdict.terms.plan.hash == SignedPlan(content).hash
    yield Check(offered, "plan", "is the offered one" if offered else "is not the offered one")
    yield from counted(content, course, None if missing else first, roster)
    count = f"{verdict.rounds} sums, agreed on and signed by {len(roster.keys)} brands"
    failed = f"; {verdict.failed} rounds without a sum" if verdict.failed else ""
    yield Check(True, "transcript", count + failed)
    if ledgers:
        heads = Heads()
        heads.add(verdict.terms, values[1:], course.plan.unit is Unit.CUSTOMER)
        yield from check_heads(heads, ledgers, complete=False)
    else:
        yield Check(None, "heads", "no ledger was given to hold them against")
    if followed is None:
        yield Check(None, "models", f"not recomputed, {missing}")
        return
    yield Check(True, "models", f"recomputed from {verdict.rounds} sums, each follows")
    if not (folder / "model.npz").exists():
        yield Check(None, "model", "the run is not finished")
        return
    made = digest(course.algorithms[course.main].params(followed.state))
    found = digest(from_bytes((folder / "model.npz").read_bytes()))
    yield Check(
        made == found,
        "model",
        "model.npz is the one after the last sum"
        if made == found
        else "the one in model.npz does not follow from the sums",
    )
