"""The sum without protection: the coordinator sees every brand's update and adds them.

It is the reference that a protected sum must equal, and what a trusted coordinator may use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import (
    Algorithm,
    BrandSum,
    Collected,
    Federation,
    Memory,
    NodeId,
    PrivacyPlan,
    Reply,
    Request,
    SecureSum,
    Update,
    Witness,
)
from fl.errors import Code


@dataclass(frozen=True, slots=True)
class PlainSum:
    """Replies are checked one by one; a bad one makes its brand absent, never the round fail.

    Guarantee: none towards the coordinator, which sees each update.
    """

    name: str = "plain"

    @property
    def hides_updates(self) -> bool:
        """The coordinator sees each one. Guarantee: none."""
        return False

    def enrol(
        self,
        names: Sequence[NodeId],
        *,
        algorithms: Mapping[str, Algorithm],
        plan: PrivacyPlan,
        first: Arrays,
        witnesses: Mapping[NodeId, Witness] | None = None,
        record: Callable[[str], None] = lambda line: None,
        keep: Callable[[npt.NDArray[np.uint32]], None] = lambda total: None,
        course: Mapping[str, object] | None = None,
    ) -> tuple[SecureSum, Mapping[NodeId, BrandSum]]:
        """Both halves are the same, and need nothing. Guarantee: none."""
        return self, {name: self for name in names}

    def collect(
        self, federation: Federation, requests: Mapping[NodeId, Request], zero: Arrays
    ) -> Collected:
        """Add the replies of the brands that sent a well-formed one, in the order of their ids."""
        replies = federation.ask(requests)
        sums, weight = zero, 0.0
        survivors: list[NodeId] = []
        absent: dict[NodeId, Code] = {}
        for node in sorted(requests):
            code = _check(replies.get(node), zero)
            if code is not Code.OK:
                absent[node] = code
                continue
            reply = replies[node]
            sums = arrays.add(sums, reply.arrays)
            weight += float(reply.config["weight"])
            survivors.append(node)
        return Collected(Update(sums, weight), tuple(survivors), absent)

    def answer(self, request: Request, memory: Memory) -> Reply | None:
        """There are no protocol steps and nothing to check."""
        return None

    def protect(self, request: Request, update: Update, memory: Memory) -> Reply:
        """The update in clear."""
        return Reply(Code.OK, arrays.cast(update.sums, np.float64), {"weight": update.weight})


def _check(reply: Reply | None, zero: Arrays) -> Code:
    if reply is None:
        return Code.SILENT
    if reply.code is not Code.OK:
        return reply.code
    weight = reply.config.get("weight")
    if not isinstance(weight, float) or not arrays.same_shape(reply.arrays, zero):
        return Code.MALFORMED
    if not math.isfinite(weight) or not arrays.finite(reply.arrays):
        return Code.NOT_FINITE
    return Code.OK if weight >= 0 else Code.MALFORMED
