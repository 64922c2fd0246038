"""X.509: the coordinator's own authority, its server's certificate, a certificate for each brand.

A brand's certificate is for the P-384 key of its SuperNode, which the brand has shown on its card:
no private key travels. RFC 5280; names are checked by subject alternative names alone (RFC 9525).
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fl.errors import InputError
from fl.private_files import read_private, write_private
from fl.report.files import atomic_write

_YEAR = timedelta(days=365)
_EARLY = timedelta(days=1)  # clocks differ


def make_authority(key_path: Path, certificate_path: Path) -> None:
    """A CA: its key for its owner only, its certificate for everybody. A key that is there stays.

    Raises:
        InputError: a key is there that is none.
    """
    key = _kept(key_path)
    name = _name("crossbrand-fl coordinator CA")
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    made = (
        _builder(name, name, key.public_key(), 10 * _YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA384())
    )
    atomic_write(certificate_path, made.public_bytes(serialization.Encoding.PEM))


def make_server(
    authority: tuple[Path, Path], key_path: Path, certificate_path: Path, hosts: list[str]
) -> None:
    """A server's certificate for ``hosts``: names or addresses. A key that is there stays.

    Raises:
        InputError: a key is there that is none.
    """
    key = _kept(key_path)
    alternatives = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
    made = _issue(
        authority, hosts[0], key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH, alternatives
    )
    atomic_write(certificate_path, made)


def hosts_of(certificate: bytes) -> list[str]:
    """The names and addresses that a server's certificate is for."""
    found = _read(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    names = found.value.get_values_for_type(x509.DNSName)
    addresses = map(str, found.value.get_values_for_type(x509.IPAddress))
    return [*names, *addresses]


def days_left(certificate: bytes) -> int:
    """Whole days until a certificate (PEM) expires; below 0 if it has.

    Raises:
        InputError: it is none.
    """
    return (_read(certificate).not_valid_after_utc - datetime.now(UTC)).days


def is_of(certificate: bytes, authority: Path, public_key: str) -> bool:
    """Whether a certificate (PEM) is this authority's, for this key in OpenSSH format."""
    issuer, found = _read(authority.read_bytes()), _read(certificate)
    try:
        found.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return found.public_key() == serialization.load_ssh_public_key(public_key.encode())


def brand_certificate(authority: tuple[Path, Path], name: str, public_key: str) -> str:
    """PEM: a client certificate for a brand's P-384 key in OpenSSH format.

    Raises:
        InputError: not such a key.
    """
    try:
        public = serialization.load_ssh_public_key(public_key.encode())
    except ValueError as error:
        raise InputError(f"card of {name}", "has no OpenSSH key", "ask for it again") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp384r1":
        raise InputError(f"card of {name}", "has no P-384 key", "ask for it again")
    alternative = x509.SubjectAlternativeName([x509.DNSName(name)])
    usage = ExtendedKeyUsageOID.CLIENT_AUTH
    return _issue(authority, name, public, usage, alternative).decode()


def _issue(
    authority: tuple[Path, Path],
    name: str,
    public: ec.EllipticCurvePublicKey,
    usage: x509.ObjectIdentifier,
    alternatives: x509.SubjectAlternativeName,
) -> bytes:
    key, issuer = _private(authority[0]), _read(authority[1].read_bytes())
    made = (
        _builder(_name(name), issuer.subject, public, _YEAR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(alternatives, critical=False)
        .sign(key, hashes.SHA384())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + valid)
    )


def _kept(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key at ``path``; a new one if there is none."""
    if path.exists():
        return _private(path)
    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(path, pem, "key")
    return key


def _private(path: Path) -> ec.EllipticCurvePrivateKey:
    remedy = "restore it from a backup"
    raw = read_private(path, f"key {path}", lost=remedy)
    try:
        key = serialization.load_pem_private_key(raw, None)
    except (ValueError, TypeError) as error:
        raise InputError(f"key {path}", "cannot be read", remedy) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(f"key {path}", "is not a P-384 key", remedy)
    return key


def _read(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise InputError("certificate", "is none", "issue it again with fl-server renew") from error


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
