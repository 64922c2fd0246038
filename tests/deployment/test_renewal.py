"""Certificates and what depends on them: how long they last, who gets new ones, who need not."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from clients.cli import command as node
from fl.errors import InputError
from fl.welcome import load_card, load_welcome
from server import certificates
from server.certificates import days_left, hosts_of, is_of, make_server
from server.cli import command as server
from server.home import Home
from server.roster import load_identity

BRANDS = ("brand-a", "brand-b")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    line = ["init", "--home", f"{tmp_path}/server", "--address", "fl.example.org:9093"]
    assert server([*line, "--superlink-port", "9200"]) == 0
    for name in BRANDS:
        folder = tmp_path / name
        assert node(["init", "--home", str(folder), "--name", name, "--new-federation-key"]) == 0
        enrol(tmp_path, folder / "card.json")
    assert run("welcome", Home(tmp_path / "server")) == 0
    return Home(tmp_path / "server")


def enrol(place: Path, card: Path) -> None:
    said = ["--fingerprint", load_card(card).fingerprint]
    assert server(["enrol", str(card), *said, "--home", f"{place}/server"]) == 0


def run(what: str, home: Home, *more: str) -> int:
    return server([what, *more, "--home", str(home.folder)])


def welcomes(home: Home) -> dict[str, bytes]:
    return {name: (home.welcomes / f"{name}.json").read_bytes() for name in BRANDS}


def aged(home: Home, monkeypatch: pytest.MonkeyPatch, days: float, name: str) -> None:
    """Issue a certificate that ends in ``days`` days: a brand's, or the server's."""
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "_YEAR", timedelta(days=days, minutes=5))
        if name == "server":
            authority = home.key("ca.key"), home.key("ca.pem")
            path = home.key("server.pem")
            make_server(authority, home.key("server.key"), path, hosts_of(path.read_bytes()))
            return
        (home.welcomes / f"{name}.json").unlink()
        assert run("welcome", home) == 0


def test_a_welcome_without_news_is_the_same_file_again(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    before = welcomes(home)
    capsys.readouterr()
    assert run("welcome", home) == 0
    assert welcomes(home) == before
    assert capsys.readouterr().out.count(": as before") == 2


def test_a_brand_that_joins_changes_the_roster_of_all_and_nobodys_certificate(
    home: Home, tmp_path: Path
) -> None:
    before = {n: load_welcome(home.welcomes / f"{n}.json") for n in BRANDS}
    assert node(["init", "--home", f"{tmp_path}/c", "--name", "c", "--new-federation-key"]) == 0
    enrol(tmp_path, tmp_path / "c/card.json")
    assert run("welcome", home) == 0
    for name, old in before.items():
        new = load_welcome(home.welcomes / f"{name}.json")
        assert new.brands.hash != old.brands.hash
        assert new.certificate == old.certificate


def test_only_what_is_about_to_expire_is_renewed(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aged(home, monkeypatch, 10, "brand-b")
    aged(home, monkeypatch, 10, "server")
    before, key = welcomes(home), home.key("server.key").read_bytes()
    hosts = hosts_of(home.key("server.pem").read_bytes())
    capsys.readouterr()
    assert run("status", home) == 1
    said = capsys.readouterr().out
    assert "server 10 days" in said
    assert "Renew now (fl-server renew): brand-b, server\n" in said
    assert run("renew", home) == 0
    after, pem = welcomes(home), home.key("server.pem").read_bytes()
    assert after["brand-a"] == before["brand-a"]
    assert after["brand-b"] != before["brand-b"]
    assert days_left(pem) >= 364
    assert hosts_of(pem) == hosts
    assert home.key("server.key").read_bytes() == key
    renewed = load_welcome(home.welcomes / "brand-b.json")
    card = load_card(home.brands / "brand-b.json")
    assert is_of(renewed.certificate.encode(), home.key("ca.pem"), card.supernode)
    assert renewed.fingerprint in capsys.readouterr().out
    assert run("status", home) == 0


def test_renewing_what_is_good_changes_nothing_and_days_can_force_it(home: Home) -> None:
    before, pem = welcomes(home), home.key("server.pem").read_bytes()
    assert run("renew", home) == 0
    assert (welcomes(home), home.key("server.pem").read_bytes()) == (before, pem)
    assert run("renew", home, "--days", "400") == 0
    assert not set(welcomes(home).values()) & set(before.values())
    assert home.key("server.pem").read_bytes() != pem


def test_a_name_is_added_to_the_servers_certificate(home: Home) -> None:
    before = hosts_of(home.key("server.pem").read_bytes())
    assert run("renew", home, "--host", "10.0.0.7", "--host", "fl2.example.org") == 0
    after = hosts_of(home.key("server.pem").read_bytes())
    assert set(after) == {*before, "10.0.0.7", "fl2.example.org"}


def test_a_brand_with_new_keys_gets_a_certificate_for_them(home: Home, tmp_path: Path) -> None:
    old = load_welcome(home.welcomes / "brand-a.json").certificate
    line = ["init", "--home", f"{tmp_path}/again", "--name", "brand-a", "--new-federation-key"]
    assert node(line) == 0
    (home.brands / "brand-a.json").unlink()
    enrol(tmp_path, tmp_path / "again/card.json")
    assert run("welcome", home) == 0
    new = load_welcome(home.welcomes / "brand-a.json").certificate
    card = load_card(tmp_path / "again/card.json")
    assert is_of(new.encode(), home.key("ca.pem"), card.supernode)
    assert not is_of(old.encode(), home.key("ca.pem"), card.supernode)


def test_a_certificate_of_another_authority_is_not_believed(home: Home, tmp_path: Path) -> None:
    certificates.make_authority(tmp_path / "ca.key", tmp_path / "ca.pem")
    card = load_card(home.brands / "brand-a.json")
    given = load_welcome(home.welcomes / "brand-a.json").certificate.encode()
    assert is_of(given, home.key("ca.pem"), card.supernode)
    assert not is_of(given, tmp_path / "ca.pem", card.supernode)


def test_a_brand_that_was_not_welcomed_or_to_an_older_roster_is_named(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node(["init", "--home", f"{tmp_path}/c", "--name", "c", "--new-federation-key"]) == 0
    enrol(tmp_path, tmp_path / "c/card.json")
    capsys.readouterr()
    assert run("status", home) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("welcomed to another roster" in line for line in lines) == 2
    assert any("brand c:" in line and "not welcomed yet" in line for line in lines)


def test_who_enrols_a_brand_is_told_what_no_longer_holds(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, state in (("one", "done"), ("two", "running")):
        (home.runs / name).mkdir()
        said = {"state": state, "number": 1, "rounds": 2}
        (home.runs / name / "status.json").write_text(json.dumps(said))
    assert node(["init", "--home", f"{tmp_path}/c", "--name", "c", "--new-federation-key"]) == 0
    capsys.readouterr()
    enrol(tmp_path, tmp_path / "c/card.json")
    assert capsys.readouterr().out.splitlines() == [
        "Enrolled c: 3 brands",
        "  run two was for the roster before and cannot be resumed",
        "  all brands need new welcomes: fl-server welcome",
    ]
    enrol(tmp_path, tmp_path / "c/card.json")  # once more: no news
    assert capsys.readouterr().out == "Enrolled c: 3 brands\n"


def test_the_address_that_brands_are_told_is_the_one_that_was_given(home: Home) -> None:
    welcome = load_welcome(home.welcomes / "brand-a.json")
    assert welcome.address == "fl.example.org:9093"
    assert "port = 9200" in home.config.read_text()


def test_an_init_that_was_killed_is_taken_up_again_with_the_keys_it_had(
    home: Home, tmp_path: Path
) -> None:
    kept = {name: home.key(name).read_bytes() for name in ("ca.key", "identity.key")}
    for path in (home.config, home.key("server.pem"), home.key("signing.pem")):
        path.unlink()
    assert run("init", home, "--address", "127.0.0.1:9000") == 0
    assert {name: home.key(name).read_bytes() for name in kept} == kept
    assert run("status", home) == 0
    assert run("init", home, "--address", "127.0.0.1:9000") == 2


def test_a_coordinators_identity_that_others_may_read_or_that_was_cut_is_refused(
    home: Home,
) -> None:
    path = home.key("identity.key")
    path.chmod(0o640)
    with pytest.raises(InputError, match="others may read it"):
        load_identity(home)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:31])
    with pytest.raises(InputError, match="is not 32 bytes"):
        load_identity(home)
