"""Flower's ``ServerApp`` around the coordinator: which run, which nodes, and nothing else.

Flower's server starts it in a process of its own for every run that is submitted. The run
configuration names the run; everything about it is in the coordinator's folder, which the
environment variable ``FL_SERVER_HOME`` names. A run that was interrupted goes on in a new Flower
run of the same name.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fl.federation.flower import FlowerFederation, Patience
from fl.logs import start_logging
from server.conduct import Conduct
from server.files import RunFiles
from server.home import Home, read_config
from server.roster import cards, roster
from server.superlink import node_ids

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Conduct the run that the configuration names."""
    home = Home(Path(os.environ.get("FL_SERVER_HOME") or "fl-server"))
    files = RunFiles(home, str(context.run_config["run"]))
    start_logging(files.log)
    logging.getLogger("flwr").propagate = False  # it has a log of its own
    with files.conducted():
        config, brands = read_config(home), roster(cards(home))
        patience = Patience(config.reply, config.resend)
        ids = node_ids(home, brands.names)
        federation = FlowerFederation(grid, ids, files.run, patience)
        Conduct(files, brands, federation, config.approval).run()
