"""How long a privacy figure takes, by accountant: ``python -m experiments.bench.accounting``.

Rows ``{case, metric, value, unit}``: a case is a run (rate, noise multiplier, steps, delta); of
each accountant the figure and the median time of one call, and the same of ``filter``, the budget
that a ledger needs to admit the run. Imports are paid before timing. The goal is a PLD figure of a
run in under 0.5 s.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from experiments.bench.published import publish
from fl.contracts import Unit
from fl.events import Composed, Gaussian, PrivacyEvent, Repeated, Sampled
from fl.privacy.accounting import ACCOUNTANTS, both
from fl.privacy.calibration import noise_multiplier
from fl.privacy.composition import group
from fl.privacy.filter import filter_epsilon
from fl.privacy.statement import Conditions, statement
from fl.privacy.translation import meaning

RUNS = (
    (0.01, 1.0, 1_000, 1e-5),
    (0.02, 1.16, 976, 1e-5),
    (0.004, 0.8, 5_000, 1e-6),
    (0.05, 0.6, 100, 1e-5),
    (0.001, 0.5, 20_000, 1e-7),
    (1.0, 20.0, 100, 1e-5),
)
REPEATS = 3
_PACKAGES = ("dp-accounting", "opacus", "riskcal", "numpy", "scipy")

Row = dict[str, str | float]


def rows() -> Iterator[Row]:
    """Every measurement; some tens of seconds."""
    for q, sigma, steps, delta in RUNS:
        event = _training(q, sigma, steps)
        case = f"q={q:g} sigma={sigma:g} T={steps} delta={delta:g}"
        figures: dict[str, Callable[[], float]] = {
            **{name: partial(compute, event, delta) for name, compute in ACCOUNTANTS.items()},
            "filter": partial(filter_epsilon, [event], delta),
        }
        for name, figure in figures.items():
            value, seconds = _timed(figure)
            yield {"case": case, "metric": f"{name}_epsilon", "value": value, "unit": "1"}
            yield {"case": case, "metric": f"{name}_seconds", "value": seconds, "unit": "s"}
    run, delta = _training(0.02, 1.16, 976), 1e-5
    mixed = Composed(tuple(_training(0.005 + 0.0005 * i, 0.8 + 0.02 * i, 200) for i in range(50)))
    conditions = Conditions(Unit.CUSTOMER, delta, 3, 1.0, "secure", "nobody")
    others: dict[str, Callable[[], object]] = {
        "50 different runs, pld": lambda: ACCOUNTANTS["pld"](mixed, delta),
        "50 different runs, rdp": lambda: ACCOUNTANTS["rdp"](mixed, delta),
        "calibration to epsilon 1": lambda: noise_multiplier(
            lambda s: _training(0.02, s, 976), 1.0, delta
        ),
        "calibration to epsilon 8, 20000 steps": lambda: noise_multiplier(
            lambda s: _training(0.001, s, 20_000), 8.0, delta
        ),
        "meaning": lambda: meaning(run),
        "group of 8 records": lambda: group(_training(0.01, 1.0, 1_000), 8, delta),
        "statement, person at 3 brands": lambda: statement({"brand": run}, conditions),
    }
    for case, work in others.items():
        yield {"case": case, "metric": "seconds", "value": _timed(work)[1], "unit": "s"}


def main() -> None:
    """Measure and write ``--out``."""
    parser = argparse.ArgumentParser(prog="experiments.bench.accounting")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    out: Path = parser.parse_args().out
    both(_training(0.1, 2.0, 3), 1e-5)  # imports
    meaning(Gaussian(2.0))
    publish(out, "accounting", list(rows()), _PACKAGES)


def _training(rate: float, sigma: float, steps: int) -> PrivacyEvent:
    return Repeated(Sampled(rate, Gaussian(sigma)), steps)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the median of ``REPEATS`` times in seconds."""
    seconds, result = [], math.nan
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


if __name__ == "__main__":
    main()
