"""What a run leaves in its folder: run.json, results.json, models.npz and report.html."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments.arms import Result
from experiments.details import DETAILS, LEFT_AT_BRANDS
from experiments.journal import Piece, stored_plan
from experiments.prepare import Tables, shared_schema
from experiments.promises import statements
from experiments.settings import Settings
from experiments.summary import summarise_run
from experiments.tuning import TUNED
from fl import arrays
from fl.contracts import Unit
from fl.data.dataset import DataSet
from fl.data.divide import BrandTable
from fl.data.schema_file import to_plain
from fl.errors import InputError
from fl.events import to_json as to_event
from fl.privacy import BrandPrivacy, Plan
from fl.report.files import atomic_write
from fl.report.rows import from_json, to_json

EVALUATION = (
    "Offline benchmark: every metric was computed with all test rows of all brands in hand, "
    "exactly and without noise. A deployment sees only the counted, summed statistics of the "
    "Query door. "
    "Tuning saw validation rows only; test rows were scored once, after the last training."
)
_PACKAGES = ("flwr", "torch", "opacus", "hydra-core", "pandas", "numpy", "scikit-learn")
VERSION = 1  # of run.json and results.json


def opening(how: Settings, data: DataSet, tables: Tables) -> dict[str, Any]:
    """``run.json`` before the first round: enough to resume, and to know what was asked."""
    brands = {
        brand: {
            "rows": len(table.rows),
            "customers": len(set(table.customers.tolist())),
            **_labels(data, table, brand),
        }
        for brand, table in tables.items()
    }
    return {
        "version": VERSION,
        "status": "running",
        "experiment": how.experiment,
        "question": how.question,
        "config": how.values,
        **circumstances(),
        "seeds": list(how.seeds),
        "evaluation": EVALUATION,
        "privacy": {
            "name": how.variants[0].plan.name,
            "label": how.variants[0].label,
            "unit": str(how.variants[0].plan.unit),
            "noise_source": getattr(how.variants[0].plan, "noise_source", None),
            "statement": promise(how.variants[0].plan),
        },
        "secure_sum": how.summing.name,
        "runtime": {"name": how.runtime.name},
        "data": {
            "name": data.name,
            **asdict(data.provenance),
            "rows": len(data.rows),
            "customer": data.customer or "each row is one customer",
            "brands": brands,
            "tiers": {b: data.tiers[b] for b in brands if b in data.tiers},
        },
    }


def circumstances() -> dict[str, Any]:
    """What a run was made with: versions, machine, commit."""
    return {
        "versions": {
            **{p: metadata.version(p) for p in _PACKAGES},
            "python": sys.version.split()[0],
        },
        "machine": platform.platform(),
        "commit": _commit(),
    }


def note(results: Mapping[str, Result], seed: int) -> dict[str, Any]:
    """What is worth knowing of one seed's arms, beside the arrays."""
    history, absent = [], []
    for key, result in results.items():
        if result.progress is None:
            continue
        arm, _, label = key.partition("@")
        asked_in_secret = isinstance(result.plan, BrandPrivacy) and result.plan.sampling_rate < 1
        where = {"seed": seed, "arm": arm, "privacy": label or "none"}
        history += [
            {**where, "round": p.number, "metric": m, "value": v}
            for p in result.progress.history
            for m, v in p.metrics.items()
        ]
        absent += [
            {**where, "round": a.number, "brand": a.brand, "code": a.code}
            for a in (() if asked_in_secret else result.progress.absences)
        ]
    chosen = {
        arm: {
            who: {
                **trial.values,
                **({"rounds": result.rounds[who]} if who in result.rounds else {}),
            }
            for who, trial in result.chosen.items()
        }
        for arm, result in results.items()
    }
    spent = {
        arm: {keeper: to_event(event) for keeper, event in result.spent.items()}
        for arm, result in results.items()
        if result.spent
    }
    plans = {arm: stored_plan(result.plan) for arm, result in results.items()}
    return {"history": history, "absent": absent, "chosen": chosen, "spent": spent, "plans": plans}


