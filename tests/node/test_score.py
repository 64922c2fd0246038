"""Scoring at the brand: ranks, probabilities, reasons, teams, outcomes."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clients.brand_data import DataFolder, Reading, read
from clients.outcomes import accept, handed_over, outcomes
from clients.received import Received, find, load_received, save
from clients.score import Scored, keep_list, known, score, to_score, write
from fl import arrays
from fl.agreement import Course
from fl.algorithms.fedavg import FedAvg
from fl.data.consistency import Limits
from fl.data.handover import Team
from fl.data.intake import Asked
from fl.data.schema import Number, Schema
from fl.data.schema_file import to_plain
from fl.doors import Training
from fl.errors import InputError
from fl.models import Additive, Logistic, Mlp
from fl.models.parameters import parameters
from fl.privacy import NoPrivacy, PlainSum
from fl.seeds import numpy_generator, torch_generator
from fl.tasks.conversion import ConversionOptions
from tests.shop import CUSTOMERS, TODAY, made


def hand_over(
    folder: DataFolder, model: Received, scored: Scored, at: pd.Timestamp
) -> pd.DataFrame:
    handed = scored.handed_over()
    keep_list(folder, model, handed, at)
    return handed


TEAMS = (Team("north", 10), Team("web", 5))


def received(folder: DataFolder, architecture: Additive | Logistic | Mlp = Logistic()) -> Received:  # noqa: B008
    columns = (*folder.site().mapped.portrait.columns(), Number("age", 0, 100))
    schema = Schema(columns, "converted")
    start = parameters(architecture.build(schema, torch_generator(0, "m")))
    rng = numpy_generator(0, "score test", architecture.name)
    params = {name: rng.normal(0, 0.3, a.shape).astype(np.float32) for name, a in start.items()}
    return Received(schema, architecture, params, "a test")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    return made(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="module")
def reading(place: DataFolder) -> Reading:
    return read(place, Asked(received(place).schema), TODAY, {})


@pytest.mark.parametrize("architecture", [Logistic(), Additive(), Mlp()], ids=lambda a: a.name)
def test_everybody_is_scored_ranked_and_told_why(
    place: DataFolder, reading: Reading, architecture: Additive | Logistic | Mlp
) -> None:
    model = received(place, architecture)
    rows = to_score(reading)
    assert rows.cutoff == TODAY, "scored as of the day after the newest event"
    scored = score(model, rows, known(place, model, reading.examples()), TEAMS)
    table = scored.table
    assert 0.9 * CUSTOMERS < len(table) <= CUSTOMERS
    assert table["rank"].tolist() == list(range(1, len(table) + 1))
    assert table["score"].is_monotonic_decreasing
    assert table["probability"].is_monotonic_decreasing
    assert table["probability"].between(0, 1).all()
    assert table["team"].value_counts().to_dict() == {"north": 10, "web": 5}
    assert table["team"].head(15).notna().all()
    assert table["customer"].is_unique
    for n in (1, 2, 3):
        assert table[f"reason_{n}"].str.fullmatch(r"\w+ = \S+ \([+-]\d+\.\d\d\)").all()
    assert scored.labelled == len(reading.examples().rows)


def test_a_customer_with_two_rows_is_handed_over_once(place: DataFolder, reading: Reading) -> None:
    model, rows = received(place), to_score(reading)
    twice = replace(
        rows,
        rows=pd.concat([rows.rows, rows.rows], ignore_index=True),
        customer=np.tile(rows.customer, 2),
        name=pd.concat([rows.name, rows.name], ignore_index=True),
    )
    none = (np.empty(0), np.empty(0), np.empty(0, np.int64))
    table = score(model, twice, none, [Team("all", 10_000)], reasons=0).table
    assert table["team"].notna().sum() == len(rows.rows)
    assert "reason_1" not in table


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_scores_are_written_for_the_owner_alone(
    tmp_path: Path, place: DataFolder, reading: Reading, name: str
) -> None:
    model = received(place)
    table = score(model, to_score(reading), known(place, model, None), TEAMS).table
    write(tmp_path / name, table)
    back = (
        pd.read_csv(tmp_path / name) if name.endswith("csv") else pd.read_parquet(tmp_path / name)
    )
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    with pytest.raises(InputError, match=r"name a \.csv or \.parquet"):
        write(tmp_path / "a.xlsx", table)


def test_outcomes_come_back_and_calibrate_the_next_scores(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = received(folder)
    rows = to_score(read(folder, Asked(model.schema), TODAY, {}))
    scored = score(model, rows, known(folder, model, None), [Team("all", 100)])
    handed = hand_over(folder, model, scored, TODAY)
    assert len(handed) == len(handed_over(folder)) == 100
    back = pd.DataFrame(
        {
            "customer": handed["customer"],
            "outcome": (np.arange(100) < 40).astype(int),
            "date": "2026-06-10",
        }
    )
    back.to_csv(tmp_path / "back.csv", index=False)
    later = TODAY + pd.Timedelta(days=20)
    assert len(accept(folder, tmp_path / "back.csv", later, Limits()).rows) == 100
    accept(folder, tmp_path / "back.csv", later, Limits())
    kept = outcomes(folder)
    assert len(kept) == 100, "the same file again adds nothing"
    assert kept["outcome"].sum() == 40
    assert set(kept["model"]) == {model.digest}
    score_b, y_b, _ = known(folder, model, None)
    assert len(score_b) == 100 and y_b.sum() == 40
    again = score(model, rows, known(folder, model, None), [Team("all", 100)])
    assert again.curve.rows == 100
    assert again.curve.name != "none"
    assert abs(again.table["probability"].head(100).mean() - 0.4) < 0.1
    labels = read(folder, Asked(model.schema), TODAY, {}).examples()
    both = known(folder, model, labels)[2]
    named = dict(zip(labels.name, labels.customer.tolist(), strict=True))
    mine = [named.get(name) for name in outcomes(folder)["customer"]]
    assert sum(number is not None for number in mine) > 50
    for number, found in zip(mine, both[len(labels.rows) :].tolist(), strict=True):
        assert found == number if number is not None else found < 0, "one customer, one number"
    assert len(known(folder, model, None, pd.Timestamp("2026-06-11"))[0]) == 0
    other = replace(model, params={n: a + 1 for n, a in model.params.items()})
    assert len(known(folder, other, None)[0]) == 0, "outcomes are of the model that scored"


def test_an_outcome_that_cannot_be_is_set_aside(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = received(folder)
    rows = to_score(read(folder, Asked(model.schema), TODAY, {}))
    handed = hand_over(folder, model, score(model, rows, known(folder, model, None), TEAMS), TODAY)
    who = handed["customer"].tolist()
    back = pd.DataFrame(
        [
            (who[0], "1", "2026-06-02"),
            (who[1], "yes", "2026-06-02"),
            ("nobody", "1", "2026-06-02"),
            (who[2], "1", "2026-05-01"),
            (who[3], "0", "2027-01-01"),
            (who[4], "0", "2026-06-02"),
            (who[4], "1", "2026-06-02"),
            (None, "1", "2026-06-02"),
        ],
        columns=["customer", "outcome", "date"],
    )
    path = tmp_path / "back.csv"
    back.to_csv(path, index=False)
    with pytest.raises(InputError, match="7 of 8 rows are rejected"):
        accept(folder, path, TODAY + pd.Timedelta(days=9), Limits())
    assert outcomes(folder).empty, "nothing is kept of a file that is refused"
    checked = accept(folder, path, TODAY + pd.Timedelta(days=9), Limits(rejected_share=1))
    assert checked.rows["customer"].tolist() == [who[0]]
    reasons = pd.read_csv(folder.file("quarantine", "outcomes.csv"))
    assert dict(zip(reasons["row"], reasons["reasons"], strict=True)) == {
        2: "outcome is not in its list",
        3: "customer was never handed over",
        4: "date is before the customer was handed over",
        5: "date is in the future",
        6: "another row has the same customer and date and other cells",
        7: "another row has the same customer and date and other cells",
        8: "customer is empty",
    }
    back.drop(columns="date").to_csv(path, index=False)
    with pytest.raises(InputError, match="no column 'date'"):
        accept(folder, path, TODAY, Limits())


def test_a_corrected_file_replaces_what_it_corrects(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = received(folder)
    rows = to_score(read(folder, Asked(model.schema), TODAY, {}))
    handed = hand_over(folder, model, score(model, rows, known(folder, model, None), TEAMS), TODAY)
    back = handed[["customer"]].assign(outcome=1, date="2026-06-01")
    later = TODAY + pd.Timedelta(days=1)
    for outcome in (1, 0):
        back.loc[0, "outcome"] = outcome
        back.to_csv(tmp_path / "b.csv", index=False)
        checked = accept(folder, tmp_path / "b.csv", later, Limits())
    assert [(f.problem, f.rows) for f in checked.findings] == [
        ("outcomes that replace earlier ones", 1)
    ]
    kept = outcomes(folder)
    assert len(kept) == len(handed)
    assert kept.set_index("customer")["outcome"][back["customer"][0]] == 0


def test_outcomes_are_dated_by_the_clocks_of_the_mapping(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = received(folder)
    rows = to_score(read(folder, Asked(model.schema), TODAY, {}))
    morning = pd.Timestamp("2026-06-01 23:00")  # the 2nd in Shanghai, 7 o'clock
    handed = hand_over(
        folder, model, score(model, rows, known(folder, model, None), TEAMS), morning
    )
    back = handed[["customer"]].assign(outcome=1, date="2026-06-02")
    back.to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(InputError, match="are rejected"):
        accept(folder, tmp_path / "b.csv", morning, Limits())
    checked = accept(folder, tmp_path / "b.csv", morning, Limits(), "Asia/Shanghai")
    assert len(checked.rows) == len(handed)


def test_a_name_that_a_spreadsheet_would_run_survives_the_round_trip(tmp_path: Path) -> None:
    folder = made(tmp_path)
    model = received(folder)
    rows = to_score(read(folder, Asked(model.schema), TODAY, {}))
    named = replace(rows, name="=" + rows.name)
    handed = hand_over(folder, model, score(model, named, known(folder, model, None), TEAMS), TODAY)
    write(tmp_path / "list.csv", handed)
    listed = pd.read_csv(tmp_path / "list.csv")
    assert listed["customer"].str.startswith("'=").all()
    listed[["customer"]].assign(outcome=1, date="2026-06-01").to_csv(
        tmp_path / "b.csv", index=False
    )
    checked = accept(folder, tmp_path / "b.csv", TODAY + pd.Timedelta(days=1), Limits())
    assert set(checked.rows["customer"]) == set(handed["customer"])


def test_a_received_model_is_kept_and_read_again(tmp_path: Path, place: DataFolder) -> None:
    for architecture in (Logistic(from_zero=True), Additive(bins=7), Mlp(hidden=(5, 4))):
        model = received(place, architecture)
        save(tmp_path / "m", model)
        back = load_received(tmp_path / "m")
        assert back.digest == model.digest
        assert (back.schema, back.architecture) == (model.schema, architecture)
        back.module()
    assert stat.S_IMODE((tmp_path / "m" / "model.npz").stat().st_mode) == 0o600


def run_folder(folder: Path, model: Received, **changed: object) -> Path:
    folder.mkdir()
    run = {
        "experiment": "shop",
        "config": {"task": {"name": "conversion"}, "model": {"name": model.architecture.name}},
        "schema": to_plain(model.schema),
    }
    (folder / "run.json").write_text(json.dumps(run | changed))
    named = {
        **arrays.within("seed-0/federated@none", model.params),
        **arrays.within("seed-0/federated@local-1", {n: 2 * a for n, a in model.params.items()}),
        **arrays.within("seed-3/pooled", model.params),
    }
    (folder / "models.npz").write_bytes(arrays.to_bytes(named))
    return folder


def test_a_model_of_a_run_is_found_by_arm_and_seed(tmp_path: Path, place: DataFolder) -> None:
    model = received(place)
    run = run_folder(tmp_path / "run", model)
    assert load_received(run, arm="pooled").digest == model.digest
    assert load_received(run, arm="federated@none", seed=0).digest == model.digest
    assert load_received(run, arm="federated@local-1").digest != model.digest
    for arm, seed, problem in (
        ("federated", None, "2 arms are called 'federated'"),
        ("alone", None, "no arms are called 'alone'"),
        ("pooled", 0, "no arms are called 'pooled' in seed-0"),
    ):
        with pytest.raises(InputError, match=problem):
            load_received(run, arm=arm, seed=seed)


def test_a_model_of_a_run_of_this_node_is_used_as_it_was_agreed(
    tmp_path: Path, place: DataFolder
) -> None:
    model = received(place, Additive(bins=7))
    course = Course(
        *(ConversionOptions(), Additive(bins=7), model.schema, FedAvg(), NoPrivacy(), PlainSum()),
        *(Training(), 2, 0, "run"),
    )
    folder = tmp_path / "node" / "runs" / "winter.0a1b"
    folder.mkdir(parents=True)
    offer = {"content": course.content(2, run=b"r", coordinator=b"c"), "proposal": {}}
    (folder / "offer.json").write_text(json.dumps(offer))
    with pytest.raises(InputError, match="is not over"):
        find(tmp_path / "node", "winter")
    (folder / "model.npz").write_bytes(arrays.to_bytes(model.params))
    found = find(tmp_path / "node", "winter")
    assert (found.digest, found.schema) == (model.digest, model.schema)
    found.module()
    assert find(tmp_path / "node", "winter/0a1b").digest == model.digest
    (folder / "offer.json").write_text("{}")
    with pytest.raises(InputError, match="no offer"):
        load_received(folder)


def test_what_is_no_model_is_refused_with_the_reason(tmp_path: Path, place: DataFolder) -> None:
    model = received(place)
    text = {"task": {"name": "text"}, "model": {"name": "logistic"}}
    for name, changed, problem in (
        ("a", {"config": text}, "scores no customer"),
        ("b", {"schema": None}, "no schema"),
        ("c", {"config": {"task": {"name": "conversion"}, "model": {"name": "gpt"}}}, "not known"),
    ):
        with pytest.raises(InputError, match=problem):
            load_received(run_folder(tmp_path / name, model, **changed), arm="pooled")
    other = {"config": {"task": {"name": "conversion"}, "model": {"name": "mlp"}}}
    with pytest.raises(InputError, match="do not fit model 'mlp'"):
        load_received(run_folder(tmp_path / "d", model, **other), arm="pooled").module()
    with pytest.raises(InputError, match="no model in"):
        load_received(tmp_path / "nowhere")
    (tmp_path / "d" / "models.npz").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"cannot read models\.npz"):
        load_received(tmp_path / "d")
    broken = replace(model, params={n: a * np.nan for n, a in model.params.items()})
    with pytest.raises(InputError, match="no numbers"):
        broken.module()


def test_a_column_that_the_model_reads_and_the_brand_lacks_is_named(
    place: DataFolder, reading: Reading
) -> None:
    model = received(place)
    wider = Schema((*model.schema.columns, Number("height", 0, 3)), "converted")
    start = parameters(Logistic().build(wider, torch_generator(0, "m")))
    none = (np.empty(0), np.empty(0), np.empty(0, np.int64))
    with pytest.raises(InputError, match="height"):
        score(Received(wider, Logistic(), start, ""), to_score(reading), none, TEAMS)
