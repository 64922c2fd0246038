"""A statement says what its events support, reads back whole, and a changed one is found out."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest

from fl.contracts import Unit
from fl.errors import InputError
from fl.events import Gaussian, PrivacyEvent, Repeated, Sampled, Unbounded
from fl.privacy.accounting import pld_epsilon
from fl.privacy.composition import group, person
from fl.privacy.recompute import recompute
from fl.privacy.statement import Conditions, Statement, statement

SHOP = Repeated(Sampled(0.02, Gaussian(1.16)), 976)
SMALL = Repeated(Sampled(0.01, Gaussian(1.16)), 976)
DELTA = 1e-5


def conditions(**changes: Any) -> Conditions:
    values: dict[str, Any] = {
        "unit": Unit.CUSTOMER, "delta": DELTA, "brands": 2, "clip_norm": 1.0,
        "noise_source": "secure", "trust": "Nobody.",
    }  # fmt: skip
    return Conditions(**values | changes)


@pytest.fixture(scope="module")
def local() -> Statement:
    return statement({"books": SMALL, "shoes": SHOP}, conditions())


def on_disk(made: Statement) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(made.to_json(), allow_nan=False))
    return read


def test_a_statement_is_about_the_brand_that_costs_most(local: Statement) -> None:
    assert local.brand == "shoes"
    assert local.customer.pld == pld_epsilon(SHOP, DELTA)
    assert local.customer.pld < local.person.pld < pld_epsilon(person(SHOP, 2), DELTA)


def test_a_statement_reads_back_whole(local: Statement) -> None:
    assert Statement.from_json(on_disk(local)) == local
    assert recompute(on_disk(local)) == []


def test_a_statement_prints_every_fact_in_short_lines(local: Statement) -> None:
    text = "\n".join(local.lines())
    for fact in (
        "unit of privacy: customer", "add or remove one", "epsilon 2.92", "delta 1e-05", "PRV",
        "difference 0.01", "person at up to 2 brands", "Poisson", "rate 0.02", "clip norm 1",
        "noise multiplier 1.16", "976", "secure", "0.1 %", "advantage", "trust: Nobody.",
        "hyper-parameters",
    ):  # fmt: skip
        assert fact in text
    assert "WARNING" not in text and "NO PRIVACY" not in text
    assert max(map(len, text.splitlines())) < 160


def test_repeatable_noise_and_exact_releases_are_said_first() -> None:
    loud = statement({"a": SHOP}, conditions(noise_source="insecure_noise_for_tests", brands=1))
    assert next(loud.lines()).startswith("WARNING: insecure_noise_for_tests")
    none = statement({"a": Unbounded()}, conditions(unit=Unit.NONE, clip_norm=None))
    assert next(none.lines()).startswith("NO PRIVACY GUARANTEE")
    assert math.isinf(none.customer.pld) and none.customer.difference == 0
    assert Statement.from_json(on_disk(none)) == none
    assert recompute(on_disk(none)) == []


def test_a_joint_sum_is_moved_by_every_brand_of_a_person() -> None:
    event = Repeated(Sampled(0.05, Gaussian(3.0)), 40)
    joint = statement({"all brands": event}, conditions(joint=True))
    assert joint.person.pld == group(event, 2, DELTA) > pld_epsilon(person(event, 2), DELTA)
    assert joint.person.pld <= joint.person.prv
    assert recompute(on_disk(joint)) == []


TAMPERED: list[tuple[tuple[str | int, ...], object, str]] = [
    (("customer", "pld"), 2.0, "customer.pld"),
    (("customer", "prv"), None, "customer.prv"),
    (("customer", "pld"), 2.95, "customer.pld"),
    (("person", "pld"), 3.0, "person.pld"),
    (("person", "rdp"), 3.0, "person.rdp"),
    (("meaning", "tpr_at_fpr_0001"), 0.004, "meaning.tpr_at_fpr_0001"),
    (("meaning", "advantage"), 0.1, "meaning.advantage"),
    (("releases", 0, "rate"), 0.019, "releases.0.rate"),
    (("releases",), [], "releases.0.rate"),
    (("brand",), "books", "brand"),
    (("delta",), 1e-4, "customer.pld"),
    (("brands",), 1, "person.pld"),
    (("events", "shoes", "times"), 500, "customer.pld"),
    (("events", "shoes", "event", "event", "noise_multiplier"), 1.3, "customer.pld"),
    (("certified",), True, "certified"),
]


@pytest.mark.parametrize(("path", "value", "named"), TAMPERED)
def test_a_statement_that_its_events_do_not_support_is_named(
    local: Statement, path: tuple[str | int, ...], value: object, named: str
) -> None:
    values: Any = copy.deepcopy(on_disk(local))
    inner = values
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert any(line.startswith(f"{named}:") for line in recompute(values))


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"relation": "replace one"}, {"events": {}}, {"unit": "row"}, {"delta": 0},
     {"customer": {}}, {"noise_source": "mersenne"}, {"clip_norm": math.inf}, {"brand": "toys"},
     {"events": {"shoes": {"kind": "laplace"}}}, {"meaning": None}],
)  # fmt: skip
def test_what_is_not_a_statement_is_refused(local: Statement, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="privacy statement"):
        recompute(on_disk(local) | change)


def test_a_statement_needs_events_and_a_joint_sum_exactly_one() -> None:
    several: dict[str, PrivacyEvent] = {"a": SHOP, "b": SMALL}
    with pytest.raises(ValueError, match="Expected"):
        statement({}, conditions())
    with pytest.raises(ValueError, match="Expected"):
        statement(several, conditions(joint=True))
