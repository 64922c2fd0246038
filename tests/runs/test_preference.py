"""Recommenders through fl-run: under every guarantee or refused, taken up again, and reported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.run import command
from tests.runs.test_resume import OFTEN, ROOT, kill_in_the_middle

SMALL = (
    "data=panel_histories", "data.min_households=40", "data.length=30", "data.windows=1",
    "task=preference", "task.length=30", "seeds=1", "rounds=3", "evaluate_every=3",
    "training={optimizer: adam, learning_rate: 0.01, batch_size: 64, steps: 4}",
    "preparation.validation=0.0", "tuning={budget: 1, rounds: last, alone: {}, federated: {}, "
    "finetuned: {}, pooled: {}}",
)  # fmt: skip
FACTORS = ("model=factorisation", "model.dim=8", "task.loss=squared")
PLAIN, EXACT = "secure_sum=plain", "privacy=none"
LOCAL = ("privacy=local", "privacy.epsilon=8", "model.per_customer=true")
SHARED = ("privacy=distributed", "privacy.epsilon=8", "model.per_customer=true")


def run(*more: str) -> int:
    return command([*SMALL, "out=run", *more])


def note() -> dict[str, object]:
    found: dict[str, object] = json.loads(Path("run/run.json").read_text())
    return found


def test_who_gains_is_in_the_report_with_customers_behind_it() -> None:
    assert run(*FACTORS, EXACT, PLAIN, "arms=[alone,federated]") == 0
    found = note()["recommending"]
    assert isinstance(found, dict) and len(found["brands"]) > 2
    for brand in found["brands"].values():
        assert brand["customers"] > 10 and brand["low"] < brand["value"] < brand["high"]
        assert brand["value"] == pytest.approx(brand["together"] - brand["alone"])
    page = Path("run/report.html").read_text()
    assert page.count("Whose recommendations get better") >= 2


@pytest.mark.parametrize("plan", [(*LOCAL, "secure_sum=brandagg")])
def test_a_plan_for_customers_trains_the_factorisation(plan: tuple[str, ...]) -> None:
    assert run(*FACTORS, *plan, "arms=[federated]", "training.optimizer=sgd") == 0
    assert Path("run/ledgers").is_dir() and note()["statements"]


def test_shared_noise_needs_a_sum_that_hides_and_one_gradient_a_round() -> None:
    one = ("algorithm=fedsgd", "arms=[federated]")
    assert run(*FACTORS, *SHARED, *one, "secure_sum=brandagg") == 0
    assert note()["statements"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ((*FACTORS, *SHARED, "algorithm=fedsgd", PLAIN), "set secure_sum=brandagg"),
        ((*FACTORS, *SHARED, "secure_sum=brandagg"), "choose algorithm=fedsgd"),
        ((*FACTORS, "privacy=local", PLAIN), "set model.per_customer=true"),
        (("model=sasrec", "privacy=local", PLAIN), "set model.per_customer=true and model.dropout"),
        (("model=popularity", "task.loss=bce", "privacy=local", PLAIN), "set task.loss=softmax"),
        (("model=sasrec", "task.loss=squared", EXACT, PLAIN), "set task.loss=softmax"),
        (("model=factorisation", EXACT, PLAIN), "set task.loss=squared"),
        ((*FACTORS, EXACT, PLAIN, "data.test_from=2010-01-01"), "test_from"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_written(
    asked: tuple[str, ...], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*asked, "arms=[federated]") == 2
    error = " ".join(capfd.readouterr().err.split())
    assert why in error and not Path("run").exists()


def test_a_run_that_was_killed_ends_as_if_it_had_not_been() -> None:
    more = (*FACTORS, EXACT, PLAIN, "arms=[federated]", "rounds=25", OFTEN, "runtime.workers=1")
    asked = [sys.executable, "-m", "experiments.run", *SMALL, "out=run", *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    begun = subprocess.Popen(
        asked, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert kill_in_the_middle(begun, Path("run/work"), "seed-0/federated@none/final") >= 1
    assert command(["resume=run"]) == 0
    kept = note()["arrays"], Path("run/results.json").read_bytes()
    shutil.rmtree("run")
    assert run(*more) == 0
    assert (note()["arrays"], Path("run/results.json").read_bytes()) == kept
