"""A question runs like any experiment: doors, ledgers, transcripts, resume, report.

The question here is made for the test: how many customers, how many converted, summed over shops.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from experiments.questions import asking
from experiments.questions.asking import Place, ask
from experiments.questions.catalog import STUDIES
from experiments.questions.inquiry import Inquiry
from experiments.questions.study import Findings, Pieces, Tables, piece_of
from experiments.journal import Journal, Piece
from experiments.run import command
from fl.algorithms.counts import Counts
from fl.arrays import Arrays
from fl.audit.cli import command as audit
from fl.contracts import Examples, Ints, Limits
from fl.data.dataset import DataSet
from fl.data.schema import Schema
from fl.privacy import Plan
from fl.privacy.reading import verify
from fl.report.answers import Text
from fl.report.rows import Row
from fl.report.table import Table, privacy
from tests import crm


@dataclass(frozen=True, slots=True)
class Tally:
    """One vector a customer: 1, and whether it converted; norm at most sqrt(2) / 2 * sqrt(2)."""

    schema: Schema
    name: str = "tally"

    def model(self, rng: torch.Generator) -> nn.Module:
        return nn.Module()

    def examples(self, table: pd.DataFrame, customers: Ints, where: str) -> Examples:
        y = self.schema.positives(table, where).to_numpy(np.float32)
        n = len(y)
        return Examples(
            torch.zeros(n, 0),
            torch.zeros(n, 0, dtype=torch.int64),
            torch.from_numpy(y),
            torch.from_numpy(customers.copy()),
        )

    def losses(self, model: nn.Module, batch: Examples) -> Tensor:
        return torch.zeros(len(batch))

    def evaluate(self, model: nn.Module, batch: Examples) -> Arrays:
        y = batch.y_b.numpy().astype(np.float64)
        return {"tally": np.stack([np.ones(len(y)), y], 1) / 2}

    def statistics(self) -> Arrays:
        return {"tally": np.zeros(2)}

    def limits(self) -> Limits:
        return {"tally": 1.0}


@dataclass(frozen=True, slots=True)
class Tallied:
    """The study of it."""

    name: str = "tally"

    def drawn(self, data: DataSet, seed: int) -> DataSet:
        return data

    def check(self, how: Inquiry, data: DataSet, tables: Tables, journal: Journal) -> None:
        data.schema.positives(data.rows)

    def work(self, brands: int) -> int:
        return brands

    def answer(self, data: DataSet, tables: Tables, place: Place, plan: Plan) -> Piece:
        task = Tally(data.schema)
        brands = {b: task.examples(t.rows, t.customers, b) for b, t in tables.items()}
        counts = Counts({"tally": (2,)}, task.limits())
        return piece_of(ask(place, brands, task, counts, plan), {}, {})

    def findings(
        self, how: Inquiry, data: DataSet, tables: Mapping[int, Tables], pieces: Pieces
    ) -> Findings:
        rows = [
            Row("t", data.name, self.name, "", "counts", label, None, "federated", "pooled", "n",
                float(2 * p.arrays["model/tally"][0]), float("nan"), float("nan"), 1)
            for label, by_seed in pieces.items() for p in by_seed.values()
        ]  # fmt: skip
        table = Table("Counted", ("Guarantee", "Customers"), tuple((r.privacy, f"{r.value:.0f}") for r in rows), "")
        return Findings("So many.", rows, [Text("What", "<b>"), table], {"more": 1})


@pytest.fixture(autouse=True)
def _study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STUDIES, "tally", Tallied)
    crm.table().to_csv("crm.csv", index=False)


def options(out: str, *more: str) -> list[str]:
    chosen = ("privacy=none", "secure_sum=plain", "seeds=1", "~task", "+task.name=tally")
    return ["data=table", "data.path=crm.csv", "data.label=conversion_flag",
            "data.brand_column=shop", *chosen, f"out={out}", *more]  # fmt: skip


def read(out: str) -> dict[str, Any]:
    kept = json.loads(Path(out, "run.json").read_text())
    assert isinstance(kept, dict)
    return kept


def counted(out: str) -> dict[str, float]:
    return {r["privacy"]: r["value"] for r in json.loads(Path(out, "results.json").read_text())}


SHARED = ("secure_sum=brandagg", "+privacy@plans.shared=distributed", "epsilons=[1]",
          "plans.shared.dropouts=0")  # fmt: skip


@pytest.mark.parametrize("sum_", ["plain", "brandagg"])
def test_without_privacy_the_sum_is_exact(sum_: str) -> None:
    assert command(options("out", f"secure_sum={sum_}")) == 0
    assert counted("out") == {"none": 360.0}
    run = read("out")
    assert run["status"] == "finished" and run["statements"] == {} and run["more"] == 1
    assert not Path("out/ledgers").exists() and not Path("out/work").exists()
    report = Path("out/report.html").read_text()
    assert "&lt;b&gt;" in report and "No privacy guarantee" in report and "So many." in report


def test_options_of_training_are_said_to_play_no_part(capfd: pytest.CaptureFixture[str]) -> None:
    assert command(options("out", "rounds=3", "training.epochs=2")) == 0
    said = capfd.readouterr().err
    assert "fl-run: rounds, training.epochs: no part of a task that counts" in said
    assert command(options("again")) == 0
    assert "no part" not in capfd.readouterr().err


def test_without_privacy_the_guarantees_beside_it_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert command(options("out", *SHARED)) == 0
    assert "chosen by name" in capfd.readouterr().out
    rows = [Row("t", "d", "t", "", "", "distributed", 1.0, "federated", "pooled", "n", 1, 1, 1, 1)]
    assert privacy(rows, {"name": "none"})[1].endswith("by name; beside it distributed at epsilon 1")


@pytest.mark.parametrize(("plan", "spread"), [("local", 3**0.5), ("distributed", 3**0.5)])
def test_a_guarantee_is_booked_kept_and_audited(plan: str, spread: float) -> None:
    sum_ = "brandagg" if plan == "distributed" else "plain"
    more = ("privacy.dropouts=0",) if plan == "distributed" else ()
    asked = options("out", f"privacy={plan}", "privacy.epsilon=1", f"secure_sum={sum_}", *more)
    assert command(asked) == 0
    statement = read("out")["statements"][f"federated@{plan}-1"]
    assert 0.99 < statement["customer"]["pld"] <= 1.0
    readings = [verify(p, every_signature=True) for p in Path("out/ledgers").rglob("*.jsonl")]
    assert len(readings) == 3
    assert all(len(r.occasions) == 1 and r.settled for x in readings for r in x.books.runs.values())
    assert abs(counted("out")[f"{plan}-1"] - 360) < 6 * 2 * 3.8 * spread
    assert audit(["epsilon", "out"]) == 0
    if plan == "distributed":
        assert audit(["transcript", "out"]) == 0


def test_an_interrupted_question_is_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its round was stored: nothing is asked, or paid, again."""
    stop = pytest.MonkeyPatch()
    stop.setattr(asking.Books, "settle", lambda self, part: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command(options("out", *SHARED, "runtime.workers=1"))
    stop.undo()
    assert read("out")["status"] == "running"
    assert command(["resume=out"]) == 0
    assert read("out")["status"] == "finished"
    readings = [verify(p, every_signature=True) for p in Path("out/ledgers").rglob("*.jsonl")]
    assert all(sum(len(r.occasions) for r in x.books.runs.values()) == 1 for x in readings)
    assert command(["resume=out"]) == 0  # shows it again


@pytest.mark.parametrize(
    ("named", "more"),
    [
        ("secure_sum: plain shows sums", ("privacy=distributed",)),
        ("privacy: brand clips what a brand sends", ("privacy=brand",)),
        ("privacy.delta", ("privacy=local", "privacy.delta=0.5")),
        ("task.wrong: no such key", ("+task.wrong=1",)),
        ("seeds", ("seeds=0",)),
        ("data.label", ("data.label=nothing",)),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_made(
    named: str, more: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(options("out", *more)) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"fl-run: {named}")
    assert not Path("out").exists()


def test_a_brand_that_is_lost_between_rounds_ends_the_question() -> None:
    from fl.arrays import add
    from fl.contracts import Collected, Update
    from fl.errors import Code, InputError

    def of(*brands: str) -> Collected:
        return Collected(Update(add({}, {}), 0.0), brands, {"c": Code.FAILED})

    assert asking._same(None, of("a", "b"), 1) == ("a", "b")
    assert asking._same(("a", "b"), of("a", "b"), 2) == ("a", "b")
    with pytest.raises(InputError, match="brand b: was not in the same rounds"):
        asking._same(("a", "b"), of("a"), 2)
