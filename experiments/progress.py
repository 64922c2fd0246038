"""Progress of long work: a bar for humans, plain lines when nobody watches a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def meter(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that takes how much more work is done."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        shown = ("[progress.description]{task.description}", "{task.percentage:>3.0f}%")
        columns = (TextColumn(shown[0]), BarColumn(), TextColumn(shown[1]))
        clocks = (TimeElapsedColumn(), Remaining())
        with Progress(*columns, *clocks, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total)
            yield lambda more: bar.advance(task, more)
        return
    lines = _Lines(title, total)
    yield lines.advance
    lines.end()


class _Lines:
    """A line every ten seconds."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, max(1, total)
        self._done, self._began, self._last = 0, time.monotonic(), time.monotonic()
        self._say("started")

    def advance(self, more: int) -> None:
        self._done += more
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._say(f"{100 * self._done / self._total:.0f}%")

    def end(self) -> None:
        self._say("done")

    def _say(self, what: str) -> None:
        seconds = time.monotonic() - self._began
        sys.stderr.write(f"{self._title}: {what} after {seconds:.0f} s\n")
        sys.stderr.flush()
