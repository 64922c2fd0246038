"""Disclosure rules under masks: what would show a brand is not released."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.journal import Journal
from experiments.questions import register
from experiments.questions.asking import Answered, Place, ask, in_force
from experiments.questions.benchmark import spread_of
from fl.algorithms.disclosure import REASONS, Disclosure
from fl.contracts import Floats
from fl.data.columns import Category, Number
from fl.doors import Counted, Of, Query
from fl.errors import InputError
from fl.privacy import CustomerPrivacy, NoPrivacy, PlainSum, Plan
from fl.privacy.parameters import SOURCES
from fl.privacy.releases import Release, fewest, refuse_differencing
from fl.privacy.secagg import BrandAgg
from fl.round import states
from fl.seeds import numpy_generator
from fl.tasks.records import Segments
from fl.tasks.statistics import Statistics
from tests.worlds import carry_out

KINDS = ("new", "old")
TESTS = SOURCES[1]  # predictable: its name says so in every report
TASK = Statistics((Number("spend", 0, 100),), None, Segments(Category("kind", KINDS)))


def rules(**changed: float) -> Disclosure:
    made = Disclosure(
        len(TASK.cells),
        len(TASK.values),
        TASK.widths,
        weights=tuple(TASK.weights.tolist()),
        own_weight=TASK.own_weight,
    )
    return replace(made, **{"min_customers": 10.0, **changed})  # type: ignore[arg-type]


def rows(new: int, old: int, spend: float = 50.0) -> pd.DataFrame:
    return pd.DataFrame({"spend": spend, "kind": ["new"] * new + ["old"] * old})


def answer(
    tmp_path: Path,
    brands: Mapping[str, pd.DataFrame],
    plan: Plan | None = None,
    summing: PlainSum | BrandAgg | None = None,
    **changed: float,
) -> Answered:
    place = Place(
        tmp_path, Journal(tmp_path / "work"), summing or PlainSum(), 0, "x", True, lambda n: None
    )
    own = {b: TASK.examples(t, np.arange(len(t)), b) for b, t in brands.items()}
    plan, made = plan or NoPrivacy(), rules(**changed)
    spread = spread_of(in_force(plan, made, len(own)), made.share_own)
    return ask(place, own, TASK, replace(made, spread=spread), plan)


def outcome(answered: Answered) -> dict[str, str]:
    why = np.asarray(answered.state["reasons"]).astype(int)
    return {cell: REASONS[reason] for cell, reason in zip(TASK.cells, why, strict=True)}


EVEN = {f"b{i}": rows(20, 20) for i in range(6)}


def test_a_cell_without_a_large_brand_is_released(tmp_path: Path) -> None:
    found = outcome(answer(tmp_path, EVEN))
    assert found["all"] == found["new"] == found["old"] == "released"
    assert found["(other)"].startswith("empty")


def test_a_dominant_brand_is_not_shown(tmp_path: Path) -> None:
    """By its customers in one segment, by its money in the other; all customers stay apart too."""
    found = outcome(answer(tmp_path, {**EVEN, "b0": rows(150, 100)}))
    assert found["new"] == found["all"] == "one brand dominates"
    found = outcome(
        answer(
            tmp_path / "money", {b: rows(20, 20, 1.0) for b in EVEN} | {"b0": rows(20, 20, 100.0)}
        )
    )
    assert {w for w in found.values() if "empty" not in w} == {"one brand dominates"}


def test_two_colluding_brands_cannot_find_the_others_by_subtraction(tmp_path: Path) -> None:
    """43 % and 43 %: neither dominates alone, but what is left of them is 14 %."""
    pair = {**{f"b{i}": rows(7, 20) for i in range(4)}, "x": rows(86, 20), "y": rows(86, 20)}
    found = outcome(answer(tmp_path, pair))
    assert found["new"] == "two brands dominate" and found["old"] != "two brands dominate"


def test_a_brand_is_not_estimated_too_closely(tmp_path: Path) -> None:
    """45 % and 40 % pass a pair rule of 90 %; what is left, 15 %, is below 40 % of the largest."""
    brands = {**{f"b{i}": rows(15, 20) for i in range(5)}, "x": rows(225, 20), "y": rows(200, 20)}
    assert outcome(answer(tmp_path / "a", brands, pair=0.91, p_percent=10))["new"] == "released"
    found = outcome(answer(tmp_path / "b", brands, pair=0.91, p_percent=40))
    assert found["new"] == "a brand could be estimated too closely"


def test_too_few_brands_and_too_few_customers_are_told_apart(tmp_path: Path) -> None:
    brands = {f"b{i}": rows(20 if i < 4 else 0, 1) for i in range(6)}
    found = outcome(answer(tmp_path, brands))
    assert found["new"] == "too few brands contribute" and found["old"] == "too few customers"


@pytest.mark.parametrize("alone", [("?",), ("?", "new")])
def test_what_all_customers_less_the_released_segments_are_is_no_brand(
    tmp_path: Path, alone: tuple[str, ...]
) -> None:
    """One segment, or two together, that are one brand's: no released sum less others is theirs."""
    odd = pd.DataFrame({"spend": 4.5, "kind": [kind for kind in alone for _ in range(60)]})
    brands = {f"b{i}": rows(0 if "new" in alone else 100, 100) for i in range(6)}
    found = outcome(answer(tmp_path, {**brands, "b0": pd.concat([brands["b0"], odd])}))
    assert found["all"] == "released" and found["(other)"].startswith("too few brands")
    assert "released" not in (found["new"], found["old"])
    assert "subtraction" in found["old"]


