"""What ``fl-node check`` says beside the data: what a policy allows, a budget keeps, is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clients.cli import command
from clients.home import Home, read_config
from clients.readiness import looked
from clients.service import Service
from clients.standing import load_policy, open_ledger
from experiments.deployment.rehearsal import conduct
from experiments.deployment.world import World
from fl.audit.cli import command as audit
from fl.contracts import Request
from fl.errors import Code, InputError
from fl.events import Composed, Gaussian
from fl.privacy.policy_file import TEMPLATE
from fl.privacy.reading import read
from fl.welcome import load_card
from server.files import RunFiles
from tests.deployment.small import offered

COLUMNS = ["age", "bought", "city"]
Change = Callable[[str, str], None]


@pytest.fixture
def home(place: World) -> Home:
    return Home(place.node("b"))


@pytest.fixture
def change(home: Home) -> Change:
    def put(old: str, new: str) -> None:
        text = home.policy.read_text()
        assert old in text
        home.policy.write_text(text.replace(old, new))

    return put


def said(home: Home, about: str, customers: int | None = None) -> list[str]:
    lines = [line for _, line in looked(home, COLUMNS, customers)]
    return [line for line in lines if line[6:].startswith(f"{about} ")]


def ask(nodes: dict[str, Service], files: RunFiles) -> Code:
    return nodes["b"].answer(files.run, Request("offer", 1, {}, {"offer": files.offer})).code


def test_a_policy_that_allows_nothing_fails_and_its_empty_lines_are_named(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.policy.write_text(TEMPLATE)
    assert command(["check", "--home", str(home.folder)]) == 1
    out = capsys.readouterr().out
    empty = (
        "FAIL  policy      allows no run, empty: [runs] tasks, [columns] allowed, [roles.operator] "
        "use (with names of [columns] allowed), [coordinators], [approval.people]. To fix it: edit"
    )
    assert empty in out
    assert "for [columns] allowed: age, bought, city" in out
    assert "does not name the coordinator of welcome.json" in out
    assert "customers, fewer than [limits] min_customers = 1000: every run is refused" in out
    assert "4 brands are on the roster, fewer than [limits] min_brands = 5" in out


def test_what_no_run_can_meet_here_fails_and_all_else_passes(home: Home, change: Change) -> None:
    assert not any(line.startswith("FAIL") for line in said(home, "policy", 200))
    assert any("fewer than [limits] min_customers = 100" in x for x in said(home, "policy", 99))
    assert any("not below 1 / 100000 customers" in x for x in said(home, "policy", 100_000))
    change('use = ["age", ', "use = [")
    (line,) = [x for x in said(home, "policy", 200) if "operator" in x]
    assert line.startswith("WARN") and line.endswith("may use 2 of 3 allowed columns, not age")


def test_a_refused_offer_is_told_every_reason_at_once_here_and_at_the_coordinator(
    home: Home, place: World, nodes: dict[str, Service], change: Change
) -> None:
    files = offered(place)
    change('plans = ["local", "distributed"]', 'plans = ["local"]')
    change("epsilon_per_run = 3.5", "epsilon_per_run = 1.0")
    change("delta = 1e-5", "delta = 1e-6")
    change('use = ["age", ', "use = [")
    reasons = (
        "policy.columns: [columns] allowed and [roles.operator] use; policy.plan: [runs] plans; "
        "policy.epsilon: [limits] epsilon_per_run; policy.delta: [limits] delta"
    )
    with pytest.raises(InputError) as caught:
        conduct(files, nodes)
    assert f"refused by b ({reasons})" in str(caught.value)
    codes = [e.body["code"] for e in read(home.ledger) if e.kind == "refuse"]
    assert codes == ["policy.columns", "policy.plan", "policy.epsilon", "policy.delta"]
    (line,) = said(home, "offers")
    assert line.startswith("FAIL") and line.endswith(f"; refused for {reasons}")
    assert "; leaves here: 4 updates of 6 numbers, masked, so that only the sum can be read" in line
    assert command(["check", "--home", str(home.folder)]) == 1
    newer = offered(place, rounds=2)
    assert ask(nodes, newer) is Code.POLICY_COLUMNS
    first, second = said(home, "offers")
    assert first.startswith("SKIP") and "a newer one came" in first
    assert second.startswith("FAIL")


def test_an_offer_that_is_refused_again_is_not_signed_into_the_ledger_again(
    home: Home, place: World, nodes: dict[str, Service], change: Change
) -> None:
    files = offered(place)
    change("epsilon_per_run = 3.5", "epsilon_per_run = 1.0")
    for _ in range(3):
        assert ask(nodes, files) is Code.POLICY_EPSILON
    assert [e.kind for e in read(home.ledger)] == ["open", "refuse"]
    change('plans = ["local", "distributed"]', 'plans = ["local"]')
    assert ask(nodes, files) is Code.POLICY_PLAN
    assert [e.kind for e in read(home.ledger)][2:] == ["refuse", "refuse"]


def test_offers_pass_while_they_wait_and_when_they_are_over(
    home: Home, place: World, nodes: dict[str, Service], change: Change
) -> None:
    files = offered(place, rounds=1)
    change('mode = "auto"', 'mode = "signature"\n\n[approval.people]\nann = "' + "0" * 64 + '"')
    assert ask(nodes, files) is Code.POLICY_APPROVAL
    (line,) = said(home, "offers", 200)
    assert line.startswith("SKIP") and line.endswith("waits for a person's fl-node approve")
    change('mode = "signature"', 'mode = "auto"')
    (line,) = said(home, "offers", 200)
    assert line.startswith("PASS")
    (line,) = said(home, "offers", 99)
    assert line.endswith("refused for policy.customers: [limits] min_customers")
    conduct(files, nodes)
    (line,) = said(home, "offers", 200)
    assert line.startswith("PASS") and line.endswith(": is over")


def test_an_offer_beyond_the_budget_is_named_before_anybody_asks(
    home: Home, place: World, nodes: dict[str, Service], change: Change
) -> None:
    conduct(offered(place, rounds=1), nodes)
    assert ask(nodes, offered(place, rounds=2)) is Code.OK
    assert said(home, "offers", 200)[1].startswith("PASS")
    change("epsilon_lifetime = 20", "epsilon_lifetime = 5")
    line = said(home, "offers", 200)[1]
    assert line.endswith("refused for policy.lifetime: [limits] epsilon_lifetime")


def test_the_ledgers_budget_stands_beside_the_policys(
    home: Home, place: World, nodes: dict[str, Service], change: Change
) -> None:
    (line,) = said(home, "budget")
    assert line.startswith("PASS") and "opens it with epsilon 20 at delta 1e-05" in line
    conduct(offered(place, rounds=1), nodes)
    (line,) = said(home, "budget")
    assert line.startswith("PASS") and "of epsilon 20 at delta 1e-05, left" in line
    change("epsilon_lifetime = 20", "epsilon_lifetime = 30")
    line = said(home, "budget")[1]
    assert line.startswith("WARN") and "the ledger 20 in all: the ledger's counts" in line
    assert "fl-node ledger --renew" in line
    change("epsilon_lifetime = 30", "epsilon_lifetime = 10")
    assert "the policy's counts" in said(home, "budget")[1]
    change("epsilon_lifetime = 10", "epsilon_lifetime = 20")
    change("delta = 1e-5", "delta = 1e-4")
    line = said(home, "budget")[1]
    assert line.startswith("WARN") and "was opened at 1e-05 and decides at that" in line
    change("delta = 1e-4", "delta = 1e-6")
    assert said(home, "budget")[1].startswith("FAIL")


def test_a_run_that_was_given_up_is_settled_and_a_used_budget_is_renewed(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = ["ledger", "--home", str(home.folder)]
    with open_ledger(home, read_config(home), load_policy(home)) as writer:
        writer.reserve("given/up", Composed((Gaussian(2.0),) * 3))
        writer.reserve("given/too", Composed((Gaussian(2.0),)))
        assert command([*ledger, "--settle", "given/up"]) == 2, "the node runs"
        capsys.readouterr()
    assert command([*ledger, "--renew", "3", "--reason", "next year"]) == 2
    assert "a run is still open" in capsys.readouterr().err
    assert command([*ledger, "--settle", "given"]) == 2
    assert "'given' is not one open run" in capsys.readouterr().err
    for run in ("given/up", "given/too"):
        assert command([*ledger, "--settle", run]) == 0
    assert "spent 0 of epsilon 20" in capsys.readouterr().out
    assert command([*ledger, "--renew", "3"]) == 2
    assert "a reason" in capsys.readouterr().err
    assert command([*ledger, "--renew", "3", "--reason", "next year"]) == 0
    shown = capsys.readouterr().out
    assert "(next year)" in shown and "of epsilon 3 at delta 1e-05" in shown
    assert command(["status", "--home", str(home.folder)]) == 0
    assert shown.splitlines()[-1].partition("run: ")[2] in capsys.readouterr().out, "one figure"
    assert audit(["ledger", str(home.ledger), "--key", load_card(home.card).ledger]) == 0
    assert command([*ledger, "--settle", "given/up"]) == 2
