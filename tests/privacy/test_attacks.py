"""Attacks that once worked, each as the attacker would carry it out."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from clients.memory import MemoryFile
from experiments.books import opened
from experiments.settings import settings
from fl.contracts import Memory
from fl.errors import InputError
from fl.events import Gaussian
from fl.privacy import CustomerPrivacy
from tests import crm


def test_no_other_user_can_read_a_memory_at_the_moment_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the masks' keys: a file that is closed to others a moment later was open."""
    seen: list[int] = []
    replace_file = os.replace

    def watched(old: str, new: Path) -> None:
        replace_file(old, new)
        seen.append(stat.S_IMODE(new.stat().st_mode))

    monkeypatch.setattr("fl.report.files.os.replace", watched)
    MemoryFile(tmp_path / "memory").save(Memory(protocol={"key": b"secret"}))
    assert seen == [0o600]


def chosen(*options: str) -> dict[str, Any]:
    """A config of the user's own table, resolved."""
    with initialize_config_module("conf", version_base="1.3"):
        given = crm.options(Path("crm.csv"), Path("out"), "algorithm=fedsgd", *options)
        values = OmegaConf.to_container(compose("config", given), resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def test_no_brand_is_shown_the_sum_before_the_coordinator_has_noised_it() -> None:
    """BrandAgg gives each sum to all brands: under this plan that sum is exact."""
    with pytest.raises(InputError, match=r"shows all brands each sum.*secure_sum=plain"):
        settings(chosen("privacy=brand", "secure_sum=brandagg"))
    assert settings(chosen("privacy=brand", "secure_sum=plain"))


def test_one_seed_does_not_throw_away_the_keys_of_another(tmp_path: Path) -> None:
    """A killed run of several seeds could not go on: its ledgers' keys were gone."""
    plan = CustomerPrivacy()
    for seed in (0, 1, 0):
        folder = tmp_path / "ledgers" / f"seed-{seed}" / "federated@local-3"
        with opened(folder, tmp_path / "keys", ["north"], plan) as books:
            books.reserve("part", Gaussian(4.0))
            books.settle("part")
