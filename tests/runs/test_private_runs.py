"""Runs with a guarantee: ledgers add up to the statement, which keeps what was asked.

The books of a run that was killed count every round that may have touched data, the lost ones too.
"""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.books import COORDINATOR, Books, file_name, opened
from experiments.journal import Journal, Piece, stored_plan
from experiments.promises import statements
from experiments.run import command
from experiments.settings import Settings, settings
from fl.errors import Refused
from fl.events import Composed, Gaussian, Repeated, from_json, to_json
from fl.privacy import BrandPrivacy, CustomerPrivacy, NoPrivacy, Plan
from fl.privacy.accounting import pld_epsilon
from fl.privacy.bills import bill, events
from fl.privacy.reading import Reading, verify
from tests import crm
from tests.runs.test_resume import FILE, OFTEN, ROOT, kill_in_the_middle

RANGES = {"session_duration": 3000, "message_count": 20, "product_views": 50}
STATED = ", ".join(f"{name}: {{low: 0, high: {high}}}" for name, high in RANGES.items())
ROUNDS = 3
PRIVATE = (f"data.columns={{{STATED}}}", f"rounds={ROUNDS}", "seeds=1", "algorithm=fedsgd")


@pytest.fixture(autouse=True)
def _file() -> None:
    crm.table().to_csv(FILE, index=False)


def run(*more: str) -> dict[str, Any]:
    return crm.run(FILE, Path("out"), *PRIVATE, *more)


def ledgers(out: Path, seed: int, training: str) -> dict[str, Reading]:
    """The verified ledgers of one training."""
    folder = out / "ledgers" / f"seed-{seed}" / training
    return {path.stem: verify(path, every_signature=True) for path in folder.glob("*.jsonl")}


def committed(reading: Reading) -> int:
    """How many answers were booked."""
    return sum(len(run.occasions) for run in reading.books.runs.values())


def agrees(statement: Mapping[str, Any], readings: Mapping[str, Reading]) -> None:
    """The statement's events are what the ledgers say, and nothing is left open."""
    assert all(run.settled for r in readings.values() for run in r.books.runs.values())
    booked = {name: r.books.lifetime() for name, r in readings.items()}
    said = [bill(from_json(event)) for event in statement["events"].values()]
    assert all(one in booked.values() for one in said)
    worst = max(pld_epsilon(Composed(events(b)), statement["delta"]) for b in booked.values())
    assert statement["customer"]["pld"] == pytest.approx(worst, abs=1e-9)


@pytest.mark.parametrize("algorithm", ["fedsgd", "fedavg"])
def test_every_brand_keeps_a_ledger_and_no_guarantee_is_exceeded(algorithm: str) -> None:
    made = run(
        "privacy=local",
        "+privacy@plans.local=local",
        "epsilons=[1,8]",
        "arms=[federated,finetuned,central_dp]",
        f"algorithm={algorithm}",
    )
    asked = {"local-3": 3.0, "local-1": 1.0, "local-8": 8.0}
    arms = {f"{arm}@{label}" for arm in ("federated", "central_dp") for label in asked}
    assert made["statements"].keys() == arms
    for label, epsilon in asked.items():
        for arm, keepers in (("federated", crm.SHOPS), ("central_dp", ("pooled",))):
            readings = ledgers(Path("out"), 0, f"{arm}@{label}")
            assert readings.keys() == {file_name(keeper) for keeper in keepers}
            assert {committed(r) for r in readings.values()} == {1 + ROUNDS}  # and the head count
            statement = made["statements"][f"{arm}@{label}"]
            assert 0.98 * epsilon < statement["customer"]["pld"] <= epsilon
            assert statement["noise_source"] == "secure" and statement["unit"] == "customer"
            agrees(statement, readings)
    assert not Path("out/work").exists()  # and with it the keepers' keys


def test_where_brands_are_the_unit_the_coordinator_keeps_the_book() -> None:
    made = run("privacy=brand", "arms=[federated]")
    readings = ledgers(Path("out"), 0, "federated@brand-8")
    assert readings.keys() == {file_name(COORDINATOR)}
    assert [committed(r) for r in readings.values()] == [ROUNDS]
    statement = made["statements"]["federated@brand-8"]
    assert statement["unit"] == "brand" and 7.9 < statement["customer"]["pld"] <= 8.0
    agrees(statement, readings)


def test_a_run_without_a_guarantee_keeps_no_ledger() -> None:
    made = run("privacy=none", "arms=[federated]")
    assert made["statements"] == {} and not Path("out/ledgers").exists()


