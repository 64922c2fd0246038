"""Every file below ``conf/`` is composed by Hydra and built, and none is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from experiments.questions.catalog import STUDIES
from experiments.questions.inquiry import inquiry
from experiments.settings import Settings, settings
from experiments.tuning import TUNED
from fl.config import choose, plain
from fl.errors import InputError
from fl.privacy import PLANS
from fl.tasks import TASKS

CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name[0] != "_")
LEAVES = sorted(
    (path.parent.name, path.stem)
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("experiment", "tuned")
)
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
ASKED = {  # what a question has no default for
    "statistics": ("task.metrics=[spend]",),
    "segmentation": ("task.features=[spend]",),
}
CHOSEN = {"data": "panel", "privacy": "none", "secure_sum": "plain"}
BUILT_AS = {
    "data": "source", "partition": "partition", "task": "options", "model": "architecture",
    "algorithm": "algorithm", "privacy": "variants", "secure_sum": "summing", "runtime": "runtime",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _hydra() -> Iterator[None]:
    with initialize_config_module("conf", version_base="1.3"):
        yield


def composed(*overrides: str) -> dict[str, Any]:
    values = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def values(**chosen: str) -> dict[str, Any]:
    if "model" in chosen and "task" not in chosen:
        chosen["task"] = next(n for n, task in TASKS.items() if chosen["model"] in task.models)
    asked = ASKED.get(chosen.get("task", ""), ())
    if chosen.get("task") in TASKS and "model" not in chosen:
        chosen["model"] = next(iter(TASKS[chosen["task"]].models))
    options = (f"{group}={name}" for group, name in {**CHOSEN, **chosen}.items())
    return composed(*options, *asked, "out=unused")


def made(values: dict[str, Any]) -> Any:
    """What a run is built from: of a trained task, or of a question."""
    return (inquiry if values["task"]["name"] in STUDIES else settings)(values)


def build(**chosen: str) -> Settings:
    return settings(values(**chosen))


def leaf(group: str, name: str) -> Any:
    """What the leaf builds; a guarantee by itself, as it may not go with the sum chosen here."""
    if group == "privacy":
        return choose(PLANS, values(privacy=name)[group], group)
    if group == "task" and name in STUDIES:
        return inquiry(values(task=name)).study
    return getattr(build(**{group: name}), BUILT_AS[group])


def test_every_group_is_known_here() -> None:
    assert set(GROUPS) == {*BUILT_AS, "experiment", "tuned"}
    assert LEAVES and EXPERIMENTS


@pytest.mark.parametrize(("group", "name"), LEAVES)
def test_every_leaf_builds_what_it_is_named_for(group: str, name: str) -> None:
    built = leaf(group, name)
    assert built.name == name


@pytest.mark.parametrize(("group", "name"), LEAVES)
def test_a_leaf_states_every_value_of_its_class(group: str, name: str) -> None:
    """So that reading ``conf/`` is enough to know what there is."""
    built = leaf(group, name)
    stated = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    assert stated.keys() == plain(built).keys()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_builds(name: str) -> None:
    built = made(composed(f"experiment={name}", "out=unused"))
    assert built.experiment == name
    assert built.question.endswith("?")
    if isinstance(built, Settings):
        assert all(len(built.tuning.trials(arm)) == built.tuning.budget for arm in TUNED)


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "tuned").glob("*.yaml")))
def test_what_is_tuned_for_a_data_set_is_used_with_it(name: str) -> None:
    """Its name is that of an experiment and of a data set; its values are in force for both."""
    experiment = next(e for e in EXPERIMENTS if name.startswith(f"{e}_"))
    values = composed(f"experiment={experiment}", f"data={name[len(experiment) + 1 :]}", "out=x")
    stated = yaml.safe_load((CONF / "tuned" / f"{name}.yaml").read_text())
    for group, inner in stated.items():
        assert {key: values[group][key] for key in inner} == inner
    assert settings(values)


def test_privacy_and_data_are_never_chosen_by_default() -> None:
    for group in CHOSEN:
        options = [f"{g}={n}" for g, n in CHOSEN.items() if g != group]
        with pytest.raises(Exception, match=group):
            composed(*options, "out=unused")


@pytest.mark.parametrize(("group", "name"), LEAVES)
def test_a_leaf_with_an_unknown_key_is_refused(group: str, name: str) -> None:
    changed = values(**{group: name})
    changed[group]["no_such_key"] = 1
    with pytest.raises(InputError, match=f"{group}.no_such_key: no such key"):
        made(changed)


@pytest.mark.parametrize("key", ["sigma", "brands"])
@pytest.mark.parametrize("plan", ["local", "distributed", "brand"])
def test_no_config_sets_what_a_run_finds_out(plan: str, key: str) -> None:
    changed = values(privacy=plan)
    changed["privacy"][key] = 1.0
    with pytest.raises(InputError, match=f"privacy.{key}: no such key"):
        settings(changed)


def test_shared_noise_needs_an_algorithm_that_sends_sums_and_a_sum_that_hides_updates() -> None:
    with pytest.raises(InputError, match="algorithm: fedavg trains at a brand") as trains:
        build(privacy="distributed", algorithm="fedavg")
    assert trains.value.remedy == "choose algorithm=fedsgd, or privacy=local"
    with pytest.raises(InputError, match="secure_sum: plain shows updates"):
        build(privacy="distributed", algorithm="fedsgd")
    changed = values(algorithm="fedsgd") | {
        "plans": {"shared": values(privacy="distributed")["privacy"]},
        "epsilons": [1],
    }
    with pytest.raises(InputError, match="secure_sum: plain shows updates"):
        settings(changed)


@pytest.mark.parametrize("name", ["uplift_karlan", "text_reviews", "preference_films"])
@pytest.mark.parametrize("plan", ["none", "local"])
def test_a_sum_that_another_guarantee_forbids_is_refused_with_what_helps(
    name: str, plan: str
) -> None:
    """The experiment brings a shared guarantee beside the one that was chosen."""
    asked = [f"experiment={name}", f"privacy={plan}", "secure_sum=plain", "out=unused"]
    with pytest.raises(InputError, match="share of the noise of distributed-") as refused:
        made(composed(*asked))
    assert "plans=null 'epsilons=[]'" in refused.value.remedy
    assert "privacy=local" not in refused.value.remedy
    alone = made(composed(*asked, "plans=null", "epsilons=[]"))
    kept = alone.variants if isinstance(alone, Settings) else tuple(alone.plans)
    assert len(kept) == 1


def test_a_guarantee_that_is_chosen_and_beside_it_is_refused_with_what_helps() -> None:
    asked = ["experiment=text_reviews", "privacy=distributed", "out=unused"]
    with pytest.raises(InputError, match="asked for twice, by privacy and by plans") as refused:
        made(composed(*asked))
    assert "plans=null 'epsilons=[]'" in refused.value.remedy
    assert [v.label for v in made(composed(*asked, "plans=null", "epsilons=[]")).variants] == [
        "distributed-3"
    ]
