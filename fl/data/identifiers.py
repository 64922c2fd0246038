"""Normal forms of identifiers: two ways to write one phone number or address become one text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_EMAIL = re.compile(r"[^@\s]{1,64}@([^@\s.]+\.)+[^@\s.]{2,}")
_SPACES = re.compile(r"[\s\-./()]+")

Normal = Callable[[str], str | None]


def email(text: str) -> str | None:
    """Lower case, the domain in its ASCII form; None where it is no address.

    >>> email(" Ann.Lee@Example.COM "), email("ann@bücher.example"), email("none")
    ('ann.lee@example.com', 'ann@xn--bcher-kva.example', None)
    """
    folded = unicodedata.normalize("NFKC", text).strip().lower()
    if len(folded) > 254 or not _EMAIL.fullmatch(folded):
        return None
    if folded.isascii():
        return folded
    local, _, domain = folded.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        return None


def member(text: str) -> str | None:
    """Capitals, without spaces and separators.

    >>> member("ab 12-3")
    'AB123'
    """
    return _SPACES.sub("", unicodedata.normalize("NFKC", text)).upper() or None


def open_id(text: str) -> str | None:
    """As it is (case counts), without spaces around it."""
    return text.strip() or None


def phone(region: str) -> Normal:
    """A function from a phone number, as people write it, to E.164; None where it is none.

    Args:
        region: whose numbers are written without a country code, such as ``CN``; may be empty.

    >>> normal = phone("CN")
    >>> normal("0086 138-1234-5678"), normal("138 1234 5678"), normal("110")
    ('+8613812345678', '+8613812345678', None)
    """
    import phonenumbers

    def parsed(text: str) -> str | None:
        try:
            number = phonenumbers.parse(unicodedata.normalize("NFKC", text), region or None)
        except phonenumbers.NumberParseException:
            return None
        if not phonenumbers.is_valid_number(number):
            return None
        return f"+{number.country_code}{phonenumbers.national_significant_number(number)}"

    plain = _plain(region)
    return (lambda text: plain(text) or parsed(text)) if plain else parsed


def _plain(region: str) -> Normal | None:
    """The region's own numbers without a trunk prefix: nothing to interpret, ten times as fast.

    By the library's own patterns; what they do not settle is None, for the library to parse.
    """
    import phonenumbers

    about = phonenumbers.PhoneMetadata.metadata_for_region(region, None) if region else None
    if about is None:
        return None
    known = [desc.national_number_pattern for desc in (about.mobile, about.fixed_line) if desc]
    general = about.general_desc.national_number_pattern if about.general_desc else None
    if not general or not any(known):
        return None
    kind = re.compile("|".join(f"(?:{pattern})" for pattern in known if pattern))
    whole = re.compile(general)
    trunk = re.compile(about.national_prefix_for_parsing or r"(?!)")
    start = f"+{about.country_code}"

    def plain(text: str) -> str | None:
        digits = _SPACES.sub("", text).removeprefix(start)
        if not (digits.isascii() and digits.isdigit()) or trunk.match(digits):
            return None
        return start + digits if whole.fullmatch(digits) and kind.fullmatch(digits) else None

    return plain
