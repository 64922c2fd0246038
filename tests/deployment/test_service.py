"""Nodes and coordinator without Flower: what is refused, what survives a crash, what is charged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clients.home import Home as NodeHome
from clients.keys import load_identity as brand_identity
from clients.offer import MOST, Offer, offer_of
from clients.readiness import looked
from clients.service import Service, _rows
from experiments.deployment.rehearsal import conduct, services
from experiments.deployment.world import World
from fl.agreement import ending, read, replying
from fl.arrays import Arrays, from_bytes
from fl.audit.cli import command as audit
from fl.audit.verify import audit_ledger, recomputed
from fl.contracts import Reply, Request
from fl.data.examples import Made
from fl.errors import Code, InputError
from fl.federation.inprocess import InProcessFederation
from fl.privacy.entries import canonical
from fl.privacy.policy_file import explained
from fl.privacy.secagg.identity import Identity, SignedPlan
from fl.privacy.signing import SigningKey
from fl.welcome import Welcome, load_card
from server.conduct import Conduct
from server.files import RunFiles
from server.home import Home
from server.roster import cards, load_identity, roster
from tests.deployment.small import BRANDS, VALUES, offered, world


def model(files: RunFiles) -> Arrays:
    return from_bytes(files.model.read_bytes())


def equal(one: Arrays, other: Arrays) -> bool:
    return set(one) == set(other) and all(np.array_equal(one[n], other[n]) for n in one)


def committed(place: World, brand: str) -> list[int]:
    """Rounds that each run has committed, by a checked ledger."""
    path = place.node(brand) / "ledger.jsonl"

    key = load_card(place.node(brand) / "card.json").ledger
    found = audit_ledger(path, recomputed, public_key=key)
    assert found.holds
    return [row.rounds for row in found.runs]


class Killed(BaseException):
    """The coordinator's process ends here."""


class Dying:
    """A federation whose coordinator is killed at its n-th trip, before or after the brands act."""

    def __init__(self, nodes: Mapping[str, Service], run: str, at: int, *, after: bool) -> None:
        asked = {brand: partial(node.answer, run) for brand, node in nodes.items()}
        self.inner, self.left, self.after = InProcessFederation(asked), at, after

    def nodes(self) -> list[str]:
        return list(self.inner.nodes())

    def ask(self, requests: Mapping[str, Request]) -> Mapping[str, Reply]:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        replies = self.inner.ask(requests)
        if self.left == 0:
            raise Killed
        return replies


def test_a_run_ends_with_a_model_one_commit_a_round_and_settled_ledgers(
    place: World, nodes: dict[str, Service]
) -> None:
    files = offered(place)
    conduct(files, nodes)
    assert files.status()["state"] == "done"
    assert np.isfinite(np.concatenate([a.ravel() for a in model(files).values()])).all()
    for brand in BRANDS:
        assert committed(place, brand) == [4]
        kept = from_bytes(
            (place.node(brand) / "runs" / files.folder.name / "model.npz").read_bytes()
        )
        assert equal(kept, model(files))


@pytest.fixture(scope="module")
def whole(made: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, str, Arrays]:
    """A run that is only offered, and the model that it leads to."""
    offer = World(tmp_path_factory.mktemp("whole") / "w", BRANDS, False)
    shutil.copytree(made.folder, offer.folder)
    files = offered(offer, rounds=2)
    done = World(tmp_path_factory.mktemp("done") / "w", BRANDS, False)
    shutil.copytree(offer.folder, done.folder)
    conduct(same := RunFiles(Home(done.server), files.run), services(done))
    return offer, files.run, model(same)


EARLY = [(1, False), (2, True), (5, True), (7, True)]
TRIPS = [(trip, after) for trip in range(1, 14) for after in (False, True)]


@pytest.mark.parametrize(
    ("trip", "after"),
    [pytest.param(*t, marks=[] if t in EARLY else [pytest.mark.slow]) for t in TRIPS],
)
def test_a_coordinator_killed_at_any_trip_resumes_to_the_same_arrays_and_one_charge(
    whole: tuple[World, str, Arrays], tmp_path: Path, trip: int, after: bool
) -> None:
    offer, run, expected = whole
    broken = World(tmp_path / "broken", BRANDS, False)
    shutil.copytree(offer.folder, broken.folder)
    files = RunFiles(Home(broken.server), run)
    nodes = services(broken)
    with pytest.raises(Killed):
        dying = Dying(nodes, run, trip, after=after)
        Conduct(files, roster(cards(files.home)), dying, 5.0, 0.0).run()
    for node in nodes.values():
        node.close()  # and the brands' processes with it
    conduct(files, services(broken))
    assert equal(model(files), expected)
    for brand in BRANDS:
        assert committed(broken, brand) == [2]


