"""Comparisons that a question reports beside its counts: whom a campaign moves, by each learner.

Each is an ordinary run of ``task=targeting`` in a folder of its own, ``DIR/learners/NAME``: with
its own ledgers, report and models, and resumable by itself. What a private comparison spends is not
part of what counting spends, and no two learners are meant to be run by the same brands: each line
of the report says what one deployment would spend.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from experiments.questions.beside import Extra
from experiments.questions.uplift import UpliftStudy
from experiments.settings import settings
from fl.config import Values
from fl.report.answers import Block
from fl.report.rows import Row
from fl.report.uplift import LEARNERS, uplift_plots, uplift_table
from fl.report.values import mapping, real, sequence

Run = Callable[[Values, Path], None]


@dataclass(frozen=True, slots=True)
class Learners:
    """The learners of one question; see :class:`experiments.questions.beside.Beside`.

    Attributes:
        values: each comparison's resolved config, by the learner's name.
        run: starts a comparison in a folder, or takes it up.
    """

    values: Mapping[str, Values]
    run: Run = field(repr=False)

    def carry_out(self, out: Path) -> None:
        """All comparisons, one after the other; a finished one is left as it is."""
        for name, values in self.values.items():
            self.run(values, self._folder(out, name))

    def found(self, out: Path) -> Extra:
        """Rows, tables and plots of all learners."""
        rows: list[Row] = []
        tables: list[Block] = []
        plots: list[Block] = []
        for name in self.values:
            run = json.loads((self._folder(out, name) / "run.json").read_text())
            title = f"Whom to treat: {LEARNERS[name]}"
            rows += _rows(run, name, len(sequence(run.get("seeds"))))
            if table := uplift_table(run, title):
                tables.append(table)
            plots += uplift_plots(run, title)
        return Extra(rows, [*tables, *plots])

    def _folder(self, out: Path, name: str) -> Path:
        return out / "learners" / name


def learners(study: object, values: Values, run: Run) -> Learners:
    """What the question asks for; nothing for questions that only count.

    Raises:
        InputError: a comparison's config does not build.
    """
    names = study.learners if isinstance(study, UpliftStudy) else ()
    made = {
        name: {
            **values,
            "task": {"name": "targeting", "learner": name},
            "experiment": f"{values.get('experiment') or 'custom'}/{name}",
        }
        for name in names
    }
    for one in made.values():
        settings(one)
    return Learners(made, run)


def _rows(run: Mapping[str, object], learner: str, seeds: int) -> list[Row]:
    """Qini, area and the best 30 %, over customers; the metric names learner and campaign."""
    config, rows = mapping(run.get("config")), []
    names = (mapping(config.get(group)).get("name") for group in ("data", "model"))
    data, model = map(str, names)
    for one in map(mapping, sequence(mapping(run.get("uplift")).get("arms"))):
        epsilon = real(one.get("epsilon_of_all") or one.get("epsilon"))  # what the line cost
        for metric in ("qini", "auuc", "top"):
            value, low, high = (real(x) for x in sequence(one.get(metric)))
            rows.append(
                Row(
                    str(run.get("experiment")), data, "targeting", model, str(one.get("algorithm")),
                    str(one.get("plan")), None if epsilon != epsilon else epsilon,
                    str(one.get("arm")), "pooled", f"{learner}/{one.get('campaign')}/{metric}",
                    value, low, high, seeds,
                )
            )  # fmt: skip
    return rows
