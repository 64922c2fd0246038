"""``fl-audit ledger``: what it says about a ledger, and its exit codes."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from fl.audit import cli
from fl.audit.verify import as_text, audit_ledger
from fl.errors import InputError, Refused
from fl.events import Gaussian, PrivacyEvent, Repeated
from fl.privacy.entries import Kind, write
from fl.privacy.ledger import Ledger
from fl.privacy.reading import verify
from fl.privacy.signing import SigningKey
from tests.ledgers import BUDGET, DELTA, ROUND, new, opening, rdp

KEY = SigningKey.generate()


def figures(event: PrivacyEvent, delta: float) -> Mapping[str, float]:
    """An honest accountant three times."""
    return dict.fromkeys(("pld", "prv", "rdp"), rdp((event,), delta))


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Two budgets, a settled and an open run, a refusal."""
    with new(tmp_path, KEY) as writer:
        writer.reserve("first", Repeated(ROUND, 10))
        writer.commit("first", "train/1", Repeated(ROUND, 2))
        writer.settle("first")
        writer.renew(4.0, "customers of 2027")
        writer.reserve("second", ROUND)
        with pytest.raises(Refused):
            writer.reserve("third", Repeated(ROUND, 20))
    return tmp_path / "ledger.jsonl"


def test_every_figure_is_recomputed_from_the_events(ledger: Path) -> None:
    audit = audit_ledger(ledger, figures, public_key=KEY.public)
    first, second = audit.runs
    assert (first.run, first.budget, first.state, first.rounds) == ("first", 1, "settled", 1)
    assert first.reserved["rdp"] == rdp((Repeated(ROUND, 10),), DELTA)
    assert first.committed["rdp"] == rdp((Repeated(ROUND, 2),), DELTA)
    assert (second.budget, second.state, second.committed["pld"]) == (2, "open", 0.0)
    assert [row.epsilon for row in audit.budgets] == [BUDGET, 4.0]
    assert audit.budgets[0].spent["rdp"] == first.committed["rdp"]
    assert audit.budgets[1].spent["rdp"] == second.reserved["rdp"]
    assert audit.lifetime["rdp"] == rdp((Repeated(ROUND, 3),), DELTA)
    assert audit.refusals == {"budget.exhausted": 1}
    assert audit.holds


def test_the_text_says_what_was_and_was_not_checked(ledger: Path) -> None:
    head = verify(ledger).entries[2].hash
    audit = audit_ledger(ledger, figures, public_key=KEY.public, head=head)
    text = as_text(audit, public_key=KEY.public, head=head)
    assert "PASS  chain       7 entries" in text
    assert "PASS  head        is in the chain, 4 entries before the end" in text
    assert "PASS  key         is the one you gave" in text
    assert "customers of 2027" in text
    assert "1 x budget.exhausted" in text
    table = text[text.index("run ") :].splitlines()
    assert table[2].split()[:4] == ["first", "1", "settled", "1"]
    assert table[3].split()[:4] == ["second", "2", "open", "0"]
    bare = as_text(audit_ledger(ledger, figures), public_key=None, head=None)
    assert bare.count("SKIP") == 2


def test_a_brand_that_overspends_with_its_own_software_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger.create(path, KEY, opening(), accountant=lambda events, delta: 0.0) as writer:
        writer.reserve("a", Repeated(ROUND, 21))
    audit = audit_ledger(path, figures)
    assert not audit.holds
    assert "FAIL  budget 1" in as_text(audit, public_key=None, head=None)


def test_an_empty_ledger_and_one_without_limit_are_shown(tmp_path: Path) -> None:
    new(tmp_path, KEY, math.inf).close()
    text = as_text(audit_ledger(tmp_path / "ledger.jsonl", figures), public_key=None, head=None)
    assert "No run was ever reserved." in text
    assert "of no limit" in text


def test_names_in_a_ledger_cannot_steer_the_terminal(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as writer:
        writer.reserve("a\x1b[2K\rPASS\nPASS", ROUND)
    text = as_text(audit_ledger(tmp_path / "ledger.jsonl", figures), public_key=None, head=None)
    assert "\x1b" not in text
    assert "\r" not in text
    assert r"a\x1b[2K\rPASS\nPASS" in text


def test_a_broken_ledger_is_exit_code_1(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = ledger.read_bytes()
    ledger.write_bytes(whole.replace(b"customers of 2027", b"customers of 2028"))
    assert cli.command(["ledger", str(ledger)]) == 1
    assert capsys.readouterr().out.startswith(f"FAIL  {ledger} line 5: was changed")
    ledger.write_bytes(whole)
    for option in (["--head", "f" * 64], ["--key", SigningKey.generate().public]):
        assert cli.command(["ledger", str(ledger), *option]) == 1
    assert "lacks the published head" in capsys.readouterr().out


def test_a_mistake_of_the_asker_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, says in (
        (["ledger", str(tmp_path / "none.jsonl")], "No such file"),
        (["ledger", str(tmp_path)], "Is a directory"),
        (["ledger", str(tmp_path), "--key", "abc"], "expected 64 hex digits"),
        (["ledger"], "required: FILE"),
        (["sing"], "invalid choice"),
    ):
        assert cli.command(arguments) == 2
        assert says in capsys.readouterr().err


def test_help_teaches_and_starts_fast(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.command([]) == 0
    assert cli.command(["ledger", "--help"]) == 0
    assert "somewhere else than the brand's own disk" in capsys.readouterr().out
    code = "import sys; from fl.audit import cli; cli.command(['--help'])\n"
    code += "sys.exit(bool({'torch', 'numpy', 'cryptography'} & set(sys.modules)))"
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert time.perf_counter() - begin < 5


def test_the_whole_command_verifies_a_real_ledger(
    ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fl.privacy.accounting")
    head = verify(ledger).books.head
    assert cli.command(["ledger", str(ledger), "--key", KEY.public, "--head", head]) == 0
    assert "PASS  budget 2" in capsys.readouterr().out


@pytest.mark.slow
def test_ten_thousand_entries_are_verified_in_seconds(tmp_path: Path) -> None:
    event = Gaussian(1000.0)
    with new(tmp_path, KEY) as writer:
        writer.reserve("a", Repeated(event, 10_000))
    path = tmp_path / "ledger.jsonl"
    (_, reserve), lines = verify(path).entries, path.read_bytes().splitlines()
    prev = reserve.hash
    body = {"run": "a", "event": {"kind": "gaussian", "noise_multiplier": 1000.0}}
    for seq in range(2, 10_000):
        commit = {**body, "occasion": f"train/{seq}"}
        entry, line = write(KEY, seq=seq, prev=prev, time="t", kind=Kind.COMMIT, body=commit)
        lines.append(line)
        prev = entry.hash
    path.write_bytes(b"\n".join([*lines, b""]))
    begin = time.process_time()
    assert len(verify(path, public_key=KEY.public).entries) == 10_000
    assert time.process_time() - begin < 6  # 2 s on an idle core; the bench has the figure


def test_a_ledger_of_another_brand_cannot_be_passed_off(ledger: Path) -> None:
    with pytest.raises(InputError, match="line 1: is signed with the key"):
        audit_ledger(ledger, figures, public_key=SigningKey.generate().public)