def test_without_all_customers_the_segments_that_pass_stay_but_not_all_of_them() -> None:
    asked = rules()
    objections = np.zeros((5, 4))
    objections[0] = (6, 0, 6, 6)
    objections[3, 0] = 1.0  # one brand has too much of all customers
    state = {**asked.init({}), "stage": np.ones(()), "totals": TOTALS}
    found = [
        REASONS[int(r)] for r in np.asarray(asked.apply(state, {"above": objections})["reasons"])
    ]
    assert found[0] == "one brand dominates" and found[1].startswith("empty")
    assert "subtraction" in found[2] and found[3] == "released"
    objections[3, 2] = 1.0
    found = [
        REASONS[int(r)] for r in np.asarray(asked.apply(state, {"above": objections})["reasons"])
    ]
    assert found[2] == "one brand dominates" and found[3] == "released"


TOTALS = np.array([[200.0] * 2, [0.0] * 2, [110.0] * 2, [90.0] * 2]) * TASK.weights


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 20)),
        min_size=6, max_size=8,
    )
)  # fmt: skip
def test_no_difference_of_released_cells_breaks_a_rule(sizes: list[tuple[int, int, int]]) -> None:
    """All customers less every set of released segments, tested as a cell of its own."""
    asked = rules(min_customers=1.0)
    own = np.stack([_own(rows_of(*n)) for n in sizes])
    state = asked.apply(asked.init({}), {"totals": own.sum(0) / TASK.own_weight * TASK.weights})
    least = asked.own_total(state["totals"])
    above = np.sum([asked.above((x / least).max(1), least) for x in own], 0)
    reasons = np.asarray(asked.apply(state, {"above": above})["reasons"])
    released = [c for c in range(1, 4) if reasons[c] == 0]
    if reasons[0] > 0 or not released:
        return
    left = own[:, 0, 0] - own[:, released, 0].sum(1)
    if left.sum() < 1e-6:
        return
    shares = np.sort(left / left.sum())[::-1]
    assert np.sum(shares > 1e-9) >= 5
    assert shares[0] <= 0.5 + 1e-9 and shares[0] + shares[1] <= 0.85 + 1e-9


def rows_of(new: int, old: int, other: int) -> pd.DataFrame:
    return pd.concat(
        [rows(new, old), pd.DataFrame({"spend": 50.0, "kind": ["?"] * other})], ignore_index=True
    )


def test_a_suppressed_cell_is_blank_after_the_test(tmp_path: Path) -> None:
    """Its totals and objections are in no later state, so in no published file either."""
    brands = {f"b{i}": rows(100, 100) for i in range(6)}
    odd = pd.DataFrame({"spend": 4.5, "kind": ["?"] * 60})
    state = answer(tmp_path, {**brands, "b0": pd.concat([brands["b0"], odd])}).state
    why = np.asarray(state["reasons"])
    assert (why > 0).sum() == 3 and why[0] == 0
    for name, axis in (("totals", 1), ("above", 0)):
        by_cell = np.abs(np.asarray(state[name])).sum(axis)
        assert by_cell[0] > 0 and not by_cell[why > 0].any()


