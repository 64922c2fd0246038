"""What a run needs beside the data: keys, welcome, policy, the coordinator, a clock. Part of
``fl-node check``; nothing is changed, and nothing is sent but a question for the time.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial

from clients.consent import Line, budget_lines, offer_lines, policy_lines
from clients.home import Home, read_config
from clients.keys import expires, load_identity, read_secret
from fl.errors import InputError
from fl.privacy.signing import SigningKey
from fl.welcome import load_welcome

FEWEST_DAYS = 14  # that a certificate must be good for
_TURNED_AWAY = (400, 401, 403, 404, 495, 496)  # by the proxy, before Flower's server is asked


def looked(
    home: Home, columns: Collection[str], customers: int | None = None
) -> Iterator[tuple[bool, str]]:
    """Whether each thing is in order, and a line about it: PASS, WARN, SKIP or FAIL.

    Args:
        columns: those that the brand's data has.
        customers: how many it has; None where that was not counted.
    """
    for name, look in (
        ("keys", _keys),
        ("welcome", _welcome),
        ("policy", partial(policy_lines, columns=columns, customers=customers)),
        ("budget", budget_lines),
        ("roles", _roles),
        ("coordinator", _coordinator),
        ("offers", partial(offer_lines, customers=customers)),
    ):
        yield from _one(name, look, home)


def _one(
    name: str, look: Callable[[Home], Iterator[Line]], home: Home
) -> Iterator[tuple[bool, str]]:
    try:
        for verdict, line in look(home):
            yield verdict != "FAIL", f"{verdict}  {name:<12}{line}"
    except (InputError, OSError, ValueError) as error:
        yield False, f"FAIL  {name:<12}{' '.join(str(error).split())}"


def _keys(home: Home) -> Iterator[Line]:
    from clients.supernode import load_key

    read_config(home)
    load_identity(home)
    read_secret(home.key("federation.key"))
    SigningKey.load(home.key("ledger.pem"))
    load_key(home)
    yield "PASS", "four, for their owner only"


def _welcome(home: Home) -> Iterator[Line]:
    welcome = load_welcome(home.welcome)
    yield "PASS", f"{len(welcome.brands.names)} brands, roster {welcome.brands.hash.hex()[:16]}..."
    until = expires(welcome.certificate)
    days = (until - datetime.now(UTC)).days
    said = f"this brand's certificate is good until {until:%Y-%m-%d}, {days} days"
    if days < FEWEST_DAYS:
        said += "; ask the coordinator for a new welcome and take it up with fl-node join --replace"
    yield "FAIL" if days < FEWEST_DAYS else "PASS", said


def _roles(home: Home) -> Iterator[Line]:
    """Who may write what the brand agrees to: the operator's account should not."""
    here = os.geteuid()
    owners = {path.stat().st_uid for path in (home.policy, home.mapping)}
    if owners == {here}:
        yield (
            "PASS",
            f"{_account(here)} is operator and data steward in one; to part them, chown policy.toml"
            " and mapping.toml to the steward, readable by this account's group (chmod 640)",
        )
    else:
        names = " and ".join(sorted(map(_account, owners)))
        yield "PASS", f"{names} may write policy and mapping; {_account(here)} operates the node"


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _coordinator(home: Home) -> Iterator[Line]:
    """Asks as a node does, with an empty body: the proxy looks at certificate and path first."""
    import httpx

    from clients.supernode import load_key, tls

    welcome = load_welcome(home.welcome)
    url = f"https://{welcome.address}/v1/fleet/pull-messages"
    try:
        answer = httpx.post(url, content=b"", verify=tls(load_key(home), welcome), timeout=10)
    except httpx.HTTPError as error:
        raise InputError("coordinator", f"{type(error).__name__}: {error}", "ask it") from error
    if (status := answer.status_code) in _TURNED_AWAY:
        raise InputError(
            welcome.address,
            f"answers {status} to this brand's certificate",
            "see the welcome line; if its days are over, ask the coordinator for a new welcome",
        )
    if status >= 500:
        raise InputError(
            welcome.address,
            f"answers {status}: the server behind it is away",
            "ask the coordinator",
        )
    said = answer.headers.get("date")
    if said is None:
        yield "PASS", f"{welcome.address} answers, and does not say what time it is"
        return
    apart = abs((parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    if apart > 60:
        raise InputError("clock", f"is {apart:.0f} s away from the server's", "set it (NTP)")
    yield "PASS", f"{welcome.address} takes the certificate, clocks are {apart:.0f} s apart"
