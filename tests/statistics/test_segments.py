"""Segments found together: Lloyd's iterations on sums, named rules, drift, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.journal import Journal
from experiments.questions.asking import Place, ask
from experiments.questions.segments import first_centres
from experiments.run import command
from fl.algorithms.kmeans import KMeans, spread_out
from fl.audit.cli import command as audit
from fl.data.columns import Number
from fl.errors import InputError
from fl.privacy import NoPrivacy, PlainSum
from fl.seeds import numpy_generator
from fl.tasks.named import Rule
from fl.tasks.segmentation import Segmentation, nearest
from tests.runs.conftest import a_place_of_its_own  # noqa: F401

A, B = Number("a", -1, 1), Number("b", -1, 1)
TASK = Segmentation((A, B), (A,), 3, 2, (Rule("high", ("a >= 0.5",)),))


def lloyd(x: np.ndarray, centres: np.ndarray, iterations: int) -> np.ndarray:
    """Lloyd's by the book, on all rows in one place."""
    for _ in range(iterations):
        at = ((x[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.stack(
            [x[at == k].mean(0) if (at == k).any() else c for k, c in enumerate(centres)]
        )
    return centres


def question(iterations: int = 4) -> KMeans:
    described = TASK.statistics()["portrait"].size
    return KMeans(2, 3, 2, iterations, described, TASK.count_weight, TASK.point_weight)


def test_brands_together_do_lloyds_iterations_on_all_rows(tmp_path: Path) -> None:
    rng = numpy_generator(0, "blobs")
    x = np.concatenate(
        [rng.normal(m, 0.1, (80, 2)) for m in ((-0.6, -0.6), (0.6, 0.5), (0.0, 0.1))]
    )
    x = np.clip(x, -1, 1)
    parts = np.array_split(rng.permutation(len(x)), 4)
    brands = {
        f"b{i}": TASK.examples(pd.DataFrame(x[p], columns=["a", "b"]), np.arange(len(p)), "b")
        for i, p in enumerate(parts)
    }
    first = np.stack([x[[0, 1, 200]], x[[5, 90, 170]]])
    place = Place(tmp_path, Journal(tmp_path / "w"), PlainSum(), 0, "none", True, lambda n: None)
    found = ask(place, brands, TASK, question(), NoPrivacy(), first={"centres": first})
    centres = np.asarray(found.state["centres"])
    for s in range(2):
        assert np.allclose(centres[s], lloyd(x, first[s], 4), atol=1e-9)
    best = centres[int(np.argmin(found.state["distances"]))]
    said = TASK.read(np.asarray(found.state["portrait"]))
    at = nearest(best, x)[0]
    assert np.allclose(said["sizes"], np.bincount(at, minlength=3), atol=1e-6)
    assert said["rules"][0] == pytest.approx((x[:, 0] >= 0.5).sum())


def test_an_empty_centre_moves_to_where_customers_are() -> None:
    asked = question()
    state = asked.init({"centres": np.array([[[-1.0, -1], [0.9, 0.9], [0.5, 0.5]]] * 2)})
    sums = np.zeros((2, 3, 4))
    sums[:, 0] = [100 * asked.count_weight, 20 * asked.point_weight, 30 * asked.point_weight, 1.0]
    moved = np.asarray(asked.apply(state, {"clusters": sums})["centres"])
    assert np.allclose(moved[0, 0], [0.2, 0.3])
    assert np.allclose(moved[0, 1], [0.3, 0.4]) and np.allclose(moved[0, 2], moved[0, 2])
    assert np.asarray(asked.apply(state, asked.zero(state))["centres"]).shape == (2, 3, 2)


def test_first_centres_are_public_apart_and_repeatable() -> None:
    made = first_centres(3, 5, 4, 7)
    assert made.shape == (3, 5, 4) and np.array_equal(made, first_centres(3, 5, 4, 7))
    assert not np.array_equal(made[0], made[1]) and np.abs(made).max() <= 1
    line = np.linspace(0, 1, 11)[:, None]
    assert spread_out(line, 2, np.array([0.0, 0.999])).tolist() == [[0.0], [1.0]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e3, 1e3)] * 4), min_size=1, max_size=12))
def test_a_customer_adds_at_most_one(cells: list[tuple[float, ...]]) -> None:
    """Whatever it is like, and wherever centres are."""
    task = Segmentation(
        (A, B), (A,), 2, 3, (Rule("x", ("a > 0",)), Rule("y", ("change a < 0",))), True
    )
    table = pd.DataFrame(cells, columns=["a", "b", "a_before", "b_before"])
    batch = task.examples(table, np.arange(len(table)), "b")
    model = task.model(None)  # type: ignore[arg-type]
    model.centres.copy_(model.centres.new_tensor(numpy_generator(0, "c").uniform(-1, 1, (3, 2, 2))))
    found = task.evaluate(model, batch)
    for name, zero in task.statistics().items():
        vectors = np.asarray(found[name], np.float64)
        assert vectors.shape == (len(table), *zero.shape)
        assert np.linalg.norm(vectors.reshape(len(table), -1), axis=1).max() <= 1 + 1e-9


