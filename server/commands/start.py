"""``fl-server start``: the SuperLink on loopback, the proxy in front of it, kept running."""

from __future__ import annotations

import argparse
import sys

from fl.commands import Command

PATIENCE = 60.0  # seconds until Flower's server must have answered a first time

ABOUT = """\
Run Flower's server until stopped: TLS, registered brands only, on loopback, never installing what a
bundle asks for. It is started again when it falls. With --proxy nginx is run beside it with
proxy/nginx.conf, so that brands reach the fleet paths, with their certificate, and nothing else; it
needs no root, and for a port below 1024 the capability CAP_NET_BIND_SERVICE (a unit: see README).
Brands that are enrolled while it runs, or again with new keys, are registered at once. /health and
/metrics (Prometheus) are on loopback, at [ports] health of server.toml.

Example
  fl-server start --proxy --home coordinator
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--proxy", action="store_true", help="run nginx as well")


def _act(asked: argparse.Namespace) -> int:
    import shutil
    import signal
    import threading
    import time

    from fl.errors import InputError
    from server.daemons import Daemon
    from server.health import Health
    from server.home import Home, read_config
    from server.proxy import write_proxy
    from server.roster import cards
    from server.superlink import command, environment, register, write_connection

    home, stop = Home(asked.home), threading.Event()
    config = read_config(home)
    write_connection(home, config)
    commands = {"superlink": command(home, config)}
    if asked.proxy:
        nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if nginx is None:
            raise InputError("--proxy", "nginx is not installed", "install it, or use your own")
        commands["proxy"] = [nginx, "-c", str(write_proxy(home)), "-g", "daemon off;"]
    daemons = [
        Daemon(name, line, home.superlink / f"{name}.log", environment(home))
        for name, line in commands.items()
    ]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ready, began, known, said = home.superlink / "ready", time.monotonic(), None, ""
    try:
        with Health(home, daemons).served(config.health) as health:
            while not stop.is_set():
                for report in filter(None, [one.keep() for one in daemons]):
                    sys.stderr.write(f"fl-server: {report}\n")
                try:
                    if (found := cards(home)) != known:
                        ids = register(home, found)
                        known, said, health.registered = found, "", len(ids)
                        ready.write_text("ready\n")
                        sys.stdout.write(f"Ready: {len(ids)} brands registered\n")
                        sys.stdout.flush()
                except InputError as error:
                    if known is None and time.monotonic() - began > PATIENCE:
                        raise
                    if known is not None and said != (said := str(error)):
                        sys.stderr.write(f"fl-server: {error}\n")
                sys.stderr.flush()
                stop.wait(0.5)
    finally:
        ready.unlink(missing_ok=True)
        for one in daemons:
            one.terminate()
        for one in daemons:
            one.wait(15)
    return 0


COMMAND = Command("start", "run Flower's server and the proxy", ABOUT, _options, _act)
