"""Both sides of ``runtime=ray``: what an actor does with a message, and whoever asks.

An actor answers with the code of a deployed node (``clients/steps.py``). It remembers nothing: the
brand, its memory and its ledger are at the desk (``desk.py``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.node import BrandNode
from clients.steps import step
from experiments.at_rest import AtRest, Booking
from experiments.desk import Place
from fl.contracts import Mark, Memory, NodeId, Reply, Request
from fl.errors import Code, Refused
from fl.events import PrivacyEvent
from fl.federation.flower import FlowerFederation, body_of, record
from fl.federation.wire import reply_bytes, request_of

DESK = "crossbrand-fl desk"
_log = logging.getLogger(__name__)

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """In an actor: a message for whichever brand sits at this node."""
    torch.set_num_threads(1)
    run, request = request_of(body_of(message.content))
    if not run:  # only to see who is there
        here = Reply(Code.OK, {}, {"process": os.getpid()})
        return Message(record(reply_bytes(here)), reply_to=message)
    desk = ray.get_actor(DESK)
    (seated,), memory = ray.get(desk.take.remote(run, context.node_id))
    node: BrandNode[Any] = ray.get(seated)
    node.memory = memory
    keep = partial(_keep, desk, run, context.node_id)
    return Message(record(reply_bytes(step(node, keep, run, request))), reply_to=message)


def _keep(desk: Any, run: str, place: Place, memory: Memory) -> None:
    ray.get(desk.keep.remote(run, place, memory))


@dataclass(frozen=True, slots=True)
class AtDesk:
    """A ledger at rest that actors write to through the desk, from any machine of a cluster."""

    at_rest: AtRest

    @property
    def mark(self) -> Mark:
        """How far it has come."""
        mark: Mark = ray.get(ray.get_actor(DESK).mark.remote(self.at_rest))
        return mark

    def commit(self, run: str, occasion: str, event: PrivacyEvent) -> None:
        """Book one round; on disk before this returns."""
        booked = ray.get_actor(DESK).commit.remote(self.at_rest, run, occasion, event)
        code: Code | None = ray.get(booked)
        if code is not None:
            raise Refused(code)

    def refuse(self, code: Code, evidence: str, run: str = "") -> None:
        """Record that a request was turned down."""
        ray.get(ray.get_actor(DESK).refuse.remote(self.at_rest, code, evidence, run))

    def reserve(self, run: str, event: PrivacyEvent) -> None:
        """Book a run before it starts."""
        self.at_rest.reserve(run, event)

    def settle(self, run: str) -> None:
        """Close a run."""
        self.at_rest.settle(run)

    def lifetime(self) -> tuple[PrivacyEvent, ...]:
        """All that was booked."""
        return self.at_rest.lifetime()

    def run(self, run: str) -> Booking:
        """As a brand's doors see it."""
        return Booking(self, run)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class RayFederation:
    """The brands of one training, at the simulation's nodes.

    Attributes:
        brands: their nodes here; after each message they have the memory that the actor left.
        places: where each sits.
        flower: asks.
    """

    brands: Mapping[NodeId, BrandNode[Any]]
    places: Mapping[NodeId, Place]
    flower: FlowerFederation
    desk: Any

    def nodes(self) -> Sequence[NodeId]:
        """All brands, sorted."""
        return sorted(self.brands)

    def ask(self, requests: Mapping[NodeId, Request]) -> Mapping[NodeId, Reply]:
        """Ask all at once; a brand whose actor was lost is missing from the answer."""
        replies = self.flower.ask(requests)
        asked = [name for name in sorted(requests) if name in self.brands]
        places = [self.places[name] for name in asked]
        left = ray.get(self.desk.left.remote(self.flower.run, places))
        for name in asked:
            self.brands[name].memory = left[self.places[name]]
            if name not in replies:
                _log.warning("brand %s was lost in round %d", name, requests[name].number)
        return {name: replies[name] for name in asked if name in replies}
