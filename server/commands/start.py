"""``fl-server start``: the SuperLink on loopback, the proxy in front of it, kept running."""

from __future__ import annotations

import argparse
import sys

from fl.commands import Command

ABOUT = """\
Run Flower's server until stopped: TLS, registered brands only, on loopback, never installing what a
bundle asks for. It is started again when it falls. With --proxy nginx is run beside it with
proxy/nginx.conf, so that brands reach the fleet paths, with their certificate, and nothing else.

Example
  fl-server start --proxy --home coordinator
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--proxy", action="store_true", help="run nginx as well")


def _act(asked: argparse.Namespace) -> int:
    import shutil
    import signal
    import subprocess
    import threading
    import time

    from fl.errors import InputError
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
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    running: dict[str, subprocess.Popen[bytes]] = {}
    started: dict[str, float] = {}
    registered = False
    try:
        while not stop.is_set():
            for name, line in commands.items():
                if name in running and running[name].poll() is None:
                    continue
                if time.monotonic() - started.get(name, -60.0) < 2.0:
                    continue
                log = (home.superlink / f"{name}.log").open("ab")
                with log:
                    running[name] = subprocess.Popen(
                        line, stdout=log, stderr=log, env=environment(home)
                    )
                started[name] = time.monotonic()
            if not registered:
                try:
                    ids = register(home, cards(home))
                    registered = True
                    (home.superlink / "ready").write_text("ready\n")
                    sys.stdout.write(f"Ready: {len(ids)} brands registered\n")
                    sys.stdout.flush()
                except InputError as error:
                    if time.monotonic() - min(started.values()) > 60:
                        raise error
            stop.wait(0.5)
    finally:
        (home.superlink / "ready").unlink(missing_ok=True)
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
    return 0


COMMAND = Command("start", "run Flower's server and the proxy", ABOUT, _options, _act)
