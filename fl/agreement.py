"""What a run is: as JSON that every party signs, and as the objects that it stands for.

The coordinator drafts the *content*; each brand reads it, builds the same task, model, algorithms,
privacy plan and first state from it, and checks the proposal beside it against what it has built.
Nothing outside of the content changes a run, so there is nothing a run configuration could loosen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fl.arrays import Arrays, digest
from fl.audit.archive import course_of, describe
from fl.audit.shares import fitted
from fl.config import build, choose, group, plain
from fl.contracts import Algorithm, PrivacyPlan, Reply, Request, Unit
from fl.data.schema import Schema
from fl.data.schema_file import from_plain, to_plain
from fl.doors import Training
from fl.errors import InputError
from fl.events import Composed, PrivacyEvent, Repeated
from fl.federation.wire import reply_bytes, request_bytes
from fl.models.parameters import entries, parameters
from fl.privacy import BrandAgg, CustomerPrivacy, NoPrivacy, Plan, Summing
from fl.privacy.accounting import epsilon
from fl.privacy.proposal import Proposal
from fl.privacy.secagg.identity import Json, SignedPlan, bind
from fl.privacy.secagg.terms import draft
from fl.round import price
from fl.seeds import torch_generator
from fl.tasks import TASKS, Trained

PLAIN = "plain/1"  # the protocol of a run without a secure sum
MOST_ENTRIES = 20_000_000  # numbers in a model that a brand builds for a coordinator
MOST_ROUNDS = 10_000


@dataclass(frozen=True)
class Agreed:
    """A run's content, read. Everything in it is public.

    Attributes:
        content: what is signed.
        name: of the task.
        task, algorithms, plan, training: the plug-ins; ``train`` is the kind that learns.
        rounds, seed, occasion: of the run; see ``clients/node.py``.
        brands: fewest brands in a sum.
    """

    content: Json
    name: str
    task: Trained[Any]
    algorithms: Mapping[str, Algorithm]
    plan: Plan
    training: Training
    rounds: int
    seed: int
    occasion: str
    brands: int

    @cached_property
    def signed(self) -> SignedPlan:
        """The content without signatures."""
        return SignedPlan(self.content)

    @property
    def protected(self) -> bool:
        """Whether updates are added by BrandAgg."""
        return self.content["protocol"] != PLAIN

    @cached_property
    def first(self) -> Arrays:
        """The coordinator's state before the first round."""
        model = self.task.model(torch_generator(self.seed, "model"))
        return self.algorithms["train"].init(parameters(model))

    @cached_property
    def event(self) -> PrivacyEvent:
        """What the whole run costs a customer."""
        return cost(self.algorithms["train"], self.first, self.plan, self.training, self.rounds)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the run reads, the label included, sorted."""
        names = [column.name for column in self.task.schema.columns]
        return tuple(sorted([*names, self.task.schema.label]))

    def proposal(self, name: str, requested_by: str) -> Proposal:
        """What a coordinator proposes for this content, unsigned; its run id holds the hash.

        Raises:
            ValueError: ``name`` is no name, or the accountant has no figure for the run.
        """
        if isinstance(self.plan, NoPrivacy):
            figure, delta, accountant, source, clip = float("inf"), 0.0, "pld", "secure", None
        else:
            delta, accountant = self.plan.delta, self.plan.accountant
            source, clip = self.plan.noise_source, self.plan.clip_norm
            figure = epsilon(accountant, self.event, delta)
        return Proposal(
            run=f"{name}/{self.signed.hash.hex()}",
            task=self.name,
            columns=self.columns,
            plan=self.plan.name,
            unit=self.plan.unit,
            event=self.event,
            epsilon=figure,
            delta=delta,
            accountant=accountant,
            noise_source=source,
            clip_norm=float("inf") if clip is None else clip,
            brands=self.brands,
            requested_by=requested_by,
        )


@dataclass(frozen=True, slots=True)
class Course:
    """What a coordinator puts together before it drafts a run.

    Attributes:
        options, architecture: the task's and the model's config.
        schema: the shared feature space.
        algorithm, plan, summing, training: the plug-ins; the plan as configured.
        rounds, seed, occasion: of the run.
    """

    options: Any
    architecture: Any
    schema: Schema
    algorithm: Algorithm
    plan: Plan
    summing: Summing
    training: Training
    rounds: int
    seed: int
    occasion: str

    def content(self, brands: int, *, run: bytes, coordinator: bytes) -> Json:
        """The content that ``brands`` brands are asked to sign; the plan gets its noise here.

        Raises:
            InputError: the plan needs a head count, or the secure sum cannot work.
        """
        task = self.options.task(self.schema, self.architecture)
        try:
            _bounded(task, self.rounds)
        except ValueError as error:
            text = str(error).rstrip(".")
            raise InputError("model, rounds", text, "make them smaller") from error
        first = self.algorithm.init(parameters(task.model(torch_generator(self.seed, "model"))))
        plan = self.plan.enrolled(brands)
        if plan.needs_headcount:
            raise InputError(
                "privacy.customers",
                "is not stated, and a deployed run asks no head count",
                "state how many customers a mean brand has, if that is public",
            )
        plan = plan.calibrated(
            lambda candidate: Composed(
                (
                    Composed(),
                    cost(self.algorithm, first, candidate, self.training, self.rounds),
                )
            )
        )
        kinds = {"train": self.algorithm}
        course = {
            **describe(kinds, plan),
            "task": plain(self.options),
            "model": plain(self.architecture),
            "schema": to_plain(self.schema),
            "training": plain(self.training),
            "rounds": self.rounds,
            "seed": self.seed,
            "occasion": self.occasion,
        }
        summing = fitted(self.summing, plan, kinds, first)
        if isinstance(summing, BrandAgg):
            try:
                summing.check(brands)
            except ValueError as error:
                raise InputError("secure_sum", str(error).rstrip("."), "change it") from error
            made = draft(summing, run=run, first=first, coordinator=coordinator, course=course)
            content: Mapping[str, object] = made.content
        else:
            content = {
                "protocol": PLAIN,
                "run": run.hex(),
                "first": digest(first),
                "coordinator": coordinator.hex(),
                "rules": {"name": "plain"},
                "course": course,
            }
        values: Json = json.loads(json.dumps(content))  # tuples and lists are one in what is signed
        return values


def read(content: object) -> Agreed:
    """The run that ``content`` stands for, built from it alone.

    Raises:
        ValueError: it is no content of a run, or its first state does not follow from it.
    """
    if not isinstance(content, dict):
        raise ValueError("Expected the content of a run.")
    course = content.get("course")
    if not isinstance(course, dict):
        raise ValueError("Expected a course.")
    try:
        followed = course_of(course)
        options = choose(TASKS, group(course.get("task"), "task"), "task")
        model = choose(options.models, group(course.get("model"), "model"), "model")
        training = build(Training, group(course.get("training"), "training"), "training")
        schema = from_plain(group(course.get("schema"), "schema"))
    except InputError as error:
        raise ValueError(str(error)) from error
    rounds, seed, occasion = (course.get(key) for key in ("rounds", "seed", "occasion"))
    if type(rounds) is not int or rounds < 1 or type(seed) is not int:
        raise ValueError("Expected rounds >= 1 and a seed.")
    task = options.task(schema, model)
    _bounded(task, rounds)
    if not isinstance(occasion, str) or set(followed.algorithms) != {"train"}:
        raise ValueError("Expected an occasion, and one algorithm that trains.")
    rules = content.get("rules")
    protected = content.get("protocol") != PLAIN
    fewest = rules.get("min_brands") if protected and isinstance(rules, dict) else 1
    agreed = Agreed(
        content,
        options.name,
        task,
        followed.algorithms,
        _plan(followed.plan),
        training,
        rounds,
        seed,
        occasion,
        fewest if type(fewest) is int else 1,
    )
    if agreed.plan.needs_hidden_updates and not protected:
        raise ValueError("Expected a secure sum: a single update has a share of the noise only.")
    if content.get("first") != digest(agreed.first):
        raise ValueError("Expected the first state that follows from the content.")
    return agreed


def ending(run: str, model: Arrays) -> bytes:
    """What a coordinator signs when a run is over: its id, and the model that it gives out."""
    return bind("finish", run.encode(), digest(model).encode())


def replying(run: str, request: Request, reply: Reply) -> bytes:
    """What a brand signs under the plain sum: the run, what it was asked, and its bare reply."""
    asked = request_bytes(run, request)
    return bind("reply", *(hashlib.sha256(raw).digest() for raw in (asked, reply_bytes(reply))))


def cost(
    algorithm: Algorithm, first: Arrays, plan: PrivacyPlan, training: Training, rounds: int
) -> PrivacyEvent:
    """What ``rounds`` rounds cost; nothing without a guarantee."""
    if plan.unit is Unit.NONE:
        return Composed()
    return Composed((Repeated(price(algorithm, first, plan=plan, training=training), rounds),))


def _bounded(task: Trained[Any], rounds: int) -> None:
    """Before a brand builds what a coordinator has signed: a model and rounds of some size."""
    size = entries(lambda: task.model(torch_generator(0, "model")))
    if size > MOST_ENTRIES or rounds > MOST_ROUNDS:
        raise ValueError(
            f"Expected a model of at most {MOST_ENTRIES:,} numbers and at most {MOST_ROUNDS:,} "
            f"rounds; these are {size:,} and {rounds:,}."
        )


def _plan(plan: PrivacyPlan) -> Plan:
    if isinstance(plan, NoPrivacy | CustomerPrivacy):
        return plan
    raise ValueError("Expected a privacy plan whose unit is a customer, or none.")
