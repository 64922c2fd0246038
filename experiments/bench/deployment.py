"""Seconds per round on real processes: ours with and without the secure sum, Flower's own no-op.

One coordinator and four brands on loopback, TLS, registered keys, no proxy. Flower's round is what
its own parts do: ``flower-supernode``, ``Grid.send_and_receive``, an app that answers at once.

    python -m experiments.bench.deployment --out FILE.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from experiments.bench.published import publish
from experiments.deployment.demo import CLEAR, EXPERIMENT, TIMED, conduct
from experiments.deployment.ports import free_port
from experiments.deployment.rows import shares
from experiments.deployment.world import World, wait
from experiments.settings import settings
from server.home import Home, read_config
from server.proposing import composed
from server.superlink import environment, flwr

PYPROJECT = """\
[project]
name = "noop"
version = "1.0.0"
license = { text = "Apache-2.0" }

[tool.flwr.app]
publisher = "bench"

[tool.flwr.app.components]
serverapp = "noop:server"
clientapp = "noop:client"

[tool.flwr.app.config]
out = ""
rounds = 1
"""

APP = """\
import json, time
from pathlib import Path
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client = ClientApp()
server = ServerApp()


@client.query()
def answer(message, context):
    return Message(RecordDict(), reply_to=message)


@server.main()
def main(grid, context):
    seconds = []
    while len(list(grid.get_node_ids())) < 4:
        time.sleep(0.2)
    for _ in range(int(context.run_config["rounds"])):
        began = time.monotonic()
        asked = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
        replies = list(grid.send_and_receive(asked, timeout=120))
        if len(replies) == 4 and not any(r.has_error() for r in replies):
            seconds.append(time.monotonic() - began)
    Path(context.run_config["out"]).write_text(json.dumps(seconds))
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    how = settings(dict(composed([EXPERIMENT, "out=unused"])))
    rows = shares(how)
    with tempfile.TemporaryDirectory(prefix="crossbrand-bench-") as folder:
        world = World(Path(folder) / "world", tuple(rows.known), False)
        with contextlib.redirect_stdout(io.StringIO()):
            world.build(rows.known, rows.schema, min_brands=1)
        short = [f"rounds={TIMED}"]
        try:
            world.start("server")
            world.ready()
            noop = flower(world, Path(folder))
            for brand in world.brands:
                world.start(brand)
            world.ready()
            secure, clear = conduct(world, short)[1], conduct(world, [*short, *CLEAR])[1]
        finally:
            world.stop()
    cases = {"secure sum": secure, "without": clear, "flower no-op": noop}
    found = [
        {"case": case, "metric": name, "value": value, "unit": "s"}
        for case, seconds in cases.items()
        for name, value in (
            ("median round", statistics.median(seconds)),
            ("longest round", max(seconds)),
        )
    ]
    ratio = statistics.median(secure) / statistics.median(noop)
    found.append({"case": "secure sum", "metric": "over flower no-op", "value": ratio, "unit": "x"})
    publish(out, "deployment", found, ("crossbrand-fl", "flwr"))


def flower(world: World, folder: Path) -> list[float]:
    """Seconds of each of Flower's own no-op rounds."""
    home = Home(world.server)
    config, commands = read_config(home), Path(sys.executable).parent
    app, out = folder / "noop", folder / "noop.json"
    app.mkdir()
    (app / "pyproject.toml").write_text(PYPROJECT)
    (app / "noop.py").write_text(APP)
    nodes = []
    for brand in world.brands:
        line = [commands / "flower-supernode", "--superlink", f"127.0.0.1:{config.port}"]
        line += ["--root-certificates", home.key("ca.pem")]
        line += ["--auth-supernode-private-key", world.node(brand) / "keys/supernode"]
        line += ["--host", "127.0.0.1", "--port", str(free_port())]
        env = {
            **world.environment(),
            **environment(home),
            "FLWR_HOME": str(folder / f"flower-{brand}"),
        }
        with world.log(f"flower-{brand}").open("ab") as log:
            nodes.append(
                subprocess.Popen(
                    [*map(str, line)], stdout=log, stderr=log, env=env, start_new_session=True
                )
            )
    world.processes |= {f"flower-{i}": node for i, node in enumerate(nodes)}
    config_of_run = f'out="{out}" rounds={TIMED}'
    flwr(home, ["run", str(app), "here", "--run-config", config_of_run])
    wait(out.exists, 300, "Flower's rounds")
    seconds = [float(s) for s in json.loads(out.read_bytes())]
    for pid in world.offspring("flower-supernode"):
        os.kill(pid, 15)
    for node in nodes:
        node.wait(30)
    return seconds


if __name__ == "__main__":
    main()
