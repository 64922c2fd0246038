"""Ray's actors end with the bits of the in-process runtime, and nothing of them stays behind."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from socket import socket
from subprocess import DEVNULL, PIPE, Popen, run
from sys import executable
from typing import Any

import pytest

from experiments import compare, runtimes
from experiments.books import opened
from experiments.runtimes import Runtime, cores, federation
from fl import arrays
from fl.audit.cli import command as audit
from fl.contracts import Unit
from fl.doors import Training
from fl.errors import Code, InputError
from fl.events import Repeated
from fl.privacy import PLANS, BrandAgg, PlainSum
from fl.round import coordinate, price
from tests import crm, worlds
from tests.runtimes.test_cohort import EVERY, REFUSED, in_force

pytest.importorskip("ray", reason="the extra [ray] is not installed")
pytestmark = pytest.mark.filterwarnings(  # Ray's own files and processes
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
TRAINING = Training(learning_rate=0.5, batch_size=16, epochs=2)


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    """One simulation for all tests: two actors, four brands."""
    from experiments.simulation import simulation

    with simulation(4, 2, None) as running:
        yield running
    gc.collect()  # Ray forgets processes that it has not waited for, which is reported here


def after(
    algorithm: str, plan: str, model: str, summing: Any, tmp_path: Path, running: Any = None
) -> tuple[Any, ...]:
    """Everything that some rounds leave: state, memories, who was absent, what was booked."""
    task, made, learns = worlds.task(model), in_force(plan), EVERY[algorithm]
    nodes = worlds.nodes(task, algorithm=learns, plan=made, training=TRAINING, brands=4)
    state = learns.init(worlds.first_params(task))
    name = "ray" if running else "inprocess"
    cost = price(learns, state, plan=made, training=TRAINING)
    lent = running.lent if running else None
    with opened(tmp_path / "ledgers" / name, tmp_path / "keys", list(nodes), made, lent) as books:
        ledgers = books.reserve("run", Repeated(cost, 2))
        own, halves = summing.enrol(
            list(nodes), algorithms={"train": learns}, plan=made, first=state,
            witnesses=books.witnesses() if made.unit is Unit.CUSTOMER else None,
        )  # fmt: skip
        for brand, node in nodes.items():
            node.summing, node.ledger = halves[brand], ledgers.get(brand)
        runtime = Runtime(name, workers=1)
        chosen = federation(runtime, nodes, Counter(), running=running)
        absent = []
        for number in (1, 2):
            done = coordinate(
                number, state, kind="train", federation=chosen, algorithm=learns, plan=made,
                summing=own, seed=number,
                ledger=ledgers["coordinator"] if made.unit is Unit.BRAND else None,
            )  # fmt: skip
            state = done.state
            absent.append(dict(done.collected.absent))
        books.settle("run")
        spent = books.spent()
    memories = {
        brand: (
            arrays.digest(node.memory.arrays),
            {kept: arrays.digest(model) for kept, model in node.memory.personal.items()},
        )
        for brand, node in nodes.items()
    }
    return arrays.digest(state), memories, absent, spent


COMBINED = set(product(PLANS, ("fedavg", "scaffold", "fedsgd", "fedadam", "finetune"))) - REFUSED


@pytest.mark.slow
@pytest.mark.parametrize(("plan", "algorithm"), sorted(COMBINED))
def test_actors_end_with_the_same_bits(
    algorithm: str, plan: str, running: Any, tmp_path: Path
) -> None:
    alone = after(algorithm, plan, "mlp", PlainSum(), tmp_path)
    assert after(algorithm, plan, "mlp", PlainSum(), tmp_path, running) == alone
    _, memories, absent, spent = alone
    assert absent == [{}, {}]
    assert (plan == "none") == (not spent) and len(set(map(str, memories.values()))) in (1, 4)


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["none", "local"])
def test_a_secure_sum_keeps_its_sessions_between_actors(
    plan: str, running: Any, tmp_path: Path
) -> None:
    summing = BrandAgg(min_brands=3, scale_bits=16)
    alone = after("fedavg", plan, "logistic", summing, tmp_path)
    assert after("fedavg", plan, "logistic", summing, tmp_path, running) == alone


@pytest.mark.slow
def test_there_is_more_than_one_actor_and_a_killed_one_comes_back(
    running: Any, tmp_path: Path
) -> None:
    seen: set[int] = set()
    while len(seen) < 2:
        seen |= set(running.processes())
    assert os.getpid() not in seen
    os.kill(seen.pop(), signal.SIGKILL)
    while len(set(running.processes()) - seen) < 1:
        time.sleep(0.1)
    alone = after("fedavg", "none", "logistic", PlainSum(), tmp_path)
    assert after("fedavg", "none", "logistic", PlainSum(), tmp_path, running) == alone


@pytest.mark.slow
def test_a_brand_that_fails_is_absent_with_its_code(running: Any) -> None:
    nodes = worlds.nodes(worlds.task(), brands=4)
    nodes["b1"].splits["train"].x_bf[0] = float("nan")
    nodes["b2"].algorithms = {}
    learns = EVERY["fedavg"]
    done = coordinate(
        1, learns.init(worlds.first_params(worlds.task())), kind="train", algorithm=learns,
        federation=running.federation(nodes), plan=in_force("none"), summing=PlainSum(), seed=1,
    )  # fmt: skip
    assert done.collected.absent == {"b1": Code.NOT_FINITE, "b2": Code.UNKNOWN_REQUEST}


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"not installed.*pip install .*\[ray\]"):
        Runtime("ray", workers=1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"workers": cores() + 1}, "runtime.workers"),
        ({"address": "auto"}, "each of its cores"),
        ({"workers": None, "address": "ray://head:10001"}, "HOST:PORT nor auto"),
        ({"debug": True}, "runtime=inprocess"),
    ],
)
def test_what_ray_cannot_do_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Runtime(**{"name": "ray", "workers": 1, **wrong})


PRIVATE = (
    "privacy=local",
    "privacy.epsilon=3",
    "privacy.noise_source=insecure_noise_for_tests",
    "secure_sum=brandagg",
    "algorithm=scaffold",
    "arms=[federated,finetuned,central_dp]",
    "+data.columns={session_duration: {low: 0, high: 900}, message_count: {low: 0, high: 9},"
    " product_views: {low: 0, high: 40}}",
)


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), PRIVATE], ids=["plain", "private"])
def test_a_whole_experiment_publishes_the_same_files(
    more: tuple[str, ...], running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "started", lambda runtime, brands: nullcontext(running))
    crm.table().to_csv("crm.csv", index=False)
    kept = crm.run(Path("crm.csv"), Path("ray"), "seeds=1", "runtime=ray", *more)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    crm.run(Path("crm.csv"), Path("alone"), "seeds=1", *more)
    assert kept["runtime"]["name"] == "ray" and not kept["absent"]
    assert_same_files()
    assert Path("ray/report.html").exists() and not Path("ray/work").exists()
    if more:
        assert audit(["epsilon", "ray"]) == 0 and audit(["transcript", "ray"]) == 0


def assert_same_files() -> None:
    for file in ("results.json", "models.npz"):
        assert Path("ray", file).read_bytes() == Path("alone", file).read_bytes()


def left_behind(mark: str) -> list[str]:
    """Command lines of all processes that were started with this mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it ended while we looked
            continue
    return [line for line in found if line.strip()]


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_process_and_ends_as_in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, value = "CROSSBRAND_TEST", os.urandom(8).hex()
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    crm.table().to_csv("crm.csv", index=False)
    more = ("rounds=40", "seeds=1", "runtime.checkpoint_seconds=0", "arms=[federated,finetuned]")
    asked = crm.options(Path("crm.csv"), Path("ray"), *more, "runtime=ray")
    start = [executable, "-m", "experiments.run"]
    with Popen([*start, *asked], stderr=PIPE, text=True) as killed:
        assert killed.stderr is not None
        for line in killed.stderr:
            if "started after" in line:
                break
        while not any(Path("ray/work").glob("*final*")):
            assert killed.poll() is None, "it ended too early to be interrupted"
            time.sleep(0.05)
        assert len(left_behind(f"{name}={value}")) > 3
        killed.send_signal(signal.SIGINT)
        assert killed.wait(timeout=60) == 130
        assert "take it up with fl-run resume=DIR" in killed.stderr.read()
    give_up = time.monotonic() + 20
    while (still := left_behind(f"{name}={value}")) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert not still
    run([*start, "resume=ray"], check=True)
    crm.run(Path("crm.csv"), Path("alone"), *more)
    assert_same_files()


