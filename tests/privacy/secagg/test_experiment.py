"""``secure_sum=brandagg`` runs a whole benchmark from the command line, and leaves transcripts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from fl.privacy.secagg import verify_transcript
from fl.privacy.secagg.identity import Roster
from tests import worlds

ROOT = Path(__file__).resolve().parents[3]
GRID = "{learning_rate:[0.5],weight_decay:[0.0]}"


def benchmark(
    folder: Path, csv: Path, secure_sum: str, *more: str
) -> subprocess.CompletedProcess[str]:
    options = [
        "data=table", f"data.path={csv}", "data.label=converted", "data.brand_column=brand",
        "privacy=none", f"secure_sum={secure_sum}", f"out={folder}", "rounds=2", "seeds=1",
        "arms=[federated]", "tuning.budget=1", f"tuning.alone={GRID}", f"tuning.federated={GRID}",
        "tuning.finetuned={learning_rate:[0.1],epochs:[1]}", f"tuning.pooled={GRID}",
        "runtime.workers=1", *more,
    ]  # fmt: skip
    command = [sys.executable, "-m", "experiments.run", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_benchmark_under_brandagg_equals_the_plain_one(tmp_path: Path) -> None:
    """Even the shared schema is asked for through the secure sum: the table states none."""
    csv = tmp_path / "crm.csv"
    rows = pd.concat([worlds.table(f"b{i}", 120) for i in range(4)])
    rows.drop(columns=["customer"]).to_csv(csv, index=False)
    found = {}
    for secure_sum in ("plain", "brandagg"):
        run = benchmark(tmp_path / secure_sum, csv, secure_sum)
        assert run.returncode == 0, run.stderr
        found[secure_sum] = json.loads((tmp_path / secure_sum / "results.json").read_text())
    texts = [json.dumps(found[s], sort_keys=True) for s in found]
    values = [[float(x) for x in _numbers(json.loads(t))] for t in texts]
    assert len(values[0]) == len(values[1]) > 10
    assert max(abs(a - b) for a, b in zip(*values, strict=True)) < 0.02
    files = list((tmp_path / "brandagg").glob("transcripts/*/*/from-round-0.jsonl"))
    assert len(files) == 2  # the trial, and the last training
    for file in files:
        lines = file.read_text().splitlines()
        roster = Roster.from_json(json.loads(lines[0])["roster"])
        verdict = verify_transcript(lines, roster)
        assert verdict.problem == ""
        assert verdict.rounds >= 1


def _numbers(rows: object) -> list[float]:
    if isinstance(rows, dict):
        return [x for key in sorted(rows) if "second" not in key for x in _numbers(rows[key])]
    if isinstance(rows, list):
        return [x for row in rows for x in _numbers(row)]
    return [float(rows)] if isinstance(rows, float) else []


@pytest.mark.slow
def test_too_few_brands_are_an_error_of_one_line(tmp_path: Path) -> None:
    csv = tmp_path / "crm.csv"
    rows = pd.concat([worlds.table(f"b{i}", 60) for i in range(2)])
    rows.drop(columns=["customer"]).to_csv(csv, index=False)
    run = benchmark(tmp_path / "out", csv, "brandagg")
    assert run.returncode == 2
    assert "secure_sum: Expected at least min_brands=3 brands, not 2" in run.stderr
