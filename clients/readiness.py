"""What a run needs beside the data: keys, welcome, policy, the coordinator, a clock. Part of
``fl-node check``; nothing is changed, and nothing is sent but a question for the time.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial

from clients.home import Home, read_config
from clients.keys import load_identity, read_secret
from clients.offer import RunFiles
from clients.standing import load_policy
from fl.errors import InputError, Refused
from fl.privacy.signing import SigningKey
from fl.welcome import load_welcome


def looked(home: Home, columns: Collection[str]) -> Iterator[tuple[bool, str]]:
    """Whether each thing is in order, and a line about it.

    Args:
        columns: those that the brand's data has.
    """
    for name, look in (
        ("keys", _keys),
        ("welcome", _welcome),
        ("policy", partial(_policy, columns=columns)),
        ("roles", _roles),
        ("coordinator", _coordinator),
        ("offers", _offers),
    ):
        yield from _one(name, look, home)


def _one(
    name: str, look: Callable[[Home], Iterator[str]], home: Home
) -> Iterator[tuple[bool, str]]:
    try:
        for line in look(home):
            yield True, f"PASS  {name:<12}{line}"
    except (InputError, OSError, ValueError) as error:
        yield False, f"FAIL  {name:<12}{' '.join(str(error).split())}"


def _keys(home: Home) -> Iterator[str]:
    from clients.supernode import load_key

    read_config(home)

    load_identity(home)
    read_secret(home.key("federation.key"))
    SigningKey.load(home.key("ledger.pem"))
    load_key(home)
    yield "four, for their owner only"


def _welcome(home: Home) -> Iterator[str]:

    welcome = load_welcome(home.welcome)
    yield f"{len(welcome.brands.names)} brands, roster {welcome.brands.hash.hex()[:16]}..."


def _policy(home: Home, columns: Collection[str]) -> Iterator[str]:
    policy = load_policy(home, columns)
    yield (
        f"plans {', '.join(sorted(policy.plans))}, epsilon {policy.epsilon_per_run:g} a run, "
        f"{policy.epsilon_lifetime:g} in all, {len(policy.columns)} columns, "
        f"{len(policy.coordinators)} coordinators, approval by {policy.approval}"
    )


def _roles(home: Home) -> Iterator[str]:
    """Who may write what the brand agrees to: the operator's account should not."""
    here = os.geteuid()
    owners = {path.stat().st_uid for path in (home.policy, home.mapping)}
    if owners == {here}:
        yield (
            f"{_account(here)} is operator and data steward in one; to part them, chown policy.toml"
            " and mapping.toml to the steward, readable by this account's group (chmod 640)"
        )
    else:
        names = " and ".join(sorted(map(_account, owners)))
        yield f"{names} may write policy and mapping; {_account(here)} operates the node"


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _coordinator(home: Home) -> Iterator[str]:

    import httpx

    from clients.supernode import load_key, tls

    welcome = load_welcome(home.welcome)
    url = f"https://{welcome.address}/v1/fleet/pull-messages"
    try:
        answer = httpx.get(url, verify=tls(load_key(home), welcome), timeout=10)
    except httpx.HTTPError as error:
        raise InputError("coordinator", f"{type(error).__name__}: {error}", "ask it") from error
    said = answer.headers.get("date")
    if said is None:
        yield f"{welcome.address} answers, and does not say what time it is"
        return
    apart = abs((parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    if apart > 60:
        raise InputError("clock", f"is {apart:.0f} s away from the server's", "set it (NTP)")
    yield f"{welcome.address} answers, clocks are {apart:.0f} s apart"


def _offers(home: Home) -> Iterator[str]:

    welcome = load_welcome(home.welcome)
    for path in sorted(home.runs.glob("*/offer.json")):
        run = str(json.loads(path.read_bytes())["proposal"]["run"])
        try:
            proposal = RunFiles(home, run).offer(welcome).proposal
        except Refused as refusal:  # such as one for an older roster: it cannot be run any more
            yield f"{run[:40]}: no offer any more ({refusal.code})"
            continue
        yield (
            f"{run[:40]}: {proposal.task} on {len(proposal.columns)} columns, {proposal.plan}, "
            f"epsilon {proposal.epsilon:.3f} at delta {proposal.delta:g}"
        )
