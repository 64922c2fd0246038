"""Failures of a real deployment: processes on loopback, TLS, registered keys, nginx if it is there.

One world is started for the module; every test leaves it as it found it. Each test proposes a run
of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from experiments.deployment.checks import audited, leaks
from experiments.deployment.world import MAPPING, World, has_nginx, wait
from fl.arrays import from_bytes
from fl.audit.verify import RunRow, audit_ledger
from fl.errors import Code
from fl.privacy.entries import canonical
from fl.privacy.signing import SigningKey
from fl.welcome import load_card, load_welcome, to_bytes
from server.certificates import brand_certificate, make_authority
from server.checkpoint import Checkpoint
from server.files import RunFiles
from server.home import Home, read_config
from server.proposing import propose
from server.superlink import node_ids
from tests import postgres
from tests.deployment.hostile import LIES
from tests.deployment.small import BRANDS, SECRET, VALUES, table, world

pytestmark = pytest.mark.deployment
BIN = Path(sys.executable).parent
PATIENT = (
    600.0  # seconds; a node that was killed is turned away for one minute, and machines differ
)
ROOT = Path(__file__).resolve().parents[2]
PLAIN = {
    **VALUES,
    "privacy": {**VALUES["privacy"], "name": "local"},
    "secure_sum": {"name": "plain"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = world(tmp_path_factory.mktemp("deployment") / "w", proxy=has_nginx(), lifetime=200.0)
    config = made.server / "server.toml"
    patient = config.read_text().replace("reply = 120.0", "reply = 30.0")
    config.write_text(patient.replace("resend = 20.0", "resend = 4.0"))
    try:
        made.start("server")
        for brand in BRANDS:
            made.start(brand)
        made.ready()
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def nothing_leaks(place: World) -> Iterator[None]:
    yield
    assert leaks(place, [SECRET.encode()]) == []


def offer(place: World, rounds: int) -> RunFiles:
    return propose(Home(place.server), {**VALUES, "rounds": rounds}, "operator")


def follow(place: World, files: RunFiles, seconds: float = PATIENT) -> tuple[int, str]:
    """Conduct a proposed run to its end; exit code and what was said."""
    process = place.submit(files.run, what="resume")
    try:
        said, _ = process.communicate(timeout=seconds)
    finally:
        place.kill(f"resume-{process.pid}")
    return process.returncode, said


def at_round(files: RunFiles, number: int) -> None:
    wait(lambda: files.number >= number, PATIENT, f"round {number}")


def booked(place: World, brand: str) -> Sequence[RunRow]:
    """A brand's runs by its checked ledger; none before it has booked anything."""
    path = place.node(brand) / "ledger.jsonl"
    if not path.exists():
        return ()
    key = load_card(place.node(brand) / "card.json").ledger
    audit = audit_ledger(path, public_key=key)
    assert audit.holds
    return audit.runs


def rounds_of(place: World, brand: str, files: RunFiles) -> int:
    return next(row.rounds for row in booked(place, brand) if row.run == files.run)


def absences(files: RunFiles) -> set[tuple[int, str, str]]:
    """Round, brand and code of every part that a brand did not take."""
    stored = Checkpoint(files.checkpoint, files.transcript).load()
    assert stored is not None
    return {(one.number, one.brand, one.code) for one in stored[0].absences}


@contextmanager
def policies(place: World, brands: Iterable[str], find: str, put: str) -> Iterator[None]:
    """Policies of some brands changed while the block runs."""
    paths = [place.node(brand) / "policy.toml" for brand in brands]
    kept = [path.read_text() for path in paths]
    for path, text in zip(paths, kept, strict=True):
        assert find in text
        path.write_text(text.replace(find, put))
    try:
        yield
    finally:
        for path, text in zip(paths, kept, strict=True):
            path.write_text(text)


def test_a_run_ends_with_a_model_audited_ledgers_and_transcript(place: World) -> None:
    files = offer(place, 2)
    code, said = follow(place, files)
    assert code == 0, said
    lines: list[str] = []
    assert audited(place, files, lines.append), "\n".join(lines)
    assert [rounds_of(place, b, files) for b in BRANDS] == [2] * 4


