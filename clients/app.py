"""Flower's ``ClientApp`` around a brand's node: a message in, a message out, nothing else.

The node that brands run (``clients/supernode.py``) calls it in one long-lived process. It also runs
in Flower's own ``flower-supernode``, where every message may find a new process: all state is in
the node's folder, which the environment variable ``FL_NODE_HOME`` names.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.home import Home
from clients.service import Service, opened
from fl.contracts import Reply
from fl.errors import Code
from fl.federation.flower import body_of, record
from fl.federation.wire import reply_bytes, request_of

_log = logging.getLogger(__name__)

app = ClientApp()


def answered(service: Service, message: Message) -> bytes:
    """The reply to a Flower message; an exception never leaves as text."""
    try:
        run, request = request_of(body_of(message.content))
    except Exception:  # whatever a peer can send
        _log.exception("a message that is none")
        return reply_bytes(Reply(Code.BAD_REQUEST))
    return reply_bytes(service.answer(run, request))


@lru_cache(maxsize=1)
def _service(folder: str) -> Service:
    return opened(Home(Path(folder)))


@app.query()
def query(message: Message, context: Context) -> Message:
    """Everything travels as Flower's ``query``."""
    service = _service(os.environ.get("FL_NODE_HOME") or "fl-node")
    return Message(record(answered(service, message)), reply_to=message)
