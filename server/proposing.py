"""From an experiment's name and options to a signed offer on disk.

The config is composed by ``fl-run --cfg job``, in a process of its own: the coordinator never
imports a researcher's code, and what it composes is what ``fl-run`` would run.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from fl.agreement import Course, read
from fl.algorithms import ALGORITHMS
from fl.config import build, choose
from fl.data.campaign import Campaign
from fl.data.catalog import DATASETS
from fl.data.columns import column
from fl.data.schema import Schema
from fl.doors import Training
from fl.errors import InputError
from fl.privacy import PLANS, SECURE_SUMS, CustomerPrivacy
from fl.privacy.entries import canonical
from fl.privacy.signing import SigningKey
from fl.report.files import atomic_write
from fl.tasks import TASKS
from server.files import RunFiles
from server.home import Home
from server.roster import cards, load_identity, roster


def composed(options: Sequence[str]) -> Mapping[str, Any]:
    """The resolved config of an experiment.

    Raises:
        InputError: ``fl-run`` does not know the experiment, or an option.
    """
    command = [sys.executable, "-m", "experiments.run", *options, "--cfg", "job", "--resolve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout:
        lines = done.stderr.strip().splitlines() or ["nothing was composed"]
        raise InputError("submit", lines[-1].removeprefix("fl-run: "), "see fl-run --help")
    values = yaml.safe_load(done.stdout)
    if not isinstance(values, dict):
        raise InputError("submit", "nothing was composed", "see fl-run --help")
    return values


def course(values: Mapping[str, Any]) -> Course:
    """What is to be learned, how, and under which guarantee.

    Raises:
        InputError: something in it is not known, or cannot be deployed.
    """
    options = choose(TASKS, values["task"], "task")
    seeds = values["seeds"]
    return Course(
        options=options,
        architecture=choose(options.models, values["model"], "model"),
        schema=_schema(values["data"]),
        algorithm=choose(ALGORITHMS, values["algorithm"], "algorithm"),
        plan=choose(PLANS, values["privacy"], "privacy"),
        summing=choose(SECURE_SUMS, values["secure_sum"], "secure_sum"),
        training=build(Training, values["training"], "training"),
        rounds=int(values["rounds"]),
        seed=seeds[0] if isinstance(seeds, list) else 0,
        occasion=str(values["experiment"]),
    )


def propose(home: Home, values: Mapping[str, Any], requested_by: str) -> RunFiles:
    """Draft and sign an offer for all enrolled brands; returns its files.

    Raises:
        InputError: nobody is enrolled, or the run cannot be.
    """
    enrolled = cards(home)
    brands = roster(enrolled)
    content = course(values).content(
        len(brands.names),
        run=secrets.token_bytes(16),
        coordinator=load_identity(home).public,
    )
    agreed = read(content)
    key = SigningKey.load(home.key("signing.pem"))
    proposal = agreed.proposal(str(values["experiment"]), requested_by).signed(key)
    offer = {"proposal": proposal.to_json(), "content": content, "roster": brands.hash.hex()}
    files = RunFiles(home, proposal.run)
    files.folder.mkdir(mode=0o700)
    files.begin()
    atomic_write(files.folder / "offer.json", canonical(json.loads(json.dumps(offer))))
    files.say("new", 0)
    return files


def described(files: RunFiles, values: Mapping[str, Any]) -> Iterator[str]:
    """What was proposed, for the person who did: what brands will be shown, and what to look at."""
    agreed, proposal = files.agreed, files.proposal
    plan, brands = agreed.plan, len(cards(files.home))
    names = [column.name for column in agreed.task.schema.columns]
    yield f"{proposal.task} of {agreed.task.schema.label} from {', '.join(names)}"
    summed = f"sums of at least {proposal.brands} of {brands} brands"
    figure = f"epsilon {proposal.epsilon:.3f} at delta {proposal.delta:g}, {plan.name}"
    yield f"{agreed.rounds} rounds, {figure}; {summed}"
    if isinstance(plan, CustomerPrivacy):
        yield (
            f"means are over {plan.customers:g} customers of a mean brand (privacy.customers): far "
            "from the truth, steps are too small or too large; the guarantee stays"
        )
        if plan.delta * plan.customers >= 1:
            yield "WARNING: privacy.delta is not below 1 / customers, so brands will refuse"
    if values["data"].get("path"):
        yield "data.path is not read: every brand reads what its own mapping.toml names"


def _schema(data: Mapping[str, Any]) -> Schema:
    """The shared schema; of a table of one's own only what was stated, as no file is here."""
    if data.get("name") != "table":
        return choose(DATASETS, data, "data").load().schema
    stated = data.get("columns") or {}
    if not stated or not data.get("label"):
        raise InputError("data.columns", "are not stated", "state columns and data.label")
    columns = tuple(column(str(name), spec) for name, spec in stated.items())
    negative = tuple(str(v) for v in data.get("negative") or ("0",))
    stated_campaign = data.get("campaign")
    campaign = build(Campaign, stated_campaign, "data.campaign") if stated_campaign else None
    positive = str(data.get("positive", "1"))
    try:
        return Schema(columns, str(data["label"]), positive, negative, campaign=campaign)
    except ValueError as error:
        raise InputError("data", str(error).rstrip("."), "correct it") from error
