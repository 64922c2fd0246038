"""The privacy statement of every private arm, from what its ledgers booked."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.arms import arm_keys
from experiments.journal import Piece, plan_from
from experiments.settings import Settings
from fl.events import Composed, from_json
from fl.privacy import NoPrivacy
from fl.privacy.accounting import pld_epsilon
from fl.privacy.promise import conditions
from fl.privacy.statement import Statement, statement

OFFLINE = (
    "This benchmark's own evaluation: it was computed offline with all test rows in hand, exactly "
    "and without noise, as no participant could.",
    "This benchmark's own files: the exact rows, customers and positives of each brand and the "
    "settings each brand chose (run.json), and the arms and models without a guarantee.",
    "Dividing the table: repeated rows are dropped and customers drawn for train and test with all "
    "rows in hand; figures are for the rows that a brand was then given.",
    "Repetitions: every seed is a world of its own with ledgers of its own; publishing all of them "
    "would add up.",
)
CATALOGUE = (
    "The catalogue: it is the list of the items that were bought, and part of every model that is "
    "released. Which items exist is not protected: one that a single customer bought tells that "
    "somebody did. A list published without regard to purchases would tell nothing.",
)
BRANDS = (
    "Which brands take part: those with enough customers, who were counted exactly, with all rows "
    "in hand. A single customer can decide whether a brand is there.",
)


def statements(how: Settings, pieces: Mapping[int, Piece]) -> dict[str, dict[str, Any]]:
    """By arm and guarantee; figures are those of the seed that cost most.

    Seeds cost the same, unless one was interrupted: rounds that it did again were paid for again.
    The fine-tuned arm has no statement of its own: its models never leave, so it costs what the
    federated arm costs.
    """
    found = {}
    for key, (arm, variant) in arm_keys(how).items():
        if variant is None or arm == "finetuned":
            continue
        apart = _apart(pieces, key)
        made = {s: statement_of(piece, key, arm, uncovered(how)) for s, piece in apart.items()}
        if made:
            seed = max(made, key=lambda s: made[s].customer.pld)
            worst = made[seed]
            found[key] = {**worst.to_json(), "lines": list(worst.lines()), "seed": seed}
    return found


def _apart(pieces: Mapping[int, Piece], key: str) -> dict[int, Piece]:
    """One seed's piece for each different spending on the arm, in order."""
    kept: dict[int, Piece] = {}
    for seed, piece in pieces.items():
        spent = piece.note["spent"].get(key, {})
        if spent and all(spent != other.note["spent"][key] for other in kept.values()):
            kept[seed] = piece
    return kept


def uncovered(how: Settings) -> tuple[str, ...]:
    """What no guarantee covers because of this task and data."""
    if how.options.name != "preference":
        return ()
    made = () if getattr(how.source, "published_catalogue", False) else CATALOGUE
    return (*made, *(BRANDS if getattr(how.source, "brands_by_size", False) else ()))


def composed(how: Settings, pieces: Mapping[int, Piece], key: str) -> tuple[int, float] | None:
    """In how many of the run's trainings one customer may be, and the epsilon of all of them.

    Every training's model is released. Of a whole division into folds a customer is in all
    trainings but the one that tests him; of anything else he may be in every one. Counted are the
    dearest trainings, at the plan's delta, for a customer of one brand; None without a guarantee.
    """
    by_seed = {s: p.note["spent"].get(key, {}).values() for s, p in pieces.items()}
    if not by_seed or not all(by_seed.values()):
        return None
    plan, folds = plan_from(pieces[how.seeds[0]].note["plans"][key]), how.preparation.folds
    if isinstance(plan, NoPrivacy):
        return None
    delta = plan.delta
    divisions = [seed // folds for seed in by_seed] if folds else []
    spared = sum(divisions.count(division) == folds for division in set(divisions))
    spent = [[from_json(event) for event in events] for events in by_seed.values()]
    costs = {e: pld_epsilon(e, delta) for e in dict.fromkeys(itertools.chain(*spent))}
    dearest = [max(events, key=costs.__getitem__) for events in spent]
    dearest.sort(key=costs.__getitem__, reverse=True)
    events = dearest[: len(dearest) - spared]
    return len(events), pld_epsilon(Composed(tuple(events)), delta)


def statement_of(piece: Piece, key: str, arm: str, more: Sequence[str] = ()) -> Statement:
    """What one seed's arm promises, from what its ledgers booked; ``more`` is not covered too."""
    plan = plan_from(piece.note["plans"][key])
    held = conditions(plan, (*more, *OFFLINE), central=arm == "central_dp")
    spent = {keeper: from_json(event) for keeper, event in piece.note["spent"][key].items()}
    if held.joint:
        different = dict.fromkeys(spent.values())  # brands mostly booked the same
        spent = {"sum": max(different, key=lambda event: pld_epsilon(event, held.delta))}
    return statement(spent, held)
