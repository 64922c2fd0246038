"""How long ``fl-run --help`` (as a module) takes, beside a bare interpreter on the same machine.

``python -m experiments.bench.startup --out FILE.json``. The two are started in turn, so that a
machine that slows down slows both; what is reported is the median and the slowest of each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from statistics import median

from fl.report.files import atomic_write

CASES = {
    "python -m experiments.run --help": ["-m", "experiments.run", "--help"],
    "python -c pass": ["-c", "pass"],
}
_ROOT = Path(__file__).resolve().parents[2]


def seconds(arguments: list[str]) -> float:
    """Wall time of one fresh interpreter.

    Raises:
        CalledProcessError: it did not end with code 0.
    """
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=_ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def measure(repeats: int) -> list[dict[str, object]]:
    """``repeats`` starts of each case, in turn, after one that fills the file cache."""
    if repeats < 1:
        raise ValueError(f"Expected repeats={repeats} >= 1.")
    for arguments in CASES.values():
        seconds(arguments)
    taken: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(repeats):
        for case, arguments in CASES.items():
            taken[case].append(seconds(arguments))
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
    content = {
        "bench": "startup",
        "rows": measure(asked.repeats),
        "repeats": asked.repeats,
        "machine": {
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load": list(os.getloadavg()),
        },
        "versions": {
            "python": platform.python_version(),
            "crossbrand-fl": metadata.version("crossbrand-fl"),
        },
    }
    atomic_write(asked.out, (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
