"""Ports of loopback for servers that are started, killed and started again on the same one."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

_FIRST = 10_000
_OWN = Path("/proc/sys/net/ipv4/ip_local_port_range")  # what this machine gives out by itself
_USUAL = 32_768
_TRIES = 100


def free_port() -> int:
    """A port that nobody listens on, below those that the machine gives to whoever asks for any.

    One of those could go to another process before its server listens, or while it is down.

    Raises:
        OSError: none was found.
    """
    last = int(_OWN.read_text().split()[0]) if _OWN.exists() else _USUAL
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(max(last, _FIRST + 1000) - _FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError("Expected a free port of loopback.")
