"""A brand's policy: each limit refuses alone, all met exactly pass, no request can loosen it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fl.contracts import Unit
from fl.errors import Code, InputError, Refused
from fl.events import Repeated, Unbounded
from fl.privacy.admission import admit
from fl.privacy.books import Opening
from fl.privacy.ledger import Ledger
from fl.privacy.policy import Policy, Role
from fl.privacy.policy_file import LINES, TEMPLATE, write_template
from fl.privacy.proposal import APPROVAL, Approval, Proposal
from fl.privacy.reading import read
from fl.privacy.signing import SigningKey
from tests.ledgers import BUDGET, DELTA, ROUND, new, opening, rdp

COORDINATOR, STRANGER, ANNA = (SigningKey.generate() for _ in range(3))
BRAND = SigningKey.generate()
FIELDS = {"visits", "age", "channel", "converted", "phone"}
USED = ("age", "converted", "visits")
CUSTOMERS = 1000
COST = rdp((Repeated(ROUND, 5),), DELTA)

POLICY = Policy(
    tasks=frozenset({"conversion"}),
    plans=frozenset({"local"}),
    units=frozenset({Unit.CUSTOMER}),
    accountants=frozenset({"rdp"}),
    noise_sources=frozenset({"secure"}),
    columns=frozenset(USED),
    roles={"operator": Role(use=frozenset(USED)), "steward": Role()},
    epsilon_per_run=COST,
    epsilon_lifetime=COST,
    delta=DELTA,
    min_customers=CUSTOMERS,
    min_brands=5,
    coordinators={"main": COORDINATOR.public},
    approval="signature",
    people={"anna": ANNA.public},
)

# Every limit of POLICY exactly met.
FACTS = Proposal(
    run="run-1",
    task="conversion",
    columns=USED,
    plan="local",
    unit=Unit.CUSTOMER,
    event=Repeated(ROUND, 5),
    epsilon=COST,
    delta=DELTA,
    accountant="rdp",
    noise_source="secure",
    clip_norm=1.0,
    brands=5,
    requested_by="operator",
)


def proposal(**changes: Any) -> Proposal:
    return dataclasses.replace(FACTS, **changes).signed(COORDINATOR)


def checked(
    of: Proposal, policy: Policy = POLICY, customers: int = CUSTOMERS, key: SigningKey = ANNA
) -> Code:
    """What the policy says to a proposal that a person approved."""
    try:
        policy.check(of, customers=customers, approval=Approval.give(key, "anna", of))
    except Refused as refusal:
        return refusal.code
    return Code.OK


def test_every_limit_exactly_met_passes() -> None:
    assert checked(proposal()) is Code.OK


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"task": "uplift"}, Code.POLICY_TASK),
        ({"requested_by": "intern"}, Code.POLICY_ROLE),
        ({"requested_by": "steward"}, Code.POLICY_COLUMNS),
        ({"columns": (*USED, "channel")}, Code.POLICY_COLUMNS),
        ({"plan": "none"}, Code.POLICY_PLAN),
        ({"unit": Unit.NONE}, Code.POLICY_UNIT),
        ({"unit": Unit.BRAND}, Code.POLICY_UNIT),
        ({"accountant": "gdp"}, Code.POLICY_ACCOUNTANT),
        ({"accountant": "pld"}, Code.POLICY_ACCOUNTANT),
        ({"noise_source": "insecure_noise_for_tests"}, Code.POLICY_NOISE),
        ({"epsilon": math.nextafter(COST, math.inf)}, Code.POLICY_EPSILON),
        ({"epsilon": math.inf}, Code.POLICY_EPSILON),
        ({"delta": math.nextafter(DELTA, 1)}, Code.POLICY_DELTA),
        ({"brands": 4}, Code.POLICY_BRANDS),
    ],
)
def test_each_fact_beyond_its_limit_is_refused_with_its_own_code(
    changes: dict[str, Any], code: Code
) -> None:
    assert checked(proposal(**changes)) is code


def test_columns_need_the_consent_of_the_field_level_and_of_the_role_level() -> None:
    generous = Role(use=frozenset(FIELDS))
    by_field = dataclasses.replace(POLICY, roles={"operator": generous})
    assert checked(proposal(columns=("age", "phone")), by_field) is Code.POLICY_COLUMNS
    by_role = dataclasses.replace(POLICY, columns=frozenset(FIELDS))
    assert checked(proposal(columns=("age", "phone")), by_role) is Code.POLICY_COLUMNS
    both = dataclasses.replace(by_field, columns=frozenset(FIELDS))
    assert checked(proposal(columns=("age", "phone")), both) is Code.OK


def test_too_few_customers_are_refused_whatever_is_proposed() -> None:
    assert checked(proposal(), customers=999) is Code.POLICY_CUSTOMERS


def test_the_delta_ceiling_must_be_below_one_over_the_customers() -> None:
    wide = dataclasses.replace(POLICY, delta=1 / CUSTOMERS)
    for delta in (1e-3, 1e-6, 0.0):  # the answer does not depend on what is proposed
        assert checked(proposal(delta=delta), wide) is Code.POLICY_DELTA_CUSTOMERS
    assert checked(proposal(), wide, customers=999) is Code.POLICY_CUSTOMERS


def test_an_unknown_coordinator_or_a_changed_fact_is_refused_first() -> None:
    assert checked(FACTS.signed(STRANGER)) is Code.POLICY_COORDINATOR
    assert checked(FACTS) is Code.POLICY_COORDINATOR
    for name, value in (("brands", 50), ("epsilon", 0.1), ("task", "uplift"), ("clip_norm", 2.0)):
        changed = dataclasses.replace(proposal(), **{name: value})
        assert checked(changed) is Code.POLICY_SIGNATURE
    borrowed = dataclasses.replace(FACTS.signed(STRANGER), coordinator=COORDINATOR.public)
    assert checked(borrowed) is Code.POLICY_SIGNATURE


def test_a_run_needs_the_signature_of_a_listed_person_under_this_very_proposal() -> None:
    assert checked(proposal(), key=STRANGER) is Code.POLICY_APPROVAL
    asked, other = proposal(), proposal(run="run-2")
    cases = [
        None,
        Approval.give(ANNA, "anna", other),
        Approval.give(ANNA, "berta", asked),
        dataclasses.replace(Approval.give(ANNA, "anna", other), proposal=asked.digest()),
        Approval(asked.digest(), "anna", COORDINATOR.sign(asked.facts(), purpose=APPROVAL)),
    ]
    for approval in cases:
        with pytest.raises(Refused, match=r"policy[.]approval"):
            POLICY.check(asked, customers=CUSTOMERS, approval=approval)
    auto = dataclasses.replace(POLICY, approval="auto")
    auto.check(asked, customers=CUSTOMERS)


def test_no_plan_is_possible_only_where_it_is_written_by_name_with_its_consequences() -> None:
    asked = {"plan": "none", "unit": Unit.NONE, "epsilon": math.inf, "clip_norm": math.inf}
    named = dataclasses.replace(POLICY, plans=frozenset({"none"}))
    assert checked(proposal(**asked), named) is Code.POLICY_UNIT
    named = dataclasses.replace(named, units=frozenset({Unit.NONE}))
    assert checked(proposal(**asked), named) is Code.POLICY_EPSILON
    named = dataclasses.replace(named, epsilon_per_run=math.inf)
    assert checked(proposal(**asked), named) is Code.OK


def test_all_that_a_proposal_fails_is_said_at_once_but_to_a_listed_coordinator_only() -> None:
    wrong = {"task": "uplift", "plan": "none", "delta": 0.5, "brands": 1}
    expected = (Code.POLICY_TASK, Code.POLICY_PLAN, Code.POLICY_DELTA, Code.POLICY_BRANDS)
    asked = proposal(**wrong)
    approval = Approval.give(ANNA, "anna", asked)
    assert POLICY.refusals(asked, customers=CUSTOMERS, approval=approval) == expected
    with pytest.raises(Refused) as caught:
        POLICY.check(asked, customers=1, approval=approval)
    assert caught.value.codes == (*expected[:3], Code.POLICY_CUSTOMERS, Code.POLICY_BRANDS)
    assert caught.value.code is Code.POLICY_TASK
    stranger = dataclasses.replace(FACTS, **wrong).signed(STRANGER)  # type: ignore[arg-type]
    assert POLICY.refusals(stranger, customers=1) == (Code.POLICY_COORDINATOR,)
    forged = dataclasses.replace(asked, task="other")
    assert POLICY.refusals(forged, customers=1) == (Code.POLICY_SIGNATURE,)


def test_lines_that_are_empty_are_named_until_a_run_can_pass() -> None:
    assert POLICY.unset() == ()
    nothing = frozenset[str]()
    for changes, line in (
        ({"tasks": nothing}, "[runs] tasks"),
        ({"coordinators": {}}, "[coordinators]"),
        ({"people": {}}, "[approval.people]"),
        ({"roles": {"operator": Role()}}, "[roles.operator] use (with names of [columns] allowed)"),
        (
            {"roles": {"operator": Role(frozenset({"phone"}))}},
            "[roles.operator] use (with names of [columns] allowed)",
        ),
    ):
        policy = dataclasses.replace(POLICY, **changes)  # type: ignore[arg-type]
        assert policy.unset() == (line,)
        assert checked(proposal(), policy) is not Code.OK
    assert dataclasses.replace(POLICY, people={}, approval="auto").unset() == ()


def test_each_refusal_of_a_policy_names_lines_that_the_template_has() -> None:
    of_policy = {code for code in Code if code.startswith("policy.")}
    unwritten = {Code.POLICY_SIGNATURE, Code.POLICY_UNDERSTATED}  # of the proposal alone
    assert of_policy - unwritten == {code for code in LINES if code.startswith("policy.")}
    for code in of_policy - unwritten:
        words = re.findall(r"\[([a-z.]+)\] ?([a-z_]*)", LINES[code])
        assert words, code
        for table, key in words:
            rest = TEMPLATE[TEMPLATE.index(f"[{table}" if key == "" else f"[{table}]") :]
            assert not key or re.search(rf"^{key} = ", rest, re.M), (code, key)


def test_the_readme_has_the_same_table_of_codes() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    lines = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    rows = {cells[1].strip(" `"): cells[2].strip(" `") for cells in lines}
    for code in (*LINES, Code.POLICY_SIGNATURE, Code.POLICY_UNDERSTATED):
        assert rows[str(code)] == LINES.get(code, "")


def test_a_policy_cannot_allow_what_is_never_allowed() -> None:
    with pytest.raises(ValueError, match="less than is proven"):
        dataclasses.replace(POLICY, accountants=frozenset({"pld", "gdp"}))
    with pytest.raises(ValueError, match="can be predicted"):
        dataclasses.replace(POLICY, noise_sources=frozenset({"insecure_noise_for_tests"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"run": ""},
        {"run": "a b"},
        {"run": "x" * 201},
        {"epsilon": math.nan},
        {"epsilon": -1.0},
        {"delta": 1.0},
        {"delta": math.nan},
        {"clip_norm": 0.0},
        {"clip_norm": math.nan},
        {"brands": 0},
    ],
)
def test_a_proposal_out_of_range_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        dataclasses.replace(FACTS, **changes)


def test_a_proposal_survives_the_wire_and_nothing_else_is_taken_for_one() -> None:
    for asked in (proposal(), proposal(epsilon=math.inf, event=Unbounded())):
        values = asked.to_json()
        assert Proposal.from_json(values) == asked
        for name in values:
            with pytest.raises(ValueError, match="Expected the fields"):
                Proposal.from_json({k: v for k, v in values.items() if k != name})
            with pytest.raises(ValueError, match="Expected the fields"):
                Proposal.from_json({**values, name: ["x", 1]})
        with pytest.raises(ValueError, match="Expected the fields"):
            Proposal.from_json({**values, "noise": "off"})


# ------------------------------------------------------------------------------ admission


def admitted(ledger: Ledger, asked: Proposal, policy: Policy = POLICY, **more: Any) -> Code:
    given = {"customers": CUSTOMERS, "figures": {"rdp": rdp}, **more}
    try:
        approval = Approval.give(ANNA, "anna", asked)
        run = admit(asked, policy=policy, ledger=ledger, approval=approval, **given)
    except Refused as refusal:
        return refusal.code
    run.commit(ROUND, f"train/{asked.run}")
    return Code.OK


def test_an_admitted_run_is_reserved_and_may_commit(tmp_path: Path) -> None:
    with new(tmp_path, BRAND) as ledger:
        assert admitted(ledger, proposal()) is Code.OK
        assert ledger.spent() == (Repeated(ROUND, 5),)
        approval = Approval.give(ANNA, "anna", proposal())
        again = admit(
            proposal(),
            policy=POLICY,
            ledger=ledger,
            customers=CUSTOMERS,
            figures={"rdp": rdp},
            approval=approval,
        )
        again.commit(ROUND, "train/2")
        assert ledger.spent() == (Repeated(ROUND, 5),)


def test_a_refusal_is_signed_into_the_ledger_and_leaves_as_a_code(tmp_path: Path) -> None:
    asked = proposal(task="uplift")
    with new(tmp_path, BRAND) as ledger:
        assert admitted(ledger, asked) is Code.POLICY_TASK
        assert ledger.spent() == ()
        assert admitted(ledger, proposal(plan="none", brands=1)) is Code.POLICY_PLAN
    *_, last, plan, brands = read(tmp_path / "ledger.jsonl")
    assert [plan.body["code"], brands.body["code"]] == ["policy.plan", "policy.brands"]
    assert last.kind == "refuse"
    assert last.body == {"code": "policy.task", "evidence": asked.digest(), "run": "run-1"}


def test_a_run_that_understates_its_cost_is_refused(tmp_path: Path) -> None:
    with new(tmp_path, BRAND) as ledger:
        cheap = proposal(epsilon=math.nextafter(COST, 0))
        assert admitted(ledger, cheap) is Code.POLICY_UNDERSTATED
        lying = proposal(event=Repeated(ROUND, 20))
        assert admitted(ledger, lying) is Code.POLICY_UNDERSTATED
        unknown = {"figures": {}}
        assert admitted(ledger, proposal(), **unknown) is Code.POLICY_ACCOUNTANT


def test_the_lifetime_maximum_counts_every_run_and_every_renewal(tmp_path: Path) -> None:
    with new(tmp_path, BRAND) as ledger:
        assert admitted(ledger, proposal()) is Code.OK
        ledger.commit("run-1", "rest", Repeated(ROUND, 4))
        ledger.settle("run-1")
        small = {"event": ROUND, "epsilon": rdp((ROUND,), DELTA)}
        assert admitted(ledger, proposal(run="run-2", **small)) is Code.POLICY_LIFETIME
        ledger.renew(1.0, "a new year")
        assert admitted(ledger, proposal(run="run-2", **small)) is Code.POLICY_LIFETIME
        wider = dataclasses.replace(POLICY, epsilon_lifetime=BUDGET)
        assert admitted(ledger, proposal(run="run-2", **small), wider) is Code.BUDGET


def test_a_ledger_of_another_unit_takes_no_run(tmp_path: Path) -> None:
    of = opening()
    fields = {name: getattr(of, name) for name in Opening.__slots__}
    for_brands = Opening(**{**fields, "unit": Unit.BRAND})
    path = tmp_path / "ledger.jsonl"
    with Ledger.create(path, BRAND, for_brands, accountant=rdp) as ledger:
        assert admitted(ledger, proposal()) is Code.POLICY_UNIT


# ------------------------------------------------------------------------------ the file

FILE = f"""
[runs]
tasks = ["conversion"]
plans = ["local"]
units = ["customer"]
accountants = ["rdp"]
noise_sources = ["secure"]
[limits]
epsilon_per_run = {COST!r}
epsilon_lifetime = {COST!r}
delta = 1e-6
min_customers = 1000
min_brands = 5
[columns]
allowed = ["age", "converted", "visits"]
[roles.operator]
use = ["age", "converted", "visits"]
[roles.steward]
use = []
[coordinators]
main = "{COORDINATOR.public}"
[approval]
mode = "signature"
[approval.people]
anna = "{ANNA.public}"
"""


def loaded(folder: Path, text: str) -> Policy:
    path = folder / "policy.toml"
    path.write_text(text)
    path.chmod(0o600)
    return Policy.load(path, known_fields=FIELDS)


def test_the_file_says_what_the_policy_says(tmp_path: Path) -> None:
    assert loaded(tmp_path, FILE) == POLICY


@pytest.mark.parametrize(
    ("old", "new_text", "problem"),
    [
        ('allowed = ["age"', 'allowed = ["agee"', r"columns allowed: the data has no field 'agee'"),
        ("use = []", 'use = ["Q"]', r"roles steward use: the data has no field 'Q'"),
        ("use = []", "use = []\nsee = []", "roles steward see: no such key"),
        ("min_brands = 5", "min_brand = 5", "limits min_brands: is missing"),
        ("min_brands = 5", "min_brands = 5\nmin_brand = 4", "limits min_brand: no such key"),
        ("[columns]", "[extra]\n[columns]", "extra: no such key"),
        ("[roles.steward]", "[roles.steward]\nown = 1", "roles steward own: no such key"),
        ("[roles.steward]", "[roles.boss]", "role 'boss' is not known"),
        ("min_brands = 5", "min_brands = true", "min_brands: is not a whole number"),
        ("min_brands = 5", "min_brands = 0", "Expected min_customers >= 1"),
        ("delta = 1e-6", 'delta = "1e-6"', "delta: is not a number"),
        ("delta = 1e-6", "delta = 1.0", "delta in"),
        ("delta = 1e-6", "delta = nan", "delta in"),
        ('tasks = ["conversion"]', 'tasks = "conversion"', "tasks: is not a list of texts"),
        ('["rdp"]', '["gdp"]', "reports less than is proven"),
        ('["rdp"]', '["guess"]', "accountant 'guess' is not known"),
        ('["secure"]', '["insecure_noise_for_tests"]', "can be predicted"),
        ('["customer"]', '["client"]', "'client' is not a valid Unit"),
        ('mode = "signature"', 'mode = "none"', "approval 'none' is not known"),
        ('anna = "', 'anna = "0', "public key of 64 hex digits for 'anna'"),
        ("[coordinators]", "[coordinators]\nsecond = 5", "coordinators second: is not a text"),
        ("[columns]", "[columns", "policy .*policy.toml: Expected"),
    ],
)
def test_a_mistake_in_the_file_is_named(
    tmp_path: Path, old: str, new_text: str, problem: str
) -> None:
    assert old in FILE
    with pytest.raises(InputError, match=problem):
        loaded(tmp_path, FILE.replace(old, new_text, 1))


def test_a_policy_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    loaded(tmp_path, FILE)
    path = tmp_path / "policy.toml"
    path.chmod(0o620)
    with pytest.raises(InputError, match="others may write"):
        Policy.load(path, known_fields=FIELDS)
    with pytest.raises(InputError, match="No such file"):
        Policy.load(tmp_path / "none.toml", known_fields=FIELDS)


def test_the_template_loads_explains_itself_and_allows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    write_template(path)
    policy = Policy.load(path, known_fields=FIELDS)
    assert checked(proposal(), policy, customers=10_000) is Code.POLICY_COORDINATOR
    assert policy.unset() == (
        "[runs] tasks",
        "[columns] allowed",
        "[roles.operator] use (with names of [columns] allowed)",
        "[coordinators]",
        "[approval.people]",
    )
    trusting = dataclasses.replace(policy, coordinators=POLICY.coordinators)
    assert checked(proposal(), trusting, customers=10_000) is Code.POLICY_TASK
    assert TEMPLATE.count("#") > 15
    with pytest.raises(InputError, match="File exists"):
        write_template(path)


@pytest.mark.parametrize(
    ("save", "load"),
    [
        (lambda path: Approval.give(ANNA, "anna", proposal()).save(path), Approval.load),
        (ANNA.save, SigningKey.load),
    ],
)
def test_private_files_are_the_owners_alone_and_never_replaced(
    tmp_path: Path, save: Callable[[Path], None], load: Callable[[Path], object]
) -> None:
    path = tmp_path / "file"
    save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    load(path)
    with pytest.raises(InputError, match="File exists"):
        save(path)
    path.write_text("{}")
    with pytest.raises(InputError, match=r"not a PEM key|is not an approval"):
        load(path)
    path.unlink()
    with pytest.raises(InputError, match=r"No such file|cannot be read"):
        load(path)
