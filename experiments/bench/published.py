"""What a bench measured, as its JSON file and as lines on the terminal."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from fl.report.files import atomic_write

Row = dict[str, str | float]


def row(case: str, metric: str, value: float, unit: str) -> Row:
    """One figure."""
    return {"case": case, "metric": metric, "value": value, "unit": unit}


def publish(
    out: Path,
    bench: str,
    rows: Sequence[Mapping[str, Any]],
    packages: Sequence[str],
    **setting: float,
) -> None:
    """Write ``out`` with the machine and the versions of ``packages``, and print the rows.

    Args:
        rows: as of :func:`row`.
        setting: sizes that the rows do not say.
    """
    machine = {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    versions = {"python": sys.version.split()[0], **{p: metadata.version(p) for p in packages}}
    content = {"bench": bench, "rows": rows, **setting, "machine": machine, "versions": versions}
    atomic_write(out, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    for one in rows:
        sys.stdout.write(
            f"{one['case']:<28} {one['metric']:<32} {one['value']:.4g} {one['unit']}\n"
        )
