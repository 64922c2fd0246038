"""What BrandAgg costs, beside Flower's SecAgg+ in the same process.

``python -m experiments.bench.secure_sum --out FILE.json [--case n=5,d=1000000,dropped=1]``

Ours: whole rounds of the real coordinator with ``n`` brands in this process, each of which works
out everything by itself; ``dropped`` brands are lost after they shared their keys. ``client_ms`` is
what one brand computes in its five steps (the median brand, the best of some rounds), ``server_ms``
the coordinator's part, ``follow_ms`` what it costs a brand to follow the round's published sum.
``ideal_mask_ms`` is the time of the ``degree + 1`` masks alone, at the speed of the case ``masks``.
Times are by the wall clock; ``*_cpu_ms`` count the processor's time of all threads, which other
jobs disturb less. Vectors that are large take two threads, so on a busy machine the wall clock
shows half of what is there. The case ``round,...`` is that of ``secure_round.py``.

Flower: its own functions for one brand's four stages (the shares it receives are made with its
functions as well), and for the coordinator each of its loops' bodies, timed and multiplied by how
often the loop runs. Both have the threshold ``floor(2m/3) + 1`` and the same neighbours: everybody,
or above 100 brands our degree. (Flower's full graph of 1000 would take minutes for one brand.)
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from flwr.app import ConfigRecord
from flwr.client.mod.secure_aggregation.secaggplus_mod import (
    SecAggPlusState,
    _collect_masked_vectors,
    _setup,
    _share_keys,
    _unmask,
)
from flwr.common import bytes_to_ndarray, ndarray_to_bytes, ndarrays_to_parameters
from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt, generate_shared_key
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import (
    pseudo_rand_gen,
    share_keys_plaintext_concat,
)
from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key

from experiments.bench import secure_round
from experiments.bench.published import publish
from fl import arrays
from fl.algorithms.fedavg import FedAvg
from fl.arrays import Arrays
from fl.contracts import Memory, Reply, Request, Update
from fl.errors import Code
from fl.federation.inprocess import InProcessFederation
from fl.privacy.none import NoPrivacy
from fl.privacy.secagg import BrandAgg
from fl.privacy.secagg.enrol import simulate
from fl.privacy.secagg.masks import add_masks
from fl.privacy.secagg.profiles import PROFILES
from fl.privacy.secagg.wire import OPEN, STEP, TRAIN
from fl.seeds import numpy_generator

RING = 1 << 32
T = TypeVar("T")
Time = npt.NDArray[np.float64]  # seconds: wall clock, processor


@dataclass(frozen=True, slots=True)
class Case:
    """One federation: brands, entries, brands lost, rounds to take the best of."""

    n: int
    d: int
    dropped: int
    repeats: int

    def __str__(self) -> str:
        return f"n={self.n},d={self.d},dropped={self.dropped}"

    @property
    def neighbours(self) -> int:
        """How many others a brand shares keys with."""
        return self.n - 1 if self.n <= 100 else BrandAgg().degree

    @property
    def threshold(self) -> int:
        """Of the neighbourhood."""
        return 2 * (self.neighbours + 1) // 3 + 1


CASES = (
    Case(5, 1_000_000, 1, 9),
    Case(20, 1_000_000, 2, 4),
    Case(50, 1_000_000, 5, 3),
    Case(1000, 10_000, 20, 2),
)


def mask_rate(threads: int = 1) -> float:
    """Bytes of mask expanded and added a second, best of 25."""
    vector, keys = np.zeros(1_000_000, np.uint32), [os.urandom(32) for _ in range(8)]
    profile = PROFILES["default"]
    seconds = _best(
        [_timed(lambda: add_masks(vector, keys, [], profile, threads))[1] for _ in range(25)]
    )
    return float(len(keys) * vector.nbytes / seconds[0])


class Ours:
    """The real protocol in this process, with a clock around every brand."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.names = [f"b{i:04d}" for i in range(case.n)]
        self.algorithm = FedAvg()
        self.state: Arrays = {"w": np.zeros(case.d)}
        rules = BrandAgg(min_brands=3, max_dropouts=case.n)
        halves = simulate(
            rules,
            self.names,
            algorithms={"train": self.algorithm},
            plan=NoPrivacy("none", "equal"),
            first=self.state,
        )
        self.coordinator, self.halves = secure_round.by_itself(*halves)
        self.memory = {name: Memory() for name in self.names}
        values = numpy_generator(0, "update").normal(size=case.d)
        self.update = Update({"w": values}, 1.0)
        self.number = 0
        self.spent: dict[str, dict[str, Time]] = {}

    def round(self) -> tuple[Time, Time, Time]:
        """The median brand's time without ``open``, the coordinator's, the median ``open``."""
        self.number += 1
        self.spent = {name: {} for name in self.names}
        handlers = {
            name: self._handler(name, i < self.case.dropped) for i, name in enumerate(self.names)
        }
        broadcast = self.algorithm.broadcast(self.state)
        requests = {name: Request("train", self.number, broadcast) for name in self.names}
        zero, federation = self.algorithm.zero(self.state), InProcessFederation(handlers)
        done, seconds = _timed(lambda: self.coordinator.collect(federation, requests, zero))
        if len(done.survivors) != self.case.n - self.case.dropped:
            raise RuntimeError("The round lost more brands than it should.")
        mean = arrays.scale(done.total.sums, 1 / done.total.weight)
        self.state = self.algorithm.apply(self.state, mean)
        survivors = [self.spent[name] for name in done.survivors]
        rest = [np.sum([t for step, t in s.items() if step != OPEN], axis=0) for s in survivors]
        brands = np.sum([np.sum(list(s.values()), axis=0) for s in self.spent.values()], axis=0)
        opening = np.median([s[OPEN] for s in survivors], axis=0)
        return np.median(rest, axis=0), seconds - brands, opening

    def _handler(self, name: str, is_lost: bool) -> Callable[[Request], Reply]:
        def handle(request: Request) -> Reply:
            step = str(request.config[STEP])
            if is_lost and step == TRAIN:
                return Reply(Code.SILENT)
            reply, seconds = _timed(lambda: self._answer(name, request))
            self.spent[name][step] = seconds
            return reply

        return handle

    def _answer(self, name: str, request: Request) -> Reply:
        half, memory = self.halves[name], self.memory[name]
        reply = half.answer(request, memory)
        return half.protect(request, self.update, memory) if reply is None else reply


