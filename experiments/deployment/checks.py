"""What the auditor would do with the files of a deployment, and a search for what must not leak."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from experiments.deployment.world import World
from fl.audit.deployed import audit_deployed
from fl.audit.folder import as_text
from fl.audit.verify import audit_ledger, recomputed
from fl.welcome import load_card
from server.files import RunFiles


def audited(world: World, files: RunFiles, say: Callable[[str], None]) -> bool:
    """``fl-audit transcript`` on the run and the ledgers, ``fl-audit ledger`` on each of these."""
    ledgers = [world.node(brand) / "ledger.jsonl" for brand in world.brands]
    found = audit_deployed(files.folder, ledgers)
    say("\n" + as_text(found).rstrip())
    good = found.holds
    for brand in world.brands:
        key = load_card(world.node(brand) / "card.json").ledger
        audit = audit_ledger(world.node(brand) / "ledger.jsonl", recomputed, public_key=key)
        run = next(row for row in audit.runs if row.run == files.run)
        word = "PASS" if audit.holds else "FAIL"
        spent = f"{run.rounds} rounds committed, epsilon {run.committed['pld']:.3f} (PLD)"
        say(f"{word}  ledger of {brand}: {spent}, {run.state}")
        good = good and audit.holds
    return good


def leaks(world: World, private: Iterable[bytes]) -> list[str]:
    """Where a log of any process holds a secret key, or one of the ``private`` values."""
    needles = set(private)
    for brand in world.brands:
        for name in ("identity.key", "federation.key"):
            raw = (world.node(brand) / "keys" / name).read_bytes()
            needles |= {raw, raw.hex().encode()}
        for name in ("ledger.pem", "supernode"):
            text = (world.node(brand) / "keys" / name).read_bytes().splitlines()
            needles.add(text[1])
    logs = [*world.folder.glob("*.log"), *(world.server / "superlink").glob("*.log")]
    logs += (world.server / "runs").glob("*/log.jsonl")
    return [
        f"{log.name}: {needle[:12]!r}"
        for log in logs
        for needle in needles
        if needle in Path(log).read_bytes()
    ]
