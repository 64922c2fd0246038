"""A model as a brand holds it: its parameters, and all that is public and needed to use them.

It is read from a folder: of a finished run of ``fl-run`` (``run.json``, ``models.npz``), of a run
of this node (``offer.json``, ``model.npz``), or one that :func:`save` left (``model.json``,
``model.npz``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fl import arrays
from fl.arrays import Arrays
from fl.config import choose, group, plain
from fl.data.schema import Schema
from fl.data.schema_file import from_plain, to_plain
from fl.errors import InputError
from fl.models import MODELS
from fl.models.parameters import load
from fl.report.files import atomic_write
from fl.seeds import torch_generator
from fl.tasks.conversion import Conversion, ModelConfig

TASK = "conversion"  # the one whose model says one number of a customer
ARM = "federated"


@dataclass(frozen=True, slots=True)
class Received:
    """A model and what it reads.

    Attributes:
        schema: the feature space; its label is what is predicted.
        architecture: which model.
        params: its parameters.
        about: where it is from, in words.
    """

    schema: Schema
    architecture: ModelConfig
    params: Arrays
    about: str

    @property
    def digest(self) -> str:
        """16 hex digits that tell models apart."""
        return arrays.digest(self.params)[:16]

    def module(self) -> nn.Module:
        """The model with its parameters.

        Raises:
            InputError: parameters and architecture do not fit.
        """
        model = self.architecture.build(self.schema, torch_generator(0, "received model"))
        try:
            load(model, self.params)
        except ValueError as error:
            raise InputError(
                "model",
                f"its parameters do not fit model {self.architecture.name!r} in its schema",
                "give the folder as the run left it",
            ) from error
        if not arrays.finite(self.params):
            raise InputError("model", "has parameters that are no numbers", "take another model")
        return model


def find(home: Path, model: str, *, arm: str = ARM, seed: int | None = None) -> Received:
    """The model that a person names: a folder, or a run of the node at ``home``.

    Raises:
        InputError: neither, several runs of that name, or see :func:`load_received`.
    """
    if Path(model).is_dir():
        return load_received(Path(model), arm=arm, seed=seed)
    runs = home / "runs"
    names = sorted(p.name for p in runs.iterdir() if p.is_dir()) if runs.is_dir() else []
    wanted = model.replace("/", ".")
    found = [n for n in names if n == wanted] or [n for n in names if n.startswith(f"{wanted}.")]
    if len(found) != 1:
        raise InputError(
            "model",
            f"{model!r} is no folder and {len(found) or 'no'} runs of this node are called so",
            f"name a folder or one of {', '.join(names)}" if names else "name a folder",
        )
    return load_received(runs / found[0])


def save(folder: Path, received: Received) -> None:
    """Keep a received model in ``folder``, which is made if it is not there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = {
        "version": 1,
        "task": TASK,
        "about": received.about,
        "schema": to_plain(received.schema),
        "model": plain(received.architecture),
    }
    atomic_write(folder / "model.npz", arrays.to_bytes(received.params), private=True)
    text = json.dumps(about, indent=1, allow_nan=False) + "\n"
    atomic_write(folder / "model.json", text.encode(), private=True)


def load_received(folder: Path, *, arm: str = ARM, seed: int | None = None) -> Received:
    """The model in ``folder``.

    Args:
        folder: of a run, or of a received model.
        arm: of a run of ``fl-run``: its name (``federated``), or with the guarantee
            (``federated@local-1``).
        seed: of such a run; None takes the first.

    Raises:
        InputError: no such folder, no such arm or seed, or a task that scores nobody.
    """
    if (folder / "model.json").is_file():
        about = _json(folder / "model.json")
        return _made(about, about.get("model"), about.get("task"), _arrays(folder / "model.npz"))
    if (folder / "offer.json").is_file():
        return _deployed(folder)
    if not (folder / "run.json").is_file():
        raise InputError(
            "model",
            f"no model in {folder.name!r}: neither run.json nor model.json",
            "name the folder of a run or of a received model",
        )
    run = _json(folder / "run.json")
    config = group(run.get("config", {}), "model, run.json config")
    found = _arrays(folder / "models.npz")
    name = _chosen(sorted({key.rpartition("/")[0] for key in found}), arm, seed)
    task = group(config.get("task", {}), "model, run.json task").get("name")
    named = {**run, "about": f"{run.get('experiment', 'run')}, {name}"}
    return _made(named, config.get("model"), task, arrays.below(name, found))


def _deployed(folder: Path) -> Received:
    """The model of a run of this node: what was agreed says how to use it."""
    from fl.agreement import read

    if not (folder / "model.npz").is_file():
        raise InputError("model", f"run {folder.name!r} is not over", "wait for its end")
    try:
        agreed = read(_json(folder / "offer.json")["content"])
    except (KeyError, ValueError) as error:
        raise InputError("model", "offer.json is no offer", "give the folder whole") from error
    task = agreed.task
    if not isinstance(task, Conversion):
        raise InputError(
            "model", f"is of task {agreed.name!r}, which scores no customer", f"give one of {TASK}"
        )
    return Received(
        task.schema, task.architecture, _arrays(folder / "model.npz"), f"run {folder.name}"
    )


def _made(about: Mapping[str, Any], model: Any, task: Any, params: Arrays) -> Received:
    if task != TASK:
        raise InputError(
            "model", f"is of task {task!r}, which scores no customer", f"give one of task {TASK}"
        )
    if not isinstance(about.get("schema"), Mapping):
        raise InputError(
            "model",
            "does not say which columns it reads (no schema)",
            "run it again: since this version run.json has its schema",
        )
    architecture: ModelConfig = choose(MODELS, group(model, "model"), "model")
    return Received(from_plain(about["schema"]), architecture, params, str(about.get("about", "")))


def _chosen(names: list[str], arm: str, seed: int | None) -> str:
    """The one of ``names`` (``seed-0/federated@none``) that is asked for."""
    start = None if seed is None else f"seed-{seed}"
    fitting = [
        name
        for name in names
        if (start is None or name.split("/")[0] == start)
        and arm in (name.split("/", 1)[-1], name.split("/", 1)[-1].partition("@")[0])
    ]
    if start is None:  # the first seed
        first = min((int(n.split("/")[0].removeprefix("seed-")) for n in fitting), default=0)
        fitting = [name for name in fitting if name.startswith(f"seed-{first}/")]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(n.split("/", 1)[-1] for n in (fitting or names)[:12])
    raise InputError(
        "model",
        f"{len(fitting) or 'no'} arms are called {arm!r}"
        + ("" if start is None else f" in {start}"),
        f"name one of {listed}",
    )


def _json(path: Path) -> Mapping[str, Any]:
    try:
        return group(json.loads(path.read_text("utf-8")), f"model, {path.name}")
    except (OSError, ValueError) as error:
        raise InputError("model", f"cannot read {path.name}", "give the folder whole") from error


def _arrays(path: Path) -> dict[str, Any]:
    try:
        return arrays.from_bytes(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError("model", f"cannot read {path.name}", "give the folder whole") from error
