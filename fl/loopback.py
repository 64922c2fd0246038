"""Pages for this machine alone: ``/health`` and ``/metrics`` over HTTP on loopback.

They hold numbers and codes, nothing of customers. Only who asks this machine by its own name is
answered: a web page whose name resolves to 127.0.0.1 is not.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from fl.errors import InputError

_HERE = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]+)?")
_PATIENCE = 5.0  # seconds for one question


@dataclass(frozen=True, slots=True)
class Pages:
    """What is shown.

    Attributes:
        collect: the metrics of this moment.
        ill: why ``/health`` is 503; empty: it is 200.
    """

    collect: Callable[[], Iterable[Metric]]
    ill: Callable[[], str]

    def page(self, path: str) -> tuple[int, bytes]:
        """Status and body of one page."""
        if path == "/health":
            why = self.ill()
            return (503, f"{why}\n".encode()) if why else (200, b"ok\n")
        if path == "/metrics":
            registry = CollectorRegistry(auto_describe=False)
            registry.register(self)
            return 200, generate_latest(registry)
        return 404, b"see /health and /metrics\n"


@contextmanager
def served(pages: Pages, port: int, setting: str) -> Iterator[None]:
    """Serve ``pages`` on ``port`` while the block lasts; on port 0 not at all.

    Args:
        setting: where the port is set, for the message.

    Raises:
        InputError: the port is in use, or may not be used.
    """
    if not port:
        yield
        return
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler(pages))
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or "is none"
        remedy = f"set {setting} to a free one (each node of a machine needs its own)"
        raise InputError(f"port {port}", why.lower(), remedy) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _handler(pages: Pages) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE

        def do_GET(self) -> None:
            here = _HERE.fullmatch(self.headers.get("Host") or "")
            status, body = pages.page(self.path) if here else (403, b"ask for 127.0.0.1\n")
            self.send_response(status)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: probes would fill the log."""

    return Handler