@pytest.mark.slow
def test_an_existing_cluster_is_used_and_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray = [executable, "-m", "ray.scripts.scripts"]
    crm.table().to_csv("crm.csv", index=False)
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    chosen = ("seeds=1", "runtime=ray", "runtime.workers=null")
    asked = crm.options(Path("crm.csv"), Path("ray"), *chosen, f"runtime.address='{address}'")
    start = [executable, "-m", "experiments.run"]
    nobody = run([*start, *asked], stderr=PIPE, text=True)
    assert nobody.returncode == 2 and f"no Ray cluster answers at '{address}'" in nobody.stderr
    port = f"--port={address.partition(':')[2]}"
    head = ["--head", "--num-cpus=2", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    status = [*ray, "status", f"--address={address}"]
    with Popen([*ray, "start", *head, port, "--block"], stdout=DEVNULL, stderr=DEVNULL) as cluster:
        try:
            give_up = time.monotonic() + 60
            while run(status, stdout=DEVNULL, stderr=DEVNULL).returncode:
                assert time.monotonic() < give_up and cluster.poll() is None
            run([*start, *asked], check=True)
            assert "0.0/2.0 CPU" in run(status, stdout=PIPE, text=True, check=True).stdout
        finally:
            cluster.terminate()
    crm.run(Path("crm.csv"), Path("alone"), "seeds=1")
    assert_same_files()
