"""A run's secure sums, checked: who was in each, what they signed, and the models that follow.

A training's transcripts are in ``DIR/transcripts/seed-SEED/TRAINING``: ``headcount.jsonl`` if the
brands were counted first, ``from-round-0.jsonl``, and one more for each time it was taken up again.
Each is verified by ``fl.privacy.secagg.verify_transcript``; the models are recomputed from the sums
beside it (``archive.py``), from part to part, and the last one is compared with ``models.npz``. The
heads of the brands' ledgers that they signed are held against ``DIR/ledgers``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fl import arrays
from fl.arrays import Arrays, digest
from fl.audit.archive import course_of, files_beside, read_first, read_sums
from fl.audit.folder import Check, RunAudit, damaged, read_run
from fl.audit.heads import Heads, check_heads
from fl.audit.shares import counted
from fl.contracts import Unit, Update
from fl.errors import InputError
from fl.privacy.secagg import verify_transcript
from fl.privacy.secagg.follow import Course
from fl.privacy.secagg.identity import Roster
from fl.privacy.secagg.masks import Ring

_PART = re.compile(r"from-round-(\d+)")


@dataclass(frozen=True, slots=True)
class _Run:
    """What an audit needs of a run: its brands, and the published models by seed and arm."""

    folder: Path
    brands: frozenset[str]
    models: Mapping[tuple[str, str], Arrays]


@dataclass(slots=True)
class Followed:
    """A course that notes where it leads: the digest of the state after each training round."""

    course: Course
    state: Arrays
    digests: list[str]

    def broadcast(self, kind: str, state: Arrays) -> Arrays:
        """As the course does."""
        return self.course.broadcast(kind, state)

    def zero(self, kind: str, state: Arrays) -> Arrays:
        """As the course does."""
        return self.course.zero(kind, state)

    def advance(self, kind: str, state: Arrays, total: Update) -> Arrays:
        """As the course does."""
        self.state = self.course.advance(kind, state, total)
        if kind == self.course.main:
            self.digests.append(digest(self.state))
        return self.state


@dataclass(slots=True)
class _Training:
    """What is known of a training after some of its parts.

    Attributes:
        states: digest of the coordinator's state by the number of rounds before it.
        last: the course and where it has led, None where that could not be recomputed.
        heads: of ledgers, in the order of the transcripts.
    """

    states: dict[int, str] = field(default_factory=dict)
    last: Followed | None = None
    heads: Heads = field(default_factory=Heads)


def audit_transcripts(folder: Path) -> RunAudit:
    """Check every transcript of a run.

    Raises:
        InputError: ``folder`` is not that of a finished run, or its sums were not secured.
    """
    match read_run(folder):
        case None:
            return damaged("is not JSON")
        case {
            "version": 1,
            "status": "finished",
            "secure_sum": str(summing),
            "arrays": dict(stated),
            "data": {"brands": dict(brands)},
        }:
            pass
        case _:
            return damaged("has not what version 1 of a finished run has: edited, or another one")
    found = sorted(p for p in (folder / "transcripts").glob("*/*") if p.is_dir())
    if not found and summing != "brandagg":
        raise InputError(
            str(folder),
            f"has no transcripts: it was run with secure_sum={summing}, which signs nothing",
            "name a run with secure_sum=brandagg",
        )
    checks, models = _models(folder, stated)
    run = _Run(folder, frozenset(brands), models)
    parts = [(f"{p.parent.name}/{p.name}", tuple(_training(run, p))) for p in found]
    checks += _whole(run, {name for name, _ in parts}, summing)
    return RunAudit((("run", checks), *parts))


# ----------------------------------------------------------------------------------- the whole run


def _models(
    folder: Path, stated: Mapping[str, object]
) -> tuple[list[Check], dict[tuple[str, str], Arrays]]:
    """The published models by seed (``seed-0``) and arm, and whether they are those of run.json."""
    try:
        content = arrays.from_bytes((folder / "models.npz").read_bytes())
    except (OSError, ValueError) as error:
        return [Check(False, "models.npz", f"cannot be read: {error}")], {}
    found: dict[tuple[str, str], dict[str, arrays.Array]] = {}
    for name, array in content.items():
        seed, _, rest = name.partition("/")
        arm, _, parameter = rest.partition("/")
        found.setdefault((seed, arm), {})[parameter] = array
    for seed, said in stated.items():
        ours = {n: a for n, a in content.items() if n.startswith(f"seed-{seed}/")}
        if digest(ours) != said:
            problem = f"the models of seed {seed} are not those that run.json was written for"
            return [Check(False, "models.npz", problem)], dict(found)
    return [Check(True, "models.npz", f"{len(found)} models, as run.json says")], dict(found)


def _whole(run: _Run, found: set[str], summing: str) -> Iterator[Check]:
    for seed, arm in run.models:
        shared = arm.partition("@")[0] == "federated" and len(run.brands) > 1
        folders = {f"{seed}/{arm}", f"{seed}/{arm}.final"}
        if shared and not folders & found:
            problem = f"no transcript of {seed}/{arm}, whose model is published"
            yield Check(False, "transcript", problem)
    if summing != "brandagg":
        yield Check(False, "transcript", f"are there, although run.json says {summing}")
    yield Check(True, "transcript", f"of {len(found)} trainings")
    why = "a simulated run makes its own, so only the files themselves say whose they are"
    yield Check(None, "keys", why)


# -------------------------------------------------------------------------------------- a training


def _training(run: _Run, folder: Path) -> Iterator[Check]:
    """The parts of a training in order of time, then its model and its ledgers."""
    numbered = {int(m[1]): p for p in folder.glob("*.jsonl") if (m := _PART.fullmatch(p.stem))}
    parts = [numbered[number] for number in sorted(numbered)]
    counted, known = folder / "headcount.jsonl", _Training()
    for path in [counted, *parts] if counted.exists() else parts:
        yield from _part(run, path, known)
    if 0 not in numbered:
        yield Check(False, "transcript", "there is none that begins with the first round")
    arm = _arm(run, folder)
    if arm is not None:
        yield _model(known, run.models[folder.parent.name, arm])
    ledgers = run.folder / "ledgers" / folder.parent.name / folder.name
    yield from check_heads(known.heads, ledgers.glob("*.jsonl"), complete=True)


def _arm(run: _Run, folder: Path) -> str | None:
    """The arm whose published model this training made, if it made one."""
    names = (folder.name, folder.name.removesuffix(".final"))
    return next((n for n in names if (folder.parent.name, n) in run.models), None)


def _part(run: _Run, path: Path, known: _Training) -> Iterator[Check]:
    """One transcript: its lines, and the models that follow from its sums."""
    known.last = None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        values = [json.loads(line) for line in lines]
        roster = Roster.from_json(values[0]["roster"])
        course = course_of(values[0]["plan"]["course"])
        sums, first, missing = beside(path, values)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        yield Check(False, "transcript", f"{path}: cannot be read: {type(error).__name__}: {error}")
        return
    if strangers := sorted(set(roster.keys) - run.brands):
        yield Check(False, "transcript", f"{path}: {', '.join(strangers)} are not of this run")
        return
    followed = None if missing else Followed(course, first, [digest(first)])
    start = None if missing else first
    verdict = verify_transcript(lines, roster, follow=followed, first=start, sums=sums)
    if verdict.terms is None or verdict.problem:
        yield Check(False, "transcript", f"{path} {verdict.problem}")
        return
    known.heads.add(verdict.terms, values[1:], course.plan.unit is Unit.CUSTOMER)
    yield from counted(verdict.terms.plan.content, course, start, roster)
    count = f"{verdict.rounds} sums, agreed on and signed by {len(roster.keys)} brands"
    failed = f"; {verdict.failed} rounds without a sum" if verdict.failed else ""
    yield Check(True, "transcript", f"{path.stem}: {count}{failed}")
    if followed is None:
        yield Check(None, "models", f"{path.stem}: not recomputed, {missing}")
    else:
        yield _joined(path, followed, known, verdict.rounds)


def beside(
    path: Path, values: Sequence[Mapping[str, object]]
) -> tuple[dict[str, Ring], Arrays, str]:
    """The published sums by the hash that their lines state, the first state, and what is missing.

    Raises:
        ValueError: the first state is something else.
    """
    stated = [str(v.get("sum")) for v in values[1:] if v.get("outcome") == "ok"]
    near = files_beside(path)
    if not near.first.exists() or (stated and not near.sums.exists()):
        lost = near.sums if near.first.exists() else near.first
        return {}, {}, f"{lost.name} is missing"
    found = dict(zip(stated, read_sums(near.sums), strict=False)) if stated else {}
    absent = len(set(stated) - set(found))
    problem = f"{absent} of {len(stated)} sums are missing" if absent else ""
    return found, read_first(near.first), problem


def _joined(path: Path, followed: Followed, known: _Training, rounds: int) -> Check:
    """Whether a part begins where the part before it was stored."""
    part = _PART.fullmatch(path.stem)
    if part is None:
        return Check(True, "models", f"{path.stem}: recomputed from {rounds} sums")
    number = int(part[1])
    known.last = followed
    before = known.states.get(number)
    after = {number + i: d for i, d in enumerate(followed.digests)}
    known.states |= after
    if number and before is None:
        known.last = None
        why = f"what the parts before round {number + 1} led to is not known"
        return Check(None, "models", f"{path.stem}: {why}")
    if number and before != followed.digests[0]:
        known.last = None
        wrong = f"does not begin with the model that round {number} led to"
        return Check(False, "models", f"{path.stem}: {wrong}")
    return Check(True, "models", f"{path.stem}: recomputed from {rounds} sums, each follows")


def _model(known: _Training, published: Arrays) -> Check:
    if (last := known.last) is None:
        return Check(None, "model", "not recomputed, so models.npz was not compared")
    made = digest(last.course.algorithms[last.course.main].params(last.state))
    if made != digest(published):
        return Check(False, "model", "the one in models.npz does not follow from the sums")
    return Check(True, "model", f"models.npz has the one after round {max(known.states)}")
