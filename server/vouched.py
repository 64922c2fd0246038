"""Under the plain sum: a reply counts only if its brand signed it.

Flower's server stores replies by what they say of themselves, so a registered brand that guessed
two ids could answer for another one. With its reply a brand signs how far its ledger has come, and
is told how far it was seen. BrandAgg does all of this by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fl.agreement import replying
from fl.contracts import Federation, Mark, NodeId, Reply, Request
from fl.errors import Code, Refused
from fl.privacy.secagg.identity import Roster, signed
from fl.privacy.secagg.peers import take, told
from fl.privacy.secagg.wire import MARK, blob, unpacked


@dataclass(frozen=True, slots=True)
class Vouched:
    """A federation whose brands sign what they reply.

    Attributes:
        inner: who is really asked.
        roster: the brands' identity keys.
        run: the run's id.
        marks: how far the brands' ledgers had come; kept up to date.
    """

    inner: Federation
    roster: Roster
    run: str
    marks: dict[bytes, Mark]

    def nodes(self) -> Sequence[NodeId]:
        """As the inner one."""
        return self.inner.nodes()

    def ask(self, requests: Mapping[NodeId, Request]) -> Mapping[NodeId, Reply]:
        """Ask; who did not sign its update is absent with ``key.signature``, and who has a shorter
        ledger than before with ``ledger.set-back``.

        A refusal needs no signature: whoever forges one could as well keep a reply back.
        """
        asked = {n: self._telling(n, request) for n, request in requests.items()}
        replies = self.inner.ask(asked)
        return {n: self._checked(n, asked[n], r) for n, r in replies.items() if n in asked}

    def _telling(self, node: NodeId, request: Request) -> Request:
        mark = told(self.marks, self.roster.keys.get(node, b""))
        return replace(request, config={**request.config, "mark": mark})

    def _checked(self, node: NodeId, request: Request, reply: Reply) -> Reply:
        if reply.code is not Code.OK:
            return reply
        config, key = dict(reply.config), self.roster.keys.get(node)
        signature = config.pop("signature", None)
        bare = replace(reply, config=config)
        if key is None or not isinstance(signature, bytes):
            return Reply(Code.BAD_SIGNATURE)
        if not signed(key, replying(self.run, request, bare), signature):
            return Reply(Code.BAD_SIGNATURE)
        try:
            take(self.marks, key, unpacked(blob(config, "mark", MARK)))
        except Refused as refusal:
            return Reply(refusal.code)
        except ValueError:
            return Reply(Code.MALFORMED)
        return bare
