"""Brands as plain functions in this process: serial, deterministic, nothing to set up.

The idea is httpx's mock transport: a federation is a mapping from brand to handler.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fl.contracts import NodeId, Reply, Request

Handler = Callable[[Request], Reply]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InProcessFederation:
    """``{brand: handler}``; a handler that raises is a silent brand, as a lost process would be.

    Attributes:
        handlers: by brand.
        debug: raise what a handler raises; for researchers who look for a mistake.
    """

    handlers: Mapping[NodeId, Handler]
    debug: bool = False

    def nodes(self) -> Sequence[NodeId]:
        """All brands, sorted."""
        return sorted(self.handlers)

    def ask(self, requests: Mapping[NodeId, Request]) -> Mapping[NodeId, Reply]:
        """Ask one brand after the other; who raises or is unknown is missing from the answer."""
        replies = {}
        for node in sorted(requests):
            handler = self.handlers.get(node)
            if handler is None:
                continue
            try:
                replies[node] = handler(requests[node])
            except Exception:
                if self.debug:
                    raise
                _log.exception("brand %s was lost in round %d", node, requests[node].number)
        return replies