def test_no_brand_sends_the_cells_of_a_suppressed_one() -> None:
    """Of its ``cells``, by any brand, whatever its customers are."""
    asked = rules()
    state = [*states(asked, asked.init({}), 3)][2]
    state = {**state, "reasons": np.array([0.0, 0.0, 3.0, 0.0])}

    class Door:
        def answer(self, ask: Query) -> Counted:
            return Counted({"cells": np.ones(sum(TASK.widths))}, 1.0)

    def sent(objected: list[float]) -> list[bool]:
        half = asked.local(asked.broadcast(state), {"objected": np.array(objected)})
        update, _ = carry_out(half, Door())  # type: ignore[arg-type]
        parts = np.split(np.asarray(update.sums["cells"]), np.cumsum(TASK.widths)[:-1])
        return [bool(part.any()) for part in parts]

    assert sent([0.0] * 4) == [True, True, False, True]
    assert sent([0.0, 1.0, 0.0, 0.0]) == [True, False, False, True]


def test_a_brand_whose_objection_was_cancelled_keeps_its_part_back() -> None:
    """A rival that sends -5 in the second round makes a dominated cell look like any other."""
    asked = rules()
    own = {"b0": _own(rows(900, 10)), **{f"b{i}": _own(rows(10, 30)) for i in range(1, 7)}}
    total = sum(own.values(), np.zeros_like(own["b0"]))
    state = asked.apply(asked.init({}), {"totals": total / TASK.own_weight * TASK.weights})
    least = asked.own_total(state["totals"])

    class Door:
        def __init__(self, brand: str) -> None:
            self.share = (own[brand] / least).max(1)

        def answer(self, ask: Query) -> Counted:
            if ask.statistic.parts == ("own",):
                return Counted({"own": self.share}, 1.0)
            return Counted({"cells": np.ones(sum(TASK.widths))}, 1.0)

    flags, memories = {}, {}
    for brand in own:
        half = asked.local(asked.broadcast(state), {})
        update, memories[brand] = carry_out(half, Door(brand))  # type: ignore[arg-type]
        flags[brand] = np.asarray(update.sums["above"])
    honest = np.asarray(asked.apply(state, {"above": sum(flags.values())})["reasons"])
    new = int(np.flatnonzero(memories["b0"]["objected"])[-1])
    assert honest[new] > 0
    cancelled = asked.apply(state, {"above": sum(flags.values()) - 5 * (flags["b0"] - flags["b1"])})
    cancelled = {**cancelled, "reasons": np.zeros_like(honest)}  # as the rival wants it
    for brand, shown in (("b0", False), ("b1", True)):
        half = asked.local(asked.broadcast(cancelled), memories[brand])
        update, _ = carry_out(half, Door(brand))  # type: ignore[arg-type]
        cells = np.split(np.asarray(update.sums["cells"]), np.cumsum(TASK.widths)[:-1])
        assert bool(cells[new].any()) is shown


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=5, max_size=8))
def test_no_released_cell_breaks_a_rule(sizes: list[int]) -> None:
    """The rules as a trusted party would test them on the exact shares."""
    asked = rules(min_customers=1.0)
    own = {f"b{i}": _own(rows(n, 10)) for i, n in enumerate(sizes)}
    total = sum(own.values(), np.zeros_like(own["b0"]))
    state = asked.apply(asked.init({}), {"totals": total / TASK.own_weight * TASK.weights})
    least = asked.own_total(state["totals"])
    above = [asked.above((x / least).max(1), least) for x in own.values()]
    reasons = np.asarray(asked.apply(state, {"above": np.sum(above, 0)})["reasons"])
    for cell in np.flatnonzero(reasons == 0):
        shares = sorted((float(x[cell, 0] / total[cell, 0]) for x in own.values()), reverse=True)
        rest = 1 - shares[0] - shares[1]
        assert shares[0] <= 0.5 + 1e-9 and shares[0] + shares[1] <= 0.85 + 1e-9
        assert rest >= 0.1 * shares[0] - 1e-9
        assert cell == 0 or sum(s > 0 for s in shares) >= 5


def _own(table: pd.DataFrame) -> Floats:
    found = TASK.evaluate(TASK.model(None), TASK.examples(table, np.arange(len(table)), "b"))  # type: ignore[arg-type]
    return np.asarray(found["own"], np.float64).sum(0)


# ------------------------------------------------------------------------------- with a guarantee


