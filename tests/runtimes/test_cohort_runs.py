"""``fl-run runtime=cohort`` from its options to its report, beside the in-process runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.run import command
from experiments.runtimes import cores
from fl.arrays import from_bytes
from tests import crm

PRIVATE = (
    "privacy=local",
    "privacy.epsilon=3",
    "privacy.noise_source=insecure_noise_for_tests",
    "secure_sum=brandagg",
    "+data.columns={session_duration: {low: 0, high: 900}, message_count: {low: 0, high: 9},"
    " product_views: {low: 0, high: 40}}",
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    crm.table().to_csv("crm.csv", index=False)


@pytest.mark.parametrize("more", [("algorithm=scaffold",), PRIVATE], ids=["scaffold", "private"])
def test_a_run_ends_as_in_process_and_says_how_its_blocks_were_computed(
    more: tuple[str, ...],
) -> None:
    both = ("seeds=1", "arms=[federated,finetuned]", *more)
    kept = crm.run(Path("crm.csv"), Path("cohort"), "runtime=cohort", *both)
    crm.run(Path("crm.csv"), Path("alone"), *both)
    ours, expected = (from_bytes(Path(f, "models.npz").read_bytes()) for f in ("cohort", "alone"))
    assert ours.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(ours[name], values, atol=1e-5, rtol=1e-5, err_msg=name)
    assert kept["runtime"]["name"] == "cohort" and not kept["absent"]
    assert sum(kept["runtime"]["answers"].values()) > 0
    assert Path("cohort/report.html").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("runtime.block=0", "block=0 >= 1, or null for what fits the cache"),
        (f"runtime.workers={cores() + 1}", f"set runtime.workers={cores()}"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    option: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(crm.options(Path("crm.csv"), Path("out"), "runtime=cohort", option)) == 2
    assert said in capfd.readouterr().err
    assert not Path("out").exists()


def test_what_no_block_can_compute_is_done_one_by_one_and_named() -> None:
    """A clip that follows the norms of each brand is each brand's own."""
    asked = ("seeds=1", "arms=[federated]", "runtime=cohort", *PRIVATE, "secure_sum=plain")
    kept = crm.run(Path("crm.csv"), Path("moving"), *asked, "privacy.clip_quantile=0.5")
    assert any(way.startswith("one by one") for way in kept["runtime"]["answers"]), json.dumps(
        kept["runtime"]
    )
