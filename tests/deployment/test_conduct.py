"""What the coordinator says and does while it waits, is lost, or fails; no server, no network."""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from clients.service import Service
from experiments.deployment.rehearsal import conduct
from experiments.deployment.world import World
from fl.contracts import Reply, Request
from fl.errors import Code, InputError, Lost
from fl.logs import start_logging
from fl.welcome import Card, load_card
from server import superlink
from server.cli import command as server
from server.commands import start, submit
from server.conduct import LONGEST, Conduct
from server.daemons import Daemon
from server.files import RunFiles
from server.home import Home
from server.proposing import composed, described, propose
from server.roster import cards, roster
from tests.deployment.small import BRANDS, VALUES, offered


class Scripted:
    """Brands of which some say what is written here, one code an ask; None is silence."""

    def __init__(
        self, nodes: Mapping[str, Service], run: str, says: Mapping[str, list[Code | None]]
    ) -> None:
        self.asked = {brand: partial(node.answer, run) for brand, node in nodes.items()}
        self.says = {brand: iter(codes) for brand, codes in says.items()}

    def nodes(self) -> list[str]:
        return list(self.asked)

    def ask(self, requests: Mapping[str, Request]) -> Mapping[str, Reply]:
        replies = {}
        for brand, request in requests.items():
            if brand not in self.says:
                replies[brand] = self.asked[brand](request)
            elif (code := next(self.says[brand])) is not None:
                replies[brand] = Reply(code)
        return replies


