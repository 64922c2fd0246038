"""``fl-node check``: is everything ready? The exit code tells."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fl.commands import Command, no_options

if TYPE_CHECKING:
    from clients.home import Home

ABOUT = """\
Look at everything a run needs, change nothing, and send nothing but one question for the time:

  keys          there, and readable by their owner only
  welcome       taken up; certificates of today
  data          the source answers, the mapping fits, rows pass the checks
  policy        every name in it is a column of the data
  coordinator   reached over TLS with this brand's certificate; clocks agree to 60 seconds
  offers        what each run that was offered would read, release and cost

Example
  fl-node check --home node && fl-node start --home node
"""


def _act(asked: argparse.Namespace) -> int:
    from clients.home import Home, read_config

    home, good = Home(asked.home), True
    read_config(home)
    for name, look in (
        ("keys", _keys),
        ("welcome", _welcome),
        ("data", _data),
        ("policy", _policy),
        ("coordinator", _coordinator),
        ("offers", _offers),
    ):
        good = _one(name, look, home) and good
    sys.stdout.write("Ready\n" if good else "Not ready\n")
    return 0 if good else 1


def _one(name: str, look: Callable[[Home], Iterator[str]], home: Home) -> bool:
    from fl.errors import InputError

    try:
        for line in look(home):
            sys.stdout.write(f"PASS  {name:<12}{line}\n")
        return True
    except (InputError, OSError, ValueError) as error:
        sys.stdout.write(f"FAIL  {name:<12}{' '.join(str(error).split())}\n")
        return False


def _keys(home: Home) -> Iterator[str]:
    from clients.keys import load_identity, read_secret
    from clients.supernode import load_key
    from fl.privacy.signing import SigningKey

    load_identity(home)
    read_secret(home.key("federation.key"))
    SigningKey.load(home.key("ledger.pem"))
    load_key(home)
    yield "four, for their owner only"


def _welcome(home: Home) -> Iterator[str]:
    from fl.welcome import load_welcome

    welcome = load_welcome(home.welcome)
    yield f"{len(welcome.brands.names)} brands, roster {welcome.brands.hash.hex()[:16]}..."


def _data(home: Home) -> Iterator[str]:
    from clients import brand_data
    from fl.data.intake import Asked

    folder = brand_data.DataFolder(home.folder)
    reading = brand_data.read(folder, Asked(), brand_data.now(), {})
    for name, rows in reading.rows().items():
        yield f"{name}: {rows} rows"


def _policy(home: Home) -> Iterator[str]:
    from clients import brand_data
    from clients.standing import load_policy
    from fl.data.intake import Asked

    folder = brand_data.DataFolder(home.folder)
    made = brand_data.read(folder, Asked(), brand_data.now(), {}).examples()
    policy = load_policy(home, [str(name) for name in made.rows.columns])
    yield (
        f"plans {', '.join(sorted(policy.plans))}, epsilon {policy.epsilon_per_run:g} a run, "
        f"{policy.epsilon_lifetime:g} in all, {len(policy.columns)} columns, "
        f"{len(policy.coordinators)} coordinators, approval by {policy.approval}"
    )


def _coordinator(home: Home) -> Iterator[str]:
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    import httpx

    from clients.supernode import load_key, tls
    from fl.errors import InputError
    from fl.welcome import load_welcome

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
    import json

    from clients.offer import RunFiles
    from fl.errors import InputError, Refused
    from fl.welcome import load_welcome

    welcome = load_welcome(home.welcome)
    for path in sorted(home.runs.glob("*/offer.json")):
        run = str(json.loads(path.read_bytes())["proposal"]["run"])
        try:
            proposal = RunFiles(home, run).offer(welcome).proposal
        except Refused as refusal:
            raise InputError(f"run {run}", f"is {refusal.code}", "ask the coordinator") from None
        yield (
            f"{run[:40]}: {proposal.task} on {len(proposal.columns)} columns, {proposal.plan}, "
            f"epsilon {proposal.epsilon:.3f} at delta {proposal.delta:g}"
        )


COMMAND = Command("check", "is everything ready? the exit code tells", ABOUT, no_options, _act)