def test_the_same_request_again_is_answered_from_memory_and_charged_once(
    place: World, nodes: dict[str, Service]
) -> None:
    files = offered(place)
    seen: list[tuple[str, Request, Reply]] = []

    def asked(brand: str, request: Request) -> Reply:
        reply = nodes[brand].answer(files.run, request)
        if request.kind == "train":
            again = nodes[brand].answer(files.run, request)
            assert again.code is reply.code
            assert again.config == reply.config
            assert equal(again.arrays, reply.arrays)
            seen.append((brand, request, reply))
        return reply

    federation = InProcessFederation({brand: partial(asked, brand) for brand in BRANDS})
    Conduct(files, roster(cards(files.home)), federation, 5.0, 0.0).run()
    assert len(seen) == 4 * 4 * 5  # brands, rounds, trips
    assert all(reply.code is Code.OK for _, _, reply in seen)
    assert committed(place, "a") == [4]


def test_a_brand_that_is_lost_for_a_round_is_absent_and_comes_back(
    place: World, nodes: dict[str, Service]
) -> None:
    files = offered(place)

    def asked(brand: str, request: Request) -> Reply:
        if brand == "d" and request.kind == "train" and request.number == 2:
            raise RuntimeError("lost")
        return nodes[brand].answer(files.run, request)

    federation = InProcessFederation({brand: partial(asked, brand) for brand in BRANDS})
    progress = Conduct(files, roster(cards(files.home)), federation, 5.0, 0.0).run()
    assert [(a.number, a.brand) for a in progress.absences] == [(2, "d")]
    assert committed(place, "d") == [3]


def refused(files: RunFiles, nodes: Mapping[str, Service]) -> str:
    with pytest.raises(InputError) as caught:
        conduct(files, nodes)
    assert not files.model.exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("find", "put", "code"),
    [
        ("epsilon_per_run = 3.5", "epsilon_per_run = 1.0", Code.POLICY_EPSILON),
        ('plans = ["local", "distributed"]', 'plans = ["local"]', Code.POLICY_PLAN),
        ('"secure", "insecure_noise_for_tests"', '"secure"', Code.POLICY_NOISE),
        ("min_customers = 100", "min_customers = 100000", Code.POLICY_CUSTOMERS),
        ('"age", ', "", Code.POLICY_COLUMNS),
        ("min_brands = 3", "min_brands = 5", Code.POLICY_BRANDS),
    ],
)
def test_a_run_that_one_brands_policy_does_not_allow_is_refused_before_any_data(
    place: World, nodes: dict[str, Service], find: str, put: str, code: Code
) -> None:
    path = place.node("b") / "policy.toml"
    assert find in path.read_text()
    path.write_text(path.read_text().replace(find, put))
    path_b = place.node("b") / "tables/examples.parquet"
    if code is not Code.POLICY_CUSTOMERS:
        path_b.unlink()
    assert f"b ({explained([code])})" in refused(offered(place), nodes)
    assert committed(place, "b") == []


def test_a_budget_that_does_not_cover_the_run_refuses_it_as_a_whole(tmp_path: Path) -> None:
    place = world(tmp_path / "poor", lifetime=5.0)
    first = offered(place)
    conduct(first, services(place))
    assert f"({explained([Code.POLICY_LIFETIME])})" in refused(offered(place), services(place))
    assert committed(place, "a") == [4]


def test_predictable_noise_is_refused_where_the_policy_does_not_say_rehearsal(
    tmp_path: Path,
) -> None:
    place = world(tmp_path / "real", rehearsal=False)
    assert str(Code.POLICY_NOISE) in refused(offered(place), services(place))


@pytest.mark.parametrize("key", ["epsilon", "noise_multiplier", "clip_norm", "noise_source"])
def test_privacy_settings_changed_after_signing_are_refused(
    place: World, nodes: dict[str, Service], key: str
) -> None:
    files = offered(place)
    offer = json.loads(files.offer)
    offer["content"]["course"]["privacy"]["config"][key] = (
        "secure" if key == "noise_source" else 9.0
    )
    raw = canonical(offer)
    reply = nodes["a"].answer(files.run, Request("offer", 1, {}, {"offer": raw}))
    assert reply.code in (Code.UNKNOWN_PLAN, Code.BAD_REQUEST)