def test_a_killed_node_is_absent_comes_back_and_is_charged_only_for_what_it_did(
    place: World,
) -> None:
    rounds = 10  # Flower turns a killed node away for a minute: a few rounds
    files = offer(place, rounds)
    process = place.submit(files.run, what="resume")
    at_round(files, 2)
    place.kill("d")
    place.start("d")
    said, _ = process.communicate(timeout=PATIENT)
    assert process.returncode == 0, said
    absent = absences(files)
    assert {(brand, code) for _, brand, code in absent} == {("d", str(Code.SILENT))}
    assert min(number for number, _, _ in absent) >= 3
    assert max(number for number, _, _ in absent) < rounds  # it came back
    charged = rounds_of(place, "d", files)  # the round in which it was killed may be one of them
    assert rounds - len(absent) <= charged <= rounds - len(absent) + 1
    assert [rounds_of(place, b, files) for b in "abc"] == [rounds] * 3


def test_a_node_restored_from_a_snapshot_is_left_out_until_its_newer_ledger_is_back(
    place: World, tmp_path: Path
) -> None:
    home = place.node("d")
    place.kill("d", signal.SIGTERM)
    shutil.copytree(home, tmp_path / "snapshot")
    place.start("d")
    assert follow(place, offer(place, 1))[0] == 0
    place.kill("d", signal.SIGTERM)
    shutil.move(home, tmp_path / "newer")
    shutil.copytree(tmp_path / "snapshot", home)
    place.start("d")
    try:
        code, said = follow(place, files := offer(place, 2))
    finally:
        place.kill("d", signal.SIGTERM)
        shutil.rmtree(home)
        shutil.move(tmp_path / "newer", home)
        place.start("d")
        place.ready()
    assert code == 0, said
    assert absences(files) == {(n, "d", str(Code.LEDGER_SET_BACK)) for n in (1, 2)}
    assert [rounds_of(place, b, files) for b in "abc"] == [2] * 3
    code, said = follow(place, files := offer(place, 1))
    assert (code, absences(files)) == (0, set()), said


def test_a_killed_superlink_comes_back_and_the_run_resumes_charged_once(place: World) -> None:
    files = offer(place, 3)
    process = place.submit(files.run, what="resume")
    at_round(files, 1)
    (superlink,) = place.offspring("flower-superlink --host")
    os.kill(superlink, signal.SIGKILL)
    said, _ = process.communicate(timeout=PATIENT)
    assert process.returncode == 0, said
    assert "taking it up again" in said
    assert [rounds_of(place, b, files) for b in BRANDS] == [3] * 4


@pytest.mark.parametrize("trip", [1, 3, 5])
def test_a_killed_coordinator_resumes_within_the_round_charged_once(
    place: World, trip: int
) -> None:
    files = offer(place, 2)
    process = place.submit(files.run, what="resume")
    at_round(files, 1)
    path = files.folder / "trips" / f"{trip}.json"  # five trips: the last takes the masks off
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.002)
    killed = place.offspring("bin/flwr-serverapp")
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=PATIENT)
    assert process.returncode == 0, said
    assert [rounds_of(place, b, files) for b in BRANDS] == [2] * 4
    assert audited(place, files, lambda line: None)


def test_a_brand_that_refuses_by_policy_stops_the_run_before_any_data(place: World) -> None:
    with policies(place, "b", "epsilon_per_run = 3.5", "epsilon_per_run = 0.5"):
        code, said = follow(place, files := offer(place, 1))
    assert code == 1
    assert f"b ({Code.POLICY_EPSILON}: " in said
    assert not files.model.exists()


def test_a_budget_that_is_gone_in_mid_run_makes_the_brand_absent_and_refuses_the_next(
    place: World,
) -> None:
    """A run is reserved whole, so only a steward who lowers the budget can end it in mid-run."""
    files = offer(place, 6)
    process = place.submit(files.run, what="resume")
    at_round(files, 2)
    with policies(place, "c", "epsilon_lifetime = 200.0", "epsilon_lifetime = 0.5"):
        place.kill("c", signal.SIGTERM)
        place.start("c")
        said, _ = process.communicate(timeout=PATIENT)
        assert process.returncode == 0, said
        code, why = follow(place, offer(place, 1))
    assert code == 1
    assert f"c ({Code.POLICY_LIFETIME}: " in why
    assert 2 <= rounds_of(place, "c", files) < 6
    assert [rounds_of(place, b, files) for b in "abd"] == [6] * 3
    assert str(Code.POLICY_LIFETIME) in {code for _, _, code in absences(files)}


