"""What a question has to bring, and its run: prepare, ask, publish. Resumable like any other."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from experiments import record
from experiments.journal import Journal, Piece, stored_plan
from experiments.pool import share_out
from experiments.progress import meter
from experiments.promises import statement_of
from experiments.questions.asking import Answered, Place
from experiments.questions.beside import Beside, Extra
from fl import arrays
from fl.contracts import Unit
from fl.data.dataset import DataSet
from fl.data.divide import BrandTable, undivided
from fl.errors import InputError
from fl.events import to_json as to_event
from fl.privacy import Plan
from fl.privacy.calibration import require_delta
from fl.report.answers import Block, write_answers
from fl.report.files import atomic_write
from fl.report.rows import Row, from_json, to_json
from fl.report.table import Table

if TYPE_CHECKING:
    from experiments.questions.inquiry import Inquiry

EVALUATION = (
    "Offline benchmark: what pooling all rows would give was computed with all rows of all brands "
    "in hand, exactly and without noise, for comparison only. A deployment sees only the counted, "
    "summed answers of the Query door."
)

Tables = Mapping[str, BrandTable]
Pieces = Mapping[str, Mapping[int, Piece]]  # by the guarantee's label and the seed


@dataclass(frozen=True, slots=True)
class Findings:
    """What a question's report says.

    Attributes:
        answer: in one sentence.
        rows: for ``results.json``.
        blocks: of the report, in order: paragraphs, tables, plots. Tables are printed as well.
        run: further entries of ``run.json``.
        files: further files of the run's folder, by name.
    """

    answer: str
    rows: Sequence[Row]
    blocks: Sequence[Block]
    run: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


class Study(Protocol):
    """One question. A frozen dataclass: its fields are ``conf/task/NAME.yaml``."""

    @property
    def name(self) -> str: ...

    def drawn(self, data: DataSet, seed: int) -> DataSet:
        """The rows that a repetition is about: ``data``, or a sample of it."""

    def check(self, how: Inquiry, data: DataSet, tables: Tables, journal: Journal) -> None:
        """Find every mistake before the output folder is made; raises ``InputError``.

        ``journal`` is empty at a start; where a run is taken up, it says who was asked already.
        """

    def work(self, brands: int) -> int:
        """How many brand-rounds it takes under one guarantee, for the progress bar."""

    def answer(self, data: DataSet, tables: Tables, place: Place, plan: Plan) -> Piece:
        """Ask (:func:`~experiments.questions.asking.ask`), under one guarantee, in one seed."""

    def findings(
        self, how: Inquiry, data: DataSet, tables: Mapping[int, Tables], pieces: Pieces
    ) -> Findings:
        """Compare with what pooling all rows would give, and say what was found."""


def enough_brands(tables: Tables) -> None:
    """Refuse a sum over fewer than three brands: it is one's own, or shows each the other's.

    Raises:
        InputError: there are fewer.
    """
    if len(tables) < 3:
        raise InputError(
            "data",
            f"a sum over {len(tables)} brand{'s' * (len(tables) != 1)} shows each what the other "
            "has, or is one brand's own",
            "take a data set or partition with three brands or more",
        )


def piece_of(answered: Answered, content: arrays.Arrays, note: Mapping[str, Any]) -> Piece:
    """An answer as a piece: ``content`` is what the study keeps of it, ``note`` is JSON."""
    spent = {keeper: to_event(event) for keeper, event in answered.spent.items()}
    kept = {
        "spent": spent,
        "plan": stored_plan(answered.plan),
        "cohort": list(answered.cohort),
        "absent": dict(answered.absent),
    }
    return Piece({**arrays.within("model", answered.state), **content}, {**note, **kept})


def run(how: Inquiry, out: Path, beside: Beside) -> None:
    """Start a run.

    Raises:
        InputError: a mistake in the config or the data.
    """
    data, tables = _prepare(how, Journal(out / "work"))
    out.mkdir(parents=True, exist_ok=True)
    record.write(out, _opening(how, data, tables[how.seeds[0]]))
    _finish(out, how, beside, data, tables, began=time.time())


def resume(how: Inquiry, out: Path, beside: Beside) -> None:
    """Take up a run that was interrupted."""
    began = time.time() - record.taken_up(out)
    data, tables = _prepare(how, Journal(out / "work"))
    _finish(out, how, beside, data, tables, began)


def show(out: Path, kept: Mapping[str, Any]) -> None:
    """The tables of a finished run, and where its report is."""
    from fl.report.terminal import output, show_answer

    tables = [Table(t["title"], t["header"], t["lines"], t["note"]) for t in kept["tables"]]
    rows, answer = from_json(out / "results.json"), str(kept.get("answer") or "")
    show_answer(output(110), tables, answer, rows, kept)
    sys.stdout.write(f"{kept['seconds']:.0f} s. Report: {out / 'report.html'}\n")


def _prepare(how: Inquiry, journal: Journal) -> tuple[DataSet, dict[int, Tables]]:
    with meter(f"{how.experiment}: reading {how.source.name}", 1) as tick:
        data = how.source.load()
        tick(1)
    tables = {}
    for seed in how.seeds:
        tables[seed] = undivided(how.study.drawn(data, seed), how.partition, seed)
        how.study.check(how, data, tables[seed], journal)
        for plan in how.plans.values():
            if plan.unit is Unit.CUSTOMER:
                for table in tables[seed].values():
                    customers = len(set(table.customers.tolist()))
                    require_delta(float(getattr(plan, "delta", 1.0)), customers)
    return data, tables


def _finish(
    out: Path,
    how: Inquiry,
    beside: Beside,
    data: DataSet,
    tables: Mapping[int, Tables],
    began: float,
) -> None:
    beside.carry_out(out)
    journal = Journal(out / "work")
    total = sum(len(how.plans) * how.study.work(len(tables[seed])) for seed in how.seeds)
    with meter(f"{how.experiment}: {len(how.seeds)} seeds", total) as tick:
        jobs = {s: _job(out, how, data, tables[s], s, journal) for s in how.seeds}
        share_out(how.runtime.processes, jobs, tick)
    pieces = {
        name: {seed: _stored(journal, seed, name) for seed in how.seeds} for name in how.plans
    }
    _publish(out, how, beside.found(out), data, tables, pieces, time.time() - began)
    shutil.rmtree(out / "work")
    show(out, json.loads((out / "run.json").read_text()))


def _job(
    out: Path, how: Inquiry, data: DataSet, tables: Tables, seed: int, journal: Journal
) -> Callable[[Callable[[int], None]], None]:
    def job(tick: Callable[[int], None]) -> None:
        for name, plan in how.plans.items():
            if journal.get(_key(seed, name)) is not None:
                tick(how.study.work(len(tables)))
                continue
            place = Place(out, journal, how.summing, seed, name, how.runtime.debug, tick)
            journal.put(_key(seed, name), how.study.answer(data, tables, place, plan))

    return job


def _key(seed: int, name: str) -> str:
    return f"seed-{seed}/answer/{name}"


def _stored(journal: Journal, seed: int, name: str) -> Piece:
    piece = journal.get(_key(seed, name))
    if piece is None:
        raise RuntimeError(f"seed {seed} left no answer under {name}")
    return piece


def _opening(how: Inquiry, data: DataSet, tables: Tables) -> dict[str, Any]:
    """``run.json`` before the first round."""
    name, plan = next(iter(how.plans.items()))
    return {
        "version": record.VERSION,
        "status": "running",
        "experiment": how.experiment,
        "question": how.question,
        "task": how.study.name,
        "config": how.values,
        **record.circumstances(),
        "seeds": list(how.seeds),
        "evaluation": EVALUATION,
        "privacy": {
            "name": plan.name,
            "label": name,
            "unit": str(plan.unit),
            "noise_source": getattr(plan, "noise_source", None),
            "statement": record.promise(plan),
        },
        "secure_sum": how.summing.name,
        "data": {
            "name": data.name,
            **asdict(data.provenance),
            "rows": len(data.rows),
            "customer": data.customer or "each row is one customer",
            "brands": {b: {"customers": len(set(t.customers))} for b, t in tables.items()},
        },
    }


def _publish(
    out: Path,
    how: Inquiry,
    extra: Extra,
    data: DataSet,
    tables: Mapping[int, Tables],
    pieces: Pieces,
    seconds: float,
) -> None:
    found = how.study.findings(how, data, tables, pieces)
    rows, blocks = [*found.rows, *extra.rows], [*found.blocks, *extra.blocks]
    models = {
        f"seed-{seed}/federated@{name}/{part}": array
        for name, by_seed in pieces.items()
        for seed, piece in by_seed.items()
        for part, array in arrays.below("model", piece.arrays).items()
    }
    said = [block for block in blocks if isinstance(block, Table)]
    run = {
        **_opening(how, data, tables[how.seeds[0]]),
        "seconds": round(seconds, 1),
        "answer": found.answer,
        "tables": [asdict(table) for table in said],
        "absent": [
            {"seed": seed, "arm": "federated", "privacy": name, "brand": brand, "code": code}
            for name, by_seed in pieces.items()
            for seed, piece in by_seed.items()
            for brand, code in piece.note["absent"].items()
        ],
        "statements": _statements(how, pieces),
        "arrays": {
            str(seed): arrays.digest(
                {n: a for n, a in models.items() if n.startswith(f"seed-{seed}/")}
            )
            for seed in how.seeds
        },
        **found.run,
    }
    run = record.without_nan(run)
    to_json(out / "results.json", rows)
    atomic_write(out / "models.npz", arrays.to_bytes(models))
    for name, content in found.files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        # What is some brand's alone is for the owner's eyes, as its alerts are.
        atomic_write(out / name, content, private=name.startswith("brands/"))
    write_answers(out, blocks, rows, run)
    record.write(out, {**run, "status": "finished"})


def _statements(how: Inquiry, pieces: Pieces) -> dict[str, dict[str, Any]]:
    """Of each guarantee, for the seed that cost most (one that was taken up again, if any)."""
    made = {}
    for name, plan in how.plans.items():
        if plan.unit is Unit.NONE:
            continue
        key = f"federated@{name}"
        found = {
            seed: statement_of(
                Piece({}, {"spent": {key: p.note["spent"]}, "plans": {key: p.note["plan"]}}),
                key,
                "federated",
            )
            for seed, p in _apart(pieces[name]).items()
        }
        seed = max(found, key=lambda s: found[s].customer.pld)
        made[key] = {**found[seed].to_json(), "lines": list(found[seed].lines()), "seed": seed}
    return made


def _apart(pieces: Mapping[int, Piece]) -> dict[int, Piece]:
    """One seed's piece for each different spending, in order."""
    kept: dict[int, Piece] = {}
    for seed, piece in pieces.items():
        if all(piece.note["spent"] != other.note["spent"] for other in kept.values()):
            kept[seed] = piece
    return kept
