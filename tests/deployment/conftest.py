"""Small worlds for tests in this process: made once a module, copied for every test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.service import Service
from experiments.deployment.rehearsal import services
from experiments.deployment.world import World
from tests.deployment.small import BRANDS, world


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("made") / "w")


@pytest.fixture
def place(made: World, tmp_path: Path) -> World:
    shutil.copytree(made.folder, tmp_path / "w")
    return World(tmp_path / "w", BRANDS, False)


@pytest.fixture
def nodes(place: World) -> Iterator[dict[str, Service]]:
    opened = services(place)
    yield opened
    for node in opened.values():
        node.close()
