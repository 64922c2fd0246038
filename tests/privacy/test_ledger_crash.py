"""Real processes: killed at every system call that touches the ledger, and racing for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from fl.errors import Code, InputError, Refused
from fl.events import Composed, Repeated
from fl.privacy.bills import bill
from fl.privacy.entries import Kind
from fl.privacy.ledger import Ledger
from fl.privacy.reading import read, verify
from fl.privacy.signing import SigningKey
from tests.ledgers import ROUND, new, reopened

KEY = SigningKey.generate()
CALLS = ("write", "fsync", "pwrite", "rename", "ftruncate")  # all that a ledger does to a disk
RESERVED = Repeated(ROUND, 4)


def in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a process of its own; its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def life(folder: Path, acted: int) -> None:
    """A brand's whole run; each step is noted in ``acted`` once the ledger allowed it."""

    def act(step: str) -> None:
        REAL["write"](acted, f"{step}\n".encode())

    with new(folder, KEY) as ledger:
        act("created")
        ledger.reserve("a", RESERVED)
        act("reserved")
        for number in (1, 2):
            ledger.commit("a", f"train/{number}", ROUND)
            act(f"train/{number}")  # data is touched here
        ledger.settle("a")
        act("settled")


REAL = {name: getattr(os, name) for name in CALLS}


