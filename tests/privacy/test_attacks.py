"""Attacks that once worked, each as the attacker would carry it out."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch import Tensor, nn

from clients.memory import MemoryFile
from experiments import promises, record
from experiments.arms import Result
from experiments.books import opened
from experiments.journal import Piece, from_progress, memory_of
from experiments.run import command
from experiments.settings import settings
from experiments.summary import _epsilon
from fl.contracts import Examples, Memory
from fl.data.dataset import DataSet, Provenance
from fl.doors import Training
from fl.errors import InputError
from fl.events import Gaussian, Repeated
from fl.models.mlp import Mlp
from fl.privacy import BrandPrivacy, CustomerPrivacy, NoPrivacy, Plan
from fl.privacy.accounting import pld_epsilon
from fl.privacy.gradients import clipped_sum
from fl.report.table import privacy
from fl.seeds import torch_generator
from fl.tasks.conversion import Conversion
from server.coordinator import Absence, Progress
from tests import crm, worlds
from tests.privacy.plans import TESTS


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


def left_by(plan: Plan, key: str, times: int = 1, absent: tuple[Absence, ...] = ()) -> Piece:
    """What a seed leaves of one arm, as it is stored."""
    spent = {"north": Repeated(Gaussian(4.0), times)}
    result = Result({}, {}, {}, plan, Progress(1, {}, absences=absent), spent=spent)
    return Piece({}, record.note({key: result}, 0))


def test_results_do_not_say_less_epsilon_than_the_ledgers_of_a_run_that_was_killed() -> None:
    """Rounds done again are paid again, and the seed that was killed need not be the first."""
    variant = settings(chosen("privacy=local", "secure_sum=plain")).variants[0]
    kept, killed = (left_by(variant.plan, "federated@local-3", times) for times in (5, 40))
    assert _epsilon(variant, {0: kept}, "federated@local-3") == 3.0
    booked = pld_epsilon(Repeated(Gaussian(4.0), 40), 1e-5)
    assert booked > 3.0
    assert _epsilon(variant, {0: kept, 1: killed}, "federated@local-3") == booked


def test_a_brand_that_failed_does_not_show_that_it_was_in_the_secret_sample() -> None:
    """The guarantee's amplification counts on nobody knowing who was asked in a round."""
    failed = (Absence(1, "north", "brand.failed"),)
    assert left_by(BrandPrivacy(), "federated@brand-8", absent=failed).note["absent"]
    sampled = BrandPrivacy(sampling_rate=0.5)
    assert not left_by(sampled, "federated@brand-8", absent=failed).note["absent"]


def test_noise_from_a_seed_is_no_guarantee_in_any_report() -> None:
    made = settings(chosen("privacy=local", "secure_sum=plain", f"privacy.noise_source={TESTS}"))
    data = DataSet("crm", pd.DataFrame(), worlds.SCHEMA, None, None, Provenance("", "", "", ""))
    entry = record.opening(made, data, {})["privacy"]
    guaranteed, headline = privacy([], entry)
    assert not guaranteed and headline.startswith("NO PRIVACY")
    assert privacy([], {**entry, "noise_source": "secure"})[0]


@pytest.mark.parametrize(("rows_each", "width"), [(1, 1), (2, 1), (2, 8)])
def test_weights_of_extreme_size_do_not_carry_a_customer_past_the_clip(
    rows_each: int, width: int
) -> None:
    """A coordinator chooses them so that the squares of back-signals are below float32's range."""

    class Extreme(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(1, width), nn.Linear(width, width)
            for layer, size in ((self.first, 1e18), (self.second, 1e-18)):
                nn.init.constant_(layer.weight, size)
                nn.init.zeros_(layer.bias)

        def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
            return self.second(torch.relu(self.first(x_bf))).sum(1)

    def losses(model: nn.Module, batch: Examples) -> Tensor:
        return 1e-23 * model(batch.x_bf, batch.c_bg)

    clip_norm, codes = 1e-7, torch.zeros(rows_each, dtype=torch.int64)
    batch = Examples(torch.ones(rows_each, 1), codes[:, None], torch.zeros(rows_each), codes)
    total = clipped_sum(losses, Extreme(), batch, clip_norm)
    moved = math.sqrt(sum(float(g.double().square().sum()) for g in total.gradients))
    assert float(total.norms[0]) == pytest.approx(width * 1e-5, rel=1e-3)
    assert moved <= clip_norm * (1 + 1e-5)


def test_who_counts_on_no_colluder_is_told_that_brands_can_subtract_their_own_share() -> None:
    assert "subtracts its own share" not in CustomerPrivacy("distributed", colluders=1).trust
    assert "subtracts its own share" in CustomerPrivacy("distributed", colluders=0).trust


def test_statements_name_what_the_benchmarks_own_files_tell() -> None:
    said = " ".join(promises.OFFLINE)
    assert "exact rows, customers and positives" in said and "without a guarantee" in said


def test_whether_a_brand_answers_does_not_depend_on_its_rows() -> None:
    """Weights of the coordinator's choice: a large sum cancels, and rounding decides the loss.

    The refusal of such a model was an exact, unbooked answer about a small brand's rows.
    """
    task = Conversion(worlds.SCHEMA, Mlp(hidden=(256,)))
    plan = replace(CustomerPrivacy(customers=5.0), sigma=1.0)
    brands = [worlds.splits(task, f"b{i}", 18)["train"].span(0, 5) for i in range(6)]
    model, rng = task.model(torch_generator(0, "model")), torch_generator(0, "attack")
    for _ in range(10):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=rng))
            model.head.weight.mul_(1e7)
            model.head.bias.zero_().sub_(model(brands[0].x_bf, brands[0].c_bg)[0])
        for rows in brands:
            next(iter(plan.gradients(task, model, rows, Training(), 0)))
            plan.gradient(task, model, rows, 0)


def test_a_brand_whose_name_begins_like_anothers_gets_nothing_of_the_others_memory(
    tmp_path: Path,
) -> None:
    memories = {"a": ({}, {}), "a/b": ({"w": np.ones(1)}, {"own": {"v": np.ones(2)}})}
    stored = from_progress(Progress(1, {}), memories, NoPrivacy(), done=True)
    assert memory_of(stored, "a") == ({}, {})
    kept, personal = memory_of(stored, "a/b")
    assert kept["w"].tolist() == [1] and personal["own"]["v"].tolist() == [1, 1]
    MemoryFile(tmp_path / "memory").save(Memory(personal={"p/q": {"w": np.ones(1)}}))
    assert MemoryFile(tmp_path / "memory").load().personal.keys() == {"p/q"}


@pytest.mark.parametrize(
    "given",
    [
        ("-cd", "folder"),
        ("--config-dir=folder",),
        ("+hydra.callbacks.x={_target_: pathlib.Path.touch}",),
        ("hydra.searchpath=[file://folder]",),
        ("hydra/launcher=basic",),
    ],
)
def test_no_config_names_something_to_import(
    given: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra makes the callbacks that a config names before any of our code has seen it."""
    monkeypatch.chdir(tmp_path)
    evil = Path("folder/experiment/evil.yaml")
    evil.parent.mkdir(parents=True)
    call = "{_target_: os.mkdir, _args_: [made]}"
    evil.write_text(f"# @package _global_\nhydra:\n  callbacks:\n    x: {call}\n")
    options = ("experiment=evil", "privacy=none", "secure_sum=plain", "data=table", "out=out")
    assert command([*given, *options]) == 2
    assert not Path("made").exists() and not Path("out").exists()