@pytest.mark.parametrize(
    ("named", "options"),
    [
        ("privacy.delta", ("privacy=local", "privacy.delta=0.5")),
        ("privacy.delta", ("privacy=local", "privacy.delta=0.006", "arms=[federated,central_dp]")),
        ("privacy", ("privacy=local", "privacy.epsilon=-1")),
        ("algorithm", ("privacy=distributed", "algorithm=fedavg")),
        ("secure_sum", ("privacy=distributed",)),
        ("preparation.scaling", ("privacy=local", "preparation.scaling=own")),
    ],
)
def test_a_promise_that_cannot_be_kept_starts_nothing(
    named: str, options: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """Delta is below 1/84 for each brand; in one place there are 252 customers to train on."""
    alone = () if any(o.startswith("arms=") for o in options) else ("arms=[federated]",)
    assert command(crm.options(FILE, Path("out"), *PRIVATE, *alone, *options)) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"fl-run: {named}: ")
    assert not Path("out").exists()


# --------------------------------------------------------------------------------- killed runs

LONG = 60


def start(*more: str) -> subprocess.Popen[bytes]:
    """A private run in a process of its own."""
    asked = crm.options(FILE, Path("out"), *PRIVATE, "privacy=local", "arms=[federated]", *more)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.run", *asked, f"rounds={LONG}"],
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_after_commits(running: subprocess.Popen[bytes], least: int) -> None:
    """SIGKILL once the first brand has booked so many answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and running.poll() is None:
        lines = [Path(p).read_bytes() for p in glob.glob("out/ledgers/*/*/*.jsonl")]
        if lines and min(content.count(b'"commit"') for content in lines) >= least:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            return
        time.sleep(0.002)
    os.killpg(running.pid, signal.SIGKILL)
    pytest.fail("the run was never seen to commit")


def before(out: Path) -> int:
    """What every brand had committed; a torn last line was never acted on."""
    least = []
    for path in (out / "ledgers").rglob("*.jsonl"):
        whole = path.read_bytes().rpartition(b"\n")[0]
        least.append(whole.count(b'"commit"'))
    return min(least)


@pytest.mark.slow
def test_a_killed_private_run_pays_again_for_what_it_does_again() -> None:
    """Killed before its first checkpoint, and once more: nothing committed is forgotten."""
    kill_after_commits(start("runtime.checkpoint_seconds=3600"), 5)
    first = before(Path("out"))
    assert crm.read(Path("out"))["status"] == "running" and first >= 5
    again = [sys.executable, "-m", "experiments.run", "resume=out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    kill_after_commits(
        subprocess.Popen(again, env=environment, stderr=subprocess.DEVNULL, start_new_session=True),
        first + 5,
    )
    second = before(Path("out"))
    assert command(["resume=out"]) == 0
    finished(lost=second)


@pytest.mark.slow



def test_a_private_run_killed_between_checkpoints_is_taken_up_at_the_last() -> None:
    reached = kill_in_the_middle(start(OFTEN), Path("out/work"), "seed-0/federated@local-3")
    assert 0 < reached < LONG
    assert command(["resume=out"]) == 0
    paid = finished(lost=0)
    assert max(paid) <= 1 + LONG + 2  # at most the round it was in, and one not yet stored


def finished(lost: int) -> list[int]:
    """Every round of the released training is booked, and so is what was lost; the commits."""
    made = crm.read(Path("out"))
    assert made["status"] == "finished" and made["absent"] == []
    readings = ledgers(Path("out"), 0, "federated@local-3")
    assert len(readings) == 3
    assert all(committed(r) >= 1 + LONG + lost for r in readings.values())
    statement = made["statements"]["federated@local-3"]
    agrees(statement, readings)
    if lost:  # more than was asked, and it says so
        assert statement["customer"]["pld"] > 3.0
    return [committed(r) for r in readings.values()]


# ------------------------------------------------------------------------------------- the books

ROUND = Gaussian(3.0)


def books(tmp_path: Path, use: Callable[[Books], None], plan: Plan | None = None) -> None:
    """Open the books of one training, use them, and close them."""
    made = plan or CustomerPrivacy()
    with opened(tmp_path / "ledgers" / "arm", tmp_path / "keys", ["north", "上/海"], made) as them:
        use(them)


def test_seeds_that_run_side_by_side_keep_keys_apart(tmp_path: Path) -> None:
    """They share a folder of keys, and their arms and brands have the same names."""
    plan, keys = CustomerPrivacy(), tmp_path / "keys"
    arms = [tmp_path / "ledgers" / seed / "arm" for seed in ("seed-0", "seed-1")]
    with opened(arms[0], keys, ["north"], plan), opened(arms[1], keys, ["north"], plan):
        pass
    for arm in arms:  # each ledger opens with its own key
        with opened(arm, keys, ["north"], plan) as books:
            books.reserve("part", Gaussian(2.0))


def test_books_of_an_interrupted_part_are_settled_and_commits_stay_spent(tmp_path: Path) -> None:
    def first(them: Books) -> None:
        parts = them.reserve("from-round-0", Repeated(ROUND, 5))
        assert parts.keys() == {"north", "上/海"}
        for number in range(2):
            parts["north"].commit(ROUND, f"train/{number}/0")
        assert bill(them.spent()["north"]) == {ROUND: 5}  # while it runs, all of it counts

    def second(them: Books) -> None:
        spent = {keeper: bill(event) for keeper, event in them.spent().items()}
        assert spent == {"north": {ROUND: 2}, "上/海": {}}
        parts = them.reserve("from-round-0", Repeated(ROUND, 5))  # again, from the same checkpoint
        for keeper in parts:
            for number in range(5):
                parts[keeper].commit(ROUND, f"train/{number}/0")
        with pytest.raises(Refused, match="unreserved"):
            parts["north"].commit(ROUND, "train/5/0")
        them.settle("from-round-0")
        spent = {keeper: bill(event) for keeper, event in them.spent().items()}
        assert spent == {"north": {ROUND: 7}, "上/海": {ROUND: 5}}

    books(tmp_path, first)
    books(tmp_path, second)
    for path in (tmp_path / "ledgers" / "arm").glob("*.jsonl"):
        assert verify(path).books.opening.unit == "customer"


def test_who_keeps_the_books_depends_on_the_unit(tmp_path: Path) -> None:
    for plan, keepers in (
        (NoPrivacy(), set()),
        (BrandPrivacy(), {COORDINATOR}),
        (CustomerPrivacy(), {"north", "上/海"}),
    ):
        books(
            tmp_path / plan.name, lambda them, k=keepers: _keeps(them, k), plan
        )  # fmt: skip


def _keeps(them: Books, keepers: set[str]) -> None:
    assert set(them.ledgers) == keepers and not any(bill(e) for e in them.spent().values())


# ---------------------------------------------------------------------------------- the promises


def promised(*pieces: Piece) -> dict[str, dict[str, Any]]:
    return statements(how(), dict(enumerate(pieces)))


def how() -> Settings:
    """Two arms under one plan."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    with initialize_config_module("conf", version_base="1.3"):
        options = crm.options(FILE, Path("out"), "privacy=local", "arms=[federated,finetuned]")
        values = OmegaConf.to_container(compose("config", options), resolve=True)
    assert isinstance(values, dict)
    return settings({str(key): value for key, value in values.items()})


