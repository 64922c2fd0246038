"""``fl-node score``: this brand's customers, scored with a model that a run has left."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fl.commands import Command

ABOUT = """\
Score this brand's own customers with a model: its log odds, a probability calibrated on your own
labelled rows and outcomes, and the reasons; and hand the best of them to your teams. Nothing leaves
this machine and nothing is booked: the model was paid for when it was trained.

MODEL is a folder (of a run of fl-run, or of a received model) or the name of a run of this node.

Teams are [[teams]] of mapping.toml, or --team NAME=CAPACITY here. The list of those handed over is
kept; when their outcomes come back (customer, outcome, date), give them with --outcomes or to
fl-node outcomes, and later scores are calibrated on them. Both need a name of each customer: rows
whose mapping names no column of the customer are scored only.

Reasons say what a feature adds to the log odds against your average customer: "orders = 12
(+0.80)". They are exact for additive and logistic models, by occlusion for others.

Examples
  fl-node score winter --out scores.parquet
  fl-node score runs/panel --arm federated@local-1 --out all.csv --list calls.csv --team calls=200
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder, or run of this node")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".csv or .parquet")
    parser.add_argument("--list", type=Path, metavar="FILE", help="who is handed over, best first")
    parser.add_argument("--team", action="append", default=[], metavar="NAME=CAPACITY")
    parser.add_argument("--outcomes", type=Path, metavar="FILE", help="what became of earlier ones")
    parser.add_argument("--reasons", type=int, default=3, metavar="N", help="of each (default 3)")
    parser.add_argument("--arm", default="federated", help="of a run of fl-run")
    parser.add_argument("--seed", type=int, help="of a run of fl-run (default: its first)")


def _act(asked: argparse.Namespace) -> int:
    from clients.brand_data import DataFolder, now, read
    from clients.outcomes import accept, require_names
    from clients.received import find
    from clients.score import keep_list, known, score, to_score, usable, write
    from fl.data.handover import nobody_has, parse
    from fl.data.intake import Asked
    from fl.errors import InputError

    if asked.reasons < 0:
        raise InputError("--reasons", f"{asked.reasons}", "give a number >= 0")
    folder, at = DataFolder(asked.home), now()
    model = find(asked.home, asked.model, arm=asked.arm, seed=asked.seed)
    site = folder.site()
    teams = tuple(map(parse, asked.team)) or site.mapped.teams
    if asked.list is not None and not teams:
        raise InputError("--list", "no team takes anybody", "give --team NAME=CAPACITY")
    if teams or asked.outcomes is not None:
        require_names(site.mapped)
    for path in (asked.out, asked.list):
        usable(path)
    if asked.outcomes is not None:
        accept(folder, asked.outcomes, at, site.mapped.limits, site.mapped.zone)
    reading = read(folder, Asked(model.schema, labelled=False), at, {})
    rows = to_score(reading)
    labelled = known(folder, model, reading.labelled(model.schema, rows))
    scored = score(model, rows, labelled, teams, reasons=asked.reasons)
    for slip in nobody_has(rows.rows, teams):
        sys.stderr.write(f"{slip}\n")
    write(asked.out, scored.table)
    handed = scored.handed_over()
    if asked.list is not None:
        write(asked.list, handed)
    keep_list(folder, model, handed, at)
    curve = scored.curve
    how = {
        "none": "the model's own (too few labels, or they fit as they are)",
        "platt": "Platt's curve",
        "isotonic": "an isotonic curve",
    }[curve.name]
    sys.stdout.write(
        f"{len(scored.table):,} scored by {model.about or 'the model'}; probabilities: {how}, "
        f"from {scored.labelled:,} labelled rows; {len(handed):,} handed over\n{asked.out}\n"
    )
    return 0


COMMAND = Command("score", "score your customers with a model", ABOUT, _options, _act)
