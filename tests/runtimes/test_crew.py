"""Blocks may be computed by any number of processes: the arrays are the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from experiments.crew import Crew
from experiments.runtimes import Runtime, cores, federation
from fl import arrays
from fl.contracts import Algorithm
from fl.doors import Training
from fl.errors import InputError
from fl.privacy import PlainSum, Plan
from fl.round import coordinate
from tests import worlds
from tests.privacy.plans import Booked
from tests.runtimes.test_cohort import EVERY, in_force


def after(size: int, plan: Plan, algorithm: Algorithm, model: str) -> str:
    """What a few rounds lead to; six brands in blocks of two."""
    task = worlds.task(model)
    training = Training(learning_rate=0.5, batch_size=16, epochs=2)
    nodes = worlds.nodes(task, algorithm=algorithm, plan=plan, training=training, brands=6)
    for node in nodes.values():
        node.ledger = Booked()
    made = federation(Runtime("cohort", workers=1, block=2), nodes, Counter())
    made.together.many = Crew(size)  # type: ignore[attr-defined]
    state = algorithm.init(worlds.first_params(task))
    for number in range(1, 4):
        state = coordinate(
            number, state, kind="train", federation=made, algorithm=algorithm, plan=plan,
            summing=PlainSum(), seed=number,
        ).state  # fmt: skip
    return arrays.digest(state)


@pytest.mark.parametrize("model", ["logistic", "mlp"])
@pytest.mark.parametrize("plan", ["none", "local"])
@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold"])
def test_any_number_of_workers_gives_the_same_bits(model: str, plan: str, algorithm: str) -> None:
    found = {n: after(n, in_force(plan), EVERY[algorithm], model) for n in (1, 2, 3)}
    assert len(set(found.values())) == 1


def double(piece: int) -> tuple[list[Tensor], list[int]]:
    if piece < 0:
        raise ValueError(f"{piece} is negative")
    return [torch.full((piece,), float(piece)), torch.zeros(2, 0)], [os.getpid()]


def test_results_come_in_the_order_of_the_work_from_processes_that_stay() -> None:
    crew = Crew(2)
    seen: set[int] = set()
    for _ in range(3):
        found = crew(double, [3, -1, 5, 3_000_000])
        assert isinstance(found[1], ValueError)
        for piece, result in zip((3, 5, 3_000_000), (found[0], found[2], found[3]), strict=True):
            assert not isinstance(result, Exception)
            (full, empty), (process,) = result
            assert full.tolist()[:5] == [float(piece)] * min(5, piece) and len(full) == piece
            assert empty.shape == (2, 0)
            seen.add(process)
    assert os.getpid() not in seen and len(seen) <= 2


def kill(piece: int) -> tuple[list[Tensor], list[int]]:
    os.kill(os.getpid(), signal.SIGKILL)
    return [], []


def test_a_worker_that_is_killed_ends_the_run_with_a_way_to_go_on() -> None:
    with pytest.raises(InputError, match=r"worker process \d+.*killed.*resume="):
        Crew(2)(kill, [1, 2])


def test_a_worker_that_is_killed_while_idle_is_named_and_the_next_ones_are_new() -> None:
    crew = Crew(2)
    crew(double, [1, 2])
    victim = next(iter(crew._by_function.values()))[0].process
    victim.kill()
    victim.join()
    with pytest.raises(InputError, match=f"worker process {victim.pid}.*killed.*resume="):
        crew(double, [1, 2])
    found = crew(double, [1, 2])
    assert [result[0][0].tolist() for result in found if isinstance(result, tuple)] == [[1], [2, 2]]


def slow(piece: float) -> tuple[list[Tensor], list[int]]:
    time.sleep(piece)
    return [torch.tensor([piece])], []


def test_what_was_under_way_at_an_interruption_is_nobodys_answer_later() -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    crew = Crew(2)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        crew(slow, [0.0, 0.0])
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            crew(slow, [1.0, 0.9])
    finally:
        signal.signal(signal.SIGALRM, before)
    found = crew(slow, [0.25, 0.125])
    assert [float(result[0][0]) for result in found if isinstance(result, tuple)] == [0.25, 0.125]


ORPHANS = """
import time
from experiments.crew import Crew
from tests.runtimes.test_crew import double
crew = Crew(3)
crew(double, [1, 2, 3, 4])
print("ready", flush=True)
time.sleep(100)
"""


def test_workers_end_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None and parent.stdout.readline() == "ready\n"
    finally:
        parent.kill()
    left, _ = parent.communicate(timeout=20)  # until the last one who holds its stdout has ended
    assert left == ""


def test_more_workers_than_cores_are_refused_with_the_number_to_set() -> None:
    with pytest.raises(InputError, match=f"runtime.workers={cores()}"):
        Runtime("cohort", workers=cores() + 1)


@pytest.mark.parametrize("name", ["inprocess", "cohort"])
def test_debug_stops_at_the_first_exception_of_a_brand(name: str) -> None:
    task, algorithm, plan = worlds.task(), EVERY["fedavg"], in_force("none")
    for debug in (False, True):
        nodes = worlds.nodes(task, algorithm=algorithm, plan=plan, brands=3)
        nodes["b1"].splits, nodes["b1"].debug = {}, debug
        made = federation(Runtime(name, workers=1, debug=debug), nodes, Counter())

        def run(made: Any = made) -> Any:
            return coordinate(
                1, algorithm.init(worlds.first_params(task)), kind="train", federation=made,
                algorithm=algorithm, plan=plan, summing=PlainSum(), seed=1,
            )  # fmt: skip

        if debug:
            with pytest.raises(KeyError, match="train"):
                run()
        else:
            assert list(run().collected.absent) == ["b1"]


def test_compiled_loops_are_imported_before_workers_are_forked() -> None:
    pytest.importorskip("numba")
    made = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, timeout=60, check=True
    )
    assert made.stdout == "False\nTrue\n"


IMPORTED = """
import sys
from fl.cohort.stored import stored_for
from tests import worlds
brand = next(iter(worlds.nodes(worlds.task(), brands=1).values()))
print("numba" in sys.modules)
class Brand:
    task, seed = brand.task, 0
stored_for(Brand(), {"b": brand.splits["train"]}, True, True)
print("numba" in sys.modules)
"""


@pytest.mark.parametrize(("wrong", "said"), [({"block": 0}, "block=0"), ({"name": "x"}, "'x'")])
def test_a_runtime_that_cannot_be_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Runtime(**{"name": "cohort", "workers": 1, **wrong})


def test_seeds_and_brands_share_the_workers() -> None:
    two = Runtime("inprocess", workers=4)
    assert [two.for_each(seeds) for seeds in (1, 2, 3, 5)] == [4, 2, 1, 1]
    assert Runtime("cohort", workers=None).processes == cores()
