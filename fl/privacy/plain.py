"""The sum without protection: the coordinator sees every brand's update and adds them.

It is the reference that a protected sum must equal, and what a trusted coordinator may use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
from fl.privacy.parameters import RUN_STATE


@dataclass(frozen=True, slots=True)
class PlainSum:
    """Replies are checked one by one; a bad one makes its brand absent, never the round fail.

    Attributes:
        most_weight: a reply that claims more is bad; of the plan, see ``PrivacyPlan.most_weight``.

    Guarantee: none towards the coordinator, which sees each update.
    """

    name: str = "plain"
    most_weight: float = field(default=math.inf, metadata=RUN_STATE)

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
        """Both halves are the same; a weight beyond the plan's is refused. Guarantee: none."""
        bounded = replace(self, most_weight=plan.most_weight)
        return bounded, {name: bounded for name in names}

    def collect(
        self, federation: Federation, requests: Mapping[NodeId, Request], zero: Arrays
    ) -> Collected:
        """Add the replies of the brands that sent a well-formed one, in the order of their ids."""
        replies = federation.ask(requests)
        absent: dict[NodeId, Code] = {}
        formed: list[NodeId] = []
        for node in sorted(requests):
            code = _check(replies.get(node), zero, self.most_weight)
            if code is Code.OK:
                formed.append(node)
            else:
                absent[node] = code
        total = _total([replies[node] for node in formed], zero)
        if not arrays.finite(total.sums):  # so some reply is not, or all together are too large
            for node in [node for node in formed if not arrays.finite(replies[node].arrays)]:
                absent[node] = Code.NOT_FINITE
                formed.remove(node)
            total = _total([replies[node] for node in formed], zero)
        return Collected(total, tuple(formed), dict(sorted(absent.items())))

    def answer(self, request: Request, memory: Memory) -> Reply | None:
        """There are no protocol steps and nothing to check."""
        return None

    def protect(self, request: Request, update: Update, memory: Memory) -> Reply:
        """The update in clear."""
        return Reply(Code.OK, arrays.cast(update.sums, np.float64), {"weight": update.weight})


def _total(replies: Sequence[Reply], zero: Arrays) -> Update:
    """The sum of well-formed replies, in this order."""
    if not replies:
        return Update(zero, 0.0)
    sums = {n: np.array(x, np.float64) for n, x in sorted(replies[0].arrays.items())}
    for name, total in sums.items():
        for reply in replies[1:] if total.size else ():
            np.add(total, reply.arrays[name], out=total)
    return Update(sums, sum(float(reply.config["weight"]) for reply in replies))


def _check(reply: Reply | None, zero: Arrays, most: float) -> Code:
    """What is wrong with a reply, but for entries that are not finite."""
    if reply is None:
        return Code.SILENT
    if reply.code is not Code.OK:
        return reply.code
    weight = reply.config.get("weight")
    if not isinstance(weight, float) or not arrays.same_shape(reply.arrays, zero):
        return Code.MALFORMED
    if any(x.dtype.kind != "f" for x in reply.arrays.values()):
        return Code.MALFORMED
    if not math.isfinite(weight):
        return Code.NOT_FINITE
    return Code.OK if 0 <= weight <= most else Code.MALFORMED
