"""Health and metrics of a node on loopback: numbers of requests and codes, nothing of the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from clients.service import Service
from fl.loopback import Pages, served


@dataclass(slots=True)
class Health:
    """What is told of a node.

    Attributes:
        service: it counts its replies.
        connected: whether the coordinator is reached; ``/health`` is 503 where it is not.
    """

    service: Service
    connected: bool = False

    @contextmanager
    def served(self) -> Iterator[Self]:
        """Answer on the node's port while the block lasts.

        Raises:
            InputError: the port is in use.
        """
        pages = Pages(self.collect, lambda: "" if self.connected else "not connected")
        with served(pages, self.service.config.health, "[ports] health in node.toml"):
            yield self

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        reached = "Whether the coordinator is reached."
        yield GaugeMetricFamily("fl_node_connected", reached, value=int(self.connected))
        replies = CounterMetricFamily("fl_node_replies", "Replies by code.", labels=["code"])
        for code, number in sorted(self.service.counted.items()):
            replies.add_metric([code], number)
        yield replies
        serves = "Runs that this process serves."
        yield GaugeMetricFamily("fl_node_open_runs", serves, value=len(self.service.runs))
