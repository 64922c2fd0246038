"""The enrolled brands, and what each of them is told."""

from __future__ import annotations

from collections.abc import Sequence

from fl.privacy.secagg.identity import Identity, Roster
from fl.privacy.signing import SigningKey
from fl.welcome import Card, Welcome, load_card
from server.bundle import bundle_hash
from server.certificates import brand_certificate
from server.home import Home, read_config


def cards(home: Home) -> tuple[Card, ...]:
    """All enrolled brands, by name."""
    return tuple(load_card(path) for path in sorted(home.brands.glob("*.json")))


def roster(enrolled: Sequence[Card]) -> Roster:
    """The closed list that every brand pins."""
    return Roster({card.name: bytes.fromhex(card.identity) for card in enrolled})


def welcome(home: Home, card: Card, enrolled: Sequence[Card]) -> Welcome:
    """What one brand is told."""
    return Welcome(
        name=card.name,
        address=read_config(home).address,
        ca=home.key("ca.pem").read_text(),
        certificate=brand_certificate(
            (home.key("ca.key"), home.key("ca.pem")), card.name, card.supernode
        ),
        signing=SigningKey.load(home.key("signing.pem")).public,
        identity=load_identity(home).public.hex(),
        roster=roster(enrolled).to_json(),
        bundles=(bundle_hash(home),),
    )


def load_identity(home: Home) -> Identity:
    """The coordinator's key in the secure sum."""
    return Identity.from_bytes(home.key("identity.key").read_bytes())
