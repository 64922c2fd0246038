"""``task=statistics`` from the command line: released figures, refusals, the register."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.node import BrandNode
from experiments.questions import benchmark_report
from experiments.run import command
from fl.audit.cli import command as audit
from fl.contracts import Reply, Request
from fl.data.schema import Number, Schema
from fl.errors import Code, InputError
from fl.seeds import numpy_generator
from fl.tasks.records import Segments
from fl.tasks.statistics import Statistics
from tests.runs.conftest import a_place_of_its_own  # noqa: F401

SHOPS = tuple(f"shop-{i}" for i in range(6))
COLUMNS = "data.columns={spend: {low: 0, high: 500, log: true}, visits: {low: 0, high: 20}, age: {low: 0, high: 100}, kind: {values: [new, old, none]}}"  # noqa: E501


def table(each: int = 150) -> pd.DataFrame:
    rng = numpy_generator(5, "benchmark")
    n = each * len(SHOPS)
    return pd.DataFrame(
        {
            "spend": rng.exponential(60, n).round(2),
            "visits": rng.integers(1, 12, n),
            "age": rng.integers(18, 80, n),
            "kind": rng.choice(["new", "old"], n),
            "bought": (rng.random(n) < 0.3).astype(int),
            "shop": np.repeat(SHOPS, each),
        }
    )


def options(*more: str, out: str = "out") -> list[str]:
    table().to_csv("crm.csv", index=False) if not Path("crm.csv").exists() else None
    return [
        "data=table", "data.path=crm.csv", "data.label=bought", "data.brand_column=shop", COLUMNS,
        "task=statistics", "task.metrics=[spend,visits]", "task.segment={column: kind}",
        "privacy=none", "secure_sum=plain", "seeds=1", f"out={out}", *more,
    ]  # fmt: skip


def rows(out: str = "out") -> dict[tuple[str, str, str, str], float]:
    found = json.loads(Path(out, "results.json").read_text())
    return {(r["privacy"], r["arm"], r["brand"], r["metric"]): r["value"] for r in found}


def read(out: str = "out") -> dict[str, Any]:
    kept = json.loads(Path(out, "run.json").read_text())
    assert isinstance(kept, dict)
    return kept


@pytest.mark.parametrize("sum_", ["plain", "brandagg"])
def test_without_privacy_figures_are_those_of_pooled_rows(sum_: str) -> None:
    assert command(options(f"secure_sum={sum_}")) == 0
    found, data = rows(), table()
    close = 1e-9 if sum_ == "plain" else 2e-3  # fixed point, 12 bits
    for metric, value in (
        ("customers", len(data)),
        ("mean:spend", data["spend"].mean()),
        ("mean:bought", data["bought"].mean()),
    ):
        assert found["none", "federated", "pooled", metric] == pytest.approx(value, rel=close)
    new = data[data["kind"] == "new"]
    assert found["none", "federated", "segment:new", "mean:visits"] == pytest.approx(
        new["visits"].mean(), rel=close
    )
    assert found["none", "federated", "pooled", "quantile:spend:0.5"] == pytest.approx(
        data["spend"].median(), rel=0.02
    )
    assert abs(found["none", "federated", "pooled", "correlation:spend:visits"]) < 0.1
    assert found["none", "federated", "pooled", "rank_error"] < 0.002
    assert ("none", "federated", "segment:none", "customers") not in found  # nobody is in it
    why = next(t for t in read()["tables"] if t["title"].startswith("Which cells"))
    outcomes = {line[0]: line[1] for line in why["lines"]}
    assert outcomes["none"].startswith("empty")


def test_a_guarantee_holds_for_the_run_and_every_brand_finds_its_place() -> None:
    table(800).to_csv("crm.csv", index=False)
    shared = ("privacy=distributed", "privacy.epsilon=2", "privacy.dropouts=0")
    assert command(options("secure_sum=brandagg", *shared)) == 0
    statement = read()["statements"]["federated@distributed-2"]
    assert 1.98 < statement["customer"]["pld"] <= 2.0
    assert len(statement["events"]) == 1 or all(statement["events"].values())
    assert rows()["distributed", "federated", "pooled", "customers"] == pytest.approx(4800, abs=120)
    assert audit(["epsilon", "out"]) == 0 and audit(["transcript", "out"]) == 0
    own = [json.loads(p.read_text()) for p in Path("out/brands").glob("*.json")]
    assert {o["brand"] for o in own} == set(SHOPS)
    assert all(0.2 < o["place_of_own_median"]["spend"]["share_of_all_below"] < 0.8 for o in own)
    report = Path("out/report.html").read_text()
    assert "How to read this" in report and "Which cells are released" in report
    assert "shop-3" not in report.split("<details")[0].split("About this run")[0]


@pytest.mark.parametrize(
    ("named", "more"),
    [
        ("data: a benchmark over 1 brand is not", ("partition=iid", "partition.brands=1")),
        ("data: a benchmark over 4 brands is not", ("partition=iid", "partition.brands=4")),
        ("task.metrics: no column 'income'", ("task.metrics=[income]",)),
        ("task.metrics: 'kind' has no bounds", ("task.metrics=[kind]",)),
        ("task: Expected metrics", ("task.metrics=[]",)),
        ("task.segment.column: no column 'x'", ("task.segment={column: x}",)),
        ("task.segment.edges: Expected edges", ("task.segment={column: age}",)),
        ("task: Expected min_brands=2 >= 3", ("task.min_brands=2",)),
        ("task: Expected quantiles", ("task.quantiles=[0.5,1.0]",)),
        ("task: Expected margin", ("task.margin=-1",)),
        ("task: Expected caps of metrics", ("task.caps.age=50",)),
        ("task.caps.spend: 900 is not above 0 and up to 500", ("task.caps={spend: 900}",)),
        ("task.register: 2 seeds", ("task.register=r.jsonl", "seeds=2")),
        ("privacy: brand clips", ("privacy=brand",)),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_reason(
    named: str, more: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(options(*more)) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"fl-run: {named}")
    assert not Path("out").exists()


def test_a_cap_is_where_a_number_ends() -> None:
    assert command(options("task.caps={spend: 200}")) == 0
    assert rows()["none", "federated", "pooled", "mean:spend"] == pytest.approx(
        table()["spend"].clip(upper=200).mean(), rel=1e-9
    )
    assert rows()["none", "federated", "pooled", "rank_error"] < 0.002


def test_columns_without_stated_bounds_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert command([o for o in options() if o != COLUMNS]) == 2
    assert "data.columns: are not stated: a statistic needs public bounds" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("spend", np.nan, "column spend, row 8: value 'nan' is not a finite number"),
        ("spend", np.inf, "column spend, row 8: value 'inf' is not a finite number"),
        ("bought", 7, "label bought, row 8: value '7' is neither"),
    ],
)
def test_a_cell_that_is_no_number_is_refused(
    column: str, cell: float, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rows_ = table()
    rows_[column] = rows_[column].astype(float)
    rows_.loc[7, column] = cell
    rows_.to_csv("crm.csv", index=False)
    assert command(options()) == 2
    assert said in capfd.readouterr().err


def test_an_empty_cell_counts_as_what_is_stated_for_it() -> None:
    task = Statistics((Number("spend", 0, 100, missing=0.0),))
    made = task.examples(pd.DataFrame({"spend": [np.nan, 500.0, -3.0]}), np.arange(3), "b")
    assert made.x_bm[:, 0].tolist() == [0.0, 100.0, 0.0]  # and bounds are where values end


def test_a_customer_with_several_rows_is_refused() -> None:
    task = Statistics((Number("spend", 0, 100),))
    with pytest.raises(InputError, match="1 customers have several rows"):
        task.examples(pd.DataFrame({"spend": [1.0, 2.0, 3.0]}), np.array([0, 1, 1]), "brand b")


def test_an_unlisted_category_is_counted_as_other_and_no_peeking() -> None:
    from fl.data.columns import Category

    segments = Segments(Category("kind", ("new", "old")))
    assert segments.levels == ("(other)", "new", "old")
    assert segments.codes(pd.DataFrame({"kind": ["old", "?", None]}), "b").tolist() == [2, 0, 0]


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_a_customer_adds_at_most_one(
    cells: list[tuple[float, float]], labelled: bool, by_segment: bool
) -> None:
    """Whatever its numbers are: every vector's norm is at most 1, so nothing is clipped away."""
    numbers = (Number("a", 0, 10, log=True), Number("b", -5, 5))
    task = Statistics(
        numbers,
        Schema(numbers, "y") if labelled else None,
        Segments(numbers[1], (0.0, 2.0)) if by_segment else None,
    )
    rows_ = pd.DataFrame(cells, columns=["a", "b"]).assign(y=1)
    batch = task.examples(rows_, np.arange(len(rows_)), "b")
    found = task.evaluate(task.model(None), batch)  # type: ignore[arg-type]
    for name, zero in task.statistics().items():
        vectors = np.asarray(found[name], np.float64)
        assert vectors.shape == (len(rows_), *zero.shape)
        by_row = np.abs(vectors).max(2) if name == "own" else vectors.reshape(len(rows_), -1)
        assert np.linalg.norm(by_row, axis=1).max() <= 1 + 1e-9