def test_a_run_starts_by_itself_once_enough_brands_have_asked(place: World) -> None:
    city = f"city:{{values:[x,y,{SECRET}]}}"
    options = ["data=table", "data.label=bought", f"data.columns={{age:{{low:0,high:100}},{city}}}"]
    options += ["model=logistic", "algorithm=fedsgd", "secure_sum=brandagg", "rounds=1"]
    options += ["privacy=distributed", "privacy.customers=150", "seeds=[7]", "--when-asked", "2"]
    asks = place.server / "asks"
    for brand in "ab":
        line = ["ask", "custom", "--out", f"{asks}/{brand}.json", "--anyway"]
        line += ["--home", str(place.node(brand))]
        assert subprocess.run([BIN / "fl-node", *line], check=False).returncode == 0
        process = place.submit(*options, "--once", what="schedule")
        said, _ = process.communicate(timeout=PATIENT)
        assert process.returncode == 0, said
        assert ("Nothing is due; 1 brands ask" in said) == (brand == "a"), said
    assert "2 brands ask for it" in said
    run = re.findall(r"Run (\S+):", said)[0]
    assert [rounds_of(place, b, RunFiles(Home(place.server), run)) for b in BRANDS] == [1] * 4


def test_an_offer_whose_privacy_was_changed_after_signing_is_refused_by_all(place: World) -> None:
    files = offer(place, 2)
    values = json.loads(files.offer)
    values["content"]["course"]["privacy"]["config"]["clip_norm"] = 50.0
    (files.folder / "offer.json").write_bytes(canonical(values))
    code, said = follow(place, files)
    assert code == 1
    assert all(f"{b} ({Code.UNKNOWN_PLAN})" in said for b in BRANDS)


@pytest.mark.parametrize("summing", ["plain", "brandagg"])
def test_a_hostile_brand_is_absent_while_it_lies_and_the_others_go_on(
    place: World, summing: str
) -> None:
    hostile = (sys.executable, "-m", "tests.deployment.hostile")
    values = PLAIN if summing == "plain" else VALUES
    with policies(place, BRANDS, "min_brands = 3", "min_brands = 1"):
        place.kill("d", signal.SIGTERM)
        place.start("d", program=hostile, env={"PYTHONPATH": str(ROOT)})
        try:
            files = propose(Home(place.server), {**values, "rounds": LIES + 1}, "operator")
            code, said = follow(place, files)
        finally:
            place.kill("d", signal.SIGTERM)
            place.start("d")
            place.ready()
    assert code == 0, said
    absent = absences(files)
    assert sorted((n, b) for n, b, _ in absent) == [(n, "d") for n in range(1, LIES + 1)]
    bad = {Code.MALFORMED, Code.NOT_FINITE, Code.BAD_REQUEST, Code.SILENT}
    assert {code for _, _, code in absent} <= set(map(str, bad))
    model = from_bytes(files.model.read_bytes())
    assert max(float(np.abs(x).max()) for x in model.values()) < 50
    assert [rounds_of(place, b, files) for b in "abc"] == [LIES + 1] * 3


def test_a_run_that_a_person_has_not_approved_touches_nothing_until_it_is(
    place: World, tmp_path: Path
) -> None:
    person = SigningKey.generate()
    person.save(tmp_path / "ann.pem")
    people = f'mode = "signature"\n\n[approval.people]\nann = "{person.public}"\n'
    home, config = place.node("b"), place.server / "server.toml"
    patient = config.read_text()
    files = offer(place, 1)
    with policies(place, "b", 'mode = "auto"\n', people):
        config.write_text(re.sub(r"approval = [0-9.]+", "approval = 5.0", patient))
        try:
            code, said = follow(place, files)
        finally:
            config.write_text(patient)
        assert code == 1
        assert f"'b': '{Code.POLICY_APPROVAL}'" in said
        assert not files.checkpoint.exists()
        assert files.run not in {row.run for b in BRANDS for row in booked(place, b)}
        given = ["approve", files.run, "--person", "ann"]
        given += ["--key", f"{tmp_path}/ann.pem", "--home", str(home)]
        approved = subprocess.run([BIN / "fl-node", *given], capture_output=True, check=False)
        assert approved.returncode == 0, approved.stderr
        code, said = follow(place, files)
    assert code == 0, said
    assert [rounds_of(place, b, files) for b in BRANDS] == [1] * 4


