"""Asking for a new run, and starting one: whose asks count, and when a run is due."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from clients.cli import command as node
from clients.data_folder import DataFolder
from clients.home import Home as NodeHome
from clients.keys import load_identity
from clients.refresh import DataState, save_state
from experiments.deployment.world import World
from fl.asking import Ask, load_ask
from fl.errors import InputError
from server import superlink
from server.cli import command as server
from server.files import RunFiles
from server.home import Home
from server.roster import cards, roster
from server.schedule import Schedule, asking, newest
from tests.deployment.small import offered, world

NOW = pd.Timestamp("2026-05-10 12:00")
EARLIER = "2026-05-09T12:00:00"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("asking") / "w")


@pytest.fixture(autouse=True)
def nobody_asks(place: World) -> None:
    for path in (place.server / "asks").iterdir():
        path.unlink()


def put(place: World, ask: Ask, signer: str, file: str) -> None:
    signed = ask.signed(load_identity(NodeHome(place.node(signer))))
    (place.server / "asks" / file).write_bytes(signed.to_bytes())


def counted(place: World, since: pd.Timestamp | None = None) -> tuple[set[str], dict[str, str]]:
    home = Home(place.server)
    found, left = asking(home, roster(cards(home)), "small", since, NOW)
    return set(found), {path.name: why for path, why in left.items()}


def test_a_brand_counts_once_and_only_what_is_newer_than_the_last_run(place: World) -> None:
    for number, at in enumerate((EARLIER, "2026-05-10T11:00:00")):
        put(place, Ask("a", "small", at), "a", f"a{number}.json")
    put(place, Ask("b", "small", EARLIER), "b", "b.json")
    put(place, Ask("c", "another", EARLIER), "c", "c.json")
    assert counted(place) == ({"a", "b"}, {})
    assert counted(place, pd.Timestamp("2026-05-10")) == ({"a"}, {})
    assert counted(place, NOW) == (set(), {})


def test_nobody_asks_in_anothers_name_or_out_of_the_future(place: World) -> None:
    put(place, Ask("a", "small", EARLIER), "b", "forged.json")
    put(place, Ask("z", "small", EARLIER), "b", "stranger.json")
    put(place, Ask("b", "small", "2026-05-11T00:00:00"), "b", "future.json")
    (place.server / "asks/text.json").write_text("please")
    (place.server / "asks/list.json").write_text("[1]")
    taken = Ask("c", "another", EARLIER).signed(load_identity(NodeHome(place.node("c"))))
    changed = replace(taken, experiment="small").to_bytes()
    (place.server / "asks/changed.json").write_bytes(changed)
    found, left = counted(place)
    assert found == set()
    assert left == {
        "forged.json": "a has not signed it",
        "stranger.json": "'z' is not enrolled",
        "future.json": "its date is in the future",
        "text.json": "cannot be read",
        "list.json": "is none",
        "changed.json": "c has not signed it",
    }


@pytest.mark.parametrize(
    ("days", "asks", "field"),
    [
        (None, None, "schedule"),
        (0.0, None, "--every"),
        (float("nan"), None, "--every"),
        (None, 0, "--when-asked"),
    ],
)
def test_a_schedule_without_sense_is_refused(
    days: float | None, asks: int | None, field: str
) -> None:
    with pytest.raises(InputError) as caught:
        Schedule(days, asks)
    assert caught.value.field == field


def test_a_run_is_due_by_the_calendar_or_by_asks_whichever_comes_first() -> None:
    both = Schedule(7.0, 2)
    assert both.due(None, 0, NOW) == "it never ran"
    assert both.due(NOW - pd.Timedelta(days=6), 1, NOW) == ""
    assert both.due(NOW - pd.Timedelta(days=6), 2, NOW) == "2 brands ask for it"
    assert both.due(NOW - pd.Timedelta(days=7), 0, NOW) == "the interval is over"
    assert Schedule(asks=2).due(None, 1, NOW) == ""


def test_the_newest_run_is_of_the_experiment_that_is_asked_for(place: World) -> None:
    assert newest(Home(place.server), "smal") == (None, "")
    before = pd.Timestamp.now("UTC").tz_localize(None)
    files = offered(place)
    found, waiting = newest(Home(place.server), "small")
    assert waiting == files.run  # nobody was asked yet
    assert found is not None and abs(found - before) < pd.Timedelta(minutes=1)
    assert newest(Home(place.server), "smal") == (None, "")
    os.utime(files.folder / "offer.json", (0, 0))  # as a copy or a backup may
    os.utime(files.folder / "began", (0, 0))
    assert newest(Home(place.server), "small") == (found, files.run)
    files.say("done", 4)
    assert newest(Home(place.server), "small") == (found, "")


OPTIONS = ["data=table", "data.label=bought", "data.columns={age:{low:0,high:100}}"]
OPTIONS += ["model=logistic", "algorithm=fedsgd", "secure_sum=brandagg", "rounds=1"]
OPTIONS += ["privacy=distributed", "privacy.customers=150", "seeds=[7]"]


def test_a_run_that_could_not_begin_is_taken_up_at_a_later_look_and_no_other_is_proposed(
    place: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loop itself: Flower's server is away at first; the run is done; SIGTERM ends the loop."""
    kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    tried: list[str] = []

    def submit(home: Home, run: str) -> str:
        tried.append(run)
        if len(tried) == 1:
            raise InputError("flwr", "connection refused", "is fl-server start running?")
        RunFiles(home, run).say("done", 1)
        os.kill(os.getpid(), signal.SIGTERM)
        return "7"

    monkeypatch.setattr(superlink, "submit", submit)
    line = ["schedule", *OPTIONS, "--every", "30", "--look", "0.1", "--home", str(place.server)]
    try:
        assert server(line) == 0
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    said = capsys.readouterr()
    assert len(tried) == 2
    assert len(set(tried)) == 1
    assert "connection refused" in said.err
    assert "it never ran" in said.out
    assert "it could not begin last time" in said.out


def test_a_schedule_that_follows_a_run_ends_when_it_is_told_to(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}

    def submit(home: Home, run: str) -> str:  # brands may now think for a day
        os.kill(os.getpid(), signal.SIGTERM)
        return "7"

    monkeypatch.setattr(superlink, "submit", submit)
    line = ["schedule", *OPTIONS, "--every", "1e-9"]
    try:
        assert server([*line, "--home", str(place.server)]) == 0
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def test_a_person_asks_only_after_a_measured_change_or_on_purpose(
    place: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, out = place.node("a"), tmp_path / "ask.json"
    line = ["ask", "small", "--out", str(out), "--home", str(home)]
    assert node(line) == 2
    assert not out.exists()
    assert "no change of the data was measured" in capsys.readouterr().err
    assert node([*line, "--anyway"]) == 0
    out.unlink()
    changed = DataState("2026-05-01T00:00:00", {}, offer=("age moved by 0.4",))
    save_state(DataFolder(home), changed)
    assert node(line) == 0
    assert "For you alone: age moved by 0.4" in capsys.readouterr().out
    assert b"moved" not in out.read_bytes()
    assert load_ask(out).is_of(roster(cards(Home(place.server))).keys["a"])


def test_one_look_without_a_reason_starts_nothing(
    place: World, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = sorted((place.server / "runs").iterdir())
    line = ["schedule", "experiment=conversion_deploy", "--when-asked", "2", "--once"]
    assert server([*line, "--home", str(place.server)]) == 0
    assert "0 brands ask for conversion_deploy" in capsys.readouterr().out
    assert sorted((place.server / "runs").iterdir()) == runs
