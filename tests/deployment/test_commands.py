"""``fl-node`` and ``fl-server`` before any run: keys, cards, fingerprints, certificates."""

from __future__ import annotations

import json
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clients.cli import command as node
from fl.commands import Command, Program, no_options
from fl.errors import Code, Refused
from fl.welcome import grouped, load_card, load_welcome
from server.cli import command as server

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "pandas", "numpy", "flwr", "cryptography", "hydra", "rich"}
BRANDS = ("brand-a", "brand-b")


@pytest.fixture
def homes(tmp_path: Path) -> Path:
    assert server(["init", "--home", f"{tmp_path}/server", "--address", "127.0.0.1:18443"]) == 0
    first = ["--new-federation-key"]
    for name in BRANDS:
        folder = tmp_path / name
        assert node(["init", "--home", str(folder), "--name", name, *first]) == 0
        first = ["--federation-key", f"{tmp_path}/brand-a/keys/federation.key"]
        enrol(tmp_path, name)
    assert server(["welcome", "--home", f"{tmp_path}/server"]) == 0
    return tmp_path


def enrol(homes: Path, name: str, said: str | None = None) -> int:
    card = homes / name / "card.json"
    said = said or load_card(card).fingerprint
    return server(["enrol", str(card), "--fingerprint", said, "--home", f"{homes}/server"])


def join(homes: Path, name: str, said: str | None = None, *more: str) -> int:
    path = homes / "server/welcome" / f"{name}.json"
    said = said or load_welcome(path).fingerprint
    return node(["join", str(path), "--fingerprint", said, "--home", f"{homes}/{name}", *more])


@pytest.mark.parametrize("module", ["clients.cli", "server.cli"])
def test_help_imports_nothing_heavy(module: str) -> None:
    asked = f"from {module} import command; command(['--help']); command(['init', '--help'])"
    done = subprocess.run(
        [sys.executable, "-c", f"{asked}; import sys; sys.stderr.write(' '.join(sys.modules))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {name.split(".")[0] for name in done.stderr.split()} & HEAVY
    assert "Example" in done.stdout


def test_keys_are_for_their_owner_only(homes: Path) -> None:
    secret = [*homes.glob("*/keys/*.key"), *homes.glob("*/keys/*.pem"), *homes.glob("*/*.toml")]
    private = [p for p in secret if p.name not in ("ca.pem", "server.pem", "server.toml")]
    assert len(private) >= 12
    for path in private:
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path
    supernode = homes / "brand-a/keys/supernode"
    assert not supernode.stat().st_mode & 0o077
    assert supernode.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")


def test_brands_of_a_federation_share_a_key_that_is_on_no_card(homes: Path) -> None:
    keys = [(homes / name / "keys/federation.key").read_bytes() for name in BRANDS]
    assert keys[0] == keys[1]
    everything = b"".join(p.read_bytes() for p in (homes / "server").rglob("*") if p.is_file())
    assert keys[0] not in everything
    assert keys[0].hex().encode() not in everything


def test_a_card_with_another_fingerprint_is_not_enrolled(
    homes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (homes / "server/brands/brand-b.json").unlink()
    assert enrol(homes, "brand-b", grouped(b"another")) == 2
    assert "is not that of the card" in capsys.readouterr().err
    assert not (homes / "server/brands/brand-b.json").exists()


def test_a_brand_that_comes_with_other_keys_is_not_enrolled_again(homes: Path) -> None:
    path = homes / "brand-b/card.json"
    card = json.loads(path.read_bytes())
    path.write_text(json.dumps({**card, "identity": "0" * 64}))
    assert enrol(homes, "brand-b") == 2


def test_a_welcome_is_taken_up_once_and_only_with_its_fingerprint(
    homes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert join(homes, "brand-a", grouped(b"another")) == 2
    assert not (homes / "brand-a/welcome.json").exists()
    assert join(homes, "brand-a") == 0
    said = capsys.readouterr().out
    assert load_welcome(homes / "brand-a/welcome.json").signing in said
    assert join(homes, "brand-a") == 2
    assert join(homes, "brand-a", None, "--replace") == 0


def test_a_welcome_of_another_brand_is_refused(homes: Path) -> None:
    path = homes / "server/welcome/brand-b.json"
    said = load_welcome(path).fingerprint
    asked = ["join", str(path), "--fingerprint", said, "--home", f"{homes}/brand-a"]
    assert node(asked) == 2


def test_a_node_is_never_made_anew(homes: Path) -> None:
    before = (homes / "brand-a/keys/identity.key").read_bytes()
    asked = ["init", "--home", f"{homes}/brand-a", "--name", "x", "--new-federation-key"]
    assert node(asked) == 2
    assert (homes / "brand-a/keys/identity.key").read_bytes() == before


def test_all_brands_are_told_the_same_roster_and_bundle(homes: Path) -> None:
    told = [load_welcome(homes / "server/welcome" / f"{name}.json") for name in BRANDS]
    assert told[0].brands.hash == told[1].brands.hash
    assert told[0].bundles == told[1].bundles
    assert len(told[0].bundles[0]) == 64


def test_certificates_are_of_one_authority(homes: Path) -> None:
    context = ssl.create_default_context(cafile=f"{homes}/server/keys/ca.pem")
    keys = homes / "server/keys"
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(keys / "server.pem", keys / "server.key")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    peer = served.wrap_bio(outgoing, incoming, server_side=True)
    for _ in range(4):
        for side in (client, peer):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.getpeercert()


def test_a_new_node_has_no_ledger_and_says_so(
    homes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node(["status", "--home", f"{homes}/brand-a"]) == 0
    assert node(["ledger", "--home", f"{homes}/brand-a"]) == 0
    assert "nothing was ever booked" in capsys.readouterr().out
    assert server(["status", "--home", f"{homes}/server"]) == 0
    assert "brand brand-b" in capsys.readouterr().out


def test_a_home_that_is_none_is_a_mistake_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (node, server):
        assert command(["status", "--home", str(tmp_path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_refusal_is_a_mistake_in_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    def act(asked: object) -> int:
        raise Refused(Code.UNKNOWN_ROSTER)

    program = Program("it", "It.", (Command("do", "does", "It does.", no_options, act),))
    assert program.run(["do"]) == 2
    assert capsys.readouterr().err == "it: this is refused: roster.unknown\n"
    assert program.run(["do", "--home", "x"]) == 2  # a program without a folder has no such option
