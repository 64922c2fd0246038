"""The enrolled brands, and what each of them is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fl.errors import InputError
from fl.privacy.secagg.identity import KEY, Identity, Roster
from fl.privacy.signing import SigningKey
from fl.private_files import read_private
from fl.report.files import atomic_write
from fl.welcome import Card, Welcome, load_card, load_welcome, to_bytes
from server.bundle import bundle_hash
from server.certificates import brand_certificate, days_left, is_of
from server.home import Home, read_config

EARLY = 60  # days before its end a certificate is issued anew
URGENT = 14  # days: people have to be called


def cards(home: Home) -> tuple[Card, ...]:
    """All enrolled brands, by name."""
    return tuple(load_card(path) for path in sorted(home.brands.glob("*.json")))


def roster(enrolled: Sequence[Card]) -> Roster:
    """The closed list that every brand pins.

    Raises:
        InputError: nobody is enrolled.
    """
    if not enrolled:
        raise InputError("brands", "none is enrolled", "fl-server enrol their cards")
    return Roster({card.name: bytes.fromhex(card.identity) for card in enrolled})


def welcome(home: Home, card: Card, enrolled: Sequence[Card], days: int = EARLY) -> Welcome:
    """What one brand is told. The certificate that it was given stays while it is good for more
    than ``days`` days, so that a welcome without news is the same file again.
    """
    return Welcome(
        name=card.name,
        address=read_config(home).address,
        ca=home.key("ca.pem").read_text(),
        certificate=_given(home, card, days)
        or brand_certificate((home.key("ca.key"), home.key("ca.pem")), card.name, card.supernode),
        signing=SigningKey.load(home.key("signing.pem")).public,
        identity=load_identity(home).public.hex(),
        roster=roster(enrolled).to_json(),
        bundles=(bundle_hash(home),),
    )


def write_welcomes(home: Home, days: int = EARLY) -> Iterator[tuple[Path, Welcome, bool]]:
    """Every enrolled brand's welcome: its file, what it says, and whether that is news.

    Raises:
        InputError: nobody is enrolled, or a key cannot be read.
    """
    enrolled = cards(home)
    if not enrolled:
        raise InputError("brands", "none is enrolled", "fl-server enrol their cards")
    for card in enrolled:
        made, path = welcome(home, card, enrolled, days), home.welcomes / f"{card.name}.json"
        raw = to_bytes(made) + b"\n"
        news = not path.exists() or path.read_bytes() != raw
        if news:
            atomic_write(path, raw)
        yield path, made, news


def load_identity(home: Home) -> Identity:
    """The coordinator's key in the secure sum.

    Raises:
        InputError: missing, readable by others, or of another length.
    """
    path = home.key("identity.key")
    return Identity.from_bytes(read_private(path, f"key {path}", length=KEY))


def _given(home: Home, card: Card, days: int) -> str:
    """The certificate in the brand's stored welcome, if it is still good; nothing otherwise."""
    path, authority = home.welcomes / f"{card.name}.json", home.key("ca.pem")
    if not path.exists():
        return ""
    try:
        stored = load_welcome(path).certificate
        good = is_of(stored.encode(), authority, card.supernode) and (
            days_left(stored.encode()) > days
        )
    except InputError:  # a file that was cut is written anew
        return ""
    return stored if good else ""