@pytest.mark.parametrize("name", ["local", "distributed"])
def test_under_a_guarantee_the_same_brands_are_caught(tmp_path: Path, name: str) -> None:
    many = {f"b{i}": rows(400, 400) for i in range(6)}
    # Of the predictable source: with fresh noise, one run in some dozens suppresses a cell more.
    plan = CustomerPrivacy(name, epsilon=2.0, dropouts=0, noise_source=TESTS)
    summing = BrandAgg(min_brands=5) if name == "distributed" else PlainSum()
    spread = plan.enrolled(6)
    found = answer(tmp_path / "even", many, spread, summing)
    assert outcome(found)["all"] == outcome(found)["new"] == "released"
    counted = np.asarray(found.state["totals"])[:, 0] / TASK.count_weight
    assert abs(counted[0] - 4800) < 600 and abs(counted[2] - 2400) < 600
    large = outcome(answer(tmp_path / "odd", {**many, "b0": rows(4000, 400)}, spread, summing))
    assert large["new"] == "one brand dominates"


def test_a_flag_is_made_of_an_answer_with_all_noise() -> None:
    """Under shared noise, what a brand says of its own share is private by itself."""
    from fl.round import rehearse

    asked = rules()
    wanted = [a.statistic for s in states(asked, asked.init({}), 3) for a in rehearse(asked, s)
              if isinstance(a, Query)]  # fmt: skip
    assert [(w.parts[0], w.of, w.alone) for w in wanted] == [
        ("totals", Of.RECORDS, False), ("own", Of.LARGEST, True), ("cells", Of.RECORDS, False)
    ]  # fmt: skip
    assert sum(w.share for w in wanted) == pytest.approx(1.0)


def test_noise_errs_to_the_side_of_suppressing() -> None:
    """A brand at the limit is released in 16 to 25 % of releases, two noises above it hardly ever.

    68 small brands do not trip the rules. ``experiments/bench/disclosure.py`` has the figures of
    the experiments.
    """
    asked = rules(spread=4.0 * TASK.own_weight)
    totals = np.array([[1000.0, 500.0], [10.0, 5.0], [500.0, 200.0], [490.0, 295.0]])
    total = asked.own_total(totals * TASK.weights)
    assert np.allclose(asked.noise(total)[[0, 2]], [4 / 500, 4 / 200])
    rng = numpy_generator(0, "rules")
    state = {**asked.init({}), "stage": np.ones(()), "totals": totals * TASK.weights}

    def released(shares: list[float]) -> float:
        """How often segment ``new`` of 200 units is released, under noise of 0.02 on shares."""
        kept, nobody = 0, np.array([1.0, 0.0, 1.0, 1.0])  # in ``(other)``
        for _ in range(400):
            noisy = np.array(shares) + rng.normal(0, 0.02, len(shares))
            above = np.sum([asked.above(np.full(4, x), total) for x in noisy], 0)
            known = {**state, "totals": state["totals"] * nobody[:, None]}
            reasons = np.asarray(asked.apply(known, {"above": above * nobody})["reasons"])
            kept += int(reasons[2] == 0)
        return kept / 400

    even = [0.1] * 10
    assert released(even) == 1.0
    assert 0.05 < released([0.5, *[0.1] * 5]) < 0.25
    assert released([0.54, *[0.1] * 5]) < 0.01
    reasons = asked.apply(
        state, {"above": np.full((5, 4), 10.0) * np.array([1, 0, 0, 0, 0])[:, None]}
    )
    assert REASONS[int(np.asarray(reasons["reasons"])[1])].startswith("too small")


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_brands": 2}, {"min_customers": 0}, {"single": 0.9}, {"pair": 1.0}, {"p_percent": 0},
        {"share_totals": 0.0}, {"share_own": 0.95}, {"margin": -1},
    ],
)  # fmt: skip
def test_rules_that_protect_nobody_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        rules(**wrong)


# ---------------------------------------------------------------------------- one release, another

BRANDS = tuple(f"b{i:02d}" for i in range(12))
FIRST = Release("panel 2024", BRANDS, least=5)


@pytest.mark.parametrize(
    ("cohort", "subject", "fine"),
    [
        (BRANDS, "panel 2024", True),  # the same brands again
        (BRANDS[:-1], "panel 2024", False),  # one left: the difference is its part
        ((*BRANDS, "new"), "panel 2024", False),  # one came
        (BRANDS[:-4], "panel 2024", False),
        (BRANDS[:-5], "panel 2024", True),  # a difference of five is a cell of five
        ((*BRANDS[5:], *(f"n{i}" for i in range(4))), "panel 2024", False),
        (BRANDS[:-1], "panel 2025", True),  # fresh data
    ],
)
def test_a_changed_cohort_is_held_against_the_past(
    cohort: tuple[str, ...], subject: str, fine: bool
) -> None:
    new = Release(subject, tuple(sorted(cohort)))
    if fine:
        refuse_differencing([FIRST], new)
        return
    with pytest.raises(InputError, match="differ by"):
        refuse_differencing([FIRST], new)


