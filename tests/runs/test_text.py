"""A user's own messages through fl-run: trained together, refused where they cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.run import command
from tests import worlds
from tests.runs.test_configs import TASKS as _TASKS

SHOPS = ("fruit", "shampoo", "水果")


def file(folder: Path, **changes: object) -> Path:
    """Messages of three shops; ``changes`` set cells of the first row."""
    parts = [
        worlds.messages(60, seed, ("negative", "positive")).assign(shop=shop)
        for seed, shop in enumerate(SHOPS)
    ]
    table = pd.concat(parts, ignore_index=True)
    table["number"] = np.arange(len(table)).astype(str)
    table["message"] += table["number"]  # no two alike
    for column, value in changes.items():
        table.loc[0, column] = value
    path = folder / "messages.csv"
    table.drop(columns="number").to_csv(path, index=False)
    return path


def run(path: Path, out: Path, *more: str) -> int:
    return command(
        [
            "data=table", f"data.path={path}", "data.label=mood", "data.brand_column=shop",
            "data.columns={message: {text: true}}", "data.positive=positive",
            "data.negative=[negative]", "task=text", "task.buckets=2048", "model=grams",
            "secure_sum=plain", "rounds=4", "seeds=1", "arms=[federated]", "tuning.budget=1",
            "runtime.workers=1", f"out={out}", *more,
        ]
    )  # fmt: skip


def rows(out: Path) -> pd.DataFrame:
    return pd.read_json(out / "results.json")


def test_messages_are_trained_and_reported_by_accuracy(tmp_path: Path) -> None:
    assert run(file(tmp_path), tmp_path / "run", "privacy=none") == 0
    found = rows(tmp_path / "run")
    assert set(found["task"]) == {"text"} and set(found["brand"]) >= set(SHOPS)
    assert list(dict.fromkeys(found["metric"])) == list(_TASKS["text"].reports)
    accuracy = found[(found["metric"] == "accuracy") & (found["brand"] == "pooled")]
    assert float(accuracy["value"].iloc[0]) > 0.8
    page = (tmp_path / "run" / "report.html").read_text()
    assert "What is taken for what" in page
    assert "太差了" not in page and "好吃" not in page  # no brand's words


@pytest.mark.parametrize(
    ("plan", "more"),
    [
        ("local", ("algorithm=fedavg",)),
        ("distributed", ("algorithm=fedsgd", "secure_sum=brandagg", "privacy.dropouts=0")),
    ],
)
def test_messages_are_trained_under_every_customer_plan(
    plan: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    epsilon = ("privacy.epsilon=8", "privacy.delta=1e-3")
    assert run(file(tmp_path), tmp_path / "run", f"privacy={plan}", *epsilon, *more) == 0
    assert float(rows(tmp_path / "run")["epsilon"].max()) == 8.0


def test_each_brand_lists_its_complaints_for_itself(tmp_path: Path) -> None:
    asked = ("privacy=none", "task.alert_class=negative", "task.alerts=5")
    assert run(file(tmp_path), tmp_path / "run", *asked) == 0
    kept = tmp_path / "run" / "brands"
    assert {p.name for p in kept.iterdir()} == {"fruit", "shampoo", "%E6%B0%B4%E6%9E%9C"}
    listed = pd.read_csv(kept / "fruit" / "alerts.csv", encoding="utf-8-sig")
    assert list(listed) == ["row", "probability", "message"] and len(listed) == 5
    assert listed["probability"].is_monotonic_decreasing
    assert (kept / "fruit" / "alerts.csv").stat().st_mode & 0o077 == 0  # the brand's own eyes only
    for public in ("run.json", "results.json", "report.html"):
        assert str(listed["message"].iloc[0]) not in (tmp_path / "run" / public).read_text()


@pytest.mark.parametrize(
    ("changes", "more", "said"),
    [
        ({"message": None}, (), "row 1: the message is empty"),
        ({"message": "这家店不好".encode().decode("latin-1")}, (), "row 1: the message was written"),
        ({"mood": "furious"}, (), "label mood, row 1"),
        ({}, ("task=conversion", "model=logistic", "~task.buckets"), "this task reads no messages"),
        ({}, ("model=logistic",), "model.name: 'logistic' is not known"),
        ({}, ("task.alert_class=angry",), "task.alert_class: 'angry' is none of the classes"),
        ({}, ("preparation.scaling=own",), "preparation.scaling"),
        ({}, ("privacy=distributed",), "algorithm: fedavg trains at a brand"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_remedy(
    changes: dict[str, object],
    more: tuple[str, ...],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "~task.buckets" in more:
        code = command(
            [
                "data=table", f"data.path={file(tmp_path)}", "data.label=mood",
                "data.brand_column=shop", "data.columns={message: {text: true}}",
                "data.positive=positive", "data.negative=[negative]", "privacy=none",
                "secure_sum=plain", f"out={tmp_path / 'run'}",
            ]
        )  # fmt: skip
    else:
        plan = () if any(m.startswith("privacy=") for m in more) else ("privacy=none",)
        code = run(file(tmp_path, **changes), tmp_path / "run", *plan, *more)
    assert code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_brand_of_one_class_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(tmp_path)
    table = pd.read_csv(path)
    table.loc[table["shop"] == "fruit", "mood"] = "positive"
    table.to_csv(path, index=False)
    assert run(path, tmp_path / "run", "privacy=none") == 2
    assert "brand fruit: all 60 labels are like 'positive'" in capsys.readouterr().err


def test_a_file_in_another_encoding_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(tmp_path)
    path.write_bytes(path.read_text().encode("gb18030"))
    assert run(path, tmp_path / "run", "privacy=none") == 2
    assert "data.path" in capsys.readouterr().err


def test_a_class_that_a_brand_never_saw_is_learned_from_the_others() -> None:
    """Alone, a brand gives it next to nothing; the federated model knows it."""
    import torch

    from fl.algorithms.fedavg import FedAvg
    from fl.brand import LocalBrand
    from fl.doors import Train, Trained, Training
    from fl.models.parameters import load, parameters
    from fl.privacy import NoPrivacy, PlainSum
    from clients.node import BrandNode
    from fl.federation.inprocess import InProcessFederation
    from fl.round import coordinate

    task = worlds.text_task()
    mild = worlds.messages(80, 1, ("neutral", "positive"))
    angry = worlds.messages(80, 2)
    training = Training(learning_rate=1.0, epochs=5)
    splits = {
        name: {"train": task.examples(table, np.arange(len(table)), name)}
        for name, table in (("mild", mild), ("angry", angry))
    }
    start = parameters(task.model(torch.Generator()))
    test = worlds.messages(40, 3, ("negative",))
    asked = task.examples(test, np.arange(len(test)), "mild")

    def found(params: object) -> float:
        model = task.model(torch.Generator())
        load(model, params)  # type: ignore[arg-type]
        return float((task.scores(model, asked).argmax(1) == 0).mean())

    own = LocalBrand("mild", splits["mild"], task, NoPrivacy(), training, 0, "test").answer(
        Train(start)
    )
    assert isinstance(own, Trained) and found(own.arrays) < 0.2
    nodes = {
        name: BrandNode(
            name, rows, task, NoPrivacy(), PlainSum(), training, {"train": FedAvg()}, seed=0
        )
        for name, rows in splits.items()
    }
    state = FedAvg().init(start)
    for number in range(1, 4):
        state = coordinate(
            number, state, kind="train", federation=InProcessFederation(
                {name: node.handle for name, node in nodes.items()}
            ), algorithm=FedAvg(), plan=NoPrivacy(), summing=PlainSum(), seed=number,
        ).state  # fmt: skip
    assert found(FedAvg().params(state)) > 0.5
