"""``fl`` is light and pure: importing it starts no framework."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("hydra", "omegaconf", "flwr", "opacus", "ray", "matplotlib", "sklearn")


def loaded_after(statement: str) -> set[str]:
    """Top-level names, and all of ``fl``, that a fresh interpreter loads for ``statement``."""
    code = f"import sys; old = set(sys.modules)\n{statement}\nimport json\n"
    code += "print(json.dumps(sorted(set(sys.modules) - old)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout)
    return {name if name.split(".")[0] == "fl" else name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    "modules",
    ["fl", "fl.contracts", "fl.round, fl.brand, fl.privacy, fl.algorithms, fl.federation"],
)
def test_importing_fl_starts_no_framework(modules: str) -> None:
    assert loaded_after(f"import {modules}").isdisjoint(HEAVY)


def test_a_framework_would_be_seen() -> None:
    assert "omegaconf" in loaded_after("import omegaconf")


def test_importing_fl_loads_nothing_else_of_fl() -> None:
    assert {n for n in loaded_after("import fl") if n.split(".")[0] == "fl"} == {"fl"}


def test_the_package_imports_nothing() -> None:
    tree = ast.parse((ROOT / "fl" / "__init__.py").read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