def test_a_brand_that_is_enrolled_while_the_server_runs_is_registered_and_again_with_new_keys(
    place: World, tmp_path: Path
) -> None:
    from clients.cli import command as node
    from server.cli import command as server

    home = Home(place.server)
    card, ids = home.brands / "e.json", []
    try:
        for number in (1, 2):
            made = tmp_path / f"e{number}"
            line = ["init", "--home", str(made), "--name", "e", "--new-federation-key"]
            assert node(line) == 0
            card.unlink(missing_ok=True)
            said = load_card(made / "card.json").fingerprint
            line = ["enrol", str(made / "card.json"), "--fingerprint", said]
            assert server([*line, "--home", str(place.server)]) == 0
            known = load_card(card).supernode
            wait(lambda key=known: registered(home).get("e", {}).get("key") == key, PATIENT, "e")  # type: ignore[misc]
            ids.append(registered(home)["e"]["id"])
    finally:
        card.unlink(missing_ok=True)
    assert ids[0] != ids[1]


def registered(home: Home) -> dict[str, dict[str, object]]:
    return dict(json.loads((home.superlink / "nodes.json").read_bytes()))


def test_a_run_configuration_cannot_change_a_run(place: World) -> None:
    from server.superlink import environment

    files = offer(place, 2)
    given = f'run="{files.run}" noise-multiplier=0.0'
    asked = [BIN / "flwr", "run", place.server / "bundle", "here", "--run-config", given]
    done = subprocess.run(
        [*map(str, asked), "--format", "json"],
        capture_output=True,
        text=True,
        env=environment(Home(place.server)),
        check=False,
    )
    assert done.returncode or not json.loads(done.stdout).get("success")


def test_a_hostile_bundle_is_refused_and_never_run(place: World, tmp_path: Path) -> None:
    files, marker = offer(place, 2), tmp_path / "ran"
    bundle = place.server / "bundle"
    kept = tmp_path / "bundle"
    shutil.copytree(bundle, kept)
    evil = "import os, sys\n"
    evil += f"open({str(marker)!r}, 'a').write(f'{{os.getsid(0)}} {{sys.argv}}\\n')\n"
    (bundle / "clients").mkdir()
    (bundle / "clients/__init__.py").write_text(evil)
    (bundle / "clients/app.py").write_text(
        evil + "from flwr.clientapp import ClientApp\napp = ClientApp()\n"
    )
    try:
        code, said = follow(place, files)
    finally:
        shutil.rmtree(bundle)
        shutil.copytree(kept, bundle)
    assert code == 1
    assert all(f"{b} ({Code.BUNDLE})" in said for b in BRANDS)
    ran = marker.read_text().splitlines() if marker.exists() else []
    sessions = {str(place.processes[brand].pid) for brand in BRANDS}
    assert not {line.split()[0] for line in ran} & sessions, "a brand ran the bundle"
    assert all("flwr" in line for line in ran), ran  # Flower's own, where the bundle came from


def changed_copy(place: World, change: Callable[[Path], None]) -> Path:
    """Brand a's folder as it was before any run, with something changed."""
    home = place.folder / f"changed-{time.monotonic_ns()}"
    shutil.copytree(
        place.node("a"), home, ignore=shutil.ignore_patterns("runs", "ledger.jsonl", "ledger.head")
    )
    config = re.sub(r"health = [0-9]+", "health = 0", (home / "node.toml").read_text())
    (home / "node.toml").write_text(config)
    change(home)
    return home


