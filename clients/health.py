"""Health and metrics of a node on loopback: numbers of requests and codes, nothing of the data.

``/health`` answers 200 while the node is connected, else 503. ``/metrics`` is Prometheus' text
format, version 0.0.4.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from clients.service import Service


class Health:
    """Serves while the block lasts; ``connected`` is what ``/health`` says."""

    def __init__(self, service: Service) -> None:
        self.connected = False
        self._service = service
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        if self._service.config.health:
            outer = self

            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    status, text = outer._page(self.path)
                    self.send_response(status)
                    self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                    self.end_headers()
                    self.wfile.write(text.encode())

                def log_message(self, format: str, *args: object) -> None:
                    """Nothing: probes would fill the log."""

            self._server = ThreadingHTTPServer(("127.0.0.1", self._service.config.health), Handler)
            threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _page(self, path: str) -> tuple[int, str]:
        if path == "/health":
            return (200, "ok\n") if self.connected else (503, "not connected\n")
        if path == "/metrics":
            return 200, self._metrics()
        return 404, "see /health and /metrics\n"

    def _metrics(self) -> str:
        lines = [
            "# HELP fl_node_connected Whether the coordinator is reached.",
            "# TYPE fl_node_connected gauge",
            f"fl_node_connected {int(self.connected)}",
            "# HELP fl_node_replies_total Replies by code.",
            "# TYPE fl_node_replies_total counter",
        ]
        counted = sorted(self._service.counted.items())
        lines += [f'fl_node_replies_total{{code="{code}"}} {n}' for code, n in counted]
        lines += [
            "# HELP fl_node_open_runs Runs that this process serves.",
            "# TYPE fl_node_open_runs gauge",
            f"fl_node_open_runs {len(self._service.runs)}",
        ]
        return "\n".join(lines) + "\n"