def waited(
    files: RunFiles,
    nodes: Mapping[str, Service],
    monkeypatch: pytest.MonkeyPatch,
    says: Mapping[str, list[Code | None]],
) -> tuple[list[float], str]:
    """Seconds between two offers, and why the run was refused in the end."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    brands = roster(cards(files.home))
    with pytest.raises(InputError) as caught:
        Conduct(files, brands, Scripted(nodes, files.run, says)).run()
    return slept, str(caught.value)


def test_who_waits_for_people_asks_less_and_less_often(
    place: World, nodes: dict[str, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    thinking: list[Code | None] = [Code.POLICY_APPROVAL] * 9
    says = {"b": [*thinking, Code.POLICY_PLAN]}
    slept, why = waited(offered(place), nodes, monkeypatch, says)
    assert slept == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST, LONGEST, LONGEST]
    assert "b (policy.plan: [runs] plans)" in why
    assert "no answer" not in why


def test_a_brand_that_is_away_is_asked_as_often_as_ever_and_named(
    place: World, nodes: dict[str, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    says: dict[str, list[Code | None]] = {
        "a": [None] * 9,
        "c": [None] * 9,
        "b": [*[Code.POLICY_APPROVAL] * 5, Code.POLICY_PLAN],
    }
    slept, why = waited(offered(place), nodes, monkeypatch, says)
    assert slept == [1.0] * 5
    assert "is refused by b (policy.plan: [runs] plans); no answer yet from a, c." in why


def test_a_run_that_was_offered_to_another_roster_is_not_taken_up_and_status_says_why(
    place: World, nodes: dict[str, Service], capsys: pytest.CaptureFixture[str]
) -> None:
    files = offered(place)
    (place.server / "brands/d.json").unlink()
    with pytest.raises(InputError, match="another roster"):
        conduct(files, nodes)
    assert files.status()["state"] == "stopped"
    assert server(["status", "--home", str(place.server)]) == 0
    said = capsys.readouterr().out
    assert "stopped, round 0 of 4\n    run: was offered to another roster" in said


def test_a_second_coordinator_leaves_what_the_first_one_says(
    place: World, nodes: dict[str, Service]
) -> None:
    files = offered(place)
    other = RunFiles(files.home, files.run)
    with files.held():
        files.say("running", 2)
        with pytest.raises(InputError, match="another process"), other.held(0.1):
            pass
        assert other.status()["state"] == "running"
    conduct(files, nodes)
    told = files.status()
    with pytest.raises(InputError, match="is done already"):
        conduct(files, nodes)
    assert files.status() == told
    assert told["state"] == "done"


def test_an_unexpected_error_stops_a_run_and_a_lost_server_does_not(place: World) -> None:
    files = offered(place)
    files.say("running", 1)
    with pytest.raises(Lost), files.conducted():
        raise Lost("ConnectError")
    assert files.status()["state"] == "running"
    with pytest.raises(KeyError), files.conducted():
        raise KeyError("zq-cell")
    said = files.status()
    assert (said["state"], said["number"]) == ("stopped", 1)
    assert "unexpected KeyError" in str(said["why"])
    assert "zq-cell" not in str(said["why"])


def test_a_runs_log_says_what_happened_in_json_and_no_exceptions_text(
    place: World, nodes: dict[str, Service]
) -> None:
    files = offered(place, rounds=1)
    kept, level = list(logging.root.handlers), logging.root.level
    try:
        start_logging(files.log)
        with pytest.raises(KeyError), files.conducted():
            raise KeyError("zq-cell")
        conduct(files, nodes)
    finally:
        for handler in logging.root.handlers:
            handler.close()
        logging.root.handlers[:] = kept
        logging.root.setLevel(level)
    lines = [json.loads(line) for line in files.log.read_text().splitlines()]
    assert any(line.get("exception") == "KeyError" and line["at"] for line in lines)
    messages = [line["message"] for line in lines if line["logger"] == "server.conduct"]
    assert messages[0].startswith("offer: {'a': 'ok'")
    assert re.fullmatch(r"round 1: [0-9.]+ s, absent: nobody", messages[-1])
    assert "zq-cell" not in files.log.read_text()


def test_a_run_of_another_version_stops_with_what_to_do(
    place: World, nodes: dict[str, Service]
) -> None:
    files = offered(place)
    offer = json.loads(files.offer)
    offer["content"]["course"]["rounds"] = "many"
    (files.folder / "offer.json").write_text(json.dumps(offer))
    same = RunFiles(files.home, files.run)
    with pytest.raises(InputError, match="submit the experiment anew"):
        conduct(same, nodes)
    assert same.status()["state"] == "stopped"


def test_a_run_that_is_lost_again_and_again_without_a_round_stops(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, submitted = offered(place), []
    monkeypatch.setattr(superlink, "submit", lambda home, run: submitted.append(run) or "7")
    losses = submit.Losses()
    assert [submit._again(files, losses) for _ in range(2)] == ["7", "7"]
    files.say("running", 1)  # a round was finished: it begins to count anew
    assert [submit._again(files, losses) for _ in range(3)] == ["7", "7", ""]
    assert len(submitted) == 4
    assert files.status()["state"] == "stopped"
    assert "3 times without a finished round" in str(files.status()["why"])
    assert submit._again(files, losses) == ""
    assert len(submitted) == 4


def test_a_coordinator_that_is_gone_is_noticed_before_flower_does(
    place: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flower says ``running`` all the time; what counts is that nobody holds the run any more."""
    files, submitted = offered(place), []
    turns = iter([False, False, True, True, False, False, True])

    def wait(seconds: float) -> None:
        if len(submitted) == 2 and files.is_held:
            files.say("done", 4)

    stop = threading.Event()
    monkeypatch.setattr(stop, "wait", wait)
    monkeypatch.setattr(superlink, "submit", lambda home, run: submitted.append(run) or "7")
    monkeypatch.setattr(superlink, "flower_status", lambda home, run: "running")
    monkeypatch.setattr(RunFiles, "is_held", property(lambda files: next(turns, True)))
    assert submit.conducted(files, detach=False, stop=stop) == 0
    assert submitted == [files.run] * 2  # once it was held and is not; never before it began
    assert capsys.readouterr().out.count("lost; taking it up again") == 1


def test_a_run_is_held_while_it_is_conducted(place: World) -> None:
    files = offered(place)
    assert not files.is_held
    with files.conducted():
        assert RunFiles(files.home, files.run).is_held
    assert not files.is_held


