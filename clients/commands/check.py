"""``fl-node check``: is everything ready for a run: the data first, then all else?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fl.commands import Command

ABOUT = """\
Connect to the data, read every table of mapping.toml in one read-only transaction, and check it:
each cell, each table and how tables fit together, and what a person found in a sample.

Rows that fail are set aside, with reasons, in data/quarantine/ (only you can read it). Beyond
[limits] of the mapping no run takes place, and this command ends with code 2 and the reason.

The manual check: --sample writes a sheet of rows; a person writes ok or wrong beside each; --judge
takes the sheet back. Too many wrong rows stop runs until a better sheet comes back.

Then what a run needs beside the data: keys, welcome, policy and budget, the coordinator over TLS
with this brand's certificate, clocks within 60 seconds, and what every run that was offered would
read and cost, with all that it is refused for. Code 1 if one of these is not in order (FAIL).

Examples
  fl-node check
  fl-node check --model runs/winter       the columns that this model's run reads
  fl-node check --sample 60               then fill in the sheet, and
  fl-node check --judge sheet.csv
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="MODEL", help="folder or run whose columns are read")
    parser.add_argument("--sample", type=int, metavar="N", help="rows of each table for a person")
    parser.add_argument("--judge", type=Path, metavar="FILE", help="a sheet that was filled in")
    parser.add_argument(
        "--accept-shorter", action="store_true", help="tables may be shorter than last time"
    )


def _act(asked: argparse.Namespace) -> int:
    from clients.brand_data import DataFolder, now, read
    from clients.data_check import lines
    from clients.manual_check import draw_sheet, take_verdict
    from clients.received import find
    from clients.refresh import accept_sizes, load_state
    from fl.data.intake import Asked
    from fl.errors import InputError

    folder = DataFolder(asked.home)
    if asked.judge is not None:
        judged = take_verdict(folder, asked.judge, folder.site().mapped.limits)
        sys.stdout.write(
            f"{judged.wrong} of {judged.rows} random rows are wrong: at most {judged.upper:.1%} of "
            f"all rows (97.5 % sure); of those that looked odd, {judged.odd} are wrong\n"
        )
        return 0
    if asked.sample is not None and asked.sample < 1:
        raise InputError("--sample", f"{asked.sample}", "give a number of rows >= 1")
    schema = None if asked.model is None else find(asked.home, asked.model).schema
    state = load_state(folder)
    before = {} if state is None or asked.accept_shorter else state.rows
    what = Asked(schema, labelled=schema is not None)
    reading = read(folder, what, now(), before, judged=asked.sample is None)
    if asked.accept_shorter:
        accept_sizes(folder, reading)
    sys.stdout.write("".join(f"{line}\n" for line in lines(reading)))
    examples = reading.examples()
    sys.stdout.write(f"examples: {len(examples.rows):,}\n")
    if asked.sample is not None:
        path = draw_sheet(folder, reading.batch, asked.sample, seed=int(now().timestamp()))
        sys.stdout.write(f"Write ok or wrong beside every row of {path}\n")
    sys.stdout.write("The data are in order.\n")
    columns = [str(name) for name in examples.rows.columns]
    return _rest(asked.home, columns, len(set(examples.customer.tolist())))


def _rest(folder: Path, columns: list[str], customers: int) -> int:
    """What a run needs beside the data, where this is a node's folder and not only its data's."""
    from clients.home import Home
    from clients.readiness import looked

    home, good = Home(folder), True
    if not home.config.exists():
        return 0
    for holds, line in looked(home, columns, customers):
        sys.stdout.write(f"{line}\n")
        good = good and holds
    return 0 if good else 1


COMMAND = Command("check", "data: connect, validate, set aside", ABOUT, _options, _act)