def test_three_releases_together_may_not_single_out_a_brand() -> None:
    """Each pair differs by five and more, but A + B - C is b00's part twice over."""
    a = Release("x", BRANDS[:6], least=5)
    b = Release("x", ("b00", *BRANDS[6:]))
    c = Release("x", BRANDS)
    refuse_differencing([a], b)
    with pytest.raises(InputError, match="a combination of sums is one brand's part"):
        refuse_differencing([a, b], c)


def test_no_combination_is_about_a_few_brands() -> None:
    """A + B - C is b00's and b01's part twice over; each pair differs by five and more."""
    a, b, c = BRANDS[:7], (*BRANDS[:2], *BRANDS[7:]), BRANDS
    past = [Release("x", tuple(sorted(each)), least=5) for each in (a, b)]
    with pytest.raises(InputError, match="the part of 2 brands, and at least 5"):
        refuse_differencing(past, Release("x", c))
    refuse_differencing(past, Release("y", c))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.integers(0, 7), min_size=4), min_size=2, max_size=4, unique_by=tuple))
def test_the_fewest_brands_are_found_as_by_trying_all_sets(cohorts: list[set[int]]) -> None:
    """Against all sets of brands, by the rank of what the others' columns leave."""
    releases = [Release("x", tuple(f"b{i}" for i in sorted(c))) for c in cohorts]
    matrix = np.array([[float(i in c) for i in range(8)] for c in cohorts])
    rank = np.linalg.matrix_rank(matrix)
    tried = [
        number
        for number in range(1, 4)
        for chosen in itertools.combinations(range(8), number)
        if np.linalg.matrix_rank(np.delete(matrix, chosen, 1)) < rank
    ]
    assert fewest(releases, 4) == min(tried, default=None)


def test_cohorts_that_cannot_all_be_looked_through_are_refused() -> None:
    rng = numpy_generator(0, "cohorts")
    names = [f"b{i:03d}" for i in range(150)]
    mixed = [Release("x", tuple(np.array(names)[rng.random(150) < 0.5])) for _ in range(12)]
    with pytest.raises(InputError, match="cannot all be looked through"):
        fewest(mixed, 5)


def test_a_release_is_claimed_before_it_is_published(tmp_path: Path) -> None:
    """Who was absent counts, a refusal writes nothing, and a run that crashed finds its line."""
    path = tmp_path / "folder" / "releases.jsonl"
    register.claim(path, FIRST)
    before = path.read_bytes()
    register.claim(path, FIRST)
    with pytest.raises(InputError, match="differ by 1"):
        register.claim(path, Release(FIRST.subject, BRANDS[:-1]))
    assert path.read_bytes() == before and len(register.read(path)) == 1


BY_AGE = Release("x", BRANDS, "age: under 10; 10 and over", (("spend", "0.0 to 100.0"),), 5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"segment": "age: under 11; 11 and over"}, "task.segment: an earlier release"),
        ({"metrics": (("spend", "0.0 to 101.0"),)}, "task.caps: an earlier release"),
        ({"cohort": BRANDS[:-4], "least": 3}, "at least 5"),  # what the earlier one promised
        ({"segment": ""}, None),  # all customers are the same cell in both
        ({"metrics": (("visits", "0.0 to 9.0"),)}, None),
        ({"cohort": tuple(f"n{i}" for i in range(9)), "segment": "kind: new"}, None),
    ],
)
def test_other_cells_of_the_same_customers_are_refused(
    changed: dict[str, object], said: str | None
) -> None:
    new = replace(BY_AGE, **changed)  # type: ignore[arg-type]
    for past, other in ((BY_AGE, new), (new, BY_AGE)):
        if said is None:
            refuse_differencing([past], other)
            continue
        with pytest.raises(InputError, match=said) as raised:
            refuse_differencing([past], other)
        assert "another period" not in str(raised.value)


def test_a_register_keeps_all_of_a_release(tmp_path: Path) -> None:
    path = tmp_path / "releases.jsonl"
    register.claim(path, BY_AGE)
    assert register.read(path) == [BY_AGE]
    with pytest.raises(InputError, match=r"task\.segment"):
        register.claim(path, replace(BY_AGE, segment="age: under 11; 11 and over"))
