"""Health and metrics of a coordinator on loopback: brands, runs, rounds, days of certificates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from fl.loopback import Pages, served
from fl.welcome import load_welcome
from server.certificates import days_left
from server.daemons import Daemon
from server.files import statuses
from server.home import Home


@dataclass(slots=True)
class Health:
    """What is told of a running ``fl-server start``.

    Attributes:
        home: its folder.
        daemons: what it keeps running.
        registered: brands that Flower's server knows; None before it has answered.
    """

    home: Home
    daemons: Sequence[Daemon]
    registered: int | None = None

    @contextmanager
    def served(self, port: int) -> Iterator[Self]:
        """Answer on ``port`` while the block lasts.

        Raises:
            InputError: the port is in use.
        """
        pages = Pages(self.collect, self._ill)
        with served(pages, port, "[ports] health in server.toml"):
            yield self

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        told = "Brands registered at Flower's server."
        yield GaugeMetricFamily("fl_server_brands", told, value=self.registered or 0)
        falls = CounterMetricFamily("fl_server_falls", "Times it fell.", labels=["program"])
        for daemon in self.daemons:
            falls.add_metric([daemon.name], daemon.falls)
        yield falls
        runs = GaugeMetricFamily("fl_server_runs", "Runs by state.", labels=["state"])
        rounds = CounterMetricFamily("fl_server_rounds", "Rounds that are finished.")
        said = list(statuses(self.home).values())
        for state, number in sorted(Counter(str(one["state"]) for one in said).items()):
            runs.add_metric([state], number)
        rounds.add_metric([], sum(n for one in said if isinstance(n := one["number"], int)))
        yield runs
        yield rounds
        yield self._days()

    def _days(self) -> Metric:
        """The server's certificate, the CA's, and those in the welcomes of brands."""
        days = GaugeMetricFamily("fl_server_certificate_days", "Days left.", labels=["of"])
        for name in ("server", "ca"):
            days.add_metric([name], days_left(self.home.key(f"{name}.pem").read_bytes()))
        for path in sorted(self.home.welcomes.glob("*.json")):
            days.add_metric([path.stem], days_left(load_welcome(path).certificate.encode()))
        return days

    def _ill(self) -> str:
        down = [daemon.name for daemon in self.daemons if not daemon.running]
        if down:
            return f"not running: {', '.join(down)}"
        return "not ready" if self.registered is None else ""
