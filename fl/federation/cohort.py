"""Many simulated brands in lockstep: what they ask at the same time is answered together.

Every brand's half of a round is a conversation that waits at each ask. All conversations are
advanced until they wait; then one function answers all that is asked (``fl/cohort``). Neither the
algorithms nor the coordinator know.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from fl.contracts import NodeId, Reply, Request

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CohortFederation(Generic[Asked, Answered]):
    """``{brand: its half of a round}``; one that raises is a silent brand, as in-process.

    Attributes:
        halves: begins a brand's answer to a request.
        together: answers, or what went wrong, in the order of what was asked.
    """

    halves: Mapping[NodeId, Callable[[Request], Generator[Asked, Answered, Reply]]]
    together: Callable[[Sequence[Asked]], Sequence[Answered | Exception]]

    def nodes(self) -> Sequence[NodeId]:
        """All brands, sorted."""
        return sorted(self.halves)

    def ask(self, requests: Mapping[NodeId, Request]) -> Mapping[NodeId, Reply]:
        """Ask all brands at once; who raises or is unknown is missing from the answer."""
        with collector_paused():
            return self._ask(requests)

    def _ask(self, requests: Mapping[NodeId, Request]) -> Mapping[NodeId, Reply]:
        replies: dict[NodeId, Reply] = {}
        waiting: dict[NodeId, Generator[Asked, Answered, Reply]] = {}
        asked: list[Asked] = []

        def advanced(node: NodeId, go_on: Callable[[], Asked]) -> bool:
            """Whether the brand waits for another answer."""
            try:
                asked.append(go_on())
                return True
            except StopIteration as finished:
                replies[node] = finished.value
            except Exception:
                _log.exception("brand %s was lost in round %d", node, requests[node].number)
            return False

        for node in sorted(requests):
            if node in self.halves:
                conversation = self.halves[node](requests[node])
                if advanced(node, conversation.__next__):
                    waiting[node] = conversation
        while waiting:
            answers = self.together(asked)
            asked, still = [], {}
            for (node, conversation), answer in zip(waiting.items(), answers, strict=True):
                if isinstance(answer, Exception):
                    go_on = partial(conversation.throw, answer)
                else:
                    go_on = partial(conversation.send, answer)
                if advanced(node, go_on):
                    still[node] = conversation
            waiting = still
        return replies


@contextmanager
def collector_paused() -> Iterator[None]:
    """No search for cycles meanwhile: hundreds of conversations start one after another, and each
    search walks all of a process's objects (tens of milliseconds beside torch)."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
