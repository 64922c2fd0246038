"""``fl-server renew``: certificates are for a year; this issues the next ones."""

from __future__ import annotations

import argparse
import sys

from fl.commands import Command

ABOUT = """\
Issue certificates anew that are good for a few weeks more only: the server's, for the same names
and the same key, and those of brands. A brand whose certificate changes gets a new welcome file,
with a fingerprint that is read aloud again; it takes it up with fl-node join --replace. All other
welcomes stay as they are. What was issued before stays good until it ends by itself.

fl-server status says how many days are left. Call it from a timer once a month.

Examples
  fl-server renew --home coordinator
  fl-server renew --host fl2.example.org         another name for the server's certificate
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--days", type=int, default=60, help="renew what is good for less (default: %(default)s)"
    )
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="add a name or address to the server's certificate; may be given several times",
    )


def _act(asked: argparse.Namespace) -> int:
    from server.certificates import days_left, hosts_of, make_server
    from server.home import Home, read_config
    from server.roster import cards, write_welcomes

    home = Home(asked.home)
    read_config(home)
    path = home.key("server.pem")
    left, hosts = days_left(path.read_bytes()), hosts_of(path.read_bytes())
    wanted = list(dict.fromkeys([*hosts, *asked.host]))
    if left <= asked.days or wanted != hosts:
        authority = home.key("ca.key"), home.key("ca.pem")
        make_server(authority, home.key("server.key"), path, wanted)
        left = days_left(path.read_bytes())
        sys.stdout.write(f"Server certificate: new, {left} days; restart fl-server start\n")
    else:
        sys.stdout.write(f"Server certificate: {left} days left, stays\n")
    if not cards(home):
        return 0
    for path, made, news in write_welcomes(home, asked.days):
        left = days_left(made.certificate.encode())
        sys.stdout.write(f"{made.name}: {left} days left, {'new welcome' if news else 'stays'}\n")
        if news:
            sys.stdout.write(f"  {path}\n  {made.fingerprint}\n")
    return 0


COMMAND = Command("renew", "certificates that are about to expire", ABOUT, _options, _act)
