"""What a run leaves, and that it leaves the same whatever does not decide it."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from experiments import arms, compare, record
from experiments.journal import Piece
from experiments.learning import Bench
from experiments.ready import Ready, Shelf
from experiments.run import command
from experiments.settings import Settings, settings
from fl import arrays
from fl.tasks.conversion import ConversionOptions
from tests import crm

FILE, ARMS = Path("crm.csv"), ["alone", "federated", "finetuned", "pooled"]
ROW = {
    "experiment": str, "data": str, "task": str, "model": str, "algorithm": str, "privacy": str,
    "epsilon": type(None), "arm": str, "brand": str, "metric": str, "value": float, "low": float,
    "high": float, "seeds": int,
}  # fmt: skip
KEYS = {
    "version", "status", "experiment", "question", "config", "versions", "machine", "commit",
    "seeds", "evaluation", "privacy", "secure_sum", "runtime", "data", "seconds", "tuning", "absent",
    "history", "calibration", "additive", "gains", "gains_by_privacy", "statements", "arrays",
    "schema",
}  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished run that many tests look at."""
    folder = tmp_path_factory.mktemp("run")
    crm.table().to_csv(folder / FILE, index=False)
    crm.run(folder / FILE, folder / "out", "model=additive")
    return folder / "out"


@pytest.fixture
def file() -> Path:
    crm.table().to_csv(FILE, index=False)
    return FILE


def made(out: Path) -> tuple[bytes, bytes, object]:
    """Everything of a run that may not depend on when, where and how fast it was made."""
    return (
        (out / "results.json").read_bytes(),
        (out / "models.npz").read_bytes(),
        crm.read(out)["arrays"],
    )


def test_two_runs_are_bit_identical_and_so_are_one_worker_and_two(file: Path) -> None:
    for name, workers in (("a", 1), ("b", 1), ("c", 2)):
        crm.run(file, Path(name), f"runtime.workers={workers}")
    assert made(Path("a")) == made(Path("b")) == made(Path("c"))


def test_another_seed_gives_another_model(file: Path) -> None:
    digests = crm.run(file, Path("out"), "arms=[federated]")["arrays"]
    assert digests.keys() == {"0", "1"}
    assert digests["0"] != digests["1"]


def test_results_are_flat_rows_for_every_arm_metric_brand_and_group(out: Path) -> None:
    rows = crm.results(out)
    assert all({key: type(row[key]) for key in row} == ROW for row in rows)
    groups = (*crm.SHOPS, "mean", "worst", "pooled")
    asked = [(a, b, m) for a in ARMS for b in groups for m in ConversionOptions.reports]
    assert sorted((row["arm"], row["brand"], row["metric"]) for row in rows) == sorted(asked)
    assert all(row["seeds"] == 2 and row["low"] <= row["value"] <= row["high"] for row in rows)
    assert {(r["data"], r["task"], r["model"], r["privacy"]) for r in rows} == {
        ("table", "conversion", "additive", "none")
    }


def test_the_mean_is_over_brands_and_the_worst_is_the_lowest(out: Path) -> None:
    auc = {
        (row["arm"], row["brand"]): row["value"]
        for row in crm.results(out)
        if row["metric"] == "auc"
    }
    for arm in ARMS:
        each = [auc[arm, shop] for shop in crm.SHOPS]
        assert auc[arm, "mean"] == pytest.approx(np.mean(each))
        assert auc[arm, "worst"] <= min(each) + 1e-12  # found anew in each seed


def test_run_json_says_what_was_run_and_what_evaluation_saw(out: Path) -> None:
    run = crm.read(out)
    assert run.keys() == KEYS
    assert (run["status"], run["version"], run["seeds"]) == ("finished", 1, [0, 1])
    assert run["config"]["rounds"] == 3
    assert run["privacy"]["name"] == "none" and "No privacy guarantee" in run["privacy"]["statement"]
    assert "all test rows of all brands in hand" in run["evaluation"]
    assert {shop: of["rows"] for shop, of in run["data"]["brands"].items()} == dict.fromkeys(
        crm.SHOPS, 120
    )
    positives = crm.table().groupby("shop")["conversion_flag"].sum().to_dict()
    assert {b: of["positives"] for b, of in run["data"]["brands"].items()} == positives
    assert run["absent"] == []
    assert run["seconds"] > 0


