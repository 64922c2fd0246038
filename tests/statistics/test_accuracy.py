"""How far released quantiles are off at epsilon 1, by the noise that the cells of a release have.

Disclosure rules are left out here; see ``test_disclosure.py``.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from torch import nn

from experiments.questions.benchmark import Benchmark
from experiments.questions.benchmark_rows import Seen
from fl.data.panel import Panel
from fl.events import Gaussian
from fl.privacy.calibration import noise_multiplier
from fl.seeds import numpy_generator
from fl.tasks import figures

CELLS = 0.75  # of what a release may spend
SEEDS = 4


@pytest.mark.parametrize(("customers", "most"), [(2_000, 0.015), (20_000, 0.003)])
def test_the_mean_rank_error_at_epsilon_one(customers: int, most: float) -> None:
    data, study = Panel().load(), Benchmark(("spend", "baskets", "basket_lines"), sample=customers)
    std = noise_multiplier(Gaussian, 1.0, 1e-5) / math.sqrt(CELLS)
    errors: list[float] = []
    for seed in range(SEEDS):
        drawn = study.drawn(data, seed)
        task = study.task(drawn)
        rows = task.examples(drawn.rows, np.arange(customers), "all")
        cells = np.zeros(sum(task.widths))
        totals = np.zeros((len(task.cells), len(task.values)))
        for start in range(0, customers, 1000):
            found = task.evaluate(nn.Module(), rows.span(start, start + 1000))
            cells += np.asarray(found["cells"], np.float64).sum(0)
            totals += np.asarray(found["totals"], np.float64).sum(0)
        noisy = cells + numpy_generator(seed, "noise of a release").normal(0, std, len(cells))
        released = figures.cells(task, totals, noisy, np.ones(1, np.bool_))
        seen = Seen(task, released, released, [0], np.sort(rows.x_bm.numpy(), 0))
        errors += seen.errors(study.quantiles)
    assert np.mean(errors) <= most
