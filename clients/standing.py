"""Where a brand stands: its policy, and its ledger under that policy's budget."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from importlib import metadata

from clients.home import Home, NodeConfig
from fl.contracts import Unit
from fl.errors import InputError
from fl.events import Composed, PrivacyEvent
from fl.privacy.accounting import ACCOUNTANTS, epsilon
from fl.privacy.bills import Accountant
from fl.privacy.books import Neighbours, Opening
from fl.privacy.filter import filter_epsilon
from fl.privacy.ledger import Ledger
from fl.privacy.policy import Policy
from fl.privacy.signing import SigningKey


def load_policy(home: Home, fields: Collection[str] | None = None) -> Policy:
    """The policy as it is on disk now.

    Args:
        fields: the columns that the brand's data has, to find misspelt names (``fl-node check``);
            None where the data is not looked at.

    Raises:
        InputError: missing, writable by others, or with a mistake in it.
    """
    known = fields if fields is not None else _named(home)
    return Policy.load(home.policy, known_fields=known)


def open_ledger(home: Home, config: NodeConfig, policy: Policy) -> Ledger:
    """The brand's ledger, made with the policy's budget the first time.

    Raises:
        InputError: another process writes to it, or it was changed or set back.
    """
    key = SigningKey.load(home.key("ledger.pem"))
    if home.ledger.exists():
        return Ledger.open(home.ledger, key, accountant=filter_epsilon)
    if not policy.epsilon_lifetime < float("inf") or not policy.delta > 0:
        raise InputError("policy.toml", "has no finite budget", "set limits.epsilon_lifetime")
    opening = Opening(
        brand=config.name,
        dataset=config.dataset,
        unit=Unit.CUSTOMER,
        relation=Neighbours.ADD_REMOVE,
        epsilon=policy.epsilon_lifetime,
        delta=policy.delta,
        software=f"crossbrand-fl {metadata.version('crossbrand-fl')}",
    )
    return Ledger.create(home.ledger, key, opening, accountant=filter_epsilon)


def _figure(name: str, events: Sequence[PrivacyEvent], delta: float) -> float:
    return epsilon(name, Composed(tuple(events)), delta)


FIGURES: Mapping[str, Accountant] = {name: partial(_figure, name) for name in ACCOUNTANTS}


def _named(home: Home) -> set[str]:
    """All names in the policy's own lists; whether the data has them is not asked here."""
    try:
        values = tomllib.loads(home.policy.read_text("utf-8"))
    except (OSError, ValueError):
        return set()  # reading it properly says what is wrong
    lists = [values.get("columns", {}), *values.get("roles", {}).values()]
    return {str(n) for one in lists for names in one.values() for n in names}
