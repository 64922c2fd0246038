"""The thin Flower bundle: two names of installed code, and nothing that could be run by itself.

Flower ships an app as a bundle (FAB) from the coordinator to whoever runs it. Ours holds only the
``pyproject.toml`` below. A brand's node never runs a bundle at all: it compares its hash with those
that it was welcomed with, and answers with the code that is installed at the brand
(``clients/supernode.py``).
"""

from __future__ import annotations

import hashlib
import warnings

from fl.report.files import atomic_write
from server.home import Home

PYPROJECT = """\
[project]
name = "crossbrand"
version = "1.0.0"
license = { text = "Apache-2.0" }
description = "Names the installed crossbrand-fl package"
dependencies = []

[tool.flwr.app]
publisher = "crossbrand-fl"

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "clients.app:app"

[tool.flwr.app.config]
run = ""
"""


def write_bundle(home: Home) -> str:
    """Write the bundle's folder; returns its hash."""
    home.bundle.mkdir(exist_ok=True)
    atomic_write(home.bundle / "pyproject.toml", PYPROJECT.encode())
    return bundle_hash(home)


def bundle_hash(home: Home) -> str:
    """SHA-256 of the bundle as Flower packs it: 64 hex digits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Flower's own imports
        from flwr.cli.build import build_fab_from_disk

        packed = build_fab_from_disk(home.bundle)
    return hashlib.sha256(packed).hexdigest()
