"""The same run in this process: no Flower, no network, the same nodes' folders.

Every brand's service answers by a call. Under a predictable noise source both must end with the
same arrays, bit by bit.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from clients.home import Home as NodeHome
from clients.service import Service, opened
from experiments.deployment.world import World
from fl.arrays import Arrays, from_bytes
from fl.federation.inprocess import InProcessFederation
from server.conduct import Conduct
from server.files import RunFiles
from server.home import Home
from server.roster import cards, roster


def rehearse(world: World, run: str, folder: Path) -> Arrays:
    """Conduct ``run`` again from copies of all folders, as they are before any round.

    Args:
        world: a deployment whose processes are stopped.
        run: id of a run in it.
        folder: for the copies; it must not exist.
    """
    copied = World(folder, world.brands, world.proxy)
    shutil.copytree(
        world.server, copied.server, ignore=shutil.ignore_patterns("superlink", "ledgers.json")
    )
    for brand in world.brands:
        names = ("runs", "ledger.jsonl*", "*.head")
        shutil.copytree(
            world.node(brand), copied.node(brand), ignore=shutil.ignore_patterns(*names)
        )
        (copied.node(brand) / "runs").mkdir()
    files = RunFiles(Home(copied.server), run)
    for path in files.folder.iterdir():
        if path.name != "offer.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    conduct(files, services(copied))
    return from_bytes(files.model.read_bytes())


def services(world: World) -> dict[str, Service]:
    """Every brand's node, in this process."""
    return {brand: opened(NodeHome(world.node(brand))) for brand in world.brands}


def conduct(files: RunFiles, nodes: Mapping[str, Service]) -> None:
    """Conduct a run over nodes in this process."""
    asked = {brand: partial(node.answer, files.run) for brand, node in nodes.items()}
    federation = InProcessFederation(asked)
    try:
        with files.conducted():
            Conduct(files, roster(cards(files.home)), federation, 5.0, 0.0).run()
    finally:
        for node in nodes.values():
            node.close()