def flower_brand(case: Case) -> Time:
    """The time of one brand's four stages in Flower 1.41."""
    config: dict[str, Any] = {
        Key.SAMPLE_NUMBER: case.n,
        Key.SHARE_NUMBER: case.neighbours + 1,
        Key.THRESHOLD: case.threshold,
        Key.CLIPPING_RANGE: 8.0,
        Key.TARGET_RANGE: 1 << 22,
        Key.MOD_RANGE: RING,
        Key.MAX_WEIGHT: 1000.0,
    }
    states = {nid: SecAggPlusState() for nid in range(1, case.neighbours + 2)}
    seconds = np.zeros(2)
    for nid, state in states.items():
        state.nid = nid
        seconds = _timed(partial(_setup, state, ConfigRecord(config)))[1]
    me, keys = states[1], {str(nid): [s.pk1, s.pk2] for nid, s in states.items()}
    seconds += _timed(lambda: _share_keys(me, ConfigRecord(keys)))[1]  # type: ignore[arg-type]
    received = _flower_ciphertexts(states)
    values = numpy_generator(0, "update").normal(size=case.d).astype(np.float32)
    parameters = ndarrays_to_parameters([values])
    seconds += _timed(lambda: _collect_masked_vectors(me, received, 1000, parameters))[1]
    lost = max(1, case.dropped * case.neighbours // case.n)
    asked = {
        Key.ACTIVE_NODE_ID_LIST: [n for n in states if n > lost],
        Key.DEAD_NODE_ID_LIST: [n for n in states if 1 < n <= lost],
    }
    seconds += _timed(lambda: _unmask(me, ConfigRecord(asked)))[1]  # type: ignore[arg-type]
    return seconds


def _flower_ciphertexts(states: Mapping[int, SecAggPlusState]) -> ConfigRecord:
    """What the neighbours of brand 1 send it; one share of the right size stands for each."""
    me = states[1]
    own, root = me.rd_seed_share_dict[1], me.sk1_share_dict[1]
    others = {nid: state for nid, state in states.items() if nid != 1}
    sealed = [
        encrypt(
            generate_shared_key(bytes_to_private_key(s.sk2), bytes_to_public_key(me.pk2)),
            share_keys_plaintext_concat(nid, 1, own, root),
        )
        for nid, s in others.items()
    ]
    return ConfigRecord({Key.SOURCE_LIST: list(others), Key.CIPHERTEXT_LIST: sealed})


def flower_server(case: Case) -> Time:
    """The time of the coordinator's loops in Flower 1.41, each body timed and multiplied."""
    setup = SecAggPlusState()
    setup.nid = 1
    config = {k: 1 for k in (Key.SAMPLE_NUMBER, Key.SHARE_NUMBER, Key.THRESHOLD, Key.TARGET_RANGE)}
    more = {Key.MOD_RANGE: RING, Key.CLIPPING_RANGE: 8.0, Key.MAX_WEIGHT: 1000.0}
    _setup(setup, ConfigRecord({**config, **more}))
    m, alive = case.neighbours + 1, case.n - case.dropped
    answered = m - case.dropped * m // case.n
    seed = create_shares(os.urandom(32), case.threshold, m)[:answered]
    key = create_shares(setup.sk1, case.threshold, m)[:answered]
    shapes: list[tuple[int, ...]] = [(2,), (case.d,)]
    vector = pseudo_rand_gen(os.urandom(32), RING, shapes)
    sent = [ndarray_to_bytes(a) for a in vector]

    def add() -> None:
        arithmetic.parameters_addition(vector, [bytes_to_ndarray(b) for b in sent])

    def self_mask() -> None:
        mask = pseudo_rand_gen(combine_shares(seed), RING, shapes)
        arithmetic.parameters_subtraction(vector, mask)

    def pair() -> None:
        private = bytes_to_private_key(setup.sk1)
        shared = generate_shared_key(private, bytes_to_public_key(setup.pk2))
        arithmetic.parameters_addition(vector, pseudo_rand_gen(shared, RING, shapes))

    counts: dict[Callable[[], object], int] = {
        add: alive,
        self_mask: alive,
        pair: case.dropped * (answered - 1),
        lambda: combine_shares(key): case.dropped,
    }
    bodies = [n * _best([_timed(body)[1] for _ in range(2)]) for body, n in counts.items()]
    return _best([np.sum(bodies, axis=0)])


def measure(case: Case, rate: float) -> list[dict[str, Any]]:
    """All rows of a case; ours and Flower's take turns."""
    ours = Ours(case)
    rounds: list[tuple[Time, Time, Time]] = []
    brands: list[Time] = []
    servers: list[Time] = []
    flower_times = min(case.repeats, 2 if case.n > 20 else 3)
    for turn in range(case.repeats):
        rounds.append(ours.round())
        if turn < flower_times:
            brands.append(flower_brand(case))
            servers.append(flower_server(case))
    first, later = rounds[0][2], _best([r[2] for r in rounds[1:]])
    values = {
        "client": _best([r[0] for r in rounds]) + first,
        "server": _best([r[1] for r in rounds]),
        "follow": np.maximum(0, later - first),
        "flower_client": _best(brands),
        "flower_server": _best(servers),
    }
    rows = [_row(str(case), f"{k}_ms", 1e3 * v[0], "ms") for k, v in values.items()]
    rows += [_row(str(case), f"{k}_cpu_ms", 1e3 * v[1], "ms") for k, v in values.items()]
    ideal = 1e3 * (case.neighbours + 1) * 4 * case.d / rate
    return [
        *rows,
        _row(str(case), "ideal_mask_ms", ideal, "ms"),
        _row(str(case), "upload_bytes_per_entry", 4.0, "B"),
    ]


def _best(times: list[Time]) -> Time:
    best: Time = np.min(times, axis=0)
    return best


def _row(case: str, metric: str, value: float, unit: str) -> dict[str, Any]:
    return {"case": case, "metric": metric, "value": round(float(value), 3), "unit": unit}


def _timed(work: Callable[[], T]) -> tuple[T, Time]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, np.array([time.perf_counter() - wall, time.process_time() - cpu])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    cases = [*map(str, CASES), secure_round.CASE]
    parser.add_argument(
        "--case",
        action="append",
        choices=cases,
        metavar="CASE",
        help="only this one; may be repeated",
    )
    options = parser.parse_args()
    rate = mask_rate()
    rows = [_row("masks", "gb_per_s", rate / 1e9, "GB/s")]
    for case in CASES:
        if not options.case or str(case) in options.case:
            rows += measure(case, rate)
    if not options.case or secure_round.CASE in options.case:
        rows += secure_round.measure()
    publish(options.out, "secure_sum", rows, ("cryptography", "flwr", "numpy"))


if __name__ == "__main__":
    main()