def test_a_run_leaves_its_four_files_and_no_work(out: Path) -> None:
    run = crm.read(out)
    files = {path.name for path in out.iterdir()}
    assert files == {"results.json", "run.json", "report.html", "models.npz"}
    models = arrays.from_bytes((out / "models.npz").read_bytes())
    for seed, digest in run["arrays"].items():
        model = {f"seed-{seed}/{n}": a for n, a in arrays.below(f"seed-{seed}", models).items()}
        assert arrays.digest(model) == digest


def test_the_report_is_one_file_with_plots_that_fetches_nothing(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert page.count("<svg") + page.count("data:image/png") >= 3
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:|#)[^"'\s>]+""", page)
    assert not re.findall(r"url\((?!['\"]?(?:data:|#))|@import|<script", page)


@pytest.mark.parametrize(("model", "algorithm"), [("mlp", "fedprox"), ("additive", "fedadam")])
def test_other_models_and_algorithms_run(file: Path, model: str, algorithm: str) -> None:
    more = ("seeds=1", f"model={model}", f"algorithm={algorithm}")
    run = crm.run(file, Path("out"), *more)
    assert run["status"] == "finished"
    assert {row["algorithm"] for row in crm.results(Path("out"))} == {algorithm}


def test_a_brand_that_diverges_is_absent_and_the_others_go_on() -> None:
    """Only the large brand takes enough steps a round for weight decay to overflow."""
    rows = pd.concat([crm.table(), crm.table(1400)[:1400].assign(shop="large")])
    rows.to_csv(FILE, index=False)
    wild = "{learning_rate: [1e4], weight_decay: [1e3]}"
    more = (f"tuning.federated={wild}", f"tuning.alone={wild}", "tuning.rounds=last", "seeds=1")

    run = crm.run(FILE, Path("out"), *more, "training.batch_size=90", "arms=[alone,federated]")

    assert run["absent"] == [
        {
            **{"seed": 0, "arm": "federated", "privacy": "none", "round": n},
            **{"brand": "large", "code": "reply.not-finite"},
        }
        for n in (1, 2, 3)
    ]
    value = {
        (row["arm"], row["brand"]): row
        for row in crm.results(Path("out"))
        if row["metric"] == "accuracy"
    }
    assert value["alone", "large"]["seeds"] == 0 and value["alone", "large"]["value"] is None
    assert value["alone", "north"]["seeds"] == value["federated", "large"]["seeds"] == 1
    assert math.isfinite(value["federated", "mean"]["value"])


def test_a_sweep_makes_one_folder_for_each_combination_and_leaves_nothing_else(
    file: Path, tmp_path: Path
) -> None:
    swept = ("-m", "algorithm=fedavg,fedprox", "training.batch_size=16,32", "arms=[federated]")
    assert command(crm.options(file, Path("out"), "seeds=1", *swept)) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"crm.csv", "out"}
    summary = {"sweep.json", "sweep.html"}
    assert summary <= {path.name for path in Path("out").iterdir()}
    found = {p.name: crm.read(p) for p in Path("out").iterdir() if p.name not in summary}
    assert {name: run["config"]["training"]["batch_size"] for name, run in found.items()} == {
        f"algorithm={algorithm},training.batch_size={size}": size
        for algorithm in ("fedavg", "fedprox")
        for size in (16, 32)
    }
    assert all(run["config"]["algorithm"]["name"] in name for name, run in found.items())


