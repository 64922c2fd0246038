"""``fl-node alerts``: this brand's messages that a model says to answer first."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl.commands import Command

if TYPE_CHECKING:
    import pandas as pd

    from clients.home import Home
    from clients.offer import Offer
    from fl.contracts import Floats
    from fl.data.examples import Made
    from fl.tasks.text import Text

ABOUT = """\
List this brand's messages that a run of task=text takes to be of one class, the surest first: such
as those that complain. The table of [rows] in mapping.toml is read; a label is not needed. Nothing
leaves this machine and nothing is booked: the model was paid for when it was trained. The list has
customers' own words and can be read by its owner alone.

Example
  fl-node alerts reviews --class negative --most 100 --out alerts.csv
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="its id, or the start of it")
    parser.add_argument("--class", dest="alert", required=True, metavar="NAME", help="a label")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("--most", type=int, default=100, metavar="N", help="default 100")


def _act(asked: argparse.Namespace) -> int:
    from clients.alerts import alert_list, write_alerts
    from clients.brand_data import DataFolder, now, read
    from clients.consent import one_offer
    from clients.home import Home
    from clients.score import to_score, usable
    from fl.data.intake import Asked
    from fl.errors import InputError
    from fl.tasks.text import Text, class_names

    if asked.most < 1 or asked.out.suffix.lower() != ".csv":
        raise InputError("--most, --out", "are a number >= 1 and a .csv file", "correct them")
    usable(asked.out)
    home = Home(asked.home)
    offer = one_offer(home, asked.run)
    task: Any = offer.agreed.task
    if not isinstance(task, Text):
        raise InputError("RUN", f"is of task {offer.agreed.name!r}", "name a run of task=text")
    names = class_names(task.schema)
    if asked.alert not in names:
        listed = ", ".join(names)
        raise InputError("--class", f"{asked.alert!r} is none of {listed}", "name one of them")
    reading = read(DataFolder(asked.home), Asked(task.schema, labelled=False), now(), {})
    rows = to_score(reading)
    scores = _scores(home, offer, task, rows)
    messages: pd.Series = rows.rows[task.schema.columns[0].name]
    found = alert_list(messages, scores, names.index(asked.alert), asked.most)
    if reading.site.mapped.rows.customer:  # type: ignore[union-attr]
        found.insert(0, "customer", rows.name.to_numpy()[found["row"] - 1])
    write_alerts(asked.out, found)
    sys.stdout.write(f"{len(messages):,} messages read, {len(found):,} listed\n{asked.out}\n")
    return 0


def _scores(home: Home, offer: Offer, task: Text, rows: Made) -> Floats:
    """Probability of each class, ``[b, classes]``."""
    from clients.offer import RunFiles
    from fl.arrays import from_bytes
    from fl.errors import InputError
    from fl.models.parameters import load
    from fl.seeds import torch_generator
    from fl.tasks.text import class_names

    path = RunFiles(home, offer.run).model
    if not path.exists():
        raise InputError("RUN", f"{offer.run!r} is not over", "wait for its end")
    unknown = {task.schema.label: class_names(task.schema)[0]}  # plays no part in a score
    batch = task.examples(rows.rows.assign(**unknown), rows.customer, "data")
    model = task.model(torch_generator(0, "received model"))
    load(model, from_bytes(path.read_bytes()))
    return task.scores(model, batch)


COMMAND = Command("alerts", "messages to answer first, by a model", ABOUT, _options, _act)
