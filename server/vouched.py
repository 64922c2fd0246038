"""Under the plain sum: a reply counts only if its brand signed it.

Flower's server stores replies by what they say of themselves, so a registered brand that guessed
two ids could answer for another one. BrandAgg signs all that matters by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fl.agreement import replying
from fl.contracts import Federation, NodeId, Reply, Request
from fl.errors import Code
from fl.privacy.secagg.identity import Roster, signed


@dataclass(frozen=True, slots=True)
class Vouched:
    """A federation whose brands sign what they reply.

    Attributes:
        inner: who is really asked.
        roster: the brands' identity keys.
        run: the run's id.
    """

    inner: Federation
    roster: Roster
    run: str

    def nodes(self) -> Sequence[NodeId]:
        """As the inner one."""
        return self.inner.nodes()

    def ask(self, requests: Mapping[NodeId, Request]) -> Mapping[NodeId, Reply]:
        """Ask; who did not sign its update is absent with ``key.signature``.

        A refusal needs no signature: whoever forges one could as well keep a reply back.
        """
        replies = self.inner.ask(requests)
        return {n: self._checked(n, requests[n], r) for n, r in replies.items() if n in requests}

    def _checked(self, node: NodeId, request: Request, reply: Reply) -> Reply:
        if reply.code is not Code.OK:
            return reply
        config, key = dict(reply.config), self.roster.keys.get(node)
        signature = config.pop("signature", None)
        bare = replace(reply, config=config)
        if key is None or not isinstance(signature, bytes):
            return Reply(Code.BAD_SIGNATURE)
        good = signed(key, replying(self.run, request, bare), signature)
        return bare if good else Reply(Code.BAD_SIGNATURE)
