"""Brands behind Flower's message API: who is there, and asking them.

A message has one array of bytes (``fl/federation/wire.py``); Flower never looks inside. Flower's
``send_and_receive`` sleeps three seconds between two looks, and its strategies die on one bad
reply; so this polls by itself, matches replies by the message they answer (the error that stands
for a dead node comes from another address), and a bad or missing reply is an absence.

A brand that stays silent is sent the same request again now and then: its process may have been
lost with it. A node answers a repeated step of a round from its memory (``clients/steps.py``);
offers, beginnings and endings are carried out again, which changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fl.contracts import NodeId, Reply, Request
from fl.errors import Code, Lost
from fl.federation.wire import reply_of, request_bytes

T = TypeVar("T")
QUERY = "query"  # Flower's kind of message for everything
_BODY = "crossbrand"
_SMALL = 2**20  # bytes
_log = logging.getLogger(__name__)


def record(body: bytes) -> RecordDict:
    """Bytes as the content of a Flower message.

    Flower moves every record, array and chunk by a request of its own, so what is small goes as one
    scalar; only what is large goes as an array, which Flower cuts into pieces.
    """
    if len(body) <= _SMALL:
        return RecordDict({_BODY: ConfigRecord({_BODY: body})})
    array = Array(np.frombuffer(body, np.uint8))
    return RecordDict({_BODY: ArrayRecord({_BODY: array})})


def body_of(content: RecordDict) -> bytes:
    """The bytes of :func:`record`.

    Raises:
        ValueError: something else is in it.
    """
    small, large = content.config_records.get(_BODY), content.array_records.get(_BODY)
    if small is not None and isinstance(body := small.get(_BODY), bytes):
        return body
    if large is None or _BODY not in large:
        raise ValueError("Expected a message of this package.")
    try:
        array = large[_BODY].numpy()
    except Exception as error:  # Flower's decoding of what a peer sent
        raise ValueError("Expected an array of bytes.") from error
    if array.dtype != np.uint8 or array.ndim != 1:
        raise ValueError("Expected an array of bytes.")
    return bytes(array.tobytes())


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: until a brand counts as silent, until it is asked again, between two looks.

    A brand that the server says is not there is waited for ``away`` seconds only.
    """

    reply: float = 120.0
    resend: float = 20.0
    poll: float = 0.2
    away: float = 10.0


@dataclass(frozen=True, slots=True)
class FlowerFederation:
    """Enrolled brands, at the node ids that Flower's server registered their keys under.

    Attributes:
        grid: Flower's.
        ids: node id by brand.
        run: in every request.
        patience: how long to wait.
    """

    grid: Grid
    ids: Mapping[NodeId, int]
    run: str
    patience: Patience = Patience()

    def nodes(self) -> Sequence[NodeId]:
        """All enrolled brands, sorted; one that is away is silent when asked."""
        return sorted(self.ids)

    def ask(self, requests: Mapping[NodeId, Request]) -> Mapping[NodeId, Reply]:
        """Ask all at once. Who sends nothing in time is missing; nonsense is ``MALFORMED``.

        Raises:
            Lost: Flower's server is away.
        """
        packed = {n: request_bytes(self.run, r) for n, r in requests.items() if n in self.ids}
        asked: dict[str, NodeId] = {}
        replies: dict[NodeId, Reply] = {}
        began = again = time.monotonic()
        while len(replies) < len(packed) and (gone := time.monotonic() - began) < (
            self.patience.reply if asked else self.patience.away
        ):
            if time.monotonic() >= again:
                again += self.patience.resend
                asked |= self._push({n: b for n, b in packed.items() if n not in replies})
            if gone > self.patience.away and not set(asked.values()) - set(replies):
                break  # who is left was never there
            waiting = [i for i, node in asked.items() if node not in replies]
            for message in _through(partial(self.grid.pull_messages, waiting)):
                node = asked.pop(message.metadata.reply_to_message_id, None)
                reply = None if node is None else _read(message)
                if node is not None and reply is not None:
                    replies.setdefault(node, reply)
            if len(replies) < len(packed):
                time.sleep(self.patience.poll)
        return replies

    def _push(self, packed: Mapping[NodeId, bytes]) -> dict[str, NodeId]:
        """Send; message id to brand. A brand whose node is not there is asked again later."""
        online = set(_through(self.grid.get_node_ids))
        here = [node for node in packed if self.ids[node] in online]
        ttl = 2 * self.patience.reply
        messages = [Message(record(packed[n]), self.ids[n], QUERY, ttl=ttl) for n in here]
        if not messages:
            return {}
        ids = _through(partial(self.grid.push_messages, messages))
        return {i: n for i, n in zip(ids, here, strict=True) if i}


def _through(call: Callable[[], Iterable[T]]) -> list[T]:
    """What Flower's client answers; it raises whatever its transport does."""
    try:
        return list(call())
    except Exception as error:
        raise Lost(type(error).__name__) from error


def _read(message: Message) -> Reply | None:
    """The reply in a message; None where Flower only says that the node is not there."""
    if message.has_error():
        _log.info("flower error %d", message.error.code)
        return None
    try:
        return reply_of(body_of(message.content))
    except Exception:  # whatever a peer can send, such as JSON too deep to read
        _log.info("a reply that is none")
        return Reply(Code.MALFORMED)
