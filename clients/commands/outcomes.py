"""``fl-node outcomes``: what became of customers that were handed over."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fl.commands import Command

ABOUT = """\
Take back what became of customers that fl-node score handed over: a CSV or Parquet file with the
columns customer (as on the list), outcome (1: did it, 0: did not) and date (when that was known).

Rows that cannot be (never handed over, a date before that or in the future, two answers for one
day) go to data/quarantine/outcomes.csv. The rest is kept, and later scores are calibrated on it.

Example
  fl-node outcomes calls-of-june.csv
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")


def _act(asked: argparse.Namespace) -> int:
    from clients.brand_data import DataFolder, now
    from clients.data_check import batch_lines
    from clients.outcomes import accept, require_names
    from fl.data.consistency import Batch

    folder = DataFolder(asked.home)
    mapped = folder.site().mapped
    require_names(mapped)
    checked = accept(folder, asked.file, now(), mapped.limits, mapped.zone)
    sys.stdout.write("".join(f"{line}\n" for line in batch_lines(Batch((checked,)))))
    return 0


COMMAND = Command("outcomes", "what became of those handed over", ABOUT, _options, _act)
