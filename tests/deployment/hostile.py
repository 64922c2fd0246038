"""A brand that has changed its program: ``fl-node`` that lies in its first four rounds.

python -m tests.deployment.hostile start --home NODE
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from clients import service
from clients.cli import main
from clients.node import BrandNode
from fl.arrays import Arrays
from fl.contracts import Memory, Reply, Request
from fl.errors import Code

LIES = 4  # rounds; honest afterwards


def shape(reply: Reply) -> Reply:
    """One entry more in every array, and an array that nobody asked for."""
    longer = {n: np.append(x.ravel(), x.dtype.type(1)) for n, x in reply.arrays.items()}
    return Reply(Code.OK, {**longer, "more": np.ones(3)}, reply.config)


def not_a_number(reply: Reply) -> Reply:
    """NaN wherever there was a number."""
    return Reply(Code.OK, _filled(reply, np.nan), reply.config)


def huge(reply: Reply) -> Reply:
    """The weight of a trillion customers, and numbers to match."""
    config = {**reply.config, "weight": 1e12}
    return Reply(Code.OK, _filled(reply, 1e30), config)


def nonsense(reply: Reply) -> Reply:
    """Text where there were bytes and numbers."""
    return Reply(Code.OK, {}, {**dict.fromkeys(reply.config, "zq"), "x" * 100: True})


def _filled(reply: Reply, value: float) -> Arrays:
    return {n: np.full(x.shape, value) for n, x in reply.arrays.items()}


_LIES: dict[int, Callable[[Reply], Reply]] = {1: shape, 2: not_a_number, 3: huge, 4: nonsense}
_honest = service.step


def _step(
    node: BrandNode[Any], keep: Callable[[Memory], None], run: str, request: Request
) -> Reply:
    reply = _honest(node, keep, run, request)
    if request.kind != "train" or request.number not in _LIES:
        return reply
    return _LIES[request.number](reply)


if __name__ == "__main__":
    service.step = _step  # the lies are signed, as a brand that lies would sign them
    main()
