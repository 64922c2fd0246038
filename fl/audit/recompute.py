"""A finished run, checked: every figure of its statements, and what its ledgers really booked.

A statement says what each brand released (its events) and what that costs (its figures). Figures
are computed again from the events, by two accountants; events are compared with the bills of the
brands' ledgers, whose chains and signatures are checked. So a figure stands on what was committed
before data was touched, not on what ``run.json`` says.

A run folder has ``run.json`` and, for each seed and arm with a guarantee, the keepers' ledgers in
``ledgers/seed-SEED/ARM``. Keepers are the brands; whoever held all rows, for the arm
``central_dp``; or the coordinator, where the unit of privacy is a brand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fl.audit.folder import Check, RunAudit, damaged, read_run
from fl.contracts import Unit
from fl.errors import InputError
from fl.events import Composed
from fl.privacy.accounting import Epsilons
from fl.privacy.bills import Bill, bill, events
from fl.privacy.books import Neighbours
from fl.privacy.losses import releases
from fl.privacy.reading import Reading, verify
from fl.privacy.recompute import recompute
from fl.privacy.statement import Statement

CENTRAL, POOLED, COORDINATOR = "central_dp", "pooled", "coordinator"


@dataclass(frozen=True, slots=True)
class _Run:
    """What an audit needs of ``run.json``; ``seed`` is the one whose ledgers are read."""

    folder: Path
    seed: int
    other_seeds: Sequence[int]
    brands: frozenset[str]
    statements: Mapping[str, object]


def audit_run(folder: Path) -> RunAudit:
    """Check a run's statements and the ledgers they stand on.

    Raises:
        InputError: ``folder`` is not that of a finished run.
    """
    match read_run(folder):
        case None:
            return damaged("is not JSON")
        case {
            "version": 1,
            "status": "finished",
            "seeds": [int(seed), *others],
            "data": {"brands": dict(brands)},
            "statements": dict(statements),
        }:
            return _audit(_Run(folder, seed, others, frozenset(brands), statements))
    return damaged("has not what version 1 of a finished run has: edited, or another version")


# ----------------------------------------------------------------------------------- the whole run


def _audit(run: _Run) -> RunAudit:
    place = run.folder / "ledgers" / f"seed-{run.seed}"
    found = {p.name: p for p in sorted(place.iterdir())} if place.is_dir() else {}
    arms = []
    for key, values in run.statements.items():
        found.pop(key.replace("/", "."), None)
        about = replace(run, seed=_seed_of(values, run.seed))
        folder = run.folder / "ledgers" / f"seed-{about.seed}" / key.replace("/", ".")
        arms.append((key, tuple(_arm(about, key, values, folder if folder.is_dir() else None))))
    return RunAudit((("run", tuple(_about(run, found))), *arms))


def _seed_of(values: object, first: int) -> int:
    """The seed whose ledgers a statement is about: the costliest, where a run was interrupted."""
    stated = values.get("seed") if isinstance(values, Mapping) else None
    return stated if isinstance(stated, int) else first


def _about(run: _Run, unstated: Mapping[str, Path]) -> Iterator[Check]:
    for name in unstated:
        problem = f"{name} has ledgers of seed {run.seed}, but no statement says what it cost"
        yield Check(False, "statements", problem)
    if not run.statements and not unstated:
        yield Check(True, "statements", "no arm of this run promises anything")
        return
    if run.statements:
        yield Check(True, "statements", f"{len(run.statements)}: {', '.join(run.statements)}")
    if run.other_seeds:
        others = ", ".join(map(str, run.other_seeds))
        why = (
            f"a statement is about its costliest seed; others of {run.seed}, {others} are not read"
        )
        yield Check(None, "seeds", why)
    why = "a simulated brand makes its own, so only the files themselves say whose they are"
    yield Check(None, "keys", why)


def _arm(run: _Run, key: str, values: object, folder: Path | None) -> Iterator[Check]:
    stated = None
    try:
        plain = _without_lines(values)
        wrong, stated = recompute(plain), Statement.from_json(plain)
    except (InputError, ValueError, ArithmeticError, RecursionError) as error:
        yield Check(False, "statement", f"cannot be computed again: {error}")
    else:
        yield from _figures(stated, wrong)
        yield _words(stated, values)
    yield from _ledgers(run, key, stated, folder)


# ------------------------------------------------------------------------------------ a statement


def _figures(stated: Statement, wrong: Sequence[str]) -> Iterator[Check]:
    """What :func:`fl.privacy.recompute.recompute` found, and the figures that it agrees with."""
    yield from (Check(False, *_split(problem)) for problem in wrong)
    failed = {_split(problem)[0] for problem in wrong}
    delta, m = stated.conditions.delta, stated.meaning
    shown = {
        "customer": f"{_triple(stated.customer)}, delta {delta:g}, brand {stated.brand}",
        "person": f"{_triple(stated.person)}, at {stated.conditions.brands} brands",
        "meaning": f"finds {m.tpr_at_fpr_0001:.4g} at 0.001 false accusations, "
        f"{m.tpr_at_fpr_001:.4g} at 0.01; advantage {m.advantage:.4g}",
    }
    for name, detail in shown.items():
        if name not in failed:
            yield Check(True, name, f"{detail}: computed again from the events")


def _words(stated: Statement, values: object) -> Check:
    lines = list(stated.lines())
    if not isinstance(values, Mapping) or values.get("lines") != lines:
        return Check(False, "words", "the printed lines are not those of the stated figures")
    return Check(True, "words", f"{len(lines)} printed lines say what the figures say")


def _without_lines(values: object) -> dict[str, object]:
    if not isinstance(values, Mapping):
        raise InputError("privacy statement", "is not a group of values", "use the run's own file")
    return {str(key): value for key, value in values.items() if key not in ("lines", "seed")}


def _split(problem: str) -> tuple[str, str]:
    """``customer.pld: stated 1, ...`` belongs to the check ``customer``."""
    return problem.partition(":")[0].partition(".")[0], problem


def _triple(e: Epsilons) -> str:
    return f"epsilon {e.pld:.4g} (pld) / {e.prv:.4g} (prv) / {e.rdp:.4g} (rdp)"


# ------------------------------------------------------------------------------------- its ledgers


def _ledgers(run: _Run, key: str, stated: Statement | None, folder: Path | None) -> Iterator[Check]:
    """Chains and signatures, then bills against the statement's events."""
    if folder is None:
        missing = f"no folder for this arm below {run.folder / 'ledgers' / f'seed-{run.seed}'}"
        yield Check(False, "ledgers", missing)
        return
    readings: dict[str, Reading] = {}
    for path in sorted(folder.glob("*.jsonl")):
        try:
            reading = verify(path, every_signature=True)
        except InputError as error:
            yield Check(False, "ledger", str(error))
            continue
        if problem := _not_of(run, key, stated, reading, readings):
            yield Check(False, "ledger", f"{path}: {problem}")
            continue
        keeper, owner = reading.books.opening.brand, reading.books.public_key[:16]
        readings[keeper], size = reading, len(reading.entries)
        yield Check(True, "ledger", f"{keeper}: {size} entries chained, all signed by {owner}...")
    if stated is not None:
        yield from _bills(stated, _keepers(run, key, stated), readings)


