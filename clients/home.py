"""A node's folder: where everything of one brand lies, and what ``node.toml`` says.

- ``node.toml``     this node: its name, its data set
- ``welcome.json``  the coordinator: address, certificates, roster, bundles (``fl-node join``)
- ``policy.toml``   what the brand agrees to (``fl/privacy/policy_file.py``)
- ``mapping.toml``  from the brand's columns to a run's
- ``card.json``     its public keys, for the coordinator's roster
- ``keys/``         private keys, readable by their owner only
- ``ledger.jsonl``  what was spent
- ``runs/RUN/``     offers, approvals and the state of each run
- ``runs/ledgers.json``  how far the brands' ledgers had come, this one's too
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fl.privacy.policy_file import settings_of

NODE = """\
# This brand's node. Paths are relative to this file.

name = "{name}"                 # as on the coordinator's roster

[data]
dataset = "customers"           # what the budget is for; a new name would be a new budget

[ports]                         # on loopback
health = 9101                   # /health and /metrics; each node of a machine needs its own
"""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder, and where things are in it."""

    folder: Path

    @property
    def config(self) -> Path:
        """``node.toml``."""
        return self.folder / "node.toml"

    @property
    def policy(self) -> Path:
        """``policy.toml``."""
        return self.folder / "policy.toml"

    @property
    def mapping(self) -> Path:
        """``mapping.toml``."""
        return self.folder / "mapping.toml"

    @property
    def welcome(self) -> Path:
        """``welcome.json``: what is known of the coordinator."""
        return self.folder / "welcome.json"

    @property
    def card(self) -> Path:
        """``card.json``: public keys."""
        return self.folder / "card.json"

    @property
    def ledger(self) -> Path:
        """``ledger.jsonl``."""
        return self.folder / "ledger.jsonl"

    @property
    def runs(self) -> Path:
        """A folder for each run."""
        return self.folder / "runs"

    @property
    def marks(self) -> Path:
        """``runs/ledgers.json``: beside the runs, so that it is not set back with the ledger."""
        return self.runs / "ledgers.json"

    def key(self, name: str) -> Path:
        """One of ``identity.key``, ``ledger.pem``, ``supernode``, ``federation.key``."""
        return self.folder / "keys" / name

    def run(self, run: str) -> Path:
        """The folder of one run."""
        return self.runs / run.replace("/", ".")


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """``node.toml``, read and checked.

    Attributes:
        name: the brand's id.
        dataset: what the budget is for.
        health: port on loopback, or 0 for none.
    """

    name: str
    dataset: str
    health: int


def read_config(home: Home) -> NodeConfig:
    """``node.toml`` of a home.

    Raises:
        InputError: it is missing, not TOML, or has missing, unknown or wrong values.
    """
    file = settings_of(f"node.toml {home.config}", home.config, "make a node with fl-node init")
    data, ports = file.table("data"), file.table("ports")
    config = NodeConfig(
        name=file.text("name"),
        dataset=data.text("dataset"),
        health=ports.whole("health"),
    )
    file.finish()
    return config
