"""Health and metrics: who is answered, what is said, and nothing private."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from clients.health import Health as NodeHealth
from experiments.deployment.ports import free_port
from experiments.deployment.rehearsal import services
from experiments.deployment.world import World
from fl.contracts import Request
from fl.errors import InputError
from fl.loopback import Pages, served
from server.daemons import Daemon
from server.health import Health
from server.home import Home, read_config
from tests.deployment.small import SECRET, offered, world


def metrics() -> Iterator[Metric]:
    yield GaugeMetricFamily("it", "Something.", value=3)


def got(port: int, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    with connection.getresponse() as answer:
        said = answer.status, answer.read().decode()
    connection.close()
    return said


def values(page: str) -> dict[tuple[str, str], float]:
    """Samples by name and only label."""
    families = text_string_to_metric_families(page)
    return {(s.name, "".join(s.labels.values())): s.value for f in families for s in f.samples}


def test_only_this_machine_by_its_own_name_is_answered() -> None:
    port = free_port()
    with served(Pages(metrics, lambda: ""), port, "it"):
        assert got(port, "/metrics") == (200, "# HELP it Something.\n# TYPE it gauge\nit 3.0\n")
        assert got(port, "/health", f"localhost:{port}") == (200, "ok\n")
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example"):
            assert got(port, "/metrics", host)[0] == 403
        assert got(port, "/other")[0] == 404
        assert got(port, "/metrics", method="POST")[0] == 501
    with pytest.raises(ConnectionRefusedError):
        got(port, "/health")


def test_health_says_why_it_is_not_well() -> None:
    port = free_port()
    with served(Pages(metrics, lambda: "not connected"), port, "it"):
        assert got(port, "/health") == (503, "not connected\n")


def test_a_port_that_is_taken_is_named_with_the_setting_to_change() -> None:
    port, pages = free_port(), Pages(metrics, lambda: "")
    with (
        served(pages, port, "[ports] health in node.toml"),
        pytest.raises(InputError, match=f"port {port}: address already in use. .*node.toml"),
        served(pages, port, "[ports] health in node.toml"),
    ):
        pass


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("health") / "w")


def test_a_node_counts_its_replies_by_code(place: World) -> None:
    node = services(place)["a"]
    files = offered(place)
    node.answer(files.run, Request("offer", 1, {}, {"offer": files.offer}))
    node.answer(files.run, Request("offer", 1, {}, {"offer": b"none"}))
    health, port = NodeHealth(node, connected=True), node.config.health
    with health.served():
        assert got(port, "/health") == (200, "ok\n")
        page = got(port, "/metrics")[1]
        health.connected = False
        assert got(port, "/health")[0] == 503
    said = values(page)
    assert said["fl_node_connected", ""] == 1
    assert said["fl_node_replies_total", "ok"] == 1
    assert said["fl_node_replies_total", "request.malformed"] == 1
    assert SECRET not in page
    node.close()


def test_a_coordinator_tells_brands_runs_rounds_and_certificates(
    place: World, tmp_path: Path
) -> None:
    home = Home(place.server)
    files = offered(place)
    files.say("done", 4)
    kept = Daemon("superlink", ["/bin/sleep", "600"], tmp_path / "log", {})
    health, port = Health(home, [kept]), read_config(home).health
    with health.served(port):
        assert got(port, "/health") == (503, "not running: superlink\n")
        kept.keep()
        assert got(port, "/health") == (503, "not ready\n")
        health.registered = 4
        assert got(port, "/health") == (200, "ok\n")
        said = values(got(port, "/metrics")[1])
    kept.terminate()
    kept.wait(60)
    assert said["fl_server_brands", ""] == 4
    assert said["fl_server_runs", "done"] == 1
    assert said["fl_server_rounds_total", ""] == 4
    assert said["fl_server_falls_total", "superlink"] == 0
    assert {of for name, of in said if name == "fl_server_certificate_days"} == {
        *("server", "ca"),
        *place.brands,
    }
    assert all(364 <= said["fl_server_certificate_days", b] <= 365 for b in place.brands)


def test_a_server_toml_of_an_earlier_version_has_no_port_for_health(place: World) -> None:
    home = Home(place.server)
    text = home.config.read_text()
    start, end = text.index("[ports]"), text.index("[patience]")
    home.config.write_text(text[:start] + text[end:])
    try:
        assert read_config(home).health == 0
    finally:
        home.config.write_text(text)