def test_who_follows_a_run_sees_whom_it_waits_for(
    place: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, stop = offered(place), threading.Event()
    files.say("offered", 0, brands={"a": "ok", "b": Code.SILENT, "c": Code.POLICY_APPROVAL})
    monkeypatch.setattr(superlink, "submit", lambda home, run: "7")
    monkeypatch.setattr(stop, "wait", lambda seconds: stop.set())
    assert submit.conducted(files, detach=False, stop=stop) == 0
    waiting = "waiting for b (brand.silent), c (policy.approval)"
    assert f"  offered, round 0 of 4; {waiting}\n" in capsys.readouterr().out


@pytest.fixture
def signals() -> Iterator[None]:
    kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
def test_a_server_that_cannot_start_is_given_up_and_its_log_named(
    place: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(home: Home, cards: object) -> dict[str, int]:
        raise InputError("flwr", "connection refused", "is fl-server start running?")

    falls = ["/bin/sh", "-c", "echo port 9093 is taken >&2; exit 1"]
    monkeypatch.setattr(superlink, "command", lambda home, config: falls)
    monkeypatch.setattr(superlink, "register", away)
    monkeypatch.setattr(start, "PATIENCE", 5.0)
    assert server(["start", "--home", str(place.server)]) == 2
    said = capsys.readouterr().err
    assert said.count("superlink ended with 1 and was started again; see ") == 1
    assert "superlink.log" in said
    assert "port 9093 is taken" in (place.server / "superlink/superlink.log").read_text()


def test_a_program_is_started_again_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    line = [sys.executable, "-c", "import time; time.sleep(600)"]
    kept = Daemon("it", line, tmp_path / "it.log", {})
    assert kept.keep() == ""
    assert kept._process is not None
    assert kept.keep() == ""
    first = kept._process
    first.kill()
    first.wait()
    end = time.monotonic() + 60
    while not (said := kept.keep()) and time.monotonic() < end:
        time.sleep(0.05)
    assert "it ended with -9" in said
    assert kept._process is not first
    kept.terminate()
    kept.wait(60)
    assert kept._process.poll() is not None


def test_a_key_is_registered_once_and_another_key_of_the_same_brand_anew(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, said = Home(place.server), []

    def flwr(home: Home, line: list[str], more: tuple[str, ...] = ()) -> str:
        said.append(line[1:3] if line[1] == "unregister" else [line[1], line[-1]])
        return json.dumps({"success": True, "node-id": 100 + len(said)})

    monkeypatch.setattr(superlink, "flwr", flwr)
    known = cards(home)
    assert superlink.register(home, known[:2]) == {"a": 101, "b": 102}
    with pytest.raises(InputError, match="c, d are enrolled and not registered"):
        superlink.node_ids(home, BRANDS)
    first = superlink.register(home, known)
    assert superlink.register(home, known) == first
    assert superlink.node_ids(home, BRANDS) == first
    a = load_card(home.brands / "a.json")
    changed = Card(a.name, a.identity, a.ledger, known[1].supernode + " new")
    again = superlink.register(home, [changed, *known[1:]])
    assert again == {**first, "a": 105}
    expected = [["register", n] for n in "abcd"] + [["register", "a"], ["unregister", "101"]]
    assert said == expected


def test_a_flower_command_that_hangs_or_babbles_is_an_error_to_act_on(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(superlink, "_LONGEST", 0.01)
    with pytest.raises(InputError, match="no answer after"):
        superlink.flower_status(Home(place.server), "1")
    monkeypatch.setattr(superlink, "flwr", lambda *_: "Loading ...")
    with pytest.raises(InputError, match="Loading"):
        superlink.flower_status(Home(place.server), "1")
    with pytest.raises(InputError, match="Loading"):
        superlink.submit(Home(place.server), "a/run")


OWN = [
    *("experiment=conversion_deploy", "data=table", "data.label=converted", "rounds=20"),
    "data.columns={age: {low: 18, high: 90}, city: {values: [north, south]}}",
]


def test_a_run_on_columns_of_ones_own_is_signed_and_shown_as_brands_see_it(place: World) -> None:
    options = [*OWN, "privacy.customers=300", "data.path=none.csv", "out=unused"]
    values = composed(options)
    files = propose(Home(place.server), values, "operator")
    assert files.proposal.is_signed()
    assert files.proposal.columns == ("age", "city", "converted")
    shown = list(described(files, values))
    assert shown[0] == "conversion of converted from age, city"
    epsilon = f"epsilon {files.proposal.epsilon:.3f} at delta 1e-05"
    assert shown[1] == f"20 rounds, {epsilon}, distributed; sums of at least 3 of 4 brands"
    assert shown[2].startswith("means are over 300 customers of a mean brand")
    assert shown[3].startswith("data.path is not read")
    assert len(shown) == 4


def test_a_delta_that_brands_of_that_size_refuse_is_said_before_they_do(place: World) -> None:
    values = {**VALUES, "privacy": {**VALUES["privacy"], "customers": 1e5}}
    shown = list(described(propose(Home(place.server), values, "operator"), values))
    assert any(line.startswith("WARNING: privacy.delta") for line in shown)


def test_nothing_is_proposed_while_no_server_is_there_to_carry_it(
    place: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert server(["submit", *OWN, "--home", str(place.server)]) == 2
    assert "server: is not ready" in capsys.readouterr().err
    assert not list((place.server / "runs").iterdir())