def test_a_proposal_that_says_less_than_its_content_does_is_refused(
    place: World, nodes: dict[str, Service]
) -> None:
    files = offered(place)
    offer = json.loads(files.offer)
    lie = files.proposal
    key = SigningKey.load(files.home.key("signing.pem"))
    offer["proposal"] = replace(lie, epsilon=0.1).signed(key).to_json()
    reply = nodes["a"].answer(files.run, Request("offer", 1, {}, {"offer": canonical(offer)}))
    assert reply.code is Code.UNKNOWN_PLAN


def test_an_offer_of_a_stranger_is_refused(place: World, nodes: dict[str, Service]) -> None:
    files = offered(place)
    offer = json.loads(files.offer)
    offer["proposal"] = files.proposal.signed(SigningKey.generate()).to_json()
    reply = nodes["a"].answer(files.run, Request("offer", 1, {}, {"offer": canonical(offer)}))
    assert reply.code is Code.POLICY_COORDINATOR


@pytest.mark.parametrize("name", ["other", "small/more", "small.more"])
def test_a_content_is_agreed_to_under_its_own_name_only(
    place: World, nodes: dict[str, Service], name: str
) -> None:
    """Another name would be another run to the ledger; signatures cover the content alone."""
    files = offered(place)
    offer, run = json.loads(files.offer), f"{name}/{files.run.rpartition('/')[2]}"
    key = SigningKey.load(files.home.key("signing.pem"))
    offer["proposal"] = replace(files.proposal, run=run).signed(key).to_json()
    reply = nodes["a"].answer(run, Request("offer", 1, {}, {"offer": canonical(offer)}))
    assert reply.code is Code.UNKNOWN_PLAN


def test_an_offer_for_another_roster_is_refused(place: World, nodes: dict[str, Service]) -> None:
    files = offered(place)
    offer = {**json.loads(files.offer), "roster": "0" * 64}
    reply = nodes["a"].answer(files.run, Request("offer", 1, {}, {"offer": canonical(offer)}))
    assert reply.code is Code.UNKNOWN_ROSTER


def test_a_plan_that_not_all_brands_signed_does_not_begin(
    place: World, nodes: dict[str, Service]
) -> None:
    files = offered(place)
    asked = Request("offer", 1, {}, {"offer": files.offer})
    signature = nodes["a"].answer(files.run, asked).config["signature"]
    assert isinstance(signature, bytes)
    for given in ({}, {"a": signature.hex()}, {name: signature.hex() for name in BRANDS}):
        begin = Request("begin", 1, {}, {"signatures": json.dumps(given).encode()})
        assert nodes["a"].answer(files.run, begin).code is Code.UNKNOWN_PLAN
    train = Request("train", 1, {}, {"brandagg": "open"})
    assert nodes["a"].answer(files.run, train).code is Code.UNKNOWN_PLAN
    assert nodes["a"].answer("another/run", train).code is Code.UNKNOWN_PLAN


def test_where_the_policy_asks_for_a_person_the_run_waits_for_that_persons_signature(
    place: World, nodes: dict[str, Service], tmp_path: Path
) -> None:
    from clients.cli import command

    person = SigningKey.generate()
    person.save(tmp_path / "ann.pem")
    path = place.node("a") / "policy.toml"
    people = f'mode = "signature"\n\n[approval.people]\nann = "{person.public}"\n'
    path.write_text(path.read_text().replace('mode = "auto"\n', people))
    files = offered(place)
    asked = Request("offer", 1, {}, {"offer": files.offer})
    assert nodes["a"].answer(files.run, asked).code is Code.POLICY_APPROVAL
    home = ["--home", str(place.node("a"))]
    assert command(["approve", *home]) == 0
    assert (
        command(["approve", "small", "--person", "ann", "--key", f"{tmp_path}/ann.pem", *home]) == 0
    )
    conduct(files, nodes)
    assert files.status()["state"] == "done"


def test_data_are_read_once_for_an_offer_however_often_it_comes(
    place: World, nodes: dict[str, Service]
) -> None:
    files = offered(place)
    asked = Request("offer", 1, {}, {"offer": files.offer})
    assert nodes["a"].answer(files.run, asked).code is Code.OK
    (place.node("a") / "tables/examples.parquet").unlink()
    assert nodes["a"].answer(files.run, asked).code is Code.OK
    nodes["a"].waiting.sizes.clear()
    assert nodes["a"].answer(files.run, asked).code is Code.FAILED


