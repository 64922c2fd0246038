"""The coordinator's folder, and what ``server.toml`` says.

- ``server.toml``   addresses and patience
- ``keys/``         CA, server certificate, signing keys; private ones for their owner only
- ``brands/``       the cards of enrolled brands
- ``welcome/``      what each of them is sent
- ``bundle/``       the thin Flower app that names the installed package
- ``asks/``         what brands have sent that want a new run
- ``runs/RUN/``     plan, signatures, checkpoint, transcript, log, model
- ``ledgers.json``  how far the brands' ledgers had come; who lacks entries is left out of sums
- ``superlink/``    Flower's own files
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fl.privacy.policy_file import settings_of

SERVER = """\
# This coordinator.

address = "{address}"           # host:port at which brands reach the fleet paths (the proxy)

[superlink]                     # on loopback: whoever reaches this port may submit runs
port = {port}

[ports]                         # on loopback as well
health = 9102                   # /health and /metrics of fl-server start; 0: none

[patience]                      # seconds
reply = 120.0                   # a brand may take so long for one step of a round
resend = 20.0                   # the same request again: a node answers it again from its memory
approval = 86400.0              # people may take so long to approve a run
"""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder, and where things are in it."""

    folder: Path

    @property
    def config(self) -> Path:
        """``server.toml``."""
        return self.folder / "server.toml"

    @property
    def brands(self) -> Path:
        """Cards."""
        return self.folder / "brands"

    @property
    def welcomes(self) -> Path:
        """What brands are sent."""
        return self.folder / "welcome"

    @property
    def bundle(self) -> Path:
        """The thin Flower app."""
        return self.folder / "bundle"

    @property
    def superlink(self) -> Path:
        """Flower's own files."""
        return self.folder / "superlink"

    @property
    def asks(self) -> Path:
        """Files of brands that want a new run."""
        return self.folder / "asks"

    @property
    def runs(self) -> Path:
        """A folder for each run."""
        return self.folder / "runs"

    @property
    def marks(self) -> Path:
        """``ledgers.json``, over all runs."""
        return self.folder / "ledgers.json"

    def key(self, name: str) -> Path:
        """One of the files in ``keys/``."""
        return self.folder / "keys" / name


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """``server.toml``, read and checked.

    Attributes:
        address: ``host:port`` that brands are told.
        port: of the SuperLink, on loopback.
        health: port on loopback, or 0 for none.
        reply, resend, approval: seconds to wait.
    """

    address: str
    port: int
    health: int
    reply: float
    resend: float
    approval: float


def read_config(home: Home) -> ServerConfig:
    """``server.toml`` of a home.

    Raises:
        InputError: it is missing, not TOML, or has missing, unknown or wrong values.
    """
    file = settings_of(f"server.toml {home.config}", home.config, "make one with fl-server init")
    superlink, patience = file.table("superlink"), file.table("patience")
    ports = file.table("ports", optional=True)  # homes of earlier versions have none
    config = ServerConfig(
        address=file.text("address"),
        port=superlink.whole("port"),
        health=ports.whole("health") if "health" in ports.left() else 0,
        reply=patience.number("reply"),
        resend=patience.number("resend"),
        approval=patience.number("approval"),
    )
    file.finish()
    return config
