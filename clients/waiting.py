"""What a node remembers while its coordinator asks for the same thing again and again.

People take their time and databases are mended, so an offer may come every second for a day. It is
read, priced and stored once; data that could not be read are tried again ever more rarely. All of
it may be lost with the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from clients.offer import Offer
from fl.data.examples import Made
from fl.errors import Code, Refused

MOST_OFFERS = 8  # that are kept
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds before data are read again that could not be


@dataclass(slots=True)
class Offered:
    """One offer.

    Attributes:
        raw, offer: as it came, and what it is.
        refused: the codes that were signed into the ledger.
    """

    raw: bytes
    offer: Offer
    refused: tuple[Code, ...] = ()


@dataclass(slots=True)
class _Unread:
    """Data that could not be read for a run, and are not read for it before ``until``."""

    pause: float
    until: float


@dataclass(slots=True)
class Waiting:
    """Of one node.

    Attributes:
        sizes: customers when a run was first offered. The data are read once for an offer, however
            often it comes while people think, so its answer is one, whatever arrives meanwhile.
        clock: seconds that never go back.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _offers: dict[str, Offered] = field(default_factory=dict)
    _unread: dict[str, _Unread] = field(default_factory=dict)

    def offered(self, run: str, raw: bytes, take: Callable[[bytes], Offer]) -> Offered:
        """The offer in ``raw``, by ``take`` where its bytes were not the last ones of the run."""
        known = self._offers.get(run)
        if known is None or known.raw != raw:
            self._offers.pop(run, None)
            known = self._offers[run] = Offered(raw, take(raw))
            while len(self._offers) > MOST_OFFERS:
                del self._offers[next(iter(self._offers))]
        return known

    def stored(self, run: str) -> Offer | None:
        """The offer of a run, if it is among the newest."""
        known = self._offers.get(run)
        return None if known is None else known.offer

    def read(self, run: str, read: Callable[[], Made]) -> Made:
        """The rows for a run, by ``read``; after a failure only when its pause is over.

        Raises:
            Refused: FAILED, while the pause lasts.
            Exception: whatever ``read`` raises; the next pause is then twice as long.
        """
        failed = self._unread.get(run)
        if failed is not None and self.clock() < failed.until:
            raise Refused(Code.FAILED)
        try:
            made = read()
        except Exception:
            pause = FIRST_PAUSE if failed is None else min(LONGEST_PAUSE, 2 * failed.pause)
            self._unread[run] = _Unread(pause, self.clock() + pause)
            raise
        self._unread.pop(run, None)
        return made

    def over(self, run: str) -> None:
        """Forget a run."""
        self.sizes.pop(run, None)
        self._offers.pop(run, None)
        self._unread.pop(run, None)
