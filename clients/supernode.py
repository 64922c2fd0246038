"""A SuperNode that runs nothing but installed code: Flower's Fleet API, our loop.

Flower's own SuperNode unpacks the coordinator's bundle and runs it, in a new process for every
message, after sleeping up to three seconds. This one speaks the same protocol through Flower's own
client, but lives as long as it can, looks for messages more often, and never runs a bundle: its
content must have a hash that the brand was welcomed with, and then the code installed at the brand
answers. It presents the brand's certificate, so a proxy can ask for mutual TLS.

Flower's words (node, FAB, SuperLink) stay in this file and in ``clients/app.py``.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL
from flwr.common.serde import message_to_proto
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from clients.home import Home
from fl.contracts import Reply
from fl.errors import Code, InputError
from fl.federation.flower import record
from fl.federation.wire import reply_bytes
from fl.private_files import read_private
from fl.welcome import Welcome

_log = logging.getLogger(__name__)
BUSY, IDLE = 0.25, 1.0  # seconds between two looks: within a run, and when nothing happens
_ACTIVE = 60.0  # seconds after a message during which more are expected


@dataclass(slots=True)
class Fleet:
    """A registered node's connection.

    Attributes:
        client: Flower's.
        node: as the server knows it.
        bundles: hashes that may be acted on.
        checked: whether each run's bundle is one of them.
    """

    client: FleetHttpClient
    node: Node
    bundles: frozenset[str]
    checked: dict[int, bool] = field(default_factory=dict)

    def pull(self) -> tuple[Message, int] | None:
        """The next message and its run, or None."""
        got = self.client.PullMessages(PullMessagesRequest(node=self.node))
        if not got.messages_list:
            return None
        run = got.messages_list[0].metadata.run_id
        TaskIdentity.run_id, TaskIdentity.task_id = run, 1
        TaskIdentity.node_id = self.node.node_id
        return self._inflated(got.message_object_trees[0], run), run

    def _inflated(self, tree: ObjectTree, run: int) -> Message:
        message = pull_and_inflate_object_from_tree(
            tree,
            make_pull_object_fn_protobuf(self.client.PullObject, self.node, run),
            make_confirm_message_received_fn_protobuf(
                self.client.ConfirmMessageReceived, self.node, run
            ),
            return_type=Message,
        )
        message.metadata.__dict__["_message_id"] = tree.object_id  # as Flower's own node does
        return message

    def push(self, message: Message, run: int) -> None:
        """Send a reply. How long it took depends on the data, and is not said."""
        message.metadata.__dict__["_message_id"] = message.object_id
        tree, objects = get_object_tree(message), get_all_nested_objects(message)
        pushed = self.client.PushMessages(
            PushMessagesRequest(
                node=self.node,
                messages_list=[message_to_proto(remove_content_from_message(message))],
                message_object_trees=[tree],
                clientapp_runtime_list=[0.0],
            )
        )
        send = make_push_object_fn_protobuf(
            self.client.PushObject, self.node, run, pushed.session_id
        )
        push_objects(objects, send, object_ids_to_push=set(pushed.objects_to_push))

    def allowed(self, run: int) -> bool:
        """Whether the bundle of a run has an allowed hash; its bytes are hashed, and dropped."""
        if run not in self.checked:
            about = self.client.GetRun(GetRunRequest(node=self.node, run_id=run)).run
            wanted = GetFabRequest(node=self.node, hash_str=about.fab_hash, run_id=run)
            content = self.client.GetFab(wanted).fab.content
            self.checked[run] = hashlib.sha256(content).hexdigest() in self.bundles
        return self.checked[run]


@contextmanager
def connected(home: Home, welcome: Welcome) -> Iterator[Fleet]:
    """Register at the server and beat until the block is left.

    Raises:
        InputError: the key file is not a P-384 key.
        httpx.HTTPError: the server is not there, or refuses this node.
    """
    private = load_key(home)
    client = FleetHttpClient(
        f"https://{welcome.address}",
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(private, private.public_key()),
        ],
        verify=tls(private, welcome),
    )
    with client:
        public = public_key_to_bytes(private.public_key())
        activate = ActivateNodeRequest(
            public_key=public, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL
        )
        node = Node(node_id=client.ActivateNode(activate).node_id)

        def beat() -> bool:
            request = SendNodeHeartbeatRequest(
                node=node, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL
            )
            try:
                return bool(client.SendNodeHeartbeat(request).success)
            except httpx.HTTPError:
                return False

        heart = HeartbeatSender(beat)
        heart.start()
        try:
            yield Fleet(client, node, frozenset(welcome.bundles))
        finally:
            heart.stop()
            try:
                client.DeactivateNode(DeactivateNodeRequest(node_id=node.node_id))
            except httpx.HTTPError as error:
                _log.info("left without a word: %s", type(error).__name__)


def serve(fleet: Fleet, answer: Callable[[Message], bytes], stopped: Callable[[], bool]) -> None:
    """Answer messages until ``stopped``.

    Raises:
        httpx.HTTPError: the server cannot be reached any more.
    """
    last = float("-inf")
    while not stopped():
        got = fleet.pull()
        if got is None:
            time.sleep(BUSY if time.monotonic() - last < _ACTIVE else IDLE)
            continue
        message, run = got
        last = time.monotonic()
        body = answer(message) if fleet.allowed(run) else _refusal(run)
        fleet.push(Message(record(body), reply_to=message), run)


def _refusal(run: int) -> bytes:
    _log.warning("run %d comes with a bundle that is not allowed here", run)
    return reply_bytes(Reply(Code.BUNDLE))


def load_key(home: Home) -> ec.EllipticCurvePrivateKey:
    """The key that proves to Flower's server who is calling.

    Raises:
        InputError: missing, readable by others, or no P-384 key.
    """
    path = home.key("supernode")
    raw = read_private(path, f"key {path}", lost="run fl-node init")
    try:
        key = serialization.load_ssh_private_key(raw, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"key {path}", "cannot be read", "run fl-node init") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(f"key {path}", "is no P-384 key", "run fl-node init")
    return key


def tls(private: ec.EllipticCurvePrivateKey, welcome: Welcome) -> ssl.SSLContext:
    """TLS that trusts the coordinator's CA alone and shows this brand's certificate."""
    context = ssl.create_default_context(cadata=welcome.ca)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with tempfile.NamedTemporaryFile(prefix="fl-node-") as file:  # OpenSSL reads files only
        file.write(welcome.certificate.encode() + pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context
