"""A brand asks for a new training: a signed line in a file, which a person sends.

That a brand asks is one bit that depends on its customers' data (``clients/refresh.py``), and no
counted door covers it. So no program tells it to anybody: a person writes the file, and what is in
it is the bit alone, signed so that nobody else can ask in the brand's name.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from fl.errors import InputError
from fl.privacy.secagg.identity import Identity, bind, canonical, signed


@dataclass(frozen=True, slots=True)
class Ask:
    """One brand's wish for a run of one experiment.

    Attributes:
        brand: its name on the roster.
        experiment: such as ``conversion_deploy``.
        at: when a person asked, ISO 8601 in UTC, seconds.
        signature: of the brand's identity key, 128 hex digits; empty before it is signed.
    """

    brand: str
    experiment: str
    at: str
    signature: str = ""

    @property
    def moment(self) -> pd.Timestamp:
        """``at``, naive, in UTC."""
        return pd.Timestamp(self.at)

    def signed(self, identity: Identity) -> Ask:
        """With a signature."""
        return Ask(self.brand, self.experiment, self.at, identity.sign(self._said()).hex())

    def is_of(self, public: bytes) -> bool:
        """Whether the holder of this Ed25519 key, 32 bytes, has signed it."""
        try:
            return signed(public, self._said(), bytes.fromhex(self.signature))
        except ValueError:
            return False

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical(asdict(self))

    def _said(self) -> bytes:
        return bind("ask", self.brand.encode(), self.experiment.encode(), self.at.encode())


def load_ask(path: Path) -> Ask:
    """An ask's file.

    Raises:
        InputError: it cannot be read or is none.
    """
    remedy = "let the brand make it again with fl-node ask"
    try:
        match json.loads(path.read_bytes()):
            case {
                "brand": str(brand),
                "experiment": str(experiment),
                "at": str(at),
                "signature": str(signature),
            } if pd.Timestamp(at).tzinfo is None:
                return Ask(brand, experiment, at, signature)
    except (OSError, ValueError) as error:
        raise InputError(f"ask {path}", "cannot be read", remedy) from error
    raise InputError(f"ask {path}", "is none", remedy)
