"""What a run leaves beside a transcript, so that anyone can recompute the models it led to.

- ``NAME.jsonl``      the transcript; its header holds the plan that all brands have signed, and in
  it the **course**: the settings of the algorithms and of the privacy plan, as JSON values
- ``NAME.sums.npy``   the published sums, uint32, one ``.npy`` after the other, in order of lines
- ``NAME.first.npz``  the coordinator's state before the first round; the plan pins its hash

Sums are known to all members of a run anyway (a brand follows the model by them); whoever else may
see them should be asked first where the sums are not private by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fl.algorithms import ALGORITHMS, QUESTIONS
from fl.algorithms.query import SumQuery
from fl.arrays import Arrays, from_bytes
from fl.config import choose, plain, run_state
from fl.contracts import Algorithm, Floats, PrivacyPlan
from fl.doors import Of
from fl.errors import InputError
from fl.privacy import PLANS
from fl.privacy.secagg.follow import Course
from fl.privacy.secagg.masks import Ring

Json = Mapping[str, object]

_MOST = 10**8  # entries of one statistic; a plan may say anything


class Beside(NamedTuple):
    """The files beside a transcript."""

    sums: Path
    first: Path


def files_beside(transcript: Path) -> Beside:
    """Where a transcript's sums and first state are.

    >>> files_beside(Path("from-round-0.jsonl")).sums.name
    'from-round-0.sums.npy'
    """
    return Beside(transcript.with_suffix(".sums.npy"), transcript.with_suffix(".first.npz"))


def append_sum(file: IO[bytes], total: Ring) -> None:
    """Write one more sum."""
    np.lib.format.write_array(file, np.ascontiguousarray(total, "<u4"), allow_pickle=False)


def read_sums(path: Path) -> Iterator[Ring]:
    """The sums of a file, up to its end or to the first thing that is not a whole sum."""
    with path.open("rb") as file:
        while file.peek(1):
            try:
                total = np.lib.format.read_array(file, allow_pickle=False)
            except (ValueError, EOFError):
                return
            yield total


def read_first(path: Path) -> Arrays:
    """The first state.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else.
    """
    return from_bytes(path.read_bytes())


def describe(algorithms: Mapping[str, Algorithm], plan: PrivacyPlan) -> Json:
    """The course of a run as JSON values, for the plan that brands sign.

    >>> from fl.algorithms.fedprox import FedProx
    >>> from fl.privacy import NoPrivacy
    >>> describe({"train": FedProx(mu=0.5)}, NoPrivacy())["algorithms"]
    {'train': {'name': 'fedprox', 'mu': 0.5}}
    """
    return {
        "algorithms": {kind: _described(a) for kind, a in algorithms.items()},
        "privacy": {"config": plain(plan), "run_state": run_state(plan)},
    }


def course_of(values: object) -> Course:
    """The course that :func:`describe` describes.

    Raises:
        ValueError: ``values`` are something else.
    """
    match values:
        case {
            "algorithms": dict(described),
            "privacy": {"config": dict(config), "run_state": dict(learned)},
        }:
            try:
                plan = replace(choose(PLANS, config, "privacy"), **learned)
                return Course({str(k): _algorithm(v) for k, v in described.items()}, plan)
            except (InputError, TypeError) as error:
                raise ValueError(str(error)) from error
    raise ValueError("Expected a course: algorithms and privacy.")


def _described(algorithm: Algorithm) -> Json:
    values = plain(algorithm)
    if algorithm.name in ALGORITHMS or algorithm.name in QUESTIONS:
        return values
    shapes = {name: list(a.shape) for name, a in algorithm.zero({}).items()}
    return {**values, "statistics": shapes, "of": str(values["of"])}


def _algorithm(values: object) -> Algorithm:
    match values:
        case {
            "name": "query",
            "split": str(split),
            "limits": dict(limits),
            "of": str(of),
            "statistics": dict(shapes),
        }:
            statistics = {str(name): _zeros(shape) for name, shape in shapes.items()}
            return SumQuery(split, statistics, limits, Of(of))
        case {"name": "query"}:
            raise ValueError("Expected a query: split, statistics, limits and of.")
        case dict():
            known: Mapping[str, type[Algorithm]] = {**ALGORITHMS, **QUESTIONS}
            return choose(known, values, "algorithm")
    raise ValueError("Expected an algorithm: name and settings.")


def _zeros(shape: object) -> Floats:
    if not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("Expected the shape of a statistic.")
    if prod(shape) > _MOST:
        raise ValueError(f"Expected a statistic of at most {_MOST} entries.")
    return np.zeros(shape)
