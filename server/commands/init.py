"""``fl-server init``: certificates, signing keys, the thin bundle and the proxy's configuration."""

from __future__ import annotations

import argparse
import sys

from fl.commands import Command

ABOUT = """\
Make a coordinator: its certificate authority, a server certificate for the names and addresses
given, its signing keys, and the thin Flower bundle that names the installed package.

Flower's server has one port for everybody, and whoever reaches it may submit code. It is therefore
bound to loopback; brands come in through a proxy that asks for their certificate and passes the
fleet paths only. Its configuration is proxy/nginx.conf.

Then
  1. fl-server enrol for the card of every brand
  2. fl-server welcome, and send every brand its file
  3. fl-server start, then fl-server submit

Example
  fl-server init --home coordinator --address fl.example.org:443 --host fl.example.org
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", required=True, metavar="HOST:PORT", help="that brands reach")
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name or address in the server certificate; may be given several times",
    )
    parser.add_argument(
        "--superlink-port", type=int, default=9093, help="on loopback (default: %(default)s)"
    )


def _act(asked: argparse.Namespace) -> int:
    import secrets

    from fl.errors import InputError
    from fl.privacy.secagg.identity import KEY
    from fl.privacy.signing import SigningKey
    from fl.private_files import write_private
    from fl.report.files import atomic_write
    from server.bundle import write_bundle
    from server.certificates import make_authority, make_server
    from server.home import SERVER, Home
    from server.proxy import write_proxy

    host, _, port = asked.address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError("--address", f"{asked.address!r} is not HOST:PORT", "write both")
    home = Home(asked.home)
    if home.config.exists():
        raise InputError(f"--home {asked.home}", "is a coordinator already", "choose a new folder")
    home.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in (
        home.key(""),
        home.brands,
        home.welcomes,
        home.asks,
        home.runs,
        home.superlink,
    ):
        folder.mkdir(exist_ok=True, mode=0o700)
    authority = home.key("ca.key"), home.key("ca.pem")
    make_authority(*authority)
    hosts = list(dict.fromkeys([host.strip("[]"), *asked.host, "127.0.0.1", "localhost"]))
    make_server(authority, home.key("server.key"), home.key("server.pem"), hosts)
    if not home.key("signing.pem").exists():  # an init that was killed is taken up again
        SigningKey.generate().save(home.key("signing.pem"))
    if not home.key("identity.key").exists():
        write_private(home.key("identity.key"), secrets.token_bytes(KEY), "key")
    digest = write_bundle(home)
    text = SERVER.format(address=asked.address, port=asked.superlink_port)
    atomic_write(home.config, text.encode())
    proxy = write_proxy(home)
    sys.stdout.write(
        f"Coordinator in {asked.home}, server certificate for {', '.join(hosts)}\n"
        f"Bundle {digest}\nProxy configuration: {proxy}\n"
        "Next: fl-server enrol for each brand's card\n"
    )
    return 0


COMMAND = Command("init", "certificates, keys, bundle, proxy", ABOUT, _options, _act)