def _not_of(
    run: _Run, key: str, stated: Statement | None, reading: Reading, seen: Mapping[str, Reading]
) -> str:
    """Why a ledger that is in order does not belong here; empty if it does."""
    opening = reading.books.opening
    about = f"simulated: seed-{run.seed}/{key.replace('/', '.')}/{opening.brand}"
    if opening.dataset != about:
        return f"is about {opening.dataset!r}, not about {about!r}"
    if opening.brand in seen:
        return f"is a second ledger of {opening.brand}"
    if reading.books.has_open_run():
        return "has an open run although this one is finished: lines are missing at the end"
    if stated is None:
        return ""
    c = stated.conditions
    if (opening.unit, opening.relation, opening.delta) != (c.unit, Neighbours.ADD_REMOVE, c.delta):
        return (
            f"protects a {opening.unit} ({opening.relation}, delta {opening.delta:g}); stated are "
            f"{c.unit}, {Neighbours.ADD_REMOVE}, delta {c.delta:g}"
        )
    return ""


def _keepers(run: _Run, key: str, stated: Statement) -> frozenset[str]:
    if stated.conditions.unit is Unit.BRAND:
        return frozenset((COORDINATOR,))
    return frozenset((POOLED,)) if key.partition("@")[0] == CENTRAL else run.brands


def _bills(
    stated: Statement, keepers: frozenset[str], readings: Mapping[str, Reading]
) -> Iterator[Check]:
    """What ledgers committed is what was stated.

    In a joint sum a brand that missed a round has booked less; one of them was in every round.
    """
    joint = stated.conditions.joint
    said = {name: bill(event) for name, event in stated.events.items()}
    if not joint and set(said) != keepers:
        wrong = f"stated are those of {_names(said)}, but ledgers are kept by {_names(keepers)}"
        yield Check(False, "events", wrong)
    for stranger in sorted(set(readings) - keepers):
        yield Check(False, "bill", f"{stranger}: keeps a ledger, but is not in this arm")
    booked = {name: readings[name].books.lifetime() for name in keepers if name in readings}
    whole = next(iter(said.values())) if joint else None
    for name in sorted(keepers):
        if name not in booked:
            yield Check(False, "bill", f"{name}: no ledger of it is there and in order")
            continue
        should = said.get(name) if whole is None else whole
        covered = joint and should is not None and booked[name] <= should
        holds = covered or booked[name] == should
        detail = f"{name}: committed {_priced(booked[name])}"
        detail += ", as stated" if holds else f", but stated {_priced(should)}"
        yield Check(holds, "bill", detail)
    if joint and booked and whole not in booked.values():
        yield Check(False, "bill", f"no ledger committed all that was stated: {_priced(whole)}")


def _priced(cost: Bill | None) -> str:
    """A bill in words: ``3 x noise 2.413 + 1 x noise 50``."""
    if cost is None:
        return "nothing"
    found = releases(Composed(events(cost)))
    if found is None:
        return "exact values"
    parts = [
        f"{r.times} x noise {r.noise_multiplier:.4g}"
        + (f" at rate {r.rate:.4g}" if r.rate < 1 else "")
        for r in found
    ]
    return " + ".join(parts) or "nothing"


def _names(names: Mapping[str, Bill] | frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nobody"
