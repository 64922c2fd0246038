"""What a private step costs beside a plain one and beside Opacus, in CPU time and in memory.

    python -m experiments.bench.dp_sgd --out FILE.json [--rounds 40]

Model: 8 embedding tables (dim 16; six of 50 rows, one of 1,000, one of 10,000) and 20 numbers into
128-64-1; batch of 512 rows; one thread. A step is forward, backward, (clip, noise) and the update
of all weights by SGD; drawing the batch is in none of the cases. ``ours_4_rows`` has 128 customers
of 4 rows each instead of 512 of one; Opacus has no such unit. The cases take turns in one process;
a time is the tenth percentile over its steps, as whatever else runs on the machine only adds to it
(``cpu_ms_median`` has the medians). Memory is the peak resident size of a fresh process a case.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.bench.published import Row, publish, row
from fl.contracts import Examples
from fl.privacy.gradients import CustomerGradients
from fl.privacy.noise import SecureRandom, noised
from fl.report.files import atomic_write
from fl.seeds import torch_generator

SIZES, DIM, NUMBERS, BATCH = (50,) * 6 + (1000, 10_000), 16, 20, 512
CLIP_NORM, NOISE_MULTIPLIER, LEARNING_RATE = 1.0, 1.0, 0.1
STEPS_FOR_MEMORY = 20

Step = Callable[[], None]


class Tables(nn.Module):
    """The model of the bench; one logit for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, DIM) for size in SIZES)
        widths = DIM * len(SIZES) + NUMBERS
        self.layers = nn.Sequential(
            nn.Linear(widths, 128), nn.Tanh(), nn.Linear(128, 64), nn.Tanh(), nn.Linear(64, 1)
        )

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        parts = [table(c_bg[:, g]) for g, table in enumerate(self.tables)]
        logit: Tensor = self.layers(torch.cat([*parts, x_bf], 1))
        return logit.squeeze(1)


def losses(model: nn.Module, batch: Examples) -> Tensor:
    """Cross-entropy of each row."""
    logit_b = model(batch.x_bf, batch.c_bg)
    return nn.functional.binary_cross_entropy_with_logits(logit_b, batch.y_b, reduction="none")


def rows(rows_each: int) -> Examples:
    """A batch of made-up rows."""
    rng = torch_generator(0, "bench", "rows")
    codes = [torch.randint(0, size, (BATCH,), generator=rng) for size in SIZES]
    return Examples(
        torch.rand(BATCH, NUMBERS, generator=rng) * 2 - 1,
        torch.stack(codes, 1),
        torch.randint(0, 2, (BATCH,), generator=rng).float(),
        torch.arange(BATCH) // rows_each,
    )


def plain() -> Step:
    """No privacy: the mean gradient."""
    model, batch = Tables(), rows(1)
    weights = list(model.parameters())
    values = [w.detach() for w in weights]

    def step() -> None:
        gradients = torch.autograd.grad(losses(model, batch).mean(), weights)
        torch._foreach_add_(values, gradients, alpha=-LEARNING_RATE)

    return step


def ours(rows_each: int = 1) -> Step:
    """Our clipped sum and our secure noise."""
    model, batch, rng = Tables(), rows(rows_each), SecureRandom()
    values = [w.detach() for w in model.parameters()]
    per_customer = CustomerGradients(losses, model)
    rate = -LEARNING_RATE * rows_each / BATCH

    def step() -> None:
        total = per_customer.clipped_sum(batch, CLIP_NORM)
        gradients = noised(total.gradients, CLIP_NORM, NOISE_MULTIPLIER, rng)
        torch._foreach_add_(values, gradients, alpha=rate)

    return step