def started_once(
    place: World, change: Callable[[Path], None], *, before: tuple[str, ...] = ()
) -> str:
    """What a node says that tries to connect once, from a changed copy of brand a's folder."""
    home = changed_copy(place, change)
    asked = [*before, str(BIN / "fl-node"), "start", "--attempts", "1", "--home", str(home)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1, done.stderr
    return done.stderr


def checked(home: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit code of ``fl-node check``, and what :func:`judged` leaves of its lines."""
    from clients.cli import command

    capsys.readouterr()
    return command(["check", "--home", str(home)]), judged(capsys.readouterr().out)


def judged(said: str) -> list[str]:
    """Lines of a check about the coordinator, and about all that is not in order."""
    return [x for x in said.splitlines() if x.startswith("FAIL") or "  coordinator " in x]


def unchanged(home: Path) -> None:
    """Nothing."""


def other_authority(home: Path, keys: Path) -> None:
    """Believe in a new CA, made in ``keys``."""
    make_authority(keys / "ca.key", keys / "ca.pem")
    welcome = load_welcome(home / "welcome.json")
    changed = replace(welcome, ca=(keys / "ca.pem").read_text())
    (home / "welcome.json").write_bytes(to_bytes(changed))


def foreign_certificate(home: Path, keys: Path) -> None:
    """Show a certificate for this brand's key, from a new CA made in ``keys``."""
    made = keys / "ca.key", keys / "ca.pem"
    make_authority(*made)
    welcome, key = load_welcome(home / "welcome.json"), load_card(home / "card.json").supernode
    changed = replace(welcome, certificate=brand_certificate(made, "a", key))
    (home / "welcome.json").write_bytes(to_bytes(changed))


def test_a_key_that_is_not_registered_is_turned_away_with_a_reason(place: World) -> None:
    def change(home: Path) -> None:
        from clients.cli import command

        other = home / "other"
        assert command(["init", "--home", str(other), "--name", "a", "--new-federation-key"]) == 0
        shutil.copy(other / "keys/supernode", home / "keys/supernode")
        keys = place.server / "keys"
        card = load_card(other / "card.json")
        made = brand_certificate((keys / "ca.key", keys / "ca.pem"), "a", card.supernode)
        changed = replace(load_welcome(home / "welcome.json"), certificate=made)
        (home / "welcome.json").write_bytes(to_bytes(changed))

    assert "registered" in started_once(place, change)


def test_a_server_of_another_authority_is_not_believed(place: World, tmp_path: Path) -> None:
    said = started_once(place, partial(other_authority, keys=tmp_path))
    assert "certificate is not of the CA" in said


def test_a_check_says_that_the_coordinator_takes_the_certificate(
    place: World, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = checked(changed_copy(place, unchanged), capsys)
    assert code == 0, said
    (line,) = said
    takes = r"PASS  coordinator 127[.0-9:]+ takes the certificate, clocks are [0-9] s apart"
    assert re.fullmatch(takes, line)


FOREIGN = pytest.mark.skipif(
    not has_nginx(), reason="nginx is missing, and Flower asks for no certificate"
)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (other_authority, "CERTIFICATE_VERIFY_FAILED"),
        pytest.param(foreign_certificate, "answers 400 to this brand's certificate", marks=FOREIGN),
    ],
)
def test_a_check_says_whose_certificate_is_of_another_authority(
    place: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[..., None],
    why: str,
) -> None:
    home = changed_copy(place, partial(change, keys=tmp_path))
    code, (line,) = checked(home, capsys)
    assert code == 1
    assert line.startswith("FAIL  coordinator ")
    assert why in line


@pytest.mark.skipif(shutil.which("faketime") is None, reason="the command faketime is missing")
def test_a_check_says_that_the_clock_is_ten_minutes_off(place: World) -> None:
    home = changed_copy(place, unchanged)
    asked = ["faketime", "-f", "-10m", str(BIN / "fl-node"), "check", "--home", str(home)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1, done.stderr
    (line,) = judged(done.stdout)
    (seconds,) = re.findall(r"FAIL  coordinator clock: is ([0-9]+) s away from the server's", line)
    assert abs(int(seconds) - 600) <= 5


@pytest.mark.skipif(shutil.which("faketime") is None, reason="the command faketime is missing")
def test_a_clock_ten_minutes_off_is_turned_away_with_a_reason(place: World) -> None:
    said = started_once(place, unchanged, before=("faketime", "-f", "-10m"))
    assert "clock" in said


@pytest.mark.skipif(not has_nginx(), reason="nginx is missing")
def test_the_proxy_passes_the_fleet_paths_only_and_only_with_a_certificate(place: World) -> None:
    import ssl
    from http.client import HTTPSConnection

    from clients.home import Home as NodeHome
    from clients.supernode import load_key, tls

    home = NodeHome(place.node("a"))
    welcome = load_welcome(home.welcome)
    host, port = welcome.address.split(":")

    def status(path: str, context: ssl.SSLContext) -> int:
        with closing(HTTPSConnection(host, int(port), context=context, timeout=20)) as connection:
            connection.request("POST", path, body=b"")
            with connection.getresponse() as answer:
                return answer.status

    known = tls(load_key(home), welcome)
    stranger = ssl.create_default_context(cadata=welcome.ca)
    for path in (
        "/v1/control/start-run",
        "/v1/control/list-runs",
        "/v1/runtime/pull-messages",
        "/",
    ):
        assert status(path, known) == 403
    assert status("/v1/fleet/../control/list-runs", known) == 403
    assert status("/v1/fleet/pull-messages", stranger) == 400
    assert status("/v1/fleet/pull-messages", known) not in (400, 403, 404)


WAITS = """\
import time
from pathlib import Path

from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    while not Path({over!r}).exists():
        time.sleep(0.1)
"""


@contextmanager
def waiting(place: World, folder: Path, size: int) -> Iterator[int]:
    """A run of Flower's that does nothing while the block runs; its bundle has ``size`` bytes."""
    from server.superlink import flower_status, flwr

    home, bundle, over = Home(place.server), folder / "bundle", folder / "over"
    shutil.copytree(place.server / "bundle", bundle)
    names = (bundle / "pyproject.toml").read_text().replace("server.app:app", "waits:app")
    (bundle / "pyproject.toml").write_text(names)
    (bundle / "waits.py").write_text(WAITS.format(over=str(over)))
    (bundle / "padding.md").write_text(os.urandom(size // 2).hex())
    said = flwr(home, ["run", str(bundle), "here"], ["--format", "json"])
    run = json.loads(said)["run-id"]
    try:
        wait(lambda: flower_status(home, str(run)) == "running", PATIENT, "Flower's run")
        yield int(run)
    finally:
        over.touch()


@pytest.mark.skipif(not has_nginx(), reason="nginx is missing")
def test_the_proxy_passes_what_its_memory_cannot_hold_whoever_runs_it(
    place: World, tmp_path: Path
) -> None:
    """A proxy that root starts works as somebody else, who may write no file into this folder."""
    import httpx
    from flwr.proto.fab_pb2 import GetFabRequest
    from flwr.proto.message_pb2 import PushObjectRequest
    from flwr.proto.node_pb2 import Node
    from flwr.proto.run_pb2 import GetRunRequest
    from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
    from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    from clients.home import Home as NodeHome
    from clients.supernode import load_key, tls

    home = NodeHome(place.node("a"))
    welcome, private = load_welcome(home.welcome), load_key(home)
    believed = tls(private, welcome)
    sizes: list[int] = []

    class Slow:
        """Reads an answer only after its sender has had the time to send all that it can."""

        def intercept(self, context: ProtobufRequestContext, _: ProtobufCall) -> httpx.Response:
            with httpx.Client(verify=believed, timeout=30) as client:
                answer = client.send(context.request, stream=True)
                time.sleep(3)
                sizes.append(len(answer.read()))
                return answer

    said = RuntimeVersionHttpInterceptor(component_name="SuperNode")
    signed = NodeAuthHttpInterceptor(private, private.public_key())
    address = f"https://{welcome.address}"
    node = Node(node_id=node_ids(Home(place.server), "a")["a"])
    with (
        waiting(place, tmp_path, 9_000_000) as run,
        FleetHttpClient(address, interceptors=[said, signed], verify=believed) as client,
        FleetHttpClient(address, interceptors=[said, signed, Slow()], verify=believed) as slow,
    ):
        sent = PushObjectRequest(
            node=node, run_id=run, object_id="0" * 64, object_content=bytes(1_000_000)
        )
        assert not client.PushObject(sent).stored  # Flower's answer: nobody has announced it
        wanted = client.GetRun(GetRunRequest(node=node, run_id=run)).run.fab_hash
        asked = GetFabRequest(node=node, hash_str=wanted, run_id=run)
        assert hashlib.sha256(slow.GetFab(asked).fab.content).hexdigest() == wanted
    assert sizes[0] > 9_000_000


def test_a_model_of_six_thousand_numbers_is_trained(place: World) -> None:
    cities = ["x", "y", SECRET, *(f"c{i}" for i in range(6_000))]
    columns = {**VALUES["data"]["columns"], "city": {"values": cities}}
    values = {**VALUES, "data": {**VALUES["data"], "columns": columns}, "rounds": 1}
    files = propose(Home(place.server), values, "operator")
    code, said = follow(place, files)
    assert code == 0, said
    assert absences(files) == set()
    model = from_bytes(files.model.read_bytes())
    assert sum(x.size for x in model.values()) > 6_000
    assert [rounds_of(place, b, files) for b in BRANDS] == [1] * 4


def test_health_and_metrics_are_there_and_say_nothing_private(place: World) -> None:
    from urllib.request import urlopen

    text = (place.node("a") / "node.toml").read_text()
    port = re.findall(r"health = ([0-9]+)", text)[0]
    with urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
        assert answer.status == 200
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    assert "fl_node_connected 1" in page
    assert re.search(r'fl_node_replies_total\{code="ok"\} [1-9]', page)
    port = read_config(Home(place.server)).health
    with urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
        assert answer.status == 200
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert "fl_server_brands 4" in answer.read().decode()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_makes_the_brand_absent_and_loses_nothing(place: World, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    home = place.node("d")
    place.kill("d", signal.SIGTERM)
    try:
        shutil.copytree(home, disk / "d")
        home.rename(home.with_name("d-kept"))
        home.symlink_to(disk / "d")
        place.start("d")
        files = offer(place, 8)
        process = place.submit(files.run, what="resume")
        at_round(files, 2)
        with (disk / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                full = True
        assert full
        at_round(files, 4)
        (disk / "filler").unlink()
        said, _ = process.communicate(timeout=PATIENT)
        assert process.returncode == 0, said
        absent = absences(files)
        assert {(brand, code) for _, brand, code in absent} == {("d", str(Code.FAILED))}
        assert {n for n, _, _ in absent} <= set(range(3, 8))  # it is back in the last round
        assert rounds_of(place, "d", files) >= 8 - len(absent)
        assert rounds_of(place, "a", files) == 8
    finally:
        place.kill("d", signal.SIGTERM)
        home.unlink()
        home.with_name("d-kept").rename(home)
        for name in ("ledger.jsonl", "ledger.head"):
            if (disk / "d" / name).exists():
                shutil.copy(disk / "d" / name, home / name)
        subprocess.run(["umount", str(disk)], check=True)
        place.start("d")
        place.ready()


FILES = 'name = "files"\nfolder = "tables"'
SQL = 'name = "sql"\nurl = "{url}"\npassword_file = "password"'
MAPPED = MAPPING.replace(FILES, SQL).replace("examples.parquet", "examples")


@pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING)
def test_a_database_that_is_down_at_start_or_in_mid_run_costs_rounds_never_the_run(
    place: World,
) -> None:
    home = place.node("c")
    kept = (home / "mapping.toml").read_text()
    with postgres.server() as database:
        table(2).to_sql("examples", database.engine(), index=False)
        (home / "password").write_text(postgres.PASSWORD)
        (home / "password").chmod(0o600)
        (home / "mapping.toml").write_text(MAPPED.format(url=database.url, label="bought"))
        try:
            database.stop()
            files = offer(place, 12)  # whoever failed is asked again after a pause
            process = place.submit(files.run, what="resume")
            wait(
                lambda: files.status().get("brands", {}).get("c") == Code.FAILED,
                PATIENT,
                "c failing",
            )  # type: ignore[attr-defined]
            database.start()
            at_round(files, 2)
            database.stop()
            place.kill("c", signal.SIGTERM)  # what it had read is gone with it
            place.start("c")
            at_round(files, 4)
            database.start()
            said, _ = process.communicate(timeout=PATIENT)
        finally:
            (home / "mapping.toml").write_text(kept)
            place.kill("c", signal.SIGTERM)
            place.start("c")
            place.ready()
    assert process.returncode == 0, said
    absent = absences(files)
    assert {brand for _, brand, _ in absent} == {"c"}
    assert str(Code.FAILED) in {code for _, _, code in absent}
    assert {n for n, _, _ in absent} <= set(range(3, 12))  # it is back in the last round
    assert 3 <= rounds_of(place, "c", files) < 12
    assert rounds_of(place, "a", files) == 12
    assert leaks(place, [postgres.PASSWORD.encode()]) == []