def test_a_configuration_that_fails_loses_nothing_but_itself(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ("-m", "rounds=1,0,2", "seeds=1", "arms=[federated]")
    assert command(crm.options(file, Path("out"), *more)) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("fl-run: sweep: 1 of 3 configurations failed, the first of them rounds=0")
    names = {path.name for path in Path("out").iterdir()}
    assert names == {"rounds=1", "rounds=2", "sweep.json", "sweep.html"}
    rows = json.loads(Path("out/sweep.json").read_text())["rows"]
    assert [row["error"][:15] for row in rows if row["status"] == "failed"] == ["rounds: 0 is no"]
    done = {row["configuration"] for row in rows if row["status"] == "finished"}
    assert done == {"rounds=1", "rounds=2"}
    page = Path("out/sweep.html").read_text()
    assert "rounds=0" in page and "<svg" in page


def test_a_sweep_that_was_killed_is_taken_up_by_the_same_command(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ("-m", "rounds=1,2,3", "seeds=2", "arms=[federated]", "runtime.workers=1")
    asked, real = crm.options(file, Path("out"), *more), compare.run_seed
    done: list[tuple[int, int]] = []

    def killed(how: Settings, ready: Ready, seed: int, *rest: Any) -> Piece:
        if (how.rounds, seed) == (2, 1):
            raise KeyboardInterrupt
        done.append((how.rounds, seed))
        return real(how, ready, seed, *rest)

    with monkeypatch.context() as once:
        once.setattr(compare, "run_seed", killed)
        assert command(asked) == 130
    assert crm.read(Path("out/rounds=2"))["status"] == "running" and not Path("out/sweep.json").exists()
    before, done[:] = Path("out/rounds=1/run.json").read_bytes(), []

    def counted(how: Settings, ready: Ready, seed: int, *rest: Any) -> Piece:
        done.append((how.rounds, seed))
        return real(how, ready, seed, *rest)

    monkeypatch.setattr(compare, "run_seed", counted)
    assert command(asked) == 0
    assert done == [(2, 1), (3, 0), (3, 1)]
    assert Path("out/rounds=1/run.json").read_bytes() == before
    rows = json.loads(Path("out/sweep.json").read_text())["rows"]
    assert {(r["configuration"], r["status"]) for r in rows} == {
        (f"rounds={n}", "finished") for n in (1, 2, 3)
    }
    seconds = {r["configuration"]: r["seconds"] for r in rows}
    assert seconds == {f"rounds={n}": crm.read(Path(f"out/rounds={n}"))["seconds"] for n in (1, 2, 3)}
    assert command([*asked, "preparation.test=0.4"]) == 2
    assert "another preparation" in capfd.readouterr().err
    assert Path("out/rounds=1/run.json").read_bytes() == before


def test_a_run_that_is_taken_up_counts_the_time_before_its_last_piece(tmp_path: Path) -> None:
    record.write(tmp_path, {"config": {}, "seconds": 5.0})
    (tmp_path / "work").mkdir()
    for name, at in (("run.json", 1000), ("work/a.npz", 1030), ("work/b.npz", 1010)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at, at))
    assert record.taken_up(tmp_path) == 35.0
    assert record.taken_up(tmp_path) == 35.0  # nothing was finished in between
    assert crm.read(tmp_path) == {"config": {}, "seconds": 35.0}


def test_a_fault_in_a_configuration_does_not_lose_the_others(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = arms.all_arms

    def faulty(bench: Bench) -> dict[str, arms.Result]:
        if bench.settings.rounds == 1:
            raise KeyError("a fault")
        return real(bench)

    monkeypatch.setattr(arms, "all_arms", faulty)
    more = ("-m", "rounds=1,2", "seeds=1", "arms=[federated]")
    assert command(crm.options(file, Path("out"), *more)) == 2
    assert "failed with KeyError" in capfd.readouterr().err.splitlines()[-1]
    assert crm.read(Path("out/rounds=2"))["status"] == "finished"


def test_a_sweep_prepares_the_same_data_once(file: Path) -> None:
    values = [plain_values(file, f"algorithm={name}") for name in ("fedavg", "fedprox")]
    shelf = Shelf()
    first, second = (shelf.ready(settings(v)) for v in values)
    assert first.tables is second.tables and first.rows is second.rows
    assert shelf.hits == ["divided", "encoded"]
    third = shelf.ready(settings(plain_values(file, "model=mlp")))
    assert third.tables is first.tables and third.rows is not first.rows
    assert shelf.ready(settings(plain_values(file, "preparation.test=0.4"))).data is not first.data


def plain_values(file: Path, *more: str) -> dict[str, Any]:
    with initialize_config_module("conf", version_base="1.3"):
        composed = compose("config", crm.options(file, Path("out"), *more))
    values = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


@pytest.mark.parametrize("brand", ["../../up", "a/b", "Ünï cödé 上海", "." * 300, "<b>&amp;"])
def test_a_brand_may_have_any_name(brand: str, tmp_path: Path) -> None:
    rows = crm.table()
    rows.assign(shop=rows["shop"].replace("west", brand)).to_csv(FILE, index=False)
    crm.run(FILE, Path("out"), "seeds=1", "runtime.checkpoint_seconds=0")
    assert {row["brand"] for row in crm.results(Path("out"))} > {brand, "north", "south"}
    assert {path.name for path in tmp_path.iterdir()} == {"crm.csv", "out"}


# --- the user's own file ------------------------------------------------------------------------

COLUMNS = ["session_duration", "message_count", "product_views", "conversion_flag"]


def own(*more: str) -> list[str]:
    named = ["data=table", f"data.path={FILE}", "data.label=conversion_flag", "out=out"]
    return [*named, *crm.CHOSEN, *crm.SMALL, *more]


def test_a_file_of_the_users_own_loads_as_it_is() -> None:
    crm.table()[COLUMNS].to_csv(FILE, index=False)
    assert command(own("partition=iid", "partition.brands=3")) == 0
    brands = crm.read(Path("out"))["data"]["brands"]
    assert {brand: of["customers"] for brand, of in brands.items()} == {
        "brand-0": 120, "brand-1": 120, "brand-2": 120,
    }  # fmt: skip
    auc = {
        row["arm"]: row["value"]
        for row in crm.results(Path("out"))
        if (row["brand"], row["metric"]) == ("mean", "auc")
    }
    assert auc.keys() == set(ARMS)
    assert min(auc.values()) > 0.65  # the label depends on messages and views


@pytest.mark.parametrize("form", ["parquet", "semicolons", "words", "booleans"])
def test_other_forms_of_the_same_file_give_the_same_result(form: str) -> None:
    rows, more = crm.table(), ["data.brand_column=shop"]
    rows.to_csv(FILE, index=False)
    assert command(own(*more, "seeds=1")) == 0
    first = made(Path("out"))
    file = FILE
    match form:
        case "parquet":
            file = Path("crm.parquet")
            rows.to_parquet(file)
        case "semicolons":
            rows.to_csv(FILE, index=False, sep=";", encoding="utf-8-sig")
        case "words":
            words = rows["conversion_flag"].map({1: "Yes", 0: "No"})
            rows.assign(conversion_flag=words).to_csv(FILE, index=False)
        case "booleans":
            rows.assign(conversion_flag=rows["conversion_flag"] == 1).to_csv(FILE, index=False)
    assert command(own(*more, "seeds=1", f"data.path={file}", "out=other")) == 0
    assert made(Path("other")) == first


def test_rows_of_one_customer_are_one_customer() -> None:
    rows = crm.table().assign(who=lambda r: [f"c{i // 3}" for i in range(len(r))])
    rows.to_csv(FILE, index=False)
    assert command(own("data.brand_column=shop", "data.customer_column=who", "seeds=1")) == 0
    brands = crm.read(Path("out"))["data"]["brands"]
    assert {b: (of["rows"], of["customers"]) for b, of in brands.items()} == dict.fromkeys(
        crm.SHOPS, (120, 40)
    )
