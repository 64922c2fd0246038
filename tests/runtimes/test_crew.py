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
    with pytest.raises(InputError, match=r"killed.*resume="):
        Crew(2)(kill, [1, 2])


def test_a_worker_that_is_killed_while_it_waits_is_named() -> None:
    crew = Crew(2)
    found = crew(double, [1, 2])
    process = max(of.process.pid for of in crew._by_function[double])
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    with pytest.raises(InputError, match=f"worker {process}: was killed"):
        crew(double, [1, 2])
    again = crew(double, [1, 2])  # by others
    assert [r[0][0].tolist() for r in again] == [r[0][0].tolist() for r in found]  # type: ignore[index]


def slow(piece: int) -> tuple[list[Tensor], list[int]]:
    time.sleep(0.5)
    return double(piece)


def test_answers_of_a_call_that_was_interrupted_are_not_the_next_one_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crew = Crew(2)

    def interrupted(lines: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("experiments.crew.wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            crew(slow, [1, 2, 3])
    found = crew(slow, [7, 8, 9])
    assert [len(r[0][0]) for r in found] == [7, 8, 9]  # type: ignore[index]


ORPHANS = """
import os, signal
from experiments.crew import Crew
from tests.runtimes.test_crew import double
crew = Crew(2)
crew(double, [1, 2, 3])
print(*[of.process.pid for of in crew._by_function[double]], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_the_run_that_was_killed() -> None:
    run = [sys.executable, "-c", ORPHANS]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert len(done.stdout.split()) == 2, "its workers held its output open no longer"


def test_more_workers_than_cores_are_refused_with_the_number_to_set() -> None:
    with pytest.raises(InputError, match=f"runtime.workers={cores()}"):
        Runtime("cohort", workers=cores() + 1)


LOADED = """
import sys
from fl.cohort.stored import stored_for
from tests import worlds
brand = next(iter(worlds.nodes(worlds.task(), brands=1).values()))
class Brand:
    task, seed = brand.task, 0
before = "numba" in sys.modules
stored_for(Brand(), {"b": brand.splits["train"]}, True, True)
print(before, "numba" in sys.modules)
"""


def test_numba_is_loaded_before_workers_are_forked() -> None:
    pytest.importorskip("numba")
    run = [sys.executable, "-c", LOADED]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False True\n"


@pytest.mark.parametrize("name", ["cohort", "ray"])
def test_only_brands_one_by_one_can_be_debugged(name: str) -> None:
    with pytest.raises(InputError, match="runtime=inprocess to debug"):
        Runtime(name, workers=1, debug=True)


@pytest.mark.parametrize(("wrong", "said"), [({"block": 0}, "block=0"), ({"name": "x"}, "'x'")])
def test_a_runtime_that_cannot_be_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Runtime(**{"name": "cohort", "workers": 1, **wrong})


def test_seeds_and_brands_share_the_workers() -> None:
    two = Runtime("inprocess", workers=4)
    assert [two.for_each(seeds) for seeds in (1, 2, 3, 5)] == [4, 2, 1, 1]
    assert Runtime("cohort", workers=None).processes == cores()