def publish(
    out: Path,
    how: Settings,
    data: DataSet,
    tables: Mapping[int, Tables],
    pieces: Mapping[int, Piece],
    seconds: float,
) -> None:
    """Write everything; ``run.json`` says ``finished`` only after the rest is there."""
    from fl.report.html import write_report

    run = opening(how, data, tables[how.seeds[0]])
    schema = shared_schema(data, tables[how.seeds[0]], how, how.seeds[0])
    summary = summarise_run(how, data, pieces)
    run |= {
        "seconds": round(seconds, 1),
        "tuning": {
            "budget": how.tuning.budget,
            "arms": {
                arm: [dict(t.values) for t in how.tuning.trials(arm)]
                for arm in how.arms
                if arm in TUNED
            },
            "chosen": {str(seed): piece.note["chosen"] for seed, piece in pieces.items()},
        },
        "absent": [a for piece in pieces.values() for a in piece.note["absent"]],
        "history": [h for piece in pieces.values() for h in piece.note["history"]],
        **DETAILS[how.options.name](how, schema, pieces),
        "runtime": {"name": how.runtime.name, "answers": _paths(pieces)},
        "gains": summary.gains[how.variants[0].label],
        "gains_by_privacy": summary.gains,
        "statements": statements(how, pieces),
        "schema": to_plain(schema),
        "arrays": {str(seed): arrays.digest(_models({seed: p})) for seed, p in pieces.items()},
    }
    run = without_nan(run)
    to_json(out / "results.json", summary.rows)
    atomic_write(out / "models.npz", arrays.to_bytes(_models(pieces)))
    write_report(out, summary.rows, run)
    if leave := LEFT_AT_BRANDS.get(how.options.name):
        leave(out, how, data, tables[how.seeds[0]], pieces[how.seeds[0]])
    write(out, {**run, "status": "finished"})


def _paths(pieces: Mapping[int, Piece]) -> dict[str, int]:
    """How often the cohort runtime took which way, over all seeds."""
    total: Counter[str] = Counter()
    for piece in pieces.values():
        total.update(piece.note.get("paths", {}))
    return dict(total)


def _labels(data: DataSet, table: BrandTable, brand: str) -> dict[str, Any]:
    """How many of a brand's rows are positive, or of each class."""
    codes = data.schema.targets(table.rows, f"brand {brand}")
    if not data.schema.classes:
        return {"positives": int(codes.sum())}
    return {"classes": {c: int((codes == i).sum()) for i, c in enumerate(data.schema.classes)}}


def promise(plan: Plan) -> str:
    """What a plan says of itself, in a sentence."""
    if plan.unit is Unit.NONE:
        return "No privacy guarantee: exact updates and exact counts leave each brand."
    return plan.trust


def write(out: Path, run: Mapping[str, Any]) -> None:
    """``run.json``, in one step."""
    atomic_write(out / "run.json", (json.dumps(run, indent=1, allow_nan=False) + "\n").encode())


def read(out: Path) -> dict[str, Any]:
    """``run.json``.

    Raises:
        InputError: it is none.
    """
    try:
        kept = json.loads((out / "run.json").read_text())
    except ValueError as error:
        raise InputError(
            "resume", f"{out}/run.json is not JSON ({error})", "start the run anew"
        ) from error
    if not isinstance(kept, dict) or not isinstance(kept.get("config"), dict):
        raise InputError("resume", f"{out}/run.json is not of a run", "start the run anew")
    return kept


def taken_up(out: Path) -> float:
    """How long a run that is taken up has worked, up to its last finished piece, in seconds.

    It is written down, so that the next one who takes it up counts the rest only.
    """
    path = out / "run.json"
    kept, since = read(out), path.stat().st_mtime
    ends = [piece.stat().st_mtime for piece in (out / "work").glob("*.npz")]
    seconds = float(kept.get("seconds", 0.0)) + max(0.0, max(ends, default=since) - since)
    write(out, {**kept, "seconds": round(seconds, 1)})
    return seconds


def show(out: Path) -> None:
    """The tables of a finished run, and where its report is."""
    from fl.report.terminal import output, show_run

    run = json.loads((out / "run.json").read_text())
    show_run(output(100), from_json(out / "results.json"), run)
    sys.stdout.write(f"{run['seconds']:.0f} s. Report: {out / 'report.html'}\n")


def without_nan(value: Any) -> Any:
    """JSON has no NaN: where there is no number, null."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _models(pieces: Mapping[int, Piece]) -> dict[str, Any]:
    return {
        f"seed-{seed}/{name.removeprefix('model/')}": array
        for seed, piece in pieces.items()
        for name, array in piece.arrays.items()
        if name.startswith("model/")
    }


def _commit() -> str | None:
    """The commit of this code, ``+changes`` if the tree differs; None outside a checkout."""
    here = Path(__file__).parent
    try:
        asked = ["git", "-C", str(here), "describe", "--always", "--dirty=+changes", "--abbrev=40"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
