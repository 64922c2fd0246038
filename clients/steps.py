"""One step of a round at a brand whose process may be lost at any moment.

Before a reply leaves, it is kept together with what the protocol must not forget. The same request
again gets the same reply, and touches nothing: that is how a reply that was lost with a process
costs no second budget.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from clients.node import BrandNode
from fl.contracts import Memory, Reply, Request
from fl.errors import Code
from fl.federation.wire import reply_bytes, reply_of, request_bytes

_REPLIED = "replied"  # in a memory: the last request's hash, and its reply


def step(node: BrandNode[Any], keep: Callable[[Memory], None], run: str, request: Request) -> Reply:
    """Answer one request of a run.

    Args:
        node: with the brand's memory as it was last kept.
        keep: stores the memory outside of this process; called before the reply is returned, and
            after a refusal too.
    """
    memory, asked = node.memory, hashlib.sha256(request_bytes(run, request)).digest()
    last = memory.protocol.get(_REPLIED, b"")
    if last.startswith(asked):
        return reply_of(last[len(asked) :])
    reply = node.handle(request)
    if reply.code is Code.OK:
        memory.protocol[_REPLIED] = asked + reply_bytes(reply)
    keep(memory)
    return reply