def test_the_same_offer_again_is_neither_priced_nor_stored_again(
    place: World, nodes: dict[str, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, other = offered(place), offered(place, rounds=2)
    priced: list[str] = []

    def take(raw: bytes, welcome: Welcome, run: str) -> Offer:
        priced.append(run)
        return offer_of(raw, welcome, run)

    monkeypatch.setattr("clients.service.offer_of", take)
    kept = NodeHome(place.node("a")).run(files.run) / "offer.json"
    for of in (files, files, other, files):
        reply = nodes["a"].answer(of.run, Request("offer", 1, {}, {"offer": of.offer}))
        assert reply.code is Code.OK
        if of is files and priced == [files.run]:
            kept.unlink(missing_ok=True)
    assert priced == [files.run, other.run]
    assert not kept.exists()
    changed = Request("offer", 1, {}, {"offer": files.offer + b" "})
    assert nodes["a"].answer(files.run, changed).code is Code.OK
    assert priced == [files.run, other.run, files.run]


def test_data_that_could_not_be_read_are_tried_again_ever_more_rarely(
    place: World, nodes: dict[str, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, node, now, tried = offered(place), nodes["a"], [0.0], list[float]()
    asked = Request("offer", 1, {}, {"offer": files.offer})

    def rows(*of: object) -> Made:
        tried.append(now[0])
        return _rows(*of)  # type: ignore[arg-type]

    monkeypatch.setattr("clients.service._rows", rows)
    node.waiting.clock = lambda: now[0]
    table = place.node("a") / "tables/examples.parquet"
    table.rename(table.with_suffix(".away"))
    for second in range(1000):
        now[0] = float(second)
        assert node.answer(files.run, asked).code is Code.FAILED
    assert tried == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811]
    table.with_suffix(".away").rename(table)
    now[0] = 1215.0
    assert node.answer(files.run, asked).code is Code.OK


def test_a_table_that_lost_most_of_its_rows_stops_runs_until_a_person_accepts_it(
    place: World, nodes: dict[str, Service]
) -> None:
    from clients.cli import command

    path = place.node("a") / "tables/examples.parquet"
    rows, home = pd.read_parquet(path), ["--home", str(place.node("a"))]

    def answer(rounds: int) -> Code:
        files = offered(place, rounds=rounds)
        asked = Request("offer", 1, {}, {"offer": files.offer})
        return nodes["a"].answer(files.run, asked).code

    assert answer(1) is Code.OK
    rows.head(len(rows) * 9 // 10).to_parquet(path)
    text = (place.node("a") / "mapping.toml").read_text()
    (place.node("a") / "mapping.toml").write_text(
        text.replace("shrink_share = 0.5", "shrink_share = 0.05")
    )
    assert answer(2) is Code.FAILED
    assert command(["check", *home]) == 2
    assert command(["check", "--accept-shorter", *home]) == 1  # no coordinator is here
    assert answer(3) is Code.OK


def changed_offer(files: RunFiles, change: Callable[[dict[str, Any]], None]) -> RunFiles:
    """The coordinator itself signs an offer whose content it has changed, and its own proposal."""
    offer = json.loads(files.offer)
    content = offer["content"]
    change(content)
    agreed = read(content)
    key = SigningKey.load(files.home.key("signing.pem"))
    made = agreed.proposal("small", "operator").signed(key)
    path = RunFiles(files.home, made.run).folder
    path.mkdir(exist_ok=True)
    (path / "offer.json").write_bytes(canonical({**offer, "proposal": made.to_json()}))
    return RunFiles(files.home, made.run)


def more_brands(content: dict[str, Any]) -> None:
    content["course"]["privacy"]["run_state"]["brands"] = 300


def smaller_sums(content: dict[str, Any]) -> None:
    content["rules"]["min_brands"] -= 1


def coarser_sums(content: dict[str, Any]) -> None:
    content["rules"]["scale_bits"] -= 2


def a_bound(content: dict[str, Any]) -> None:
    content["rules"]["bound"] = 1.0


@pytest.mark.parametrize("change", [more_brands, smaller_sums, coarser_sums, a_bound])
def test_noise_and_sum_count_on_the_brands_of_the_roster_and_no_others(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    place = world(tmp_path / "w")
    nodes = services(place)
    values = {**VALUES["privacy"], "dropouts": 0, "colluders": 1}
    files = changed_offer(offered(place, privacy=values), change)
    assert f"a ({Code.UNKNOWN_PLAN})" in refused(files, nodes)
    assert not (place.node("a") / "ledger.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (more_brands, "shares of the noise are for 300 brands, the roster has 4"),
        (smaller_sums, "3 brands make a sum, its noise counts on 4 of 4"),
        (coarser_sums, "bits, noise is rounded to"),
        (lambda content: None, ""),
    ],
)
def test_an_audit_tells_where_noise_and_sum_count_on_other_brands_than_the_rosters(
    place: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], None],
    says: str,
) -> None:
    """Brands that do not look, as an earlier version did not."""
    monkeypatch.setattr("clients.offer.counts_on", lambda agreed, brands: True)
    values = {**VALUES["privacy"], "dropouts": 0, "colluders": 1}
    nodes = services(place)
    files = changed_offer(offered(place, privacy=values, rounds=1), change)
    conduct(files, nodes)
    code = audit(["transcript", str(files.folder)])
    lines = [line for line in capsys.readouterr().out.splitlines() if " shares " in line]
    assert code == (1 if says else 0)
    assert len(lines) == 1
    assert says in lines[0]
    assert lines[0].split()[0] == ("FAIL" if says else "PASS")


def a_large_model(content: dict[str, Any]) -> None:
    content["course"]["model"] = {"name": "mlp", "hidden": [6000, 6000]}


def many_rounds(content: dict[str, Any]) -> None:
    content["course"]["rounds"] = 10**6


@pytest.mark.parametrize("change", [a_large_model, many_rounds])
def test_a_run_of_any_size_is_not_built_because_a_coordinator_signs_it(
    place: World, nodes: dict[str, Service], change: Callable[[dict[str, Any]], None]
) -> None:
    files = offered(place)
    offer = json.loads(files.offer)
    change(offer["content"])
    with pytest.raises(ValueError, match="at most 20,000,000 numbers and at most 10,000 rounds"):
        read(offer["content"])
    run = f"small/{SignedPlan(offer['content']).hash.hex()}"
    key = SigningKey.load(files.home.key("signing.pem"))
    offer["proposal"] = replace(files.proposal, run=run).signed(key).to_json()
    asked = Request("offer", 1, {}, {"offer": canonical(offer)})
    assert nodes["a"].answer(run, asked).code is Code.BAD_REQUEST


def test_an_offer_of_any_length_is_not_read(place: World, nodes: dict[str, Service]) -> None:
    files = offered(place)
    padded = Request("offer", 1, {}, {"offer": files.offer + b" " * MOST})
    assert nodes["a"].answer(files.run, padded).code is Code.BAD_REQUEST
    asked = Request("offer", 1, {}, {"offer": files.offer + b" "})
    assert nodes["a"].answer(files.run, asked).code is Code.OK


def test_a_coordinator_does_not_propose_what_brands_would_not_build(place: World) -> None:
    runs = sorted((place.server / "runs").iterdir())
    with pytest.raises(InputError, match="at most 20,000,000 numbers"):
        offered(place, model={"name": "mlp", "hidden": [6000, 6000]})
    assert sorted((place.server / "runs").iterdir()) == runs


def test_only_the_coordinator_ends_a_run_and_a_run_has_one_model(
    place: World, nodes: dict[str, Service]
) -> None:
    files = offered(place)
    identity = load_identity(files.home)
    first = files.agreed.algorithms["train"].params(files.agreed.first)

    def finish(arrays: Arrays, by: Identity = identity) -> Code:
        signature = by.sign(ending(files.run, arrays))
        asked = Request("finish", 1, arrays, {"signature": signature})
        return nodes["a"].answer(files.run, asked).code

    asked = Request("offer", 1, {}, {"offer": files.offer})
    assert nodes["a"].answer(files.run, asked).code is Code.OK
    assert finish(first) is Code.UNKNOWN_PLAN  # not all brands have signed
    conduct(files, nodes)
    kept = NodeHome(place.node("a")).run(files.run) / "model.npz"
    before = kept.read_bytes()
    assert finish(first, Identity.fresh()) is Code.BAD_SIGNATURE
    assert finish(first) is Code.OUT_OF_ORDER
    assert finish({"w": np.zeros(3)}) is Code.MALFORMED
    assert finish(model(files)) is Code.OK
    assert kept.read_bytes() == before


def test_an_offer_that_the_policy_does_not_allow_is_answered_without_the_data(
    place: World, nodes: dict[str, Service]
) -> None:
    (place.node("b") / "tables/examples.parquet").unlink()
    path = place.node("b") / "policy.toml"
    path.write_text(path.read_text().replace("epsilon_per_run = 3.5", "epsilon_per_run = 1.0"))
    asked = Request("offer", 1, {}, {"offer": (files := offered(place)).offer})
    assert nodes["b"].answer(files.run, asked).code is Code.POLICY_EPSILON


def test_a_run_without_a_secure_sum_is_possible_where_all_noise_is_the_brands(
    place: World, nodes: dict[str, Service]
) -> None:
    privacy = {**VALUES["privacy"], "name": "local"}
    files = offered(place, privacy=privacy, secure_sum={"name": "plain"})
    for brand in BRANDS:
        path = place.node(brand) / "policy.toml"
        path.write_text(path.read_text().replace("min_brands = 3", "min_brands = 1"))
    conduct(files, nodes)
    assert committed(place, "a") == [4]


@pytest.mark.parametrize("forged", ["another brand's", "of another round", "altered", "unsigned"])
def test_a_plain_reply_is_its_brands_or_none(
    place: World, nodes: dict[str, Service], forged: str
) -> None:
    privacy = {**VALUES["privacy"], "name": "local"}
    files = offered(place, privacy=privacy, secure_sum={"name": "plain"}, rounds=2)
    for brand in BRANDS:
        path = place.node(brand) / "policy.toml"
        path.write_text(path.read_text().replace("min_brands = 3", "min_brands = 1"))
    before: list[Reply] = []

    def asked(brand: str, request: Request) -> Reply:
        reply = nodes[brand].answer(files.run, request)
        if brand != "d" or request.kind != "train":
            return reply
        before.append(reply)
        if request.number == 1:
            return reply
        match forged:
            case "another brand's":
                bare = {k: v for k, v in reply.config.items() if k != "signature"}
                message = replying(files.run, request, replace(reply, config=bare))
                key = brand_identity(NodeHome(place.node("c")))
                return replace(reply, config={**bare, "signature": key.sign(message)})
            case "of another round":
                return before[0]
            case "altered":
                return replace(reply, arrays={n: x + 1 for n, x in reply.arrays.items()})
        return replace(reply, config={"weight": reply.config["weight"]})

    federation = InProcessFederation({brand: partial(asked, brand) for brand in BRANDS})
    progress = Conduct(files, roster(cards(files.home)), federation, 5.0, 0.0).run()
    assert [(a.number, a.brand, a.code) for a in progress.absences] == [
        (2, "d", Code.BAD_SIGNATURE)
    ]


def test_nothing_private_is_in_a_log(
    place: World, nodes: dict[str, Service], caplog: pytest.LogCaptureFixture
) -> None:
    from fl.logs import JsonLines
    from tests.deployment.small import SECRET

    path = place.node("a") / "tables/examples.parquet"
    path.write_bytes(b"broken " + SECRET.encode())
    with caplog.at_level("INFO"):
        files = offered(place)
        asked = Request("offer", 1, {}, {"offer": files.offer})
        assert nodes["a"].answer(files.run, asked).code is Code.FAILED
    lines = [JsonLines().format(record) for record in caplog.records]
    assert any("exception" in json.loads(line) for line in lines)
    assert not any(SECRET in line for line in lines)


def test_an_offer_for_an_older_roster_is_named_and_the_others_are_still_shown(
    place: World, nodes: dict[str, Service], capsys: pytest.CaptureFixture[str]
) -> None:
    from clients.cli import command

    kept = [offered(place), offered(place)]
    for files in kept:
        asked = Request("offer", 1, {}, {"offer": files.offer})
        assert nodes["a"].answer(files.run, asked).code is Code.OK
    path = NodeHome(place.node("a")).run(kept[0].run) / "offer.json"
    path.write_bytes(canonical({**json.loads(path.read_bytes()), "roster": "0" * 64}))
    assert command(["approve", "--home", str(place.node("a"))]) == 0
    said = capsys.readouterr()
    assert f"{kept[0].run}: no offer any more (roster.unknown)" in said.err
    assert said.out.splitlines() == [f"{kept[1].run}  allowed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files to another account needs root")
def test_a_check_says_whether_the_operator_may_write_the_policy(place: World) -> None:
    home = NodeHome(place.node("a"))

    def said() -> str:
        return next(line for _, line in looked(home, ["age", "city"]) if " roles " in line)

    assert "is operator and data steward in one" in said()
    for path in (home.policy, home.mapping):
        os.chown(path, 4711, -1)
    assert "user 4711 may write policy and mapping; root operates the node" in said()
