"""Secrets that others could have read are not used, whichever command reads them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.home import Home as NodeHome
from clients.keys import load_identity, make_keys, read_secret
from clients.supernode import load_key
from fl.errors import InputError
from fl.privacy.signing import SigningKey
from fl.private_files import read_private, read_trusted
from server.certificates import make_authority, make_server


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with every key of a node."""
    (tmp_path / "keys").mkdir()
    make_keys(NodeHome(tmp_path), "b0", secrets.token_bytes(32))
    return tmp_path / "keys"


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("identity.key", lambda keys: load_identity(NodeHome(keys.parent))),
        ("federation.key", lambda keys: read_secret(keys / "federation.key")),
        ("ledger.pem", lambda keys: SigningKey.load(keys / "ledger.pem")),
        ("supernode", lambda keys: load_key(NodeHome(keys.parent))),
    ],
)
def test_no_key_of_a_node_is_used_that_others_could_read(
    keys: Path, name: str, load: Callable[[Path], object]
) -> None:
    load(keys)
    (keys / name).chmod(0o604)
    with pytest.raises(InputError, match="others may read it") as raised:
        load(keys)
    assert name in raised.value.field
    (keys / name).chmod(0o600)
    (keys / name).write_bytes(b"cut")
    with pytest.raises(InputError):
        load(keys)
    (keys / name).unlink()
    with pytest.raises(InputError, match="No such file"):
        load(keys)


def test_an_authority_whose_key_others_could_read_signs_nothing(tmp_path: Path) -> None:
    authority = tmp_path / "ca.key", tmp_path / "ca.pem"
    make_authority(*authority)
    authority[0].chmod(0o640)
    with pytest.raises(InputError, match="others may read it"):
        make_server(authority, tmp_path / "server.key", tmp_path / "server.pem", ["127.0.0.1"])
    assert not (tmp_path / "server.pem").exists()


@pytest.mark.parametrize("others", [0o640, 0o604, 0o610, 0o620])
def test_every_permission_of_others_counts(tmp_path: Path, others: int) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"s3cret")
    path.chmod(others)
    with pytest.raises(InputError, match="others may read it") as raised:
        read_private(path, "key")
    assert "s3cret" not in str(raised.value)
    path.chmod(0o600)
    assert read_private(path, "key", length=6) == b"s3cret"
    with pytest.raises(InputError, match="is not 7 bytes"):
        read_private(path, "key", length=7)


@pytest.mark.parametrize("others", [0o620, 0o602])
def test_settings_that_others_may_write_are_not_believed(tmp_path: Path, others: int) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b"a = 1\n")
    path.chmod(others)
    with pytest.raises(InputError, match="others may write it"):
        read_trusted(path, "policy", lost="write one")
    path.chmod(0o644)
    assert read_trusted(path, "policy", lost="write one") == "a = 1\n"
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_trusted(path, "policy", lost="write one")
    path.unlink()
    with pytest.raises(InputError, match=r"No such file.*write one"):
        read_trusted(path, "policy", lost="write one")


def test_what_is_read_is_the_file_whose_permissions_were_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at the permissions finds another file under that name right afterwards."""
    path, other = tmp_path / "secret", tmp_path / "other"
    for name, text in ((path, b"mine"), (other, b"theirs")):
        name.write_bytes(text)
        name.chmod(0o600)

    waiting = [other]

    def then_swapped(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def looked(*what: object) -> os.stat_result:
            found = look(*what)
            if waiting:
                os.replace(waiting.pop(), path)
            return found

        return looked

    monkeypatch.setattr(Path, "stat", then_swapped(Path.stat))
    monkeypatch.setattr(os, "fstat", then_swapped(os.fstat))
    assert read_private(path, "key") == b"mine"
    assert path.read_bytes() == b"theirs"
