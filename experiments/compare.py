"""One comparison, from config to report: prepare, run every seed, summarise, publish.

Bad input is found before the output folder is made. Every finished piece is in ``DIR/work``; when
the report is written that folder is deleted.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from experiments import arms, record
from experiments.journal import Journal, Piece
from experiments.learning import Bench
from experiments.pool import share_out
from experiments.prepare import encode, shared_schema
from experiments.progress import meter
from experiments.questions import study
from experiments.questions.catalog import STUDIES
from experiments.questions.inquiry import Inquiry, inquiry
from experiments.questions.learners import learners
from experiments.ready import Ready, Shelf
from experiments.runtimes import started
from experiments.settings import Settings, settings
from fl import arrays
from fl.errors import InputError

if TYPE_CHECKING:
    from experiments.simulation import Simulation


def run(values: Mapping[str, Any], shelf: Shelf | None = None) -> None:
    """Start a run from its resolved config.

    Args:
        shelf: prepared data of earlier runs of a sweep.

    Raises:
        InputError: a mistake in the config or the data, or ``out`` already holds a run.
    """
    out = Path(str(values["out"]))
    if (out / "run.json").exists():
        raise InputError(
            "out",
            f"{str(out)!r} already holds a run",
            f"take it up with fl-run resume={out}, or choose another folder",
        )
    if out.exists() and not out.is_dir():
        raise InputError("out", f"{str(out)!r} is a file", "name a folder")
    if (asked := _question(values)) is not None:
        study.run(asked, out, learners(asked.study, values, _beside))
        return
    how = settings(values)
    began = time.time()
    ready = _prepare(how, shelf)
    out.mkdir(parents=True, exist_ok=True)
    record.write(out, record.opening(how, ready.data, ready.tables[how.seeds[0]]))
    _finish(out, how, ready, began)


def resume(folder: str, shelf: Shelf | None = None) -> None:
    """Take up a run where it was left; a finished one only shows its table again.

    Raises:
        InputError: no run in the folder, or one whose config no longer builds.
    """
    out = Path(folder)
    if not (out / "run.json").exists():
        raise InputError("resume", f"no run in {folder!r}", "name the folder given as out=")
    kept = record.read(out)
    asked = _question(kept["config"])
    if kept.get("status") == "finished":
        study.show(out, kept) if asked else record.show(out)
        return
    if asked is not None:
        study.resume(asked, out, learners(asked.study, kept["config"], _beside))
        return
    how = settings(kept["config"])
    began = time.time() - record.taken_up(out)
    _finish(out, how, _prepare(how, shelf), began)


def one_of_many(values: Mapping[str, Any], shelf: Shelf) -> None:
    """A run of a sweep: one that was killed is taken up, one that is finished is done.

    Raises:
        InputError: as :func:`run`; or the folder holds a run with other options.
    """
    out = Path(str(values["out"]))
    if not (out / "run.json").exists():
        run(values, shelf)
        return
    kept = record.read(out)
    told = sorted(
        key
        for key in ({*kept["config"], *values} - {"out"})
        if kept["config"].get(key) != json.loads(json.dumps(values.get(key)))
    )
    if told:
        raise InputError(
            "out",
            f"{str(out)!r} holds a run with another {', '.join(told)}",
            "choose another folder, or remove that one",
        )
    if kept.get("status") != "finished":
        resume(str(out), shelf)


def _beside(values: Mapping[str, Any], out: Path) -> None:
    """A comparison that a question reports: started, taken up, or shown if it is done."""
    if (out / "run.json").exists():
        resume(str(out))
    else:
        run({**values, "out": str(out)})


def _question(values: Mapping[str, Any]) -> Inquiry | None:
    """The run's question, where its task is one that is answered by counting."""
    task = values.get("task")
    named = task.get("name") if isinstance(task, Mapping) else None
    return inquiry(values) if named in STUDIES else None


def _prepare(how: Settings, shelf: Shelf | None = None) -> Ready:
    """Load, divide and encode; every mistake in the data shows here."""
    torch.set_num_threads(1)
    return (shelf or Shelf()).ready(how)


def _finish(out: Path, how: Settings, ready: Ready, began: float) -> None:
    journal = Journal(out / "work")
    total = sum(arms.work(how, len(ready.tables[seed])) for seed in how.seeds)
    brands = max(len(tables) for tables in ready.tables.values())
    with (
        started(how.runtime, brands) as running,
        meter(f"{how.experiment}: {len(how.seeds)} seeds", total) as tick,
    ):
        jobs = {seed: _seed_job(how, ready, seed, journal, running) for seed in how.seeds}
        share_out(how.runtime.processes, jobs, tick)
    pieces = {seed: _stored(journal, seed) for seed in how.seeds}
    record.publish(out, how, ready.data, ready.tables, pieces, seconds=time.time() - began)
    shutil.rmtree(out / "work")
    record.show(out)


def _seed_job(
    how: Settings, ready: Ready, seed: int, journal: Journal, running: Simulation | None
) -> Callable[[Callable[[int], None]], None]:
    def job(tick: Callable[[int], None]) -> None:
        if journal.get(_key(seed)) is not None:
            tick(arms.work(how, len(ready.tables[seed])))
            return
        journal.put(_key(seed), run_seed(how, ready, seed, journal, tick, running))

    return job


def run_seed(
    how: Settings,
    ready: Ready,
    seed: int,
    journal: Journal,
    tick: Callable[[int], None],
    running: Simulation | None = None,
) -> Piece:
    """All arms of one seed, as a piece: test scores, labels, models, and how they came about."""
    torch.set_num_threads(1)
    tables = ready.tables[seed]
    task = how.task(shared_schema(ready.data, tables, how, seed))
    rows = ready.rows.get(seed) or encode(task, tables, how.preparation.scaling)
    bench = Bench(how, task, seed, rows, journal, tick, running=running)
    results = arms.all_arms(bench)
    content: dict[str, Any] = {
        f"y/{b}": task.truth(s["test"]) for b, s in bench.rows.brands.items()
    }
    for brand, splits in bench.rows.brands.items():
        content[f"who/{brand}"] = splits["test"].customer_b.numpy()
    content[f"y/{arms.ALL}"] = task.truth(bench.rows.pooled["test"])
    for arm, result in results.items():
        for brand, p in arms.scores(bench, arm, result).items():
            content[f"p/{arm}/{brand}"] = p
        if result.models and not arm.startswith(("alone", "finetuned")):
            content |= arrays.within(f"model/{arm}", next(iter(result.models.values())))
    return Piece(
        {k: np.asarray(v) for k, v in content.items()},
        {**record.note(results, seed), "paths": dict(bench.paths)},
    )


def _key(seed: int) -> str:
    return f"seed-{seed}/result"


def _stored(journal: Journal, seed: int) -> Piece:
    piece = journal.get(_key(seed))
    if piece is None:
        raise RuntimeError(f"seed {seed} left no result")
    return piece
