"""X.509: the coordinator's own authority, its server's certificate, a certificate for each brand.

A brand's certificate is for the P-384 key of its SuperNode, which the brand has shown on its card:
no private key travels. RFC 5280; names are checked by subject alternative names alone (RFC 9525).
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fl.errors import InputError
from fl.privacy.signing import write_private

_YEAR = timedelta(days=365)
_EARLY = timedelta(days=1)  # clocks differ


def make_authority(key_path: Path, certificate_path: Path) -> None:
    """A new CA: its key for its owner only, its certificate for everybody.

    Raises:
        InputError: there is one already.
    """
    key = _fresh(key_path)
    name = _name("crossbrand-fl coordinator CA")
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    made = (
        _builder(name, name, key.public_key(), 10 * _YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA384())
    )
    certificate_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def make_server(
    authority: tuple[Path, Path], key_path: Path, certificate_path: Path, hosts: list[str]
) -> None:
    """A server's key and certificate for ``hosts``: names or addresses.

    Raises:
        InputError: there is one already.
    """
    key = _fresh(key_path)
    alternatives = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
    made = _issue(
        authority, hosts[0], key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH, alternatives
    )
    certificate_path.write_bytes(made)


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
    key = serialization.load_pem_private_key(authority[0].read_bytes(), None)
    issuer = x509.load_pem_x509_certificate(authority[1].read_bytes())
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(f"key {authority[0]}", "is not a P-384 key", "restore the CA's key")
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


def _fresh(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(path, pem, "key")
    return key


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