def kill_at(fatal: int, how: str) -> None:
    """From now on, this process dies at its ``fatal``-th call: before, in the middle or after."""
    count = 0

    def wrap(name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            nonlocal count
            count += 1
            if count == fatal and how == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if count == fatal and how == "half" and name == "write":
                handle, content = arguments
                REAL["write"](handle, bytes(content)[: len(bytes(content)) // 2])  # type: ignore[call-overload]
                os.kill(os.getpid(), signal.SIGKILL)
            result = REAL[name](*arguments)
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in CALLS:
        setattr(os, name, wrap(name))


def _die_in(
    start: Callable[[Path, int], None], place: Path, note: int, fatal: int, how: str
) -> None:
    kill_at(fatal, how)
    start(place, note)


def lives(folder: Path, start: Callable[[Path, int], None]) -> Iterator[tuple[Path, list[str]]]:
    """Every way to die in ``start``: the folder it leaves behind, and the steps it acted on."""
    for how in ("before", "half", "after"):
        for fatal in range(1, 100):
            place = folder / f"{how}{fatal}"
            place.mkdir()
            note = os.open(place / "acted", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

            code = in_child(partial(_die_in, start, place, note, fatal, how))
            os.close(note)
            if code == 0:
                break
            assert code == -signal.SIGKILL
            yield place, (place / "acted").read_text().split()


def test_a_kill_at_any_write_never_counts_too_little(tmp_path: Path) -> None:
    deaths = 0
    for place, acted in lives(tmp_path, life):
        deaths += 1
        path = place / "ledger.jsonl"
        if not path.exists():
            assert acted == []  # nothing was allowed, so nothing is lost
            new(place, KEY).close()
            continue
        with reopened(place, KEY) as ledger:
            books = verify(path, public_key=KEY.public, head=ledger.head).books
            touched = [step for step in acted if step.startswith("train/")]
            run = books.runs.get("a")
            if "reserved" in acted:
                assert run is not None
            if run is None:
                assert touched == []
                continue
            assert set(touched) <= run.occasions <= {"train/1", "train/2"}
            assert books.spent() >= bill(Repeated(ROUND, len(touched)))
            if not run.settled:
                assert books.spent() == bill(RESERVED)  # a crash counts as spent
                with_rest(ledger, run.occasions)
            assert verify(path).books.lifetime() == bill(Repeated(ROUND, 2))
    assert deaths > 40, "the ledger makes fewer calls than this test believes"


def with_rest(ledger: Ledger, booked: set[str]) -> None:
    """Finish the run after the crash: a booked round is not booked twice, the rest goes on."""
    for number in (1, 2):
        occasion = f"train/{number}"
        if occasion in booked:
            with pytest.raises(Refused):
                ledger.commit("a", occasion, ROUND)
        else:
            ledger.commit("a", occasion, ROUND)
    ledger.settle("a")


def test_a_kill_while_recovering_from_a_kill_loses_nothing(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        ledger.reserve("a", RESERVED)
        ledger.commit("a", "train/1", ROUND)
    names = ("ledger.jsonl", "ledger.head")
    saved = {name: (tmp_path / name).read_bytes() for name in names}
    saved["ledger.jsonl"] += b'{"body":{"event":{"kind":"gaussian"'

    def recover(place: Path, acted: int) -> None:
        for name in names:
            (place / name).write_bytes(saved[name])
        with reopened(place, KEY) as ledger:
            ledger.commit("a", "train/2", ROUND)
            REAL["write"](acted, b"train/2\n")

    deaths = 0
    for place, acted in lives(tmp_path, recover):
        deaths += 1
        with reopened(place, KEY) as ledger:
            assert bill(Composed(ledger.spent())) == bill(RESERVED)
        books = verify(place / "ledger.jsonl").books
        assert {"train/1", *acted} <= books.runs["a"].occasions
        checkpoints = [e for e in read(place / "ledger.jsonl") if e.kind is Kind.CHECKPOINT]
        assert len(checkpoints) <= 2
    assert deaths > 15


def test_data_may_be_touched_only_after_the_disk_has_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def noting(name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            calls.append(name)
            return REAL[name](*arguments)

        return call

    with new(tmp_path, KEY) as ledger:
        ledger.reserve("a", ROUND)
        for name in CALLS:
            monkeypatch.setattr(os, name, noting(name))
        ledger.commit("a", "train/1", ROUND)
    assert calls == ["write", "fsync", "pwrite"]


@contextmanager
def gate() -> Iterator[tuple[int, int]]:
    """A pipe that holds children back until its writing end is closed."""
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)


def test_of_many_processes_only_one_spends_the_last_unit(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        ledger.reserve("before", Repeated(ROUND, 19))

    def spend(name: str) -> int:
        for _ in range(500):
            try:
                ledger = reopened(tmp_path, KEY)
            except InputError as error:
                if "is writing" not in str(error):
                    return 3
                time.sleep(0.01)
                continue
            with ledger:
                try:
                    ledger.reserve(name, ROUND)
                    ledger.commit(name, "train/1", ROUND)
                except Refused as refusal:
                    return 1 if refusal.code is Code.BUDGET else 3
                return 0
        return 4

    children = []
    with gate() as (reading, writing):
        for number in range(4):
            child = os.fork()
            if child == 0:
                code = 70
                try:
                    os.close(writing)
                    os.read(reading, 1)  # returns when the parent closes its end
                    code = spend(f"racer {number}")
                finally:
                    os._exit(code)
            children.append(child)
        os.close(writing)
        codes = sorted(os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children)
    assert codes == [0, 1, 1, 1]
    books = verify(tmp_path / "ledger.jsonl").books
    assert books.spent() == bill(Repeated(ROUND, 20))
    assert [code for code, _ in books.refusals] == ["budget.exhausted"] * 3


def test_the_lock_falls_with_its_process(tmp_path: Path) -> None:
    new(tmp_path, KEY).close()

    def die_holding_it() -> None:
        reopened(tmp_path, KEY)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die_holding_it) == -signal.SIGKILL
    reopened(tmp_path, KEY).close()


def test_a_forked_child_cannot_write_through_its_parents_ledger(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:

        def write() -> None:
            with pytest.raises(InputError, match="opened by another process"):
                ledger.reserve("a", ROUND)

        assert in_child(write) == 0
        ledger.reserve("b", ROUND)
    assert list(verify(tmp_path / "ledger.jsonl").books.runs) == ["b"]
