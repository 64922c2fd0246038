"""What hashing and learning from messages costs: ``python -m experiments.bench.grams``.

Rows ``{case, metric, value, unit}``; times are processor times, interleaved in one process, medians
of five. Messages are made up: 5,000 of 50 characters drawn from 2,000 Chinese ones.

- ``hashing``: character 1- to 3-grams into 2^18 buckets, against scikit-learn's HashingVectorizer.
- ``gradient``: of all messages at once, against ``nn.EmbeddingBag`` (dense and sparse gradients).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor, nn

from experiments.bench.published import publish
from fl.data.grams import Grams
from fl.seeds import numpy_generator
from fl.sparse import SparseLinear

MESSAGES, CHARACTERS, BUCKETS, REPEATS = 5_000, 50, 1 << 18, 5
_PACKAGES = ("torch", "numpy", "scikit-learn")

Row = dict[str, str | float]


def rows() -> Iterator[Row]:
    """Every measurement; some tens of seconds."""
    rng = numpy_generator(0, "bench", "messages")
    drawn = 0x4E00 + (2_000 * rng.random((MESSAGES, CHARACTERS)) ** 3).astype(int)
    messages = ["".join(map(chr, line)) for line in drawn.tolist()]
    grams = Grams(BUCKETS)
    other = HashingVectorizer(
        analyzer="char", ngram_range=(1, 3), n_features=BUCKETS, alternate_sign=False, binary=True
    )
    bags = grams.encode(messages)
    entries = tuple(map(torch.from_numpy, (bags.code, bags.start, bags.value)))
    layers: dict[str, nn.Module] = {
        "ours": SparseLinear(BUCKETS + 1, 1),
        "EmbeddingBag": _bag(sparse=False),
        "EmbeddingBag, sparse": _bag(sparse=True),
    }
    yield from _compared(
        "hashing",
        {
            "ours": lambda: grams.encode(messages),
            "HashingVectorizer": lambda: other.transform(messages),
        },
    )
    yield from _compared(
        "gradient", {name: _pass(layer, *entries) for name, layer in layers.items()}
    )


def _bag(*, sparse: bool) -> nn.Module:
    return nn.EmbeddingBag(BUCKETS + 1, 1, mode="sum", include_last_offset=True, sparse=sparse)


def _pass(layer: nn.Module, code_n: Tensor, start_b: Tensor, value_n: Tensor) -> Callable[[], Any]:
    """A forward and a backward pass to a dense gradient."""
    ours = isinstance(layer, SparseLinear)
    given = (code_n, value_n, start_b) if ours else (code_n, start_b, value_n)

    def work() -> Tensor:
        (gradient,) = torch.autograd.grad(layer(*given).sum(), list(layer.parameters()))
        return gradient.to_dense() if gradient.is_sparse else gradient

    return work


def _compared(case: str, works: Mapping[str, Callable[[], Any]]) -> Iterator[Row]:
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()  # imports and first allocations
    for _ in range(REPEATS):
        for name, work in works.items():
            began = time.process_time()
            work()
            seconds[name].append(time.process_time() - began)
    own = statistics.median(seconds["ours"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        yield {"case": case, "metric": f"{name} seconds", "value": median, "unit": "s"}
        if name != "ours":
            yield {"case": case, "metric": f"{name} over ours", "value": median / own, "unit": "x"}


def main() -> None:
    """Measure and write ``--out``."""
    parser = argparse.ArgumentParser(prog="experiments.bench.grams")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    publish(out, "grams", list(rows()), _PACKAGES)


if __name__ == "__main__":
    main()
