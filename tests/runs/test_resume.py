"""A run that is killed and taken up again ends with the same arrays as an uninterrupted one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.journal import Journal, Piece
from experiments.pool import share_out
from experiments.run import command
from fl.errors import InputError, NoAnswer
from tests import crm

ROOT = Path(__file__).resolve().parents[2]
FILE = Path("crm.csv")
ROUNDS = 50
SLOW = (
    f"rounds={ROUNDS}",
    "tuning.rounds=last",
    "arms=[federated,finetuned]",
)

OFTEN = "runtime.checkpoint_seconds=0"


def made(out: Path) -> tuple[bytes, bytes, object]:
    """What a run computed."""
    files = (out / "results.json").read_bytes(), (out / "models.npz").read_bytes()
    return (*files, crm.read(out)["arrays"])


def start(out: Path, *more: str) -> subprocess.Popen[bytes]:
    """A run in a process of its own (and a group of its own, so that its workers die with it)."""
    asked = [sys.executable, "-m", "experiments.run", *crm.options(FILE, out, *more)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        asked, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )


def kill_in_the_middle(run: subprocess.Popen[bytes], work: Path, training: str) -> int:
    """SIGKILL as soon as ``training`` has finished a round but not all; the round it was in."""
    journal, deadline = Journal(work), time.monotonic() + 60
    while time.monotonic() < deadline and run.poll() is None:
        piece = journal.get(training)
        if piece is not None and not piece.note["done"]:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            kept = journal.get(training)
            assert kept is not None and not kept.note["done"]
            return int(kept.note["number"])
        time.sleep(0.001)
    os.killpg(run.pid, signal.SIGKILL)
    pytest.fail(f"the run was never seen in the middle of {training}")


@pytest.mark.parametrize(
    ("training", "more"),
    [
        ("seed-0/federated@none/trial-0", ("seeds=1",)),
        ("seed-1/federated@none/final", ("algorithm=fedadam", "runtime.workers=2")),
    ],
    ids=["tuning", "last-training-of-two-workers"],
)
def test_a_killed_run_ends_as_if_it_had_not_been(training: str, more: tuple[str, ...]) -> None:
    crm.table().to_csv(FILE, index=False)
    whole = crm.run(FILE, Path("whole"), *SLOW, *more)

    reached = kill_in_the_middle(start(Path("out"), *SLOW, *more, OFTEN), Path("out/work"), training)

    assert 0 < reached < ROUNDS
    assert crm.read(Path("out"))["status"] == "running"
    assert not Path("out/results.json").exists()
    shutil.copytree("out", "spoilt")
    spoil(Path("spoilt/work"), training)
    assert command(["resume=out"]) == command(["resume=spoilt"]) == 0
    assert made(Path("out")) == made(Path("whole"))
    assert crm.read(Path("out"))["history"] == whole["history"]
    spoilt = crm.read(Path("spoilt"))  # it was taken up there, not begun anew
    assert (spoilt["arrays"], spoilt["history"]) != (whole["arrays"], whole["history"])
    assert not Path("out/work").exists()


def spoil(work: Path, training: str) -> None:
    """Move the stored state, so that what continues from it must end elsewhere."""
    piece = Journal(work).get(training)
    assert piece is not None
    moved = {name: np.asarray(array + 1) for name, array in piece.arrays.items()}
    Journal(work).put(training, Piece(moved, piece.note))


def test_a_finished_run_is_shown_again_and_not_touched(capfd: pytest.CaptureFixture[str]) -> None:
    crm.table().to_csv(FILE, index=False)
    crm.run(FILE, Path("out"), "seeds=1", "arms=[federated]")
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    shown = capfd.readouterr().out
    assert command(["resume=out"]) == 0
    assert capfd.readouterr().out == shown
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


# --- the workers ----------------------------------------------------------------------------------


def test_jobs_are_each_done_once_whatever_the_number_of_workers(tmp_path: Path) -> None:
    for workers in (1, 2, 5):
        ticks: list[int] = []
        folder = tmp_path / str(workers)
        folder.mkdir()
        share_out(workers, {key: _writes(folder / str(key)) for key in range(4)}, ticks.append)
        assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "2", "3"]
        assert ticks == [1] * 4


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed.*resume="),
        (lambda: (_ for _ in ()).throw(RuntimeError("by chance")), "seed 0 failed.*traceback"),
        (lambda: (_ for _ in ()).throw(InputError("x", "wrong", "mend")), "x: wrong.*mend"),
        (lambda: (_ for _ in ()).throw(NoAnswer(1, {"b": "brand.failed"})), "training: round 1"),
    ],
    ids=["killed", "failed", "mistake", "nobody"],
)
def test_a_worker_that_ends_early_is_reported_not_waited_for(
    end: Callable[[], object], said: str
) -> None:
    def job(tick: Callable[[int], None]) -> None:
        end()

    with pytest.raises(InputError, match=said):
        share_out(2, {0: job, 1: lambda tick: tick(1)}, lambda more: None)


def _writes(path: Path) -> Callable[[Callable[[int], None]], None]:
    def job(tick: Callable[[int], None]) -> None:
        path.open("x").close()
        tick(1)

    return job