def opacus_ghost() -> Step:
    """Opacus' ghost clipping, its noise from a torch generator."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    batch = rows(1)
    model = GradSampleModuleFastGradientClipping(Tables(), max_grad_norm=CLIP_NORM)
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(model.parameters(), LEARNING_RATE), **_noise()
    )
    criterion = DPLossFastGradientClipping(model, optimizer, nn.BCEWithLogitsLoss())

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(batch.x_bf, batch.c_bg), batch.y_b).backward()
        optimizer.step()

    return step


def opacus_hooks() -> Step:
    """Opacus' default: a gradient for every row."""
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    batch, model = rows(1), GradSampleModule(Tables())
    optimizer = DPOptimizer(torch.optim.SGD(model.parameters(), LEARNING_RATE), **_noise())

    def step() -> None:
        optimizer.zero_grad()
        losses(model, batch).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _noise() -> dict[str, object]:
    return {
        "noise_multiplier": NOISE_MULTIPLIER,
        "max_grad_norm": CLIP_NORM,
        "expected_batch_size": BATCH,
        "generator": torch_generator(0, "bench", "opacus noise"),
    }


CASES: Mapping[str, Callable[[], Step]] = {
    "plain": plain,
    "ours": ours,
    "ours_4_rows": lambda: ours(4),
    "opacus_ghost": opacus_ghost,
    "opacus_hooks": opacus_hooks,
}
TURNS = {"opacus_ghost": 2, "opacus_hooks": 1}  # steps a round, otherwise 5


def cpu_ms(rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds of the steps of each case, sorted; the cases take turns."""
    steps = {case: make() for case, make in CASES.items()}
    taken: dict[str, list[float]] = {case: [] for case in CASES}
    for number in range(rounds + 2):
        for case, step in steps.items():
            for _ in range(TURNS.get(case, 5)):
                start = time.process_time_ns()
                step()
                if number >= 2:  # the first rounds import compilers and fill caches
                    taken[case].append((time.process_time_ns() - start) / 1e6)
    return {case: sorted(times) for case, times in taken.items()}


def peak_mb(case: str) -> float:
    """Peak resident size of a fresh process that takes some steps of one case."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "peak.json"
        me = [sys.executable, "-m", "experiments.bench.dp_sgd", "--only", case, "--out", str(out)]
        subprocess.run(me, check=True)
        return float(json.loads(out.read_text()))


def _own_peak_mb(case: str) -> float:
    """``VmHWM`` and not ``ru_maxrss``, which a new process inherits from its parent."""
    step = CASES[case]()
    for _ in range(STEPS_FOR_MEMORY):
        step()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def measure(rounds: int) -> list[Row]:
    """All rows, and the ratios that the targets are about."""
    steps, peaks = cpu_ms(rounds), {case: peak_mb(case) for case in CASES}
    times = {case: taken[len(taken) // 10] for case, taken in steps.items()}
    table = [(case, "cpu_ms_per_step", ms, "ms") for case, ms in times.items()]
    table += [(case, "cpu_ms_median", statistics.median(ms), "ms") for case, ms in steps.items()]
    table += [(case, "peak_mb", mb, "MB") for case, mb in peaks.items()]
    for case in ("ours", "ours_4_rows"):
        table += [
            (case, "time_over_plain", times[case] / times["plain"], "ratio"),
            (case, "memory_over_plain", peaks[case] / peaks["plain"], "ratio"),
        ]
    for case in ("opacus_ghost", "opacus_hooks"):
        table.append((case, "time_over_ours", times[case] / times["ours"], "ratio"))
    return [row(*figures) for figures in table]


def main() -> None:
    """Measure and write; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench.dp_sgd")
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each case")
    parser.add_argument("--only", choices=CASES, help="peak memory of one case, in this process")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # Opacus, at every step
    if given.only:
        atomic_write(given.out, f"{json.dumps(_own_peak_mb(given.only))}\n".encode())
        return
    publish(
        given.out, "dp_sgd", measure(given.rounds), ("torch", "opacus", "numpy", "cryptography")
    )


if __name__ == "__main__":
    main()
