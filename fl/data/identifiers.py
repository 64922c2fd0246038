"""Normal forms of identifiers: two ways to write one phone number or address become one text."""

from __future__ import annotations

import re
import unicodedata

_EMAIL = re.compile(r"[^@\s]{1,64}@([^@\s.]+\.)+[^@\s.]{2,}")
_SPACES = re.compile(r"[\s\-./()]+")


def phone(text: str, region: str) -> str | None:
    """E.164, or None where it is no possible number.

    >>> phone("0086 138-1234-5678", "CN"), phone("13812345678", "CN"), phone("110", "CN")
    ('+8613812345678', '+8613812345678', None)
    """
    import phonenumbers

    try:
        number = phonenumbers.parse(unicodedata.normalize("NFKC", text), region or None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return f"+{number.country_code}{phonenumbers.national_significant_number(number)}"


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
