"""``fl-node preview``: what this brand's features look like, at this brand."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fl.commands import Command

ABOUT = """\
Show this brand's features: empty cells, values beyond the public bounds, quantiles, shapes; who has
the label; the share of spend in each category. Exact figures, for your own eyes: nothing is booked,
and nothing leaves this machine.

With --model the columns and bounds are those that the model's run has stated. Without, they come
from your own rows (such bounds depend on data and are none for a run).

Examples
  fl-node preview
  fl-node preview --model runs/winter --out features.html     or .png, or .json
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="MODEL", help="folder or run whose columns are shown")
    parser.add_argument("--out", type=Path, metavar="FILE", help=".html, .png or .json")


def _act(asked: argparse.Namespace) -> int:
    from clients.brand_data import DataFolder, now, read
    from clients.preview import show, write
    from clients.received import find
    from fl.data.intake import Asked
    from fl.data.portrait_features import population_shares
    from fl.data.schema import Schema
    from fl.data.summary import guessed, summarise
    from fl.report.terminal import output

    folder = DataFolder(asked.home)
    schema = None if asked.model is None else find(asked.home, asked.model).schema
    reading = read(folder, Asked(schema, labelled=False), now(), {})
    mapped, made = reading.site.mapped, reading.examples()
    shares = {}
    if reading.people is not None:
        shares = population_shares(reading.people.events, mapped.portrait)
    if schema is None:
        label = mapped.rows.label if mapped.rows is not None else mapped.outcome.label
        schema = guessed(made.rows, label)
        if mapped.rows is None:  # portraits have public bounds
            public = {column.name: column for column in mapped.portrait.columns()}
            schema = Schema(tuple(public.get(c.name, c) for c in schema.columns), label)
    summary = summarise(schema, made.rows, made.customer, shares)
    if asked.out is not None:
        write(asked.out, schema, summary)
        sys.stdout.write(f"{asked.out}\n")
        return 0
    show(output(120), summary)
    return 0


COMMAND = Command("preview", "this brand's features, at this brand", ABOUT, _options, _act)
