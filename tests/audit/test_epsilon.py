"""``fl-audit epsilon``: a run that promised something is checked, and every tampering shows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fl.audit import cli
from fl.events import Gaussian, Repeated
from fl.privacy.ledger import Ledger
from fl.privacy.reading import verify
from fl.privacy.signing import SigningKey
from tests import crm
from tests.ledgers import rdp

ARM, CENTRAL = "federated@local-3", "central_dp@local-3"
COLUMNS = (
    "data.columns={session_duration: {low: 0, high: 3000}, message_count: {low: 0, high: 20}, "
    "product_views: {low: 0, high: 50}}"
)
CUSTOMERS = ("privacy.customers=70", COLUMNS)


def made(folder: Path, *more: str) -> Path:
    """A finished run."""
    crm.table().to_csv(folder / "crm.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "1")  # a command sets it; put back afterwards
        patch.setattr("sys.argv", ["fl-run"])
        crm.run(folder / "crm.csv", folder / "out", "algorithm=fedsgd", *more)
    return folder / "out"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One private run that many tests copy: two arms, two seeds."""
    arms = ("arms=[federated,central_dp]", "seeds=[4,2]")
    return made(tmp_path_factory.mktemp("run"), "privacy=local", *CUSTOMERS, *arms)


@pytest.fixture
def out(kept: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(kept, tmp_path / "out"))


