"""What a coordinator asks a brand to agree to, before a run; and a person's agreement to it.

A proposal holds public facts only. It is signed by the coordinator, an approval by a person at the
brand; both sign the same canonical bytes, each for a purpose of its own.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fl.contracts import Unit
from fl.errors import InputError
from fl.events import PrivacyEvent, from_json, to_json
from fl.privacy.entries import Json, canonical, digest
from fl.privacy.signing import SigningKey, checker
from fl.private_files import write_private

PROPOSAL, APPROVAL = "crossbrand-fl/proposal/1", "crossbrand-fl/approval/1"
_NAME = re.compile(r"[\w.:/-]{1,200}")


@dataclass(frozen=True, slots=True)
class Proposal:
    """One run, as its coordinator describes it.

    Attributes:
        run: id of the run; never used twice.
        task: name of the task.
        columns: every column the run reads, the label included.
        plan, unit: name of the privacy plan, and whose presence it hides.
        event: what the whole run costs.
        epsilon: what that comes to at ``delta``; ``inf`` for a run without a guarantee.
        delta: in [0, 1).
        accountant: which one computed ``epsilon``.
        noise_source: where the noise comes from.
        clip_norm: L2 bound of one unit's part, > 0; ``inf`` for none.
        brands: how many are in the sum at least, >= 1.
        requested_by: the role in whose name the run is asked for.
        coordinator: public key, 64 hex digits; empty before signing.
        signature: 128 hex digits; empty before signing.
    """

    run: str
    task: str
    columns: tuple[str, ...]
    plan: str
    unit: Unit
    event: PrivacyEvent
    epsilon: float
    delta: float
    accountant: str
    noise_source: str
    clip_norm: float
    brands: int
    requested_by: str
    coordinator: str = ""
    signature: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.run):
            raise ValueError("Expected a run id of 1 to 200 letters, digits and . : / _ -")
        if not self.epsilon >= 0 or not 0 <= self.delta < 1:
            raise ValueError(f"Expected epsilon={self.epsilon} >= 0, delta={self.delta} in [0, 1).")
        if not self.clip_norm > 0 or self.brands < 1:
            raise ValueError(f"Expected clip_norm={self.clip_norm} > 0, brands={self.brands} >= 1.")

    def to_json(self) -> dict[str, Json]:
        """Plain values; None stands for infinity. Guarantee: public facts only."""
        values: dict[str, Json] = {
            name: getattr(self, name) for name in (f.name for f in dataclasses.fields(self))
        }
        finite = {k: _finite(getattr(self, k)) for k in ("epsilon", "clip_norm")}
        return {**values, **finite, "event": to_json(self.event), "columns": list(self.columns)}

    @classmethod
    def from_json(cls, values: Mapping[str, Json]) -> Proposal:
        """The proposal that :meth:`to_json` described.

        Guarantee: nothing is filled in; what is not said is an error.

        Raises:
            ValueError: something is missing, superfluous, of another type or out of range.
        """
        match dict(values):
            case {
                "columns": list(columns),
                "unit": str(unit),
                "event": dict(event),
                "epsilon": int() | float() | None as epsilon,
                "delta": int() | float() as delta,
                "clip_norm": int() | float() | None as clip_norm,
                "brands": int(brands),
                **texts,
            } if texts.keys() == _TEXTS and all(isinstance(c, str) for c in columns):
                words = {name: text for name, text in texts.items() if isinstance(text, str)}
                if words.keys() == _TEXTS:
                    return cls(
                        columns=tuple(columns),
                        unit=Unit(unit),
                        event=from_json(event),
                        epsilon=math.inf if epsilon is None else float(epsilon),
                        delta=float(delta),
                        clip_norm=math.inf if clip_norm is None else float(clip_norm),
                        brands=brands,
                        **words,
                    )
        raise ValueError("Expected the fields of a proposal.")

    def facts(self) -> bytes:
        """What is signed: all but the signature. Guarantee: equal facts, equal bytes."""
        return canonical({k: v for k, v in self.to_json().items() if k != "signature"})

    def digest(self) -> str:
        """SHA-256 of the facts. Guarantee: names this proposal and no other."""
        return digest(self.facts())

    def signed(self, key: SigningKey) -> Proposal:
        """The same proposal, signed. Guarantee: any change of a fact makes the signature wrong."""
        named = dataclasses.replace(self, coordinator=key.public, signature="")
        return dataclasses.replace(named, signature=key.sign(named.facts(), purpose=PROPOSAL))

    def is_signed(self) -> bool:
        """Whether the named coordinator signed these facts.

        Guarantee: says nothing about whether that coordinator is welcome.
        """
        return _signed_by(self.coordinator, PROPOSAL, self.facts(), self.signature)


_TEXTS = {
    *("run", "task", "plan", "accountant", "noise_source"),
    *("requested_by", "coordinator", "signature"),
}


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's signature under one proposal.

    Attributes:
        proposal: digest of the proposal, for finding it; the signature decides.
        person: as the brand's policy names them.
        signature: 128 hex digits.
    """

    proposal: str
    person: str
    signature: str

    @classmethod
    def give(cls, key: SigningKey, person: str, proposal: Proposal) -> Approval:
        """Agree to ``proposal``. Guarantee: for this proposal alone, in every detail."""
        signature = key.sign(proposal.facts(), purpose=APPROVAL)
        return cls(proposal.digest(), person, signature)

    def holds(self, proposal: Proposal, public_key: str) -> bool:
        """Whether the owner of ``public_key`` agreed to ``proposal``.

        Guarantee: false for another proposal, another key, or a signature for another purpose.
        """
        return _signed_by(public_key, APPROVAL, proposal.facts(), self.signature)

    def save(self, path: Path) -> None:
        """Write an approval file. Guarantee: never replaces one.

        Raises:
            InputError: the file exists or cannot be written.
        """
        write_private(path, canonical(dataclasses.asdict(self)) + b"\n", "approval")

    @classmethod
    def load(cls, path: Path) -> Approval:
        """Read an approval file. Guarantee: nothing is believed yet; see :meth:`holds`.

        Raises:
            InputError: there is no such file, or it is not an approval.
        """
        try:
            values = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"approval {path}", "cannot be read", "approve again") from error
        match values:
            case {"proposal": str(proposal), "person": str(person), "signature": str(signature)}:
                return cls(proposal, person, signature)
        raise InputError(f"approval {path}", "is not an approval", "approve again")


def _signed_by(public_key: str, purpose: str, facts: bytes, signature: str) -> bool:
    try:
        return checker(public_key, purpose)(facts, signature)
    except ValueError:
        return False


def _finite(value: float) -> float | None:
    return None if value == math.inf else value