def test_a_repeated_query_over_a_changed_cohort_is_refused(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The register lies outside of the run; the same brands again and another period are fine."""
    register = ("task.register=releases.jsonl", "task.period=2024")
    assert command(options(*register, out="a")) == 0
    assert command(options(*register, out="b")) == 0
    one_less = "partition.exclude=[shop-5]"
    assert command(options(*register, one_less, out="c")) == 2
    assert "brands that differ by 1" in capfd.readouterr().err and not Path("c").exists()
    assert command(options(register[0], "task.period=2025", one_less, out="d")) == 0
    assert len(Path("releases.jsonl").read_text().splitlines()) == 2  # the same brands are once
    by_age = [
        o.replace("{column: kind}", "{column: age, edges: [30]}")
        for o in options(*register, out="f")
    ]
    assert command(by_age) == 2
    assert "task.segment: an earlier release" in capfd.readouterr().err
    assert command(options(*register, "task.caps={spend: 400}", out="f")) == 2
    assert "bounds 'spend' by 0.0 to 500.0, log" in capfd.readouterr().err
    assert command(options(*register, "task.sample=100", out="f")) == 2
    assert "task.sample: draws some of the rows" in capfd.readouterr().err
    Path("releases.jsonl").write_text("{}\n")
    assert command(options(*register, out="e")) == 2
    assert "line 1 of 'releases.jsonl' is no past release" in capfd.readouterr().err


def test_a_release_without_one_brand_that_was_interrupted_is_not_its_own_neighbour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One brand is silent; killed after the release was registered, before it was published."""
    real = BrandNode.handle

    def without_one(node: BrandNode[Any], request: Request) -> Reply:
        return Reply(Code.FAILED) if node.name == "shop-5" else real(node, request)

    asked = options("task.register=releases.jsonl", "runtime.workers=1")
    with monkeypatch.context() as once:
        once.setattr(BrandNode, "handle", without_one)
        once.setattr(benchmark_report, "findings", lambda *of: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            command(asked)
    assert (
        read()["status"] == "running" and len(Path("releases.jsonl").read_text().split("\n")) == 2
    )
    assert command(["resume=out"]) == 0
    run = read()
    assert {a["brand"] for a in run["absent"]} == {"shop-5"} and run["status"] == "finished"
    assert len(Path("releases.jsonl").read_text().splitlines()) == 1
    assert "Tuning" not in run["evaluation"] and "all rows" in run["evaluation"]


def some_alone() -> pd.DataFrame:
    """Only shop-0 has customers of kind ``none``, and each of them spends 4.5."""
    own = pd.DataFrame(
        {"spend": 4.5, "visits": 3, "age": 40, "kind": "none", "bought": 1}, range(80)
    )
    return pd.concat([table(), own.assign(shop="shop-0")], ignore_index=True)


PRIVATE = (  # so little noise that nothing here is left to chance
    "plans={distributed: {name: distributed, dropouts: 0}}", "epsilons=[60]", "secure_sum=brandagg",
)  # fmt: skip


def test_a_suppressed_cell_is_in_no_published_file() -> None:
    some_alone().to_csv("crm.csv", index=False)
    assert command(options(*PRIVATE)) == 0
    found, models = rows(), np.load("out/models.npz")
    assert ("none", "pooled", "pooled", "customers") in found
    assert not [key for key in found if key[2] == "segment:none"]
    for label in ("none", "distributed-60"):
        kept = {n: models[f"seed-0/federated@{label}/{n}"] for n in ("reasons", "totals", "above")}
        hidden = kept["reasons"] > 0
        assert hidden[3:].any() and not kept["totals"][hidden].any()
        assert not kept["above"][:, hidden].any()
    by_cell = [t["lines"] for t in read()["tables"] if t["lines"][0][0] == "all"]
    own = [line for lines in by_cell for line in lines if line[0] == "none"]
    assert own and not [line for line in own if any(c.isdigit() for c in "".join(line))]


def test_exact_figures_are_under_no_guarantee_s_name() -> None:
    table(800).to_csv("crm.csv", index=False)
    assert command(options(*PRIVATE)) == 0
    written = json.loads(Path("out", "results.json").read_text())
    exact = [r for r in written if r["arm"] == "pooled"]
    assert {(r["privacy"], r["epsilon"]) for r in exact} == {("none", None)}
    assert len({(r["brand"], r["metric"]) for r in exact}) == len(exact) > 0


def test_a_release_is_written_without_exact_figures() -> None:
    """What the register's refusal says to set is what works, in an experiment with more plans."""
    table(800).to_csv("crm.csv", index=False)
    asked = options("task.register=releases.jsonl", *PRIVATE)
    assert command(asked) == 2 and not Path("out").exists()
    alone = ("plans=null", "epsilons=[]", "privacy=distributed", "privacy.dropouts=0",
             "privacy.epsilon=60")  # fmt: skip
    asked = [o for o in asked if not o.startswith(("plans=", "epsilons=", "privacy="))]
    assert command([*asked, *alone]) == 0
    assert {arm for _, arm, _, _ in rows()} == {"federated"}
    assert not [metric for *_, metric in rows() if "rank_error" in metric]
    report = Path("out/report.html").read_text()
    assert "Exact (benchmark only)" not in report and "What privacy costs" not in report
    assert "nothing was compared" in read()["evaluation"]


def test_the_hint_of_the_register_empties_the_plans_of_an_experiment(
    capfd: pytest.CaptureFixture[str],
) -> None:
    from experiments.questions.inquiry import inquiry
    from server.proposing import composed

    hint = ["seeds=1", "plans=null", "epsilons=[]"]
    assert command(options("task.register=r.jsonl", *PRIVATE)) == 2
    told = capfd.readouterr().err.replace("'", "")
    assert " ".join(hint) in told
    for experiment in ("benchmark_retail", "benchmark_beer"):
        values = composed([f"experiment={experiment}", "out=unused", *hint, "privacy=distributed"])
        assert list(inquiry(dict(values)).plans) == ["distributed-3"]


@pytest.mark.parametrize(
    ("more", "said", "not_said"),
    [
        (("secure_sum=plain",), ("No noise was added", "each brand's exact sums"), "noised"),
        (("secure_sum=brandagg",), ("No noise was added", "how many object, not who"), "noised"),
        (("privacy=local", "secure_sum=plain"), ("noised sums", "each brand's noised"), "not who"),
        (("privacy=distributed", "privacy.dropouts=0", "secure_sum=brandagg"),
         ("noised sums", "how many object, not who"), "No noise"),
        (("task.sample=600",), ("drawn with replacement", "for one row drawn"), "noised"),
    ],
)  # fmt: skip
def test_the_report_says_what_happened(
    more: tuple[str, ...], said: tuple[str, ...], not_said: str
) -> None:
    assert command(options(*more)) == 0
    report = Path("out/report.html").read_text().replace("&#x27;", "'").replace("&#39;", "'")
    assert all(part in report for part in said), said
    reading = report.split("How to read this")[1].split("<h2")[0]
    assert not_said not in reading
    assert "nothing of it was ever sent" not in report
    assert "showed every brand and the coordinator" in report
