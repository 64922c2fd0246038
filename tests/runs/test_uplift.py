"""A campaign's effect through doors, plans and sums, and what no effect can be read from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.questions.uplift import UpliftStudy
from experiments.run import command
from fl.audit.cli import command as audit
from fl.data.catalog import DATASETS
from fl.data.dataset import DataSet
from fl.doors import Of, Statistic
from fl.errors import InputError
from fl.events import Composed, from_json
from fl.privacy import PLANS, CustomerPrivacy
from fl.privacy.accounting import pld_epsilon
from fl.privacy.spread import std_of_sum
from tests.filed import load

ARMS = ("federated", "pooled")
CAMPAIGN = (
    "data.campaign={treatment: got, control: nothing, arms: [mail, call], design: randomised}"
)


@pytest.fixture(autouse=True)
def _table() -> None:
    table().to_csv("trial.csv", index=False)


def table() -> pd.DataFrame:
    """Three shops; of 2,400 customers, 5 % come by themselves, 10 % more after a call."""
    rng, n = np.random.default_rng(0), 2400
    got = rng.integers(0, 3, n)
    came = (rng.uniform(size=n) < 0.05 + np.array([0.0, 0.03, 0.1])[got]).astype(int)
    return pd.DataFrame(
        {
            "shop": rng.choice(["north", "south", "west"], n),
            "got": np.array(["nothing", "mail", "call"])[got],
            "came": came,
            "chance": np.clip(rng.uniform(size=n), 0.01, 0.99),
            "age": rng.uniform(18, 80, n),
        }
    )


def options(out: str, *more: str, plan: str = "none", sum_: str = "plain") -> list[str]:
    stated = [] if any(m.startswith("data.campaign=") for m in more) else [CAMPAIGN]
    return ["data=table", "data.path=trial.csv", "data.label=came", "data.brand_column=shop",
            "data.columns.age={low: 18, high: 90}", *stated, "task=uplift", "task.draws=40",
            f"privacy={plan}", f"secure_sum={sum_}", "seeds=1", f"out={out}", *more]  # fmt: skip


def values(out: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    rows = json.loads(Path(out, "results.json").read_text())
    return {(r["arm"], r["brand"], r["metric"]): r for r in rows}


@pytest.mark.parametrize("sum_", ["plain", "brandagg"])
def test_without_privacy_federated_is_pooled(sum_: str) -> None:
    assert command(options("out", sum_=sum_)) == 0
    found, rows = values("out"), table()
    for arm in ("mail", "call"):
        rate = rows.groupby("got")["came"].mean()
        one = found["federated", "pooled", f"{arm}/pooled_counts"]
        assert one["value"] == pytest.approx(rate[arm] - rate["nothing"], abs=1e-12)
        for estimate in ("pooled_counts", "stratified"):
            key = ("pooled", f"{arm}/{estimate}")
            assert abs(found["federated", *key]["value"] - found["pooled", *key]["value"]) < 1e-9
    report = Path("out/report.html").read_text()
    assert "What call changed" in report and "call: each brand" in report
    assert "OBSERVATIONAL" not in report


@pytest.mark.parametrize(("plan", "sum_"), [("local", "plain"), ("distributed", "brandagg")])
def test_a_guarantee_is_kept_and_its_noise_is_in_the_interval(plan: str, sum_: str) -> None:
    more = ("privacy.epsilon=1", *(("privacy.dropouts=0",) if plan == "distributed" else ()))
    assert command(options("out", *more, plan=plan, sum_=sum_)) == 0
    found = values("out")
    noisy = found["federated", "pooled", "call/pooled_counts"]
    exact = found["pooled", "pooled", "call/pooled_counts"]
    assert noisy["value"] != exact["value"] and noisy["epsilon"] == 1
    assert noisy["high"] - noisy["low"] > exact["high"] - exact["low"]
    assert abs(noisy["value"] - exact["value"]) < 3 * (noisy["high"] - noisy["low"])
    assert (exact["privacy"], exact["epsilon"]) == ("none", None)
    assert audit(["epsilon", "out"]) == 0
    assert "Do the intervals hold?" in Path("out/report.html").read_text()


@pytest.mark.parametrize("name", ["local", "distributed"])
def test_the_stated_noise_is_the_noise_that_comes_out(name: str) -> None:
    plan = PLANS[name](name=name, dropouts=0)  # type: ignore[call-arg]
    assert isinstance(plan, CustomerPrivacy)
    plan, zeros = plan.enrolled(4), np.zeros((1, 500))
    from dataclasses import replace

    plan = replace(plan, sigma=3.7)
    asked = Statistic("all", Of.RECORDS, parts=("cells",))
    total = np.zeros(500)
    for _ in range(4):
        chunk = iter([({"cells": zeros}, np.zeros(1, np.int64))])
        total += plan.release(chunk, asked, {"cells": 1.0}, 0)[0]["cells"]
    stated = std_of_sum(plan, limit=1.0, entries=500, brands=4)
    assert float(np.std(total)) == pytest.approx(stated, rel=0.15)  # 4.7 standard errors


OBSERVED = CAMPAIGN.replace("randomised", "observational")
SCORED = ("task.propensity=chance", "task.propensity_model=a guess")


def test_observational_data_needs_a_named_propensity_and_says_so() -> None:
    assert command(options("out", OBSERVED, *SCORED)) == 0
    run = json.loads(Path("out/run.json").read_text())
    assert run["answer"].startswith("Observational")
    report = Path("out/report.html").read_text()
    assert "OBSERVATIONAL DATA" in report and "a guess" in report
    assert not any("pooled_counts" in metric for _, _, metric in values("out"))


def test_intervals_of_observational_data_are_checked_with_the_estimator_that_is_shown() -> None:
    """Who is likelier to be called comes more often anyway: pooled rates would call it an effect."""
    rng, n = np.random.default_rng(1), 6000
    chance = rng.uniform(0.1, 0.9, n)
    got = np.where(rng.uniform(size=n) < chance, "call", "nothing")
    came = (rng.uniform(size=n) < 0.1 + 0.5 * chance).astype(int)
    shop = rng.choice(["north", "south", "west"], n)
    rows = pd.DataFrame({"shop": shop, "got": got, "came": came, "chance": chance, "age": 30})
    rows.to_csv("trial.csv", index=False)
    observed = OBSERVED.replace("mail, call", "call")
    assert command(options("out", observed, *SCORED, "privacy.epsilon=8", plan="local")) == 0
    run = json.loads(Path("out/run.json").read_text())
    held = next(t for t in run["tables"] if t["title"] == "Do the intervals hold?")
    assert [line[0] for line in held["lines"]] == ["local-8, call, stratified"]
    assert all(float(line[2].removesuffix(" %")) >= 80 for line in held["lines"])


@pytest.mark.parametrize(
    ("named", "more"),
    [
        ("data.campaign.design: 'observational'", (OBSERVED,)),
        ("task.propensity: is for observational", SCORED),
        ("task: Expected propensity", (OBSERVED, "task.propensity=chance")),
        ("data.campaign: is not stated", ("data.campaign=null",)),
        ("data.campaign: no customer of any brand is in arm 'letter'",
         (CAMPAIGN.replace("call]", "call, letter]"),)),
        ("brand north, column got", (CAMPAIGN.replace(", call]", "]"),)),
        ("brand north, column age", (OBSERVED, "task.propensity=age", SCORED[1])),
        ("brand north, label came", ("data.positive=3", "data.negative=[4]")),
        ("privacy: brand clips", ("privacy=brand",)),
        ("secure_sum: plain shows sums", ("privacy=distributed",)),
    ],
)  # fmt: skip
def test_what_no_effect_can_be_read_from_is_refused(
    named: str, more: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(options("out", *more)) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert named in said, said
    assert not Path("out").exists()


def test_a_brand_without_treated_customers_counts_nothing_and_says_nothing() -> None:
    rows = table()
    rows.loc[rows["shop"] == "west", "got"] = "nothing"
    rows.to_csv("trial.csv", index=False)
    assert command(options("out")) == 0
    found = values("out")
    assert found["federated", "west", "call/effect"]["value"] is None
    assert found["federated", "pooled", "call/stratified"]["value"] is not None


LEARNED = (
    CAMPAIGN.replace("randomised}", "randomised, shares: [0.34, 0.33, 0.33]}"),
    "arms=[federated,pooled]", "rounds=2", "seeds=2", "task.draws=0", "tuning.budget=1",
    "preparation={test: 0.5, validation: 0.0, folds: 2, duplicates: keep}", "runtime.workers=1",
)  # fmt: skip


def test_learners_are_compared_beside_the_counts_and_in_its_report() -> None:
    assert command(options("out", "task.learners=[t,dr]", *LEARNED)) == 0
    found = values("out")
    for learner in ("t", "dr"):
        for arm in ("federated", "pooled"):
            for name in ("mail", "call", "any of them"):
                row = found[arm, "pooled", f"{learner}/{name}/qini"]
                assert row["low"] < row["value"] < row["high"] and row["task"] == "targeting"
        kept = json.loads(Path(f"out/learners/{learner}/run.json").read_text())
        assert kept["status"] == "finished" and kept["uplift"]["folds"] == 2
        everybody = [a for a in kept["uplift"]["arms"] if a["campaign"] == "any of them"]
        assert {a["customers"] for a in everybody} == {2400}  # two folds test every customer
    page = Path("out/report.html").read_text()
    assert page.count("(Qini curves)") >= 2 and "Whom to treat: T-learner" in page
    assert found["federated", "pooled", "call/pooled_counts"]["value"] > 0


def test_a_private_learner_says_what_all_trainings_of_a_customer_cost() -> None:
    """Four folds, all released: a customer is in three trainings, each at epsilon 1."""
    folds = [m.replace("folds: 2", "folds: 4").replace("test: 0.5", "test: 0.25") for m in LEARNED]
    private = ("seeds=4", "algorithm=fedsgd", "arms=[federated]", "privacy.epsilon=1")
    more = ("task.learners=[t]", *folds, *private)
    assert command(options("out", *more, plan="distributed", sum_="brandagg")) == 0
    kept = json.loads(Path("out/learners/t/run.json").read_text())
    one = kept["uplift"]["arms"][0]
    (promised,) = kept["statements"].values()
    (spent,) = {json.dumps(e) for e in promised["events"].values()}
    each = pld_epsilon(from_json(json.loads(spent)), 1e-5)
    assert one["trainings"] == 3 and one["epsilon"] == 1 and each == pytest.approx(1, abs=0.02)
    by_hand = pld_epsilon(Composed((from_json(json.loads(spent)),) * 3), 1e-5)
    assert one["epsilon_of_all"] == pytest.approx(by_hand) and by_hand > 1.6
    assert f"{by_hand:.2f} (3 trainings)" in Path("out/report.html").read_text()
    rows = json.loads(Path("out/results.json").read_text())
    (learned,) = {r["epsilon"] for r in rows if r["task"] == "targeting"}
    assert learned == pytest.approx(by_hand)


def test_a_run_that_lost_its_count_takes_finished_learners_as_they_are() -> None:
    assert command(options("out", "task.learners=[t]", *LEARNED)) == 0
    whole, ran = values("out"), Path("out/learners/t/models.npz").stat().st_mtime_ns
    kept = json.loads(Path("out/run.json").read_text())
    Path("out/run.json").write_text(json.dumps({**kept, "status": "running"}))
    assert command(["resume=out"]) == 0
    assert values("out") == whole and Path("out/learners/t/models.npz").stat().st_mtime_ns == ran


@pytest.mark.parametrize(
    ("named", "more"),
    [
        ("data.campaign.shares: are not stated", (CAMPAIGN, *LEARNED[1:])),
        ("data.campaign.design: 'observational'", (OBSERVED, *LEARNED[1:], *SCORED)),
        ("task: Expected learners=['s']", ("task.learners=[s]",)),
        ("preparation: Expected folds=3", (*LEARNED, "preparation.folds=3")),
    ],
)
def test_learners_of_what_cannot_be_learned_are_refused(
    named: str, more: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(options("out", "task.learners=[t]", *more)) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert named in said, said
    assert not Path("out").exists()


def test_karlan_and_list_s_effect_is_the_same_federated_and_pooled() -> None:
    data = load("karlan_list")
    more = ("secure_sum=brandagg", "seeds=1", "plans=null", "epsilons=[]", "task.draws=0")
    assert command(["experiment=uplift_karlan", "out=out", *more]) == 0
    rate = data.rows.groupby("letter")["out_gavedum"].mean()
    n = data.rows.groupby("letter")["out_gavedum"].size()
    effect = rate["match offered"] - rate["plain"]
    error = float(np.sqrt((rate * (1 - rate) / n).sum()))
    one = values("out")["federated", "pooled", "match offered/pooled_counts"]
    assert abs(one["value"] - effect) < 1e-9
    assert abs((one["high"] - one["low"]) / (2 * 1.959963984540054) - error) < 1e-9
    assert 100 * one["value"] == pytest.approx(0.418, abs=5e-4)
    for estimate in ("pooled_counts", "stratified"):
        sides = [values("out")[a, "pooled", f"match offered/{estimate}"] for a in ARMS]
        assert abs(sides[0]["value"] - sides[1]["value"]) < 1e-9


def test_wrong_options_are_refused() -> None:
    for wrong in ({"edges": (0.5, 0.2)}, {"draws": -1}, {"propensity_model": "x"}):
        with pytest.raises(ValueError, match="Expected"):
            UpliftStudy(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("named", "more"),
    [
        ("plans: is missing", ("~plans",)),
        ("epsilons: is missing", ("~epsilons",)),
        ("data.campaign: column 'age' is the campaign's and data.columns's too",
         (CAMPAIGN.replace("treatment: got", "treatment: age"),)),
        ("data.campaign: column 'came' is the campaign's and data.label's too",
         (CAMPAIGN.replace("treatment: got", "treatment: came"),)),
    ],
)  # fmt: skip
def test_a_key_taken_away_and_a_column_of_two_uses_get_a_line_and_no_traceback(
    named: str, more: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(options("out", *more)) == 2
    said = capfd.readouterr().err
    assert named in said.splitlines()[-1] and "Traceback" not in said
    assert not Path("out").exists()


def test_where_brands_treat_different_shares_the_answer_is_the_stratified_effect() -> None:
    """Simpson's paradox: no effect anywhere, and 20 points if all are counted together."""
    rng, n = np.random.default_rng(1), 1000
    parts = []
    for shop, base, treated in (("n", 0.3, 0.9), ("s", 0.05, 0.1), ("w", 0.3, 0.9), ("e", 0.05, 0.1)):
        got = np.where(rng.uniform(size=n) < treated, "mail", "nothing")
        came = (rng.uniform(size=n) < base).astype(int)
        parts.append(pd.DataFrame({"shop": shop, "got": got, "came": came, "age": 30.0}))
    pd.concat(parts).to_csv("trial.csv", index=False)
    one_arm = CAMPAIGN.replace("mail, call", "mail")
    assert command(options("out", one_arm)) == 0
    found = values("out")
    together = found["federated", "pooled", "mail/pooled_counts"]
    within = found["federated", "pooled", "mail/stratified"]
    assert together["low"] > 0.1
    assert within["low"] < 0 < within["high"]
    report = Path("out/report.html").read_text()
    assert "BRANDS TREAT DIFFERENT SHARES" in report
    assert "points within brands" in report and "which may be chance" in report


def test_a_campaign_of_two_brands_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    two = table().replace({"shop": {"west": "north"}})
    two.to_csv("trial.csv", index=False)
    assert command(options("out")) == 2
    assert "a sum over 2 brands" in capsys.readouterr().err
