"""Ledgers that were set back or deleted: at the node, at the coordinator, at the other brands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from clients.cli import command as node_command
from clients.home import Home as NodeHome
from clients.service import Service
from clients.standing import books_of, last_signed
from experiments.deployment.rehearsal import conduct, services
from experiments.deployment.world import World
from fl.audit.cli import command as audit
from fl.contracts import NO_LEDGER, Mark, Reply, Request
from fl.errors import Code, InputError
from fl.federation.inprocess import InProcessFederation
from fl.marks import MarksFile
from fl.welcome import load_card, load_welcome
from server.cli import command as server_command
from server.conduct import Conduct
from server.coordinator import Progress
from server.files import RunFiles
from server.home import Home
from server.roster import cards, roster
from tests.deployment.small import BRANDS, VALUES, offered

Nodes = Mapping[str, Service]


def course(files: RunFiles, nodes: Nodes) -> Progress:
    """Conduct a run to its end, and say how it went."""
    asked = {brand: partial(node.answer, files.run) for brand, node in nodes.items()}
    return conducted(files, InProcessFederation(asked))


def conducted(files: RunFiles, federation: InProcessFederation) -> Progress:
    with files.conducted():
        return Conduct(files, roster(cards(files.home)), federation, 5.0, 0.0).run()


def runs_of(place: World) -> list[str]:
    """Ids, the oldest first."""
    paths = sorted(place.server.glob("runs/*/offer.json"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_bytes())["proposal"]["run"] for path in paths]


def entries(place: World, brand: str) -> int:
    return (place.node(brand) / "ledger.jsonl").read_bytes().count(b"\n")


@pytest.fixture(scope="module")
def once(made: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world after one run; ``copy`` beside it is brand b's folder as it was after its offer."""
    place = World(tmp_path_factory.mktemp("once") / "w", BRANDS, False)
    shutil.copytree(made.folder, place.folder)
    nodes = services(place)
    course(offered(place, rounds=1), nodes)
    close(nodes)
    shutil.copytree(place.node("b"), place.folder / "copy")
    course(offered(place, rounds=3), nodes)
    close(nodes)
    return place


@pytest.fixture
def later(once: World, tmp_path: Path) -> World:
    """A copy of it."""
    shutil.copytree(once.folder, tmp_path / "later")
    return World(tmp_path / "later", BRANDS, False)


def close(nodes: Nodes) -> None:
    for node in nodes.values():
        node.close()


@pytest.fixture
def again(later: World) -> Iterator[dict[str, Service]]:
    opened = services(later)
    yield opened
    close(opened)


LEDGER = ("ledger.jsonl", "ledger.head")


def set_back(place: World) -> None:
    """Ledger and note, as a backup has them."""
    for name in LEDGER:
        shutil.copy(place.folder / "copy" / name, place.node("b") / name)


def deleted(place: World) -> None:
    for name in LEDGER:
        (place.node("b") / name).unlink()


def whole(place: World) -> None:
    """Everything the node has, as a snapshot of its machine has it."""
    shutil.rmtree(place.node("b"))
    shutil.copytree(place.folder / "copy", place.node("b"))


def deleted_with_its_notes(place: World) -> None:
    deleted(place)
    (place.node("b") / "runs/ledgers.json").unlink()


# ------------------------------------------------------------------------------------ the node


@pytest.mark.parametrize("attack", [set_back, deleted])
def test_a_node_does_not_begin_a_run_with_less_than_it_has_told_others(
    later: World, again: dict[str, Service], attack: Callable[[World], None]
) -> None:
    attack(later)
    files = offered(later, rounds=1)
    with pytest.raises(InputError, match=rf"is refused by b \({Code.LEDGER_SET_BACK}\)"):
        course(files, again)
    assert files.status()["state"] == "refused"
    assert not (later.node("b") / "ledger.jsonl").exists() or attack is set_back


