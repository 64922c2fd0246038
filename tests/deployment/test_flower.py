"""The Flower adapters, in one process: Flower's own messages and app objects, no server."""

from __future__ import annotations

import io
import secrets
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clients.service import Service
from experiments.deployment.rehearsal import services
from experiments.deployment.world import World
from fl.arrays import from_bytes
from fl.contracts import Reply, Request
from fl.errors import Code, Lost
from fl.federation.wire import reply_bytes, reply_of, request_bytes, request_of
from server.conduct import Conduct
from server.roster import cards, roster
from tests.deployment.small import BRANDS, offered, world

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
    from flwr.app.message import make_message
    from flwr.serverapp import Grid
    from flwr.supercore.run import Run
    from flwr.supercore.task_identity import TaskIdentity

    from clients.app import answered
    from clients.supernode import Fleet
    from fl.federation.flower import FlowerFederation, Patience, body_of, record

IDS = {name: 100 + i for i, name in enumerate(BRANDS)}
Answer = Callable[[int, Message], Message | None]


class InProcessGrid(Grid):
    """Flower's grid with the nodes behind it in this process; a node may answer with an error."""

    def __init__(self, answer: Answer, online: Iterable[int] = tuple(IDS.values())) -> None:
        self._run = Run.create_empty(run_id=secrets.randbits(62))
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = self._run.run_id, 1, 1
        self._answer, self._online, self._replies = answer, list(online), {}  # type: ignore[var-annotated]
        self.pushed = 0

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(self, *_: object, **__: object) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return self._online

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            self.pushed += 1
            message.metadata.__dict__["_message_id"] = f"{self.pushed}"
            ids.append(f"{self.pushed}")
            reply = self._answer(message.metadata.dst_node_id, message)
            if reply is not None:
                self._replies[ids[-1]] = reply
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(i) for i in list(message_ids) if i in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))


@pytest.fixture
def place(tmp_path: Path) -> World:
    return world(tmp_path / "w")


@pytest.fixture
def nodes(place: World) -> Iterator[dict[int, Service]]:
    made = services(place)
    yield {IDS[name]: node for name, node in made.items()}
    for node in made.values():
        node.close()


def test_a_whole_run_passes_through_flowers_messages(
    place: World, nodes: dict[int, Service]
) -> None:
    def answer(node: int, message: Message) -> Message:
        return Message(record(answered(nodes[node], message)), reply_to=message)

    files = offered(place, rounds=2)
    federation = FlowerFederation(InProcessGrid(answer), IDS, files.run, Patience(30.0, 10.0, 0.0))
    Conduct(files, roster(cards(files.home)), federation, 5.0, 0.0).run()
    assert files.status()["state"] == "done"
    assert files.status()["told"] == list(BRANDS)


