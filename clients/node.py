"""A brand's node: one request in, one reply out, and never an exception across the wire."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias

from fl.brand import LocalBrand
from fl.contracts import (
    Algorithm,
    BrandSum,
    Ledger,
    Memory,
    NodeId,
    PrivacyPlan,
    R,
    Reply,
    Request,
    Task,
)
from fl.doors import Answer, Ask, Training
from fl.errors import Code, Refused
from fl.round import contribution

_log = logging.getLogger(__name__)

Conversation: TypeAlias = Generator[tuple[LocalBrand[R], Ask], Answer, Reply]


@dataclass(slots=True)
class BrandNode(Generic[R]):
    """Everything one brand brings to a run.

    Attributes:
        name: the brand's id.
        splits: its encoded rows by split.
        task, plan, summing, training: as agreed for the run; public.
        algorithms: the brand's half of each kind of request it serves.
        seed: of the run; orders batches, never privacy noise.
        occasion: tells the arms of a benchmark apart in the derived seeds.
        ledger: of this run; needed by a plan that promises customers something.
        memory: what is kept between requests.
        debug: re-raise instead of answering with a code; for researchers, never in deployment.
    """

    name: NodeId
    splits: Mapping[str, R]
    task: Task[R]
    plan: PrivacyPlan
    summing: BrandSum
    training: Training
    algorithms: Mapping[str, Algorithm]
    seed: int
    occasion: str = "run"
    ledger: Ledger | None = None
    memory: Memory = field(default_factory=Memory)
    debug: bool = False

    def handle(self, request: Request) -> Reply:
        """Answer one request, each ask by itself."""
        conversation = self.converse(request)
        try:
            brand, ask = next(conversation)
            while True:
                try:
                    answer = brand.answer(ask)
                except Exception as error:
                    brand, ask = conversation.throw(error)
                else:
                    brand, ask = conversation.send(answer)
        except StopIteration as finished:
            reply: Reply = finished.value
            return reply

    def converse(self, request: Request) -> Conversation[R]:
        """Answer one request; who drives this sends, or throws, the answer to each ask.

        The text of an exception stays in this brand's log.
        """
        try:
            brand, contributing = self._begun(request)
            try:
                ask = next(contributing)
                while True:
                    ask = contributing.send((yield brand, ask))
            except StopIteration as finished:
                reply: Reply = finished.value
                return reply
        except Refused as refusal:
            return Reply(refusal.code)
        except Exception:
            if self.debug:
                raise
            _log.exception("brand %s failed in round %d", self.name, request.number)
            return Reply(Code.FAILED)

    def _begun(self, request: Request) -> tuple[LocalBrand[R], Generator[Ask, Answer, Reply]]:
        algorithm = self.algorithms.get(request.kind)
        if algorithm is None:
            raise Refused(Code.UNKNOWN_REQUEST)
        brand = LocalBrand(
            self.name,
            self.splits,
            self.task,
            self.plan,
            self.training,
            self.seed,
            f"{self.occasion}/{request.kind}/{request.number}",
            self.ledger,
            self.memory.personal,
        )
        return brand, contribution(
            request,
            memory=self.memory,
            algorithm=algorithm,
            plan=self.plan,
            summing=self.summing,
        )