def piece(plan: Plan, **times: int) -> Piece:
    """What a seed's arm leaves when its keepers have booked so many rounds."""
    spent = {keeper: to_json(Repeated(ROUND, n)) for keeper, n in times.items()}
    key = "federated@local-3"
    return Piece({}, {"spent": {key: spent}, "plans": {key: stored_plan(plan)}})


def test_a_statement_is_about_the_costliest_seed_and_its_costliest_brand() -> None:
    plan = CustomerPrivacy(person_brands=1)
    cheap, dear = piece(plan, north=5, south=5), piece(plan, north=5, south=8)
    for order in ((cheap, dear), (dear, cheap), (cheap, cheap, dear)):
        made = promised(*order)
        assert made.keys() == {"federated@local-3"}
        assert made["federated@local-3"]["brand"] == "south"
        assert made["federated@local-3"]["seed"] == order.index(dear)
        expected = pld_epsilon(Repeated(ROUND, 8), 1e-5)
        assert made["federated@local-3"]["customer"]["pld"] == pytest.approx(expected)


def test_a_joint_sum_is_stated_by_the_brand_that_booked_most() -> None:
    shared = CustomerPrivacy("distributed", person_brands=1, brands=5, sigma=3.0)
    made = promised(piece(shared, north=2, south=5, west=3))["federated@local-3"]
    assert made["joint"] and list(made["events"]) == ["sum"]
    assert made["customer"]["pld"] == pytest.approx(pld_epsilon(Repeated(ROUND, 5), 1e-5))
    assert "of 5 brands" in made["trust"]


def test_nothing_is_promised_where_nothing_was_booked() -> None:
    assert promised(Piece({}, {"spent": {}, "plans": {}})) == {}


def test_a_journal_keeps_a_plan_with_its_noise(tmp_path: Path) -> None:
    plan = CustomerPrivacy(customers=40.0, brands=3, sigma=1.25)
    Journal(tmp_path).put("x", piece(plan, north=1))
    kept = Journal(tmp_path).get("x")
    assert kept is not None and kept.note["plans"]["federated@local-3"]["run_state"]["sigma"] == 1.25
