"""How long ``fl-run --help`` takes, and a small experiment to its first round.

``python -m experiments.bench.startup --out FILE.json``. Both (as modules) and a bare interpreter
are started in turn, so that a machine that slows down slows all; what is reported is the median and
the slowest of each. The small experiment has a table of 900 rows in three brands and the cohort
runtime; its clock stops at the line that says the work has started; its processor time is told too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from experiments.bench.published import publish

CASES = {
    "python -m experiments.run --help": ["-m", "experiments.run", "--help"],
    "python -c pass": ["-c", "pass"],
}
_ROOT = Path(__file__).resolve().parents[2]
FIRST_ROUND = "fl-run to the first round"


def seconds(arguments: list[str]) -> float:
    """Wall time of one fresh interpreter.

    Raises:
        CalledProcessError: it did not end with code 0.
    """
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=_ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def to_first_round(folder: Path) -> tuple[float, float]:
    """Wall and processor time of a fresh ``fl-run`` until training starts."""
    table = folder / "table.csv"
    lines = [f"{i % 40},{i % 7},{'abc'[i % 3]},{int(i % 40 > 20)}" for i in range(900)]
    table.write_text("\n".join(["views,messages,shop,bought", *lines]) + "\n", encoding="utf-8")
    out = folder / f"run-{len(list(folder.iterdir()))}"
    asked = [
        *("data=table", f"data.path={table}", "data.label=bought", "data.brand_column=shop"),
        *("privacy=none", "secure_sum=plain", "runtime=cohort", "runtime.workers=1", "seeds=1"),
        *("rounds=2", "arms=[federated]", f"out={out}"),
    ]
    began, before = time.perf_counter(), os.times()
    command = [sys.executable, "-m", "experiments.run", *asked]
    with subprocess.Popen(
        command, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as run:
        if run.stderr is None:
            raise RuntimeError("Expected the run's messages.")
        for line in run.stderr:
            if "started" in line:
                break
        wall = time.perf_counter() - began
        run.kill()
    after = os.times()
    used = after.children_user + after.children_system
    return wall, used - before.children_user - before.children_system


def measure(repeats: int) -> list[dict[str, object]]:
    """``repeats`` starts of each case, in turn, after one that fills the file cache."""
    if repeats < 1:
        raise ValueError(f"Expected repeats={repeats} >= 1.")
    for arguments in CASES.values():
        seconds(arguments)
    taken: dict[str, list[float]] = {case: [] for case in CASES}
    taken |= {FIRST_ROUND: [], f"{FIRST_ROUND}, processor": []}
    with tempfile.TemporaryDirectory() as folder:
        to_first_round(Path(folder))
        for _ in range(repeats):
            for case, arguments in CASES.items():
                taken[case].append(seconds(arguments))
            wall, used = to_first_round(Path(folder))
            taken[FIRST_ROUND].append(wall)
            taken[f"{FIRST_ROUND}, processor"].append(used)
    return [
        {"case": case, "metric": metric, "value": round(value, 4), "unit": "s"}
        for case, times in taken.items()
        for metric, value in (("median", median(times)), ("slowest", max(times)))
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=15)
    asked = parser.parse_args()
    found = measure(asked.repeats)
    publish(asked.out, "startup", found, ("crossbrand-fl",), repeats=asked.repeats)


if __name__ == "__main__":
    main()