@pytest.mark.parametrize(
    ("attack", "says"), [(set_back, "was set back or forked"), (deleted, "has told others of its")]
)
def test_every_command_that_looks_into_the_ledger_says_what_to_do(
    later: World,
    capsys: pytest.CaptureFixture[str],
    attack: Callable[[World], None],
    says: str,
) -> None:
    attack(later)
    home = ["--home", str(later.node("b"))]
    for line in (["status"], ["start", "--attempts", "1"]):
        assert node_command([*line, *home]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert says in said
        assert "restore" in said
        assert "enrols again with new keys" in said
    node_command(["check", *home])
    assert "FAIL  budget" in capsys.readouterr().out
    if attack is set_back:
        assert node_command(["ledger", "--renew", "1", "--reason", "more", *home]) == 2


def test_the_note_beside_the_ledger_is_asked_for_whatever_the_node_remembers(
    later: World, again: dict[str, Service]
) -> None:
    """What it has told others may be behind what it has booked since."""
    (later.node("b") / "ledger.head").unlink()
    files = offered(later, rounds=1)
    with pytest.raises(InputError, match=rf"is refused by b \({Code.LEDGER_SET_BACK}\)"):
        course(files, again)


def test_a_ledger_that_is_restored_takes_part_again(
    later: World, again: dict[str, Service]
) -> None:
    newer = {name: (later.node("b") / name).read_bytes() for name in LEDGER}
    set_back(later)
    files = offered(later, rounds=1)
    with pytest.raises(InputError):
        course(files, again)
    for name, content in newer.items():
        (later.node("b") / name).write_bytes(content)
    assert not course(files, again).absences


def plain(place: World, rounds: int) -> RunFiles:
    """A run without a secure sum."""
    privacy = {**VALUES["privacy"], "name": "local"}
    for brand in BRANDS:
        path = place.node(brand) / "policy.toml"
        path.write_text(path.read_text().replace("min_brands = 3", "min_brands = 1"))
    return offered(place, privacy=privacy, secure_sum={"name": "plain"}, rounds=rounds)


def test_a_run_without_a_secure_sum_is_remembered_by_the_node_too(
    place: World, nodes: dict[str, Service]
) -> None:
    conduct(plain(place, 2), nodes)
    home = NodeHome(place.node("b"))
    assert last_signed(home).entries == entries(place, "b") == 5  # open, reserve, 2 rounds, settle
    deleted(place)
    with pytest.raises(InputError, match=str(Code.LEDGER_SET_BACK)):
        conduct(plain(place, 3), nodes)


@pytest.mark.parametrize("hides", [False, True])
def test_a_run_without_a_secure_sum_is_remembered_by_the_coordinator_too(
    place: World, nodes: dict[str, Service], hides: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    course(plain(place, 1), nodes)
    close(nodes)
    shutil.copytree(place.node("b"), place.folder / "copy")
    assert not course(plain(place, 4), nodes).absences
    close(nodes)
    whole(place)
    if hides:
        monkeypatch.setattr("fl.privacy.ledger.Ledger.reaches", lambda self, mark: True)
    progress = course(plain(place, 2), nodes)
    assert [(a.number, a.brand, a.code) for a in progress.absences] == [
        (1, "b", Code.LEDGER_SET_BACK),
        (2, "b", Code.LEDGER_SET_BACK),
    ]
    books = books_of(NodeHome(place.node("b")))
    assert books is not None
    assert len(list(books.runs.values())[-1].occasions) == (2 if hides else 0)


# ----------------------------------------------------------------------------- the coordinator


@pytest.mark.parametrize("attack", [whole, deleted_with_its_notes])
def test_a_node_that_was_set_back_as_a_whole_is_left_out_of_the_next_run(
    later: World, again: dict[str, Service], attack: Callable[[World], None]
) -> None:
    attack(later)
    progress = course(offered(later, rounds=2), again)
    assert [(a.number, a.brand, a.code) for a in progress.absences] == [
        (1, "b", Code.LEDGER_SET_BACK),
        (2, "b", Code.LEDGER_SET_BACK),
    ]
    books = books_of(NodeHome(later.node("b")))
    assert books is not None
    assert [len(run.occasions) for run in books.runs.values()][-1] == 0  # no data was touched


def test_a_node_that_hides_it_is_found_out(
    later: World, again: dict[str, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that was changed: it says that its ledger has what the coordinator has seen."""
    monkeypatch.setattr("fl.privacy.ledger.Ledger.reaches", lambda self, mark: True)
    whole(later)
    progress = course(offered(later, rounds=2), again)
    assert {(a.brand, a.code) for a in progress.absences} == {("b", Code.LEDGER_SET_BACK)}
    assert len(progress.absences) == 2


def test_a_node_that_was_set_back_within_a_run_is_left_out_from_then_on(
    place: World, nodes: dict[str, Service]
) -> None:
    files, home = offered(place), place.node("b")
    folder = home.with_name("backup")

    def asked(brand: str, request: Request) -> Reply:
        if brand == "b" and request.kind == "train" and request.config["brandagg"] == "open":
            if request.number == 2:
                nodes["b"].close()
                shutil.copytree(home, folder)
            if request.number == 4:
                nodes["b"].close()
                shutil.rmtree(home)
                shutil.copytree(folder, home)
        return nodes[brand].answer(files.run, request)

    federation = InProcessFederation({brand: partial(asked, brand) for brand in BRANDS})
    progress = conducted(files, federation)
    assert [(a.number, a.brand, a.code) for a in progress.absences] == [
        (4, "b", Code.LEDGER_SET_BACK)
    ]


def test_what_has_been_seen_is_private_and_is_that_of_every_brand(once: World) -> None:
    keys = {
        brand: bytes.fromhex(load_card(once.node(brand) / "card.json").identity) for brand in BRANDS
    }
    known = MarksFile(once.server / "ledgers.json")
    assert set(known.load()) == set(keys.values())
    for brand in BRANDS:
        # open; reserve, a round, settle; reserve, three rounds, settle
        assert entries(once, brand) == 9
        assert known.load()[keys[brand]].entries == 7  # as before the last round was booked
        path = once.node(brand) / "runs/ledgers.json"
        assert path.stat().st_mode & 0o077 == 0
        assert set(MarksFile(path).load()) == set(keys.values())
        assert last_signed(NodeHome(once.node(brand))).entries == 9
    assert known.path.stat().st_mode & 0o077 == 0


# ----------------------------------------------------------------------------- the other brands


def test_a_coordinator_that_forgets_is_refused_by_the_other_brands(
    later: World, again: dict[str, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted_with_its_notes(later)
    (later.server / "ledgers.json").unlink()
    files = offered(later)
    monkeypatch.setattr("server.conduct.MOST_VOID", 4)
    with pytest.raises(InputError, match="4 rounds in a row had no sum"):
        course(files, again)
    for brand in "acd":
        lines = (later.node(brand) / "ledger.jsonl").read_text().splitlines()
        refusals = [line for line in lines if str(Code.PEER_SET_BACK) in line]
        assert len(refusals) == 4


def test_an_honest_second_run_and_an_honest_third_leave_nobody_out(
    later: World, again: dict[str, Service], capsys: pytest.CaptureFixture[str]
) -> None:
    files = offered(later, rounds=2)
    assert not course(files, again).absences
    assert not course(offered(later, rounds=1), again).absences
    line = ["transcript", str(files.folder)]
    assert audit(line) == 0
    assert "SKIP  heads       no ledger was given" in capsys.readouterr().out
    ledgers = [f"--ledger={later.node(brand) / 'ledger.jsonl'}" for brand in "abc"]
    assert audit([*line, *ledgers]) == 0
    said = capsys.readouterr().out
    assert said.count("2 heads are in its ledger, each at its place") == 3
    assert "SKIP  heads       d: its ledger was not given" in said


def test_a_ledger_that_was_padded_is_found_by_the_auditor(
    later: World,
    again: dict[str, Service],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A changed program makes it longer than anybody remembers it: all is well until the audit."""
    runs = [RunFiles(Home(later.server), run) for run in runs_of(later)]
    whole(later)
    with again["b"]._books() as books:
        for _ in range(9):
            books.refuse(Code.BAD_REQUEST, "0" * 64)
    again["b"].close()
    monkeypatch.setattr("fl.privacy.ledger.Ledger.reaches", lambda self, mark: True)
    assert not course(offered(later, rounds=2), again).absences
    path = f"--ledger={later.node('b') / 'ledger.jsonl'}"
    assert [audit(["transcript", str(files.folder), path]) for files in runs] == [0, 1]
    assert "is not in its ledger: set back, or written anew" in capsys.readouterr().out


def test_runs_beside_each_other_leave_nobody_out(place: World, nodes: dict[str, Service]) -> None:
    """One whole run goes by while another's round is open: what it shows is newer."""
    slow, quick = offered(place, rounds=3), offered(place, rounds=2)
    ran: list[Progress] = []

    class Interrupted(InProcessFederation):
        def ask(self, requests: Mapping[str, Request]) -> Mapping[str, Reply]:
            first = next(iter(requests.values()))
            if first.kind != "train" or first.number != 2 or ran:
                return super().ask(requests)
            early = super().ask({n: r for n, r in requests.items() if n in "ab"})
            ran.append(course(quick, nodes))
            return {**early, **super().ask({n: r for n, r in requests.items() if n in "cd"})}

    asked = {brand: partial(node.answer, slow.run) for brand, node in nodes.items()}
    progress = conducted(slow, Interrupted(asked))
    assert len(ran) == 1
    assert not ran[0].absences
    assert not progress.absences


def test_a_brand_that_lost_its_ledger_enrols_again_with_new_keys(
    later: World, tmp_path: Path
) -> None:
    old, home = later.node("b"), later.node("b").with_name("b-old")
    old.rename(home)
    server = ["--home", str(later.server)]
    assert (
        node_command(
            [
                "init",
                "--home",
                str(old),
                "--name",
                "b",
                "--federation-key",
                f"{home}/keys/federation.key",
            ]
        )
        == 0
    )
    (later.server / "brands/b.json").unlink()
    said = load_card(old / "card.json").fingerprint
    assert server_command(["enrol", str(old / "card.json"), "--fingerprint", said, *server]) == 0
    assert server_command(["welcome", *server]) == 0
    for brand in BRANDS:
        path = later.server / "welcome" / f"{brand}.json"
        line = ["join", str(path), "--fingerprint", load_welcome(path).fingerprint, "--replace"]
        assert node_command([*line, "--home", str(later.node(brand))]) == 0
    for name in ("policy.toml", "mapping.toml", "node.toml"):
        shutil.copy(home / name, old / name)
    shutil.copytree(home / "tables", old / "tables")
    nodes = services(later)
    try:
        assert not course(offered(later, rounds=2), nodes).absences
    finally:
        close(nodes)
    assert entries(later, "b") == 5


# ------------------------------------------------------------------------------------ the file


def test_marks_only_grow(tmp_path: Path) -> None:
    file = MarksFile(tmp_path / "ledgers.json")
    assert file.load() == {}
    assert file.merge({b"a" * 32: Mark(3, b"x" * 32)}) == {b"a" * 32: Mark(3, b"x" * 32)}
    for less in (Mark(3, b"y" * 32), Mark(2, b"y" * 32), NO_LEDGER):
        assert file.merge({b"a" * 32: less})[b"a" * 32] == Mark(3, b"x" * 32)
    more = {b"a" * 32: Mark(4, b"z" * 32), b"b" * 32: Mark(1, b"w" * 32)}
    assert file.merge(more) == file.load() == more


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"version":2,"marks":{}}',
        '{"version":1,"marks":{"zz":[1,"00"]}}',
        '{"version":1,"marks":{"00":[-1,"00"]}}',
        '{"version":1,"marks":{"00":1}}',
    ],
)
def test_damaged_marks_are_never_taken_for_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ledgers.json"
    path.write_text(content)
    with pytest.raises(InputError, match="restore it"):
        MarksFile(path).merge({b"a" * 32: Mark(3, b"x" * 32)})
    assert path.read_text() == content
