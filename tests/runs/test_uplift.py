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
from fl.doors import Of, Statistic
from fl.privacy import PLANS, CustomerPrivacy
from fl.privacy.spread import std_of_sum

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
    return ["data=table", "data.path=trial.csv", "data.label=came", "data.brand_column=shop",
            "data.columns.age={low: 18, high: 90}", CAMPAIGN, "task=uplift", "task.draws=40",
            f"privacy={plan}", f"secure_sum={sum_}", "seeds=1", f"out={out}", *more]  # fmt: skip


def values(out: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    rows = json.loads(Path(out, "results.json").read_text())
    return {(r["arm"], r["brand"], r["metric"].partition("/seed")[0]): r for r in rows}


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


def test_wrong_options_are_refused() -> None:
    for wrong in ({"edges": (0.5, 0.2)}, {"draws": -1}, {"propensity_model": "x"}):
        with pytest.raises(ValueError, match="Expected"):
            UpliftStudy(**wrong)  # type: ignore[arg-type]
