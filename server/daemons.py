"""Other programs' processes, kept running: each is started again when it falls."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PAUSE = 2.0  # seconds between two starts
_QUIET = 60.0  # seconds between two reports of a fall


@dataclass(slots=True)
class Daemon:
    """One program.

    Attributes:
        name: for people.
        line: its command.
        log: where what it says is appended.
        env: its environment.
        falls: how often it ended by itself.
    """

    name: str
    line: Sequence[str]
    log: Path
    env: Mapping[str, str]
    falls: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _started: float = -math.inf
    _reported: float = -math.inf

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def keep(self) -> str:
        """Start it where it does not run; what a person should know, or nothing."""
        now, fell = time.monotonic(), None
        if self._process is not None and (fell := self._process.poll()) is None:
            return ""
        if now - self._started < _PAUSE:
            return ""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.line, stdout=log, stderr=log, env=self.env)
        self._started = now
        self.falls += fell is not None
        if fell is None or now - self._reported < _QUIET:
            return ""
        self._reported = now
        return f"{self.name} ended with {fell} and was started again; see {self.log}"

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait until it has ended; after ``seconds`` it is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
