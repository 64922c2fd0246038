"""``fl-audit transcript``: the sums of a real run are checked, and every tampering shows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.journal import Journal, Piece
from experiments.run import command
from fl import arrays
from fl.audit import cli
from fl.audit.archive import append_sum, course_of, files_beside, read_sums
from fl.audit.heads import Heads, check_heads
from fl.contracts import NO_LEDGER, Mark
from fl.privacy import CustomerPrivacy
from tests import crm
from tests.audit.test_epsilon import COLUMNS, failures, made

ARM = "federated@distributed-3"
PRIVATE = ("privacy=distributed", "privacy.dropouts=0", COLUMNS, "algorithm=fedsgd")
SECURE = ("secure_sum=brandagg", "arms=[federated]", "seeds=1")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private run of three rounds that many tests copy."""
    return made(tmp_path_factory.mktemp("secure"), *PRIVATE, *SECURE)


@pytest.fixture
def out(kept: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(kept, tmp_path / "out"))


def audit(out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.command(["transcript", str(out)])
    printed = capsys.readouterr()
    assert printed.err == ""
    return code, printed.out


def transcript(out: Path, part: str = "from-round-0", training: str = ARM) -> Path:
    return out / "transcripts" / "seed-0" / training / f"{part}.jsonl"


def ledger(out: Path, brand: str) -> Path:
    (path,) = (out / "ledgers" / "seed-0" / ARM).glob(f"{brand}.*.jsonl")
    return path


def rewrite(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def sums_of(path: Path) -> list[np.ndarray]:
    return list(read_sums(files_beside(path).sums))


def store(path: Path, sums: list[np.ndarray]) -> None:
    with files_beside(path).sums.open("wb") as file:
        for total in sums:
            append_sum(file, total)


def test_a_real_run_passes_with_a_line_for_every_check(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = audit(kept, capsys)
    assert code == 0 and failures(text) == []
    assert "PASS  transcript  headcount: 1 sums, agreed on and signed by 3 brands" in text
    assert "PASS  transcript  from-round-0: 3 sums, agreed on and signed by 3 brands" in text
    assert "PASS  models      from-round-0: recomputed from 3 sums, each follows" in text
    assert "PASS  model       models.npz has the one after round 3" in text
    assert len(re.findall("PASS  heads       .*: 4 heads are in its ledger, each at", text)) == 3
    assert [line[:10] for line in text.splitlines() if "SKIP" in line] == ["SKIP  keys"]


def test_tuned_and_stateful_training_passes_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rounds of validation between those of training; a coordinator with momentum; no ledgers."""
    code, text = audit(made(tmp_path, "algorithm=fedadam", *SECURE), capsys)
    assert code == 0, text
    assert "PASS  transcript  from-round-0: 6 sums" in text  # the trial: three rounds, three asked
    assert "PASS  model       models.npz has the one after round" in text
    assert "SKIP  heads       no brand keeps a ledger here" in text


def test_a_run_that_was_interrupted_is_followed_from_part_to_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second part begins where the last checkpoint was, before the end of the first part."""
    put = Journal.put

    def interrupted(self: Journal, key: str, piece: Piece) -> None:
        if (
            piece.note.get("number") == 3
            and not transcript(tmp_path / "out", "from-round-2").exists()
        ):
            raise KeyboardInterrupt
        put(self, key, piece)

    crm.table().to_csv(tmp_path / "crm.csv", index=False)
    monkeypatch.setattr(Journal, "put", interrupted)
    monkeypatch.setattr("sys.argv", ["fl-run"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    options = (*PRIVATE, *SECURE, "rounds=4", "runtime.checkpoint_seconds=0")
    asked = crm.options(tmp_path / "crm.csv", tmp_path / "out", *options)
    assert command(asked) == 130
    assert command([f"resume={tmp_path / 'out'}"]) == 0
    code, text = audit(tmp_path / "out", capsys)
    assert code == 0, text
    assert "PASS  models      from-round-0: recomputed from 3 sums" in text
    assert "PASS  models      from-round-2: recomputed from 2 sums" in text
    assert "PASS  model       models.npz has the one after round 4" in text

    first = transcript(tmp_path / "out")
    files_beside(first).sums.rename(tmp_path / "sums")
    code, text = audit(tmp_path / "out", capsys)
    assert code == 0
    assert "SKIP  models      from-round-2: what the parts before round 3 led to is not" in text
    assert "SKIP  model " in text
    (tmp_path / "sums").rename(files_beside(first).sums)
    rewrite(first, lambda lines: lines[:2])
    code, text = audit(tmp_path / "out", capsys)
    assert "SKIP  models      from-round-2" in text and "SKIP  model " in text
    first.unlink()
    assert "FAIL  transcript  there is none that begins with" in audit(tmp_path / "out", capsys)[1]


LINES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "a number edited": (
        lambda x: [*x[:2], x[2].replace(b'"number":2', b'"number":3'), *x[3:]],
        "line 3: the coordinator's signature is wrong",
    ),
    "one taken out": (
        lambda x: [*x[:2], *x[3:]],
        "line 3: it does not follow from the line before",
    ),
    "two swapped": (
        lambda x: [*x[:2], x[3], x[2]],
        "line 3: it does not follow from the line before",
    ),
    "one repeated": (lambda x: [*x, x[-1]], "line 5: it does not follow from the line before"),
    "a setting edited": (
        lambda x: [re.sub(rb'"sigma":([0-9.]+)', b'"sigma":9.5', x[0]), *x[1:]],
        "line 1: north, south, west did not approve the plan",
    ),
    "header lost": (lambda x: x[1:], "cannot be read: KeyError"),
    "no json": (lambda x: [*x, b"{"], "cannot be read: JSONDecodeError"),
    "nothing": (lambda x: [], "cannot be read: IndexError"),
}


@pytest.mark.parametrize("what", LINES)
def test_lines_that_were_changed_fail(
    what: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, says = LINES[what]
    before = transcript(out).read_bytes()
    rewrite(transcript(out), change)
    assert transcript(out).read_bytes() != before
    code, text = audit(out, capsys)
    assert code == 1
    assert re.search(rf"FAIL  transcript  .*from-round-0\.jsonl:? {re.escape(says)}", text)
    assert "SKIP  model " in text


def test_a_last_round_that_was_left_out_fails_by_the_model(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is left of the transcript is in order."""
    rewrite(transcript(out), lambda lines: lines[:-1])
    code, text = audit(out, capsys)
    assert code == 1
    assert failures(text) == ["model the"]
    assert "FAIL  model       the one in models.npz does not follow from the sums" in text


def test_a_sum_that_was_edited_fails(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sums = sums_of(transcript(out))
    sums[1] = sums[1] + np.uint32(1)
    store(transcript(out), sums)
    code, text = audit(out, capsys)
    assert code == 1
    assert re.search(r"FAIL  transcript .*line 3: its sum is another one", text)


@pytest.mark.parametrize("lost", ["all", "one", "half of one", "first"])
def test_sums_that_are_missing_are_never_a_pass(
    lost: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files_beside(transcript(out)).sums
    if lost == "all":
        path.unlink()
    elif lost == "one":
        store(transcript(out), sums_of(transcript(out))[:-1])
    elif lost == "half of one":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        files_beside(transcript(out)).first.unlink()
    code, text = audit(out, capsys)
    assert code == 0
    assert "PASS  transcript  from-round-0: 3 sums" in text
    assert "SKIP  models      from-round-0: not recomputed" in text
    assert "SKIP  model       not recomputed" in text
    assert "PASS  models      from-round-0" not in text and "PASS  model " not in text


def test_another_first_state_fails(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = files_beside(transcript(out)).first
    moved = {n: np.asarray(a + 1) for n, a in arrays.from_bytes(path.read_bytes()).items()}
    path.write_bytes(arrays.to_bytes(moved))
    assert "line 1: the plan starts from another state" in audit(out, capsys)[1]
    path.write_bytes(b"no archive")
    code, text = audit(out, capsys)
    assert code == 1
    assert "from-round-0.jsonl: cannot be read: ValueError" in text


def test_an_edited_model_fails_in_two_places(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against ``run.json`` and, even if that is made to fit, against the sums."""
    path = out / "models.npz"
    content = arrays.from_bytes(path.read_bytes())
    name = max(content, key=lambda n: content[n].size)
    content[name] = np.asarray(content[name] + np.float32(1e-3))
    path.write_bytes(arrays.to_bytes(content))
    assert failures(audit(out, capsys)[1]) == ["models.npz the", "model the"]
    run = crm.read(out)
    run["arrays"]["0"] = arrays.digest(content)
    (out / "run.json").write_text(json.dumps(run))
    code, text = audit(out, capsys)
    assert code == 1 and failures(text) == ["model the"]
    path.unlink()
    code, text = audit(out, capsys)
    assert code == 1 and "FAIL  models.npz  cannot be read" in text


def test_a_ledger_that_was_set_back_or_is_anothers_fails(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """North's ends before the last round; south's is that of another training; west's is gone."""
    rewrite(ledger(out, "north"), lambda lines: lines[:-3])
    ledger(out, "west").unlink()
    path, head = ledger(out, "south"), None
    for entry in path.read_bytes().splitlines()[::-1]:
        head = json.loads(entry)["prev"]
    assert head == "0" * 64
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    code, text = audit(out, capsys)
    assert code == 1
    assert failures(text) == ["heads north:", "heads south:", "heads west:"]
    assert re.search(r"north: the head of its sum 4, [0-9a-f]{16}\.\.\., is not in its", text)
    assert re.search(r"south: the head of its sum 2, [0-9a-f]{16}\.\.\., is not in its", text)
    assert "west: no ledger of it is there and in order" in text


def test_a_ledger_whose_last_commit_is_missing_fails(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All heads are there, but the last sum was not booked."""
    rewrite(ledger(out, "north"), lambda lines: lines[:-2])
    code, text = audit(out, capsys)
    assert code == 1
    assert "FAIL  heads       north: it booked 3 times for 4 sums" in text


def test_ledgers_that_were_all_taken_away_fail(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(out / "ledgers")
    code, text = audit(out, capsys)
    assert code == 1
    assert failures(text) == ["heads north:", "heads south:", "heads west:"]


def test_heads_that_are_all_empty_fail_where_the_signed_plan_promises_something() -> None:
    """A plan without a promise needs no ledgers; any other does."""
    empty = {"north": [(NO_LEDGER, True)]}
    (skipped,) = check_heads(Heads(empty), (), complete=True)
    (failed,) = check_heads(Heads(empty, booked=True), (), complete=True)
    assert skipped.holds is None and failed.holds is False


def test_a_head_that_is_not_at_the_place_that_was_signed_fails(kept: Path) -> None:
    """Only a brand that signs another number than its ledger's can bring this about."""
    entry = json.loads(ledger(kept, "north").read_bytes().splitlines()[2])
    true = Mark(2, bytes.fromhex(entry["prev"]))
    good, bad = (
        next(check_heads(Heads({"north": [(mark, False)]}), [ledger(kept, "north")], complete=True))
        for mark in (true, true._replace(entries=4))
    )
    assert (good.holds, bad.holds) == (True, False)
    assert bad.detail.endswith("..., is of entry 2, not 4 as was signed")


def test_a_training_without_a_transcript_fails(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(out / "transcripts")
    code, text = audit(out, capsys)
    assert code == 1
    assert f"FAIL  transcript  no transcript of seed-0/{ARM}, whose model is published" in text


def test_brands_that_are_not_of_the_run_fail(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = crm.read(out)
    del run["data"]["brands"]["west"]
    (out / "run.json").write_text(json.dumps(run))
    assert "from-round-0.jsonl: west are not of this run" in audit(out, capsys)[1]


def test_a_run_without_secure_sum_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = made(tmp_path, "arms=[federated]", "seeds=1")
    capsys.readouterr()
    for folder, says in (
        (plain, "it was run with secure_sum=plain, which signs nothing"),
        (tmp_path / "none", "No such file or directory"),
    ):
        assert cli.command(["transcript", str(folder)]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and says in printed.err and printed.err.count("\n") == 1


def test_the_signed_course_gives_the_plan_that_was_in_force(kept: Path) -> None:
    header = json.loads(transcript(kept).read_text().splitlines()[0])
    plan = course_of(header["plan"]["course"]).plan
    assert isinstance(plan, CustomerPrivacy)
    assert plan.brands == 3 and plan.customers >= 1 and plan.sigma > 1


@pytest.mark.parametrize(
    "course",
    [
        {},
        {"algorithms": {"train": "fedavg"}, "privacy": "none"},
        {"algorithms": {}, "privacy": {"config": {"name": "none"}, "run_state": {"x": 1}}},
        {"algorithms": {}, "privacy": {"config": {"name": "other"}, "run_state": {}}},
        {
            "algorithms": {"ask": {"name": "query", "split": "train"}},
            "privacy": {"config": {"name": "none"}, "run_state": {}},
        },
        {
            "algorithms": {
                "ask": {
                    "name": "query",
                    "split": "train",
                    "limits": {},
                    "of": "customers",
                    "statistics": {"n": [10**6, 10**6]},
                }
            },
            "privacy": {"config": {"name": "none"}, "run_state": {}},
        },
    ],
)
def test_a_course_that_is_none_is_refused(course: object) -> None:
    with pytest.raises(ValueError):
        course_of(course)


def test_central_noise_and_brandagg_are_refused_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brands cannot recompute a model that was noised by the coordinator."""
    crm.table().to_csv(tmp_path / "crm.csv", index=False)
    more = ("privacy=brand", "secure_sum=brandagg", "arms=[federated]")
    assert command(crm.options(tmp_path / "crm.csv", tmp_path / "out", *more)) == 2
    said = capsys.readouterr().err
    assert "secure_sum: brandagg shows all brands each sum and who is in it, but brand adds" in said
    assert "To fix it: set secure_sum=plain" in said
    assert not (tmp_path / "out").exists()


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.command(["transcript", "--help"]) == 0
    text = capsys.readouterr().out
    assert "What it cannot see" in text and "SKIP says" in text