def test_a_client_app_answers_from_the_folder_that_the_environment_names(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clients.app import app

    monkeypatch.setenv("FL_NODE_HOME", str(place.node("a")))
    grid = InProcessGrid(lambda node, message: None)
    message = Message(record(request_bytes("no/run", Request("train", 1, {}))), 100, "query")
    message.metadata.__dict__["_message_id"] = "1"
    context = Context(grid.run.run_id, 100, {}, RecordDict(), {})
    copy = make_message(metadata=message.metadata, content=message.content)
    assert reply_of(body_of(app(copy, context).content)).code is Code.UNKNOWN_PLAN


def test_a_dead_node_is_silent_a_bad_reply_malformed_and_the_others_are_heard() -> None:
    def answer(node: int, message: Message) -> Message | None:
        match node:
            case 100:
                return Message(
                    record(reply_bytes(Reply(Code.OK, {"x": np.ones(2)}))), reply_to=message
                )
            case 101:
                return Message(Error(5, "Node Unavailable"), reply_to=message)
            case 102:
                return Message(RecordDict({"a": ConfigRecord({"b": 1})}), reply_to=message)
        return None

    grid = InProcessGrid(answer)
    federation = FlowerFederation(grid, IDS, "run", Patience(0.4, 0.1, 0.02))
    replies = federation.ask({name: Request("train", 1, {}) for name in BRANDS})
    assert {n: r.code for n, r in replies.items()} == {"a": Code.OK, "c": Code.MALFORMED}
    assert replies["a"].arrays["x"].tolist() == [1.0, 1.0]
    assert grid.pushed > 6  # b and d were asked again


def packed(write: Callable[[zipfile.ZipFile], None], how: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        write(archive)
    return file.getvalue()


def array(x: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, x, allow_pickle=False)
    return file.getvalue()


HUGE = array(np.zeros(2)).replace(b"(2,)", b"(9999999999999,)", 1)
HOSTILE = {
    "grows in memory": packed(
        lambda z: z.writestr("x.npy", array(np.zeros(10**6))), zipfile.ZIP_DEFLATED
    ),
    "no array": packed(lambda z: z.writestr("x.txt", "hello")),
    "empty": packed(lambda z: z.writestr("x.npy", b"")),
    "huge shape": packed(lambda z: z.writestr("x.npy", HUGE)),
    "text": packed(lambda z: z.writestr("x.npy", array(np.array(["a"])))),
    "dates": packed(lambda z: z.writestr("x.npy", array(np.array([0], "datetime64[s]")))),
    "bare array": array(np.zeros(3)),
}


@pytest.mark.parametrize("what", sorted(HOSTILE))
def test_an_archive_that_is_none_is_a_value_error(what: str) -> None:
    with pytest.raises(ValueError, match="Expected an uncompressed"):
        from_bytes(HOSTILE[what])


def test_a_reply_too_deep_to_read_makes_its_brand_absent() -> None:
    text = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    deep = len(text).to_bytes(8, "big") + text

    def answer(node: int, message: Message) -> Message:
        good = reply_bytes(Reply(Code.OK))
        return Message(record(deep if node == 101 else good), reply_to=message)

    federation = FlowerFederation(InProcessGrid(answer), IDS, "run", Patience(5.0, 1.0, 0.01))
    replies = federation.ask({name: Request("train", 1, {}) for name in BRANDS})
    assert replies["b"].code is Code.MALFORMED
    assert [replies[n].code for n in "acd"] == [Code.OK] * 3


@pytest.mark.parametrize("call", ["get_node_ids", "push_messages", "pull_messages"])
def test_a_server_that_is_away_is_not_taken_for_silent_brands(call: str) -> None:
    def away(*_: object) -> None:
        raise RuntimeError("connection refused")

    grid = InProcessGrid(lambda node, message: None)
    setattr(grid, call, away)
    with pytest.raises(Lost):
        FlowerFederation(grid, IDS, "run", Patience(2.0, 1.0, 0.01)).ask(
            {"a": Request("train", 1, {})}
        )


def test_a_brand_that_is_not_online_is_asked_when_it_comes() -> None:
    def answer(node: int, message: Message) -> Message:
        return Message(record(reply_bytes(Reply(Code.OK))), reply_to=message)

    grid = InProcessGrid(answer, online=[])
    asked = iter(range(10**6))
    grid.get_node_ids = lambda: [] if next(asked) < 2 else [100]  # type: ignore[method-assign]
    federation = FlowerFederation(grid, IDS, "run", Patience(5.0, 0.05, 0.01))
    assert set(federation.ask({"a": Request("train", 1, {})})) == {"a"}


@pytest.mark.parametrize("size", [0, 5, 2**20, 2**20 + 1, 3 * 2**20])
def test_bodies_of_any_size_come_out_of_flowers_records_as_they_went_in(size: int) -> None:
    body = bytes(i % 251 for i in range(64)) * (size // 64) + b"x" * (size % 64)
    assert body_of(record(body)) == body


@pytest.mark.parametrize("raw", [b"", b"x" * 7, b"\0" * 8, b"\0" * 7 + b"\2{}", b"\xff" * 40])
def test_bytes_that_are_no_message_are_a_value_error(raw: bytes) -> None:
    for read in (request_of, reply_of):
        with pytest.raises(ValueError):
            read(raw)


def test_messages_come_out_as_they_went_in() -> None:
    config = {"n": 3, "f": 0.1 + 0.2, "t": "ü", "b": b"\0\xff", "y": True}
    arrays = {"w": np.arange(6, dtype="<u4").reshape(2, 3), "e": np.zeros((0, 2))}
    run, request = request_of(request_bytes("r", Request("train", 7, arrays, config)))
    assert (run, request.kind, request.number, request.config) == ("r", "train", 7, config)
    assert all(np.array_equal(request.arrays[n], arrays[n]) for n in arrays)
    assert request.arrays["w"].dtype == np.dtype("<u4")
    reply = reply_of(reply_bytes(Reply(Code.BUDGET, {}, config)))
    assert (reply.code, reply.config) == (Code.BUDGET, config)


def test_a_bundle_is_hashed_and_only_a_known_hash_is_acted_on() -> None:
    import hashlib
    from types import SimpleNamespace

    bundles = {1: b"the thin one", 2: b"import os"}
    client = SimpleNamespace(
        GetRun=lambda r: SimpleNamespace(run=SimpleNamespace(fab_hash="what the server claims")),
        GetFab=lambda r: SimpleNamespace(fab=SimpleNamespace(content=bundles[r.run_id])),
    )
    from flwr.proto.node_pb2 import Node

    known = frozenset({hashlib.sha256(bundles[1]).hexdigest()})
    fleet = Fleet(client, Node(node_id=1), known)  # type: ignore[arg-type]
    assert fleet.allowed(1)
    assert not fleet.allowed(2)