def test_rules_are_conditions_on_columns_and_their_changes() -> None:
    rule = Rule("moving", ("a >= 0.5", "change a <= -0.2"))
    now, before = {"a": np.array([0.6, 0.6, 0.1, 0.7])}, {"a": np.array([0.9, 0.7, 0.9, np.nan])}
    assert rule.holds(now, before).tolist() == [1.0, 0.0, 0.0, 0.0]  # nobody from nowhere
    assert rule.columns == (("a", False), ("a", True))
    for wrong in (("a is 3",), ("a >= x",), ()):
        with pytest.raises(ValueError, match="Expected"):
            Rule("wrong", wrong)


def test_who_moved_is_counted_from_segment_to_segment() -> None:
    task = Segmentation((A,), (), 2, 1, (), True)
    table = pd.DataFrame({"a": [0.9, 0.9, -0.9], "a_before": [-0.8, 0.8, np.nan]})
    batch = task.examples(table, np.arange(3), "b")
    model = task.model(None)  # type: ignore[arg-type]
    model.centres.copy_(model.centres.new_tensor([[[-1.0], [1.0]]]))
    moves = task.read(np.asarray(task.evaluate(model, batch)["portrait"]).sum(0))["moves"]
    assert np.allclose(moves, [[0, 1], [0, 1]])  # the third was not there before
    with pytest.raises(InputError, match="a_before: is missing"):
        task.examples(table[["a"]], np.arange(3), "b")


# --------------------------------------------------------------------------------- whole runs

COLUMNS = "data.columns={spend: {low: 0, high: 100}, visits: {low: 0, high: 20}, age: {low: 0, high: 100}}"  # noqa: E501


def options(*more: str) -> list[str]:
    if not Path("crm.csv").exists():
        rng, each = numpy_generator(3, "segments"), 1000
        kind = rng.integers(0, 3, each * 4)
        table = pd.DataFrame(
            {
                "spend": np.array([15.0, 50.0, 85.0])[kind] + rng.normal(0, 4, each * 4),
                "visits": np.array([16.0, 4.0, 10.0])[kind] + rng.normal(0, 1, each * 4),
                "age": rng.integers(18, 80, each * 4),
                "bought": kind % 2,
                "shop": np.repeat(["n", "e", "s", "w"], each),
            }
        )
        table.to_csv("crm.csv", index=False)
    return [
        "data=table", "data.path=crm.csv", "data.label=bought", "data.brand_column=shop", COLUMNS,
        "task=segmentation", "task.features=[spend,visits]", "task.segments=3",
        "task.rules={big: ['spend >= 70'], rare: ['visits <= 6', 'spend >= 30']}",
        "task.drift=false", "privacy=none", "secure_sum=plain", "seeds=2", "runtime.workers=1",
        "task.iterations=8", "task.private_iterations=8", "out=out", *more,
    ]  # fmt: skip


def results() -> dict[tuple[str, str], float]:
    found = json.loads(Path("out/results.json").read_text())
    return {(r["privacy"], r["metric"]): r["value"] for r in found if r["arm"] == "federated"}


def read() -> dict[str, Any]:
    kept = json.loads(Path("out/run.json").read_text())
    assert isinstance(kept, dict)
    return kept


@pytest.mark.parametrize("sum_", ["plain", "brandagg"])
def test_without_privacy_segments_are_the_pooled_ones(sum_: str) -> None:
    assert command(options(f"secure_sum={sum_}")) == 0
    told = "only the sum over all brands is seen" in Path("out/report.html").read_text()
    assert told is (sum_ == "brandagg")
    found = results()
    assert found["none", "agreement"] > 0.99 and found["none", "stability"] > 0.99
    tables = {t["title"]: t["lines"] for t in read()["tables"]}
    groups = {line[0]: int(line[2].replace(",", "")) for line in tables["Named groups"]}
    data = pd.read_csv("crm.csv")
    assert abs(groups["big"] - (data["spend"] >= 70).sum()) <= 2
    own = [json.loads(p.read_text()) for p in Path("out/brands").glob("*.json")]
    assert len(own) == 4 and all(sum(o["segments"].values()) == 1000 for o in own)


def test_a_guarantee_is_kept_and_the_transcript_leads_to_the_centres() -> None:
    shared = ("privacy=distributed", "privacy.epsilon=3", "privacy.dropouts=0")
    assert command(options("secure_sum=brandagg", "seeds=1", *shared)) == 0
    statement = read()["statements"]["federated@distributed-3"]
    assert 2.97 < statement["customer"]["pld"] <= 3.0
    assert audit(["epsilon", "out"]) == 0 and audit(["transcript", "out"]) == 0
    own = list(Path("out/brands").glob("*.json"))
    assert own and all(file.stat().st_mode & 0o077 == 0 for file in own)  # each brand's alone


@pytest.mark.parametrize(
    ("named", "more"),
    [
        ("task.features: no column of numbers 'x'", ("task.features=[x]",)),
        ("task: Expected features", ("task.features=[]",)),
        ("task: Expected segments=1 >= 2", ("task.segments=1",)),
        ("task.segments: 5000 segments of 4000", ("task.segments=5000",)),
        ("task.rules.big: no column of numbers 'y'", ("task.rules={big: ['y >= 1']}",)),
        ("task: Expected 'spend is large'", ("task.rules={big: ['spend is large']}",)),
        ("task: Expected drift=true", ("task.rules={big: ['change spend >= 1']}",)),
        ("brand e, column spend_before: is missing", ("task.drift=true",)),
    ],
)
def test_what_cannot_be_grouped_is_refused_with_the_reason(
    named: str, more: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(options(*more)) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"fl-run: {named}")
    assert not Path("out").exists()