def audit(out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.command(["epsilon", str(out)])
    printed = capsys.readouterr()
    assert printed.err == ""
    return code, printed.out


def failures(text: str) -> list[str]:
    """What failed, by name and first word."""
    found = [line.split() for line in text.splitlines() if line.startswith("FAIL")]
    return [" ".join(words[1:3]) for words in found]


def edit(out: Path, change: Callable[[dict[str, Any]], object], arm: str = ARM) -> None:
    """Change the statement of an arm in ``run.json``."""
    run = crm.read(out)
    change(run["statements"][arm])
    (out / "run.json").write_text(json.dumps(run))


def ledger(out: Path, brand: str, arm: str = ARM) -> Path:
    (path,) = (out / "ledgers" / "seed-4" / arm).glob(f"{brand}.*.jsonl")
    return path


def test_a_real_run_passes_with_a_line_for_every_check(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = audit(kept, capsys)
    assert code == 0 and failures(text) == []
    counted = {
        name: len(re.findall(rf"PASS  {name} ", text)) for name in ("ledger", "bill", "words")
    }
    assert counted == {"ledger": 4, "bill": 4, "words": 2}
    assert re.search(
        r"PASS  customer    epsilon 2\.9\d+ \(pld\) / [23]\.\d+ \(prv\) / 3\.\d+", text
    )
    assert re.search(r"PASS  bill        north: committed 3 x noise 2\.\d+, as stated", text)
    assert "PASS  bill        pooled: committed 3 x noise" in text
    assert (
        "SKIP  seeds       a statement is about its costliest seed; others of 4, 2 are not read"
        in text
    )
    assert "SKIP  keys" in text


@pytest.mark.parametrize(
    ("options", "keepers"),
    [
        (("privacy=brand", COLUMNS), ["coordinator"]),
        (
            ("privacy=distributed", "secure_sum=brandagg", "privacy.dropouts=0", *CUSTOMERS),
            ["north", "south", "west"],
        ),
    ],
    ids=["brand", "distributed"],
)
def test_other_guarantees_pass_too(
    options: tuple[str, ...],
    keepers: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A joint sum has one event and a ledger a brand; the coordinator keeps the book of brands."""
    code, text = audit(made(tmp_path, *options, "arms=[federated]", "seeds=1"), capsys)
    assert code == 0, text
    assert re.findall(r"PASS  bill +(\w+): committed 3 x noise", text) == keepers


def test_a_run_without_guarantees_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = audit(made(tmp_path, "arms=[federated]", "seeds=1"), capsys)
    assert code == 0
    assert text == "run\nPASS  statements  no arm of this run promises anything\n"


def test_a_smaller_epsilon_in_run_json_fails_with_both_numbers(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(out, lambda s: s["customer"].update(pld=1.0))
    code, text = audit(out, capsys)
    assert code == 1
    assert re.search(r"FAIL  customer    customer\.pld: stated 1, recomputed 2\.9\d+", text)
    assert set(failures(text)) >= {"customer customer.pld:", "words the"}
    assert "PASS  person" in text and text.count("PASS  customer") == 1


def test_a_statement_that_is_consistent_in_itself_fails_against_the_ledgers(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fewer rounds, and every figure and line made to fit them."""
    from fl.privacy.statement import Statement, statement

    def understate(values: dict[str, Any]) -> None:
        del values["lines"], values["seed"]
        old = Statement.from_json(values)
        events = {brand: Repeated(Gaussian(9.0), 3) for brand in old.events}
        new = statement(events, old.conditions)
        values.update({**new.to_json(), "lines": list(new.lines())})

    edit(out, understate)
    code, text = audit(out, capsys)
    assert code == 1
    assert failures(text) == ["bill north:", "bill south:", "bill west:"]
    assert re.search(r"north: committed 3 x noise 2\.\d+, but stated 3 x noise 9\n", text)


def test_an_edited_event_fails_in_figures_and_bill(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(out, lambda s: s["events"]["west"]["events"][0].update(times=1))
    code, text = audit(out, capsys)
    assert code == 1
    assert "person person.pld:" in failures(text)
    assert "bill west:" in failures(text) and "bill north:" not in failures(text)


def test_an_event_left_out_fails(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(out, lambda s: s["events"].pop("west"))
    code, text = audit(out, capsys)
    assert code == 1
    assert "FAIL  events      stated are those of north, south, but ledgers are kept by" in text


def test_an_edited_ledger_line_is_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ledger(out, "south")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"kind":"commit"', b'"kind":"refuse"')
    path.write_bytes(b"".join(lines))
    code, text = audit(out, capsys)
    assert code == 1
    assert failures(text) == [f"ledger {path}", "bill south:"]
    assert f"{path} line 3: was changed, or is not signed by the ledger's key" in text


def test_a_ledger_without_its_last_lines_fails(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The chain of what is left is in order, and what was reserved costs as much as before."""
    path = ledger(out, "south")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    code, text = audit(out, capsys)
    assert code == 1
    assert failures(text) == [f"ledger {path}:", "bill south:"]
    assert "has an open run although this one is finished: lines are missing at the end" in text


def test_a_ledger_written_anew_for_less_fails(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ledger(out, "south")
    key = SigningKey.generate()
    opening = verify(path).books.opening
    path.unlink()
    with Ledger.create(path.with_name("new.jsonl"), key, opening, accountant=rdp) as forged:
        forged.reserve("from-round-0", Repeated(Gaussian(50.0), 1))
        forged.settle("from-round-0")
    code, text = audit(out, capsys)
    assert code == 1
    assert "PASS  ledger      south: 3 entries" in text
    assert re.search(r"FAIL  bill        south: committed nothing, but stated 3 x noise 2\.", text)


def test_missing_ledgers_fail(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger(out, "west").unlink()
    shutil.rmtree(out / "ledgers" / "seed-4" / CENTRAL)
    code, text = audit(out, capsys)
    assert code == 1
    assert failures(text) == ["bill west:", "ledgers no"]
    assert "west: no ledger of it is there and in order" in text


def test_ledgers_of_another_arm_or_seed_and_second_ones_are_not_taken(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    north = ledger(out, "north")
    shutil.copy(north, north.with_name("z.jsonl"))
    other = out / "ledgers" / "seed-2" / ARM / ledger(out, "west").name
    shutil.copy(other, ledger(out, "west"))
    code, text = audit(out, capsys)
    assert code == 1
    assert "z.jsonl: is a second ledger of north" in text
    assert "is about 'simulated: seed-2/federated@local-3/west', not about" in text
    assert failures(text)[-1] == "bill west:"


def test_a_statement_taken_out_fails(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = crm.read(out)
    del run["statements"][CENTRAL]
    (out / "run.json").write_text(json.dumps(run))
    code, text = audit(out, capsys)
    assert code == 1
    assert f"FAIL  statements  {CENTRAL} has ledgers of seed 4, but no statement" in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.clear(), "FAIL  statement   cannot be computed again: privacy statement"),
        (lambda s: s["lines"].pop(), "FAIL  words"),
        (lambda s: s.update(delta=1e-4), "stated are customer, add-remove, delta 0.0001"),
        (
            lambda s: s.update(joint=True),
            "FAIL  statement   cannot be computed again: Expected one",
        ),
        (
            lambda s: s["events"]["west"].update(kind="\x1b[2Krepeated"),
            "FAIL  statement   cannot be computed again",
        ),
        (
            lambda s: s["events"].update(west={"kind": "gaussian", "noise_multiplier": 1e-300}),
            "FAIL  statement   cannot be computed again",
        ),
    ],
    ids=["emptied", "line", "delta", "joint", "kind", "noise"],
)
def test_other_edits_fail_with_a_line(
    change: Callable[[dict[str, Any]], object],
    says: str,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    edit(out, change)
    code, text = audit(out, capsys)
    assert code == 1
    assert says in text
    assert "\x1b" not in text


def test_a_damaged_run_json_fails(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (out / "run.json").read_text()
    for content, says in (
        (whole[:-20], "is not JSON"),
        ("[" * 10_000, "is not JSON"),
        ("[]", "has not what version 1"),
        (whole.replace('"version": 1', '"version": 7', 1), "has not what version 1"),
    ):
        (out / "run.json").write_text(content)
        code, text = audit(out, capsys)
        assert code == 1
        assert text.startswith(f"run\nFAIL  run.json    {says}")


def test_what_is_no_finished_run_is_exit_code_2(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = crm.read(out)
    (out / "run.json").write_text(json.dumps({**run, "status": "running"}))
    (tmp_path / "empty").mkdir()
    for folder, says in (
        (out, "the run is not finished. To fix it: run fl-run resume="),
        (tmp_path / "empty", "run.json: No such file or directory. To fix it: name the folder"),
        (tmp_path / "none", "No such file or directory"),
        (out / "run.json", "Not a directory"),
    ):
        assert cli.command(["epsilon", str(folder)]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1
        assert says in printed.err


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.command(["epsilon", "--help"]) == 0
    text = capsys.readouterr().out
    assert "What it cannot see" in text and "fl-audit epsilon runs/" in text
    assert cli.command(["--help"]) == 0
    assert "recompute every epsilon that a run states" in capsys.readouterr().out
