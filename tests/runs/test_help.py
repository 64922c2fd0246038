"""``fl-run --help`` answers at once: it imports nothing heavy, and tells what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.run import command

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "hydra", "omegaconf", "pandas", "numpy", "rich", "flwr", "matplotlib", "sklearn"}


def imported_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after ``statement``."""
    asked = f"{statement}; import sys; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in done.stderr.split()}


def test_help_imports_nothing_heavy() -> None:
    imported = imported_by("from experiments.run import command; command(['--help'])")
    assert "experiments" in imported
    assert not imported & HEAVY


def test_the_check_on_imports_can_fail() -> None:
    assert imported_by("import numpy") & HEAVY


@pytest.mark.parametrize("asked", [[], ["--help"], ["-h"], ["experiment=panel", "--help"]])
def test_help_lists_every_experiment_with_its_question_and_every_option(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(asked) == 0
    shown = capsys.readouterr().out
    for experiment in (ROOT / "conf/experiment").glob("*.yaml"):
        question = experiment.read_text().splitlines()[1].removeprefix("# ")
        assert any(
            line.split(maxsplit=1) == [experiment.stem, question] for line in shown.splitlines()
        )
    for leaf in (ROOT / "conf").glob("*/*.yaml"):
        assert leaf.stem in shown or leaf.parent.name == "tuned"  # comes by itself
    assert all(f"{name}=" in shown for name in ("resume", "out", "data", "privacy", "secure_sum"))
    assert max(map(len, shown.splitlines())) <= 130
