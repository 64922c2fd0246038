"""``fl-node start``: run the node, and start it again when it falls."""

from __future__ import annotations

import argparse
import sys

from fl.commands import Command

ABOUT = """\
Run the node until it is stopped (SIGTERM, Ctrl-C). It connects to the coordinator with this
brand's registered key and certificate, answers what the policy allows, and writes its log as JSON
lines to standard error: codes and counts, no data.

If the server is not there, or still thinks that an earlier process is, the node tries again after
1, 2, 4 ... 30 seconds. A killed node takes up its runs from its own files.

Whatever bundle the coordinator ships is compared with the hashes of the welcome, and never run.

Example
  fl-node start --home node
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--attempts", type=int, default=0, help="give up after so many failures; 0: never"
    )


def _act(asked: argparse.Namespace) -> int:
    import logging
    import os
    import signal
    import threading
    import warnings

    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    warnings.simplefilter("ignore", DeprecationWarning)

    import httpx

    from clients.app import answered
    from clients.health import Health
    from clients.home import Home
    from clients.service import opened
    from clients.standing import books_of
    from clients.supernode import connected, serve
    from fl.logs import start_logging

    logging.getLogger("flwr").propagate = False
    start_logging()
    log = logging.getLogger("fl-node")
    home, stop = Home(asked.home), threading.Event()
    service = opened(home)
    books_of(home)  # a ledger that was changed, set back or deleted: better said here than in codes
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    failures, pause = 0, 1.0
    with Health(service).served() as health:
        while not stop.is_set():
            try:
                with connected(home, service.welcome) as fleet:
                    log.info("connected to %s", service.welcome.address)
                    failures, pause = 0, 1.0
                    health.connected = True
                    serve(fleet, lambda message: answered(service, message), stop.is_set)
            except (httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
                failures += 1
                log.warning("no connection: %s", _reason(error))
                if failures == asked.attempts:
                    sys.stderr.write(f"fl-node: gave up: {_reason(error)}\n")
                    return 1
                stop.wait(pause)
                pause = min(30.0, 2 * pause)
            finally:
                health.connected = False
    service.close()
    log.info("stopped")
    return 0


def _reason(error: Exception) -> str:
    """What an operator can act on."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        said = f"the server answers {error.response.status_code}"
        if error.response.status_code in (401, 403):
            said += ": is the clock right, and the certificate of this brand?"
        if error.response.status_code == 412:
            said += ": this key is not registered, or an earlier process of the node still counts"
        return said
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "the server's certificate is not of the CA in welcome.json"
    return f"{type(error).__name__}: {text[:120]}"


COMMAND = Command("start", "run the node", ABOUT, _options, _act)
