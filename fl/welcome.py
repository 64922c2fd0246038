"""What brands and coordinator tell each other once, before any run, and check by telephone.

A brand sends its :class:`Card`; the coordinator puts all cards on a roster and sends every brand a
:class:`Welcome`. Both have a fingerprint, which is read aloud over a channel of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fl.errors import InputError
from fl.privacy.entries import canonical
from fl.privacy.secagg.identity import Roster

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")  # of a brand; it names files


@dataclass(frozen=True, slots=True)
class Card:
    """What a coordinator needs to know of a brand. Public.

    Attributes:
        name: the brand's id.
        identity, ledger: Ed25519 public keys, 64 hex digits.
        supernode: P-384 public key in OpenSSH format.
    """

    name: str
    identity: str
    ledger: str
    supernode: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 in groups of four hex digits."""
        return grouped(to_bytes(self))


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a brand needs to know of the coordinator and the other brands. Public.

    Attributes:
        name: of the brand that is welcomed.
        address: ``host:port`` of the fleet paths.
        ca, certificate: PEM: the coordinator's CA; this brand's certificate for its own
            ``supernode`` key, for mutual TLS.
        signing, identity: the coordinator's Ed25519 keys: under proposals; in the secure sum.
        roster: as JSON values; its hash is what a node pins.
        bundles: SHA-256 of the bundles a node may act on.
    """

    name: str
    address: str
    ca: str
    certificate: str
    signing: str
    identity: str
    roster: Mapping[str, object]
    bundles: tuple[str, ...]

    @property
    def brands(self) -> Roster:
        """The roster."""
        return Roster.from_json(self.roster)

    @property
    def fingerprint(self) -> str:
        """SHA-256 in groups of four hex digits."""
        return grouped(to_bytes(self))


def to_bytes(what: Card | Welcome) -> bytes:
    """Canonical JSON.

    >>> b'"name":"a"' in to_bytes(Card("a", "", "", ""))
    True
    """
    values = dataclasses.asdict(what)
    return canonical({k: list(v) if isinstance(v, tuple) else v for k, v in values.items()})


def grouped(content: bytes) -> str:
    """The SHA-256 of ``content`` as people read it aloud.

    >>> grouped(b"")[:14]
    'e3b0 c442 98fc'
    """
    digest = hashlib.sha256(content).hexdigest()
    return " ".join(digest[i : i + 4] for i in range(0, len(digest), 4))


def same_fingerprint(said: str, fingerprint: str) -> bool:
    """Whether what was read aloud is the fingerprint; spaces and capitals do not matter.

    >>> same_fingerprint("E3B0c442", "e3b0 c442")
    True
    """
    return said.replace(" ", "").lower() == fingerprint.replace(" ", "")


def load_card(path: Path) -> Card:
    """A card file.

    Raises:
        InputError: it cannot be read or is no card.
    """
    try:
        match json.loads(path.read_bytes()):
            case {
                "name": str(name),
                "identity": str(identity),
                "ledger": str(ledger),
                "supernode": str(supernode),
            } if NAME.fullmatch(name):
                return Card(name, identity, ledger, supernode)
    except (OSError, ValueError) as error:
        raise InputError(f"card {path}", "cannot be read", "make it with fl-node init") from error
    raise InputError(f"card {path}", "is not a card", "make it with fl-node init")


def load_welcome(path: Path) -> Welcome:
    """A welcome file.

    Raises:
        InputError: it cannot be read or is no welcome.
    """
    remedy = "take it up with fl-node join"
    try:
        match values := json.loads(path.read_bytes()):
            case {
                "name": str(),
                "address": str(),
                "ca": str(),
                "certificate": str(),
                "signing": str(),
                "identity": str(),
                "roster": dict(roster),
                "bundles": list(bundles),
                **rest,
            } if not rest:
                Roster.from_json(roster)
                return Welcome(**{**values, "bundles": tuple(str(b) for b in bundles)})
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"welcome {path}", "cannot be read", remedy) from error
    raise InputError(f"welcome {path}", "is not a welcome", remedy)
