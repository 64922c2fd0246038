"""What a brand's ledger costs: ``python -m experiments.bench.ledger --out FILE.json``.

Rows ``{case, metric, value, unit}``. ``append`` is one commit (canonical form, signature, write,
fsync, note of the head); ``plain`` writes and fsyncs the same bytes, in turn with it, so their
ratio does not depend on the disk, while the milliseconds do. ``verify`` checks 10,000 entries by
the last signature, which covers all; ``verify_every`` checks every signature, ``ed25519`` does that
and nothing else. Goals: append at most 1 ms median, 10,000
entries in under 2 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from experiments.bench.published import Row, publish, row
from fl.contracts import Unit
from fl.events import Gaussian, Repeated, Sampled, to_json
from fl.privacy.books import Neighbours, Opening
from fl.privacy.entries import PURPOSE, START, Json, Kind, write
from fl.privacy.ledger import Ledger
from fl.privacy.reading import verify
from fl.privacy.signing import SigningKey, checker

APPENDS, ENTRIES = 400, 10_000
ROUND = Sampled(0.02, Gaussian(1.16))
OPENING = Opening(
    "bench", "0" * 64, Unit.CUSTOMER, Neighbours.ADD_REMOVE, 1.0, 1e-6, "crossbrand-fl"
)


def rows(folder: Path) -> Iterator[Row]:
    """Every measurement; some seconds."""
    appends, plains = _appends(folder)
    ours, theirs = statistics.median(appends), statistics.median(plains)
    yield row("append", "median", ours * 1e3, "ms")
    yield row("append", "p99", statistics.quantiles(appends, n=100)[98] * 1e3, "ms")
    yield row("plain", "median", theirs * 1e3, "ms")
    yield row("append", "over_plain", ours / theirs, "ratio")
    yield row("append", "beyond_plain", (ours - theirs) * 1e3, "ms")

    path, key = folder / "long.jsonl", SigningKey.generate()
    path.write_bytes(_long(key))
    check, message = checker(key.public, PURPOSE), b"0" * 400
    signature = key.sign(message, purpose=PURPOSE)
    works: dict[str, Callable[[], object]] = {
        "verify": lambda: verify(path, public_key=key.public),
        "verify_every": lambda: verify(path, public_key=key.public, every_signature=True),
        "ed25519": lambda: [check(message, signature) for _ in range(ENTRIES)],
    }
    best = {case: min(_seconds(work) for _ in range(3)) for case, work in works.items()}
    for case, seconds in best.items():
        yield row(case, "best_of_3", seconds, "s")
    yield row("verify_every", "over_ed25519", best["verify_every"] / best["ed25519"], "ratio")


def _appends(folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of each commit, and of writing the same bytes plainly, in turn."""
    path, appends, plains = folder / "ledger.jsonl", list[float](), list[float]()
    plain = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    key = SigningKey.generate()
    with Ledger.create(path, key, OPENING, accountant=lambda events, delta: 0.0) as ledger:
        ledger.reserve("run", Repeated(ROUND, APPENDS))
        size = path.stat().st_size
        for number in range(APPENDS):
            appends.append(_seconds(partial(ledger.commit, "run", f"train/{number}", ROUND)))
            line = b"x" * (path.stat().st_size - size)
            size += len(line)
            plains.append(_seconds(partial(_plain, plain, line)))
    os.close(plain)
    return appends, plains


def _plain(handle: int, line: bytes) -> None:
    os.write(handle, line)
    os.fsync(handle)


def _long(key: SigningKey) -> bytes:
    """A ledger of ENTRIES lines: one run that committed all it reserved."""
    bodies: list[tuple[Kind, dict[str, Json]]] = [
        (Kind.OPEN, OPENING.body(key.public)),
        (Kind.RESERVE, {"run": "run", "event": to_json(Repeated(ROUND, ENTRIES))}),
    ]
    event = to_json(ROUND)
    for number in range(2, ENTRIES):
        occasion = f"train/{number}"
        bodies.append((Kind.COMMIT, {"run": "run", "occasion": occasion, "event": event}))
    lines, prev = [], START
    for seq, (kind, body) in enumerate(bodies):
        entry, line = write(key, seq=seq, prev=prev, time="2026-01-01", kind=kind, body=body)
        lines.append(line)
        prev = entry.hash
    return b"\n".join([*lines, b""])


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and write ``--out``."""
    parser = argparse.ArgumentParser(prog="experiments.bench.ledger")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: beside --out")
    asked = parser.parse_args()
    where: Path = asked.folder or asked.out.resolve().parent
    with tempfile.TemporaryDirectory(dir=where) as folder:
        measured = list(rows(Path(folder)))
    publish(asked.out, "ledger", measured, ("cryptography",))


if __name__ == "__main__":
    main()
