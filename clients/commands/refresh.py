"""``fl-node refresh``: read the data again if it is due, and see whether they have changed."""

from __future__ import annotations

import argparse
import sys

from fl.commands import Command

ABOUT = """\
Read the data again when the last reading is too old or enough new rows came ([refresh] of
mapping.toml), and compare them with those that the current model was made on: the population
stability index of every feature, and whether the model's probabilities still fit. Meant for a
timer; it does nothing while nothing is due.

Past a threshold the node offers to take part in a new training. That offer is noted here and shown
by fl-node status. It is one bit about your customers that no ledger covers: whether the coordinator
hears of it is a person's decision.

Examples
  fl-node refresh --model winter
  fl-node refresh --model winter --now
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="MODEL", help="the current model")
    parser.add_argument("--now", action="store_true", help="read even if nothing is due")
    parser.add_argument("--made", action="store_true", help="note that MODEL was made on this data")
    parser.add_argument(
        "--accept-shorter", action="store_true", help="tables may be shorter than last time"
    )


def _act(asked: argparse.Namespace) -> int:
    from clients.brand_data import DataFolder, now, read
    from clients.received import find
    from clients.refresh import model_made, refresh
    from fl.data.intake import Asked

    folder, model, at = DataFolder(asked.home), find(asked.home, asked.model), now()
    if asked.made:
        model_made(folder, model.schema, model, read(folder, Asked(model.schema), at, {}))
        sys.stdout.write("Later readings are compared with this one.\n")
        return 0
    done = refresh(
        folder, model.schema, model, at, asked=asked.now, accept_shorter=asked.accept_shorter
    )
    if done is None:
        sys.stdout.write("Nothing is due.\n")
        return 0
    sys.stdout.write(f"Read again ({done.why}).\n")
    for moved in done.moved[:10]:
        sys.stdout.write(
            f"  {moved.feature}: stability index {moved.psi:.3f} (by chance {moved.chance:.3f})\n"
        )
    if done.fit is not None:
        sys.stdout.write(
            f"  probabilities: calibration error {done.fit.error:.3f}, Brier {done.fit.brier:.3f}, "
            f"Z {done.fit.z:+.1f}, {done.fit.rows:,} labelled rows\n"
        )
    for reason in done.state.offer:
        sys.stdout.write(f"Offers to train again: {reason}\n")
    return 0


COMMAND = Command("refresh", "read again, look for change", ABOUT, _options, _act)
