"""The rules of a brand's ledger: reserve, commit, settle, refuse, renew; and what stops it."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.contracts import NO_LEDGER
from fl.errors import Code, InputError, Refused
from fl.events import Composed, Gaussian, PrivacyEvent, Repeated, Sampled, Unbounded
from fl.privacy.bills import bill, events
from fl.privacy.books import Neighbours, Opening
from fl.privacy.entries import Kind
from fl.privacy.ledger import Ledger
from fl.privacy.reading import read, verify
from fl.privacy.signing import SigningKey
from tests.ledgers import BUDGET, ROUND, new, opening, rdp, reopened

KEY = SigningKey.generate()


def kinds(folder: Path) -> list[str]:
    return [entry.kind for entry in read(folder / "ledger.jsonl")]


def refused(code: Code) -> pytest.RaisesContext[Refused]:  # type: ignore[name-defined]
    return pytest.raises(Refused, match=f"^{code.replace('.', '[.]')}$")


# ------------------------------------------------------------------------------ the rules


def test_a_run_is_reserved_committed_and_settled(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        ledger.reserve("a", Repeated(ROUND, 20))
        assert ledger.spent() == (Repeated(ROUND, 20),)
        doors = ledger.run("a")
        doors.commit(ROUND, "train/1")
        doors.commit(Repeated(ROUND, 2), "train/2")
        assert ledger.spent() == (Repeated(ROUND, 20),)  # the rest of the reservation counts
        ledger.settle("a")
        assert ledger.spent() == (Repeated(ROUND, 3),)
        head = ledger.head
    assert kinds(tmp_path) == ["open", "reserve", "commit", "commit", "settle"]
    books = verify(tmp_path / "ledger.jsonl", public_key=KEY.public, head=head).books
    assert events(books.spent()) == (Repeated(ROUND, 3),)
    assert books.opening == opening()


def test_an_unsettled_run_still_counts_after_reopening(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        ledger.reserve("a", Repeated(ROUND, 15))
        ledger.commit("a", "train/1", ROUND)
    with reopened(tmp_path, KEY) as ledger:
        assert ledger.spent() == (Repeated(ROUND, 15),)
        with refused(Code.BUDGET):
            ledger.reserve("b", Repeated(ROUND, 10))
        ledger.settle("a")
        ledger.reserve("b", Repeated(ROUND, 10))


def test_the_budget_is_spent_to_the_last_unit_and_no_further(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        ledger.reserve("a", Repeated(ROUND, 19))
        ledger.reserve("b", ROUND)
        with refused(Code.BUDGET):
            ledger.reserve("c", Gaussian(1e3))
    assert kinds(tmp_path) == ["open", "reserve", "reserve", "refuse"]
    assert read(tmp_path / "ledger.jsonl")[-1].body["code"] == "budget.exhausted"


def test_a_budget_composes_over_runs_rather_than_restarting(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        for run in "abcde":
            ledger.reserve(run, Repeated(ROUND, 4))
            ledger.commit(run, "train/1", Repeated(ROUND, 4))
            ledger.settle(run)
        with refused(Code.BUDGET):
            ledger.reserve("f", Repeated(ROUND, 4))


def test_a_commit_needs_an_open_reservation_that_covers_it_and_happens_once(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        with refused(Code.LEDGER_RUN):
            ledger.commit("a", "train/1", ROUND)
        ledger.reserve("a", Repeated(ROUND, 2))
        ledger.commit("a", "train/1", ROUND)
        with refused(Code.LEDGER_REPLAY):
            ledger.commit("a", "train/1", ROUND)
        with refused(Code.LEDGER_UNRESERVED):
            ledger.commit("a", "train/2", Gaussian(3.0))  # not what was reserved
        with refused(Code.LEDGER_UNRESERVED):
            ledger.commit("a", "train/2", Repeated(ROUND, 2))
        ledger.commit("a", "train/2", ROUND)
        ledger.settle("a")
        with refused(Code.LEDGER_RUN):
            ledger.commit("a", "train/3", ROUND)
        with refused(Code.LEDGER_RUN):
            ledger.settle("a")
        assert ledger.spent() == (Repeated(ROUND, 2),)
    assert kinds(tmp_path).count("refuse") == 6


def test_reserving_again_charges_nothing_and_an_id_cannot_change_its_meaning(
    tmp_path: Path,
) -> None:
    with new(tmp_path, KEY) as ledger:
        ledger.reserve("a", Repeated(ROUND, 12))
        ledger.reserve("a", Repeated(ROUND, 12))
        assert ledger.spent() == (Repeated(ROUND, 12),)
        with refused(Code.LEDGER_RUN):
            ledger.reserve("a", Repeated(ROUND, 3))
        ledger.settle("a")
        with refused(Code.LEDGER_RUN):
            ledger.reserve("a", Repeated(ROUND, 12))


def test_a_renewal_gives_a_budget_and_forgets_nothing(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        ledger.reserve("a", Repeated(ROUND, 20))
        with pytest.raises(InputError, match="still open"):
            ledger.renew(4.0, "new customers of 2027")
        ledger.commit("a", "train/1", Repeated(ROUND, 20))
        ledger.settle("a")
        with pytest.raises(InputError, match="reason"):
            ledger.renew(4.0, " ")
        with pytest.raises(InputError, match="epsilon > 0"):
            ledger.renew(math.nan, "because")
        ledger.renew(4.0, "new customers of 2027")
        assert ledger.spent() == ()
        assert ledger.lifetime() == (Repeated(ROUND, 20),)
        with refused(Code.BUDGET):
            ledger.reserve("b", Repeated(ROUND, 20))  # the new budget is the smaller one
        ledger.reserve("b", ROUND)
        assert ledger.lifetime() == (Repeated(ROUND, 21),)
    books = verify(tmp_path / "ledger.jsonl").books
    assert (books.budgets, books.reasons) == ([BUDGET, 4.0], ["", "new customers of 2027"])


def test_an_exact_release_needs_a_ledger_without_limit_and_ends_every_finite_claim(
    tmp_path: Path,
) -> None:
    (tmp_path / "open").mkdir()
    with new(tmp_path, KEY) as ledger, refused(Code.BUDGET):
        ledger.reserve("a", Unbounded())
    with new(tmp_path / "open", KEY, math.inf) as ledger:
        ledger.reserve("a", Unbounded())
        assert ledger.forecast("b", ROUND) == math.inf
    assert verify(tmp_path / "open" / "ledger.jsonl").books.budgets == [math.inf]


def test_an_accountant_that_answers_nan_lets_nothing_through(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with (
        Ledger.create(path, KEY, opening(), accountant=lambda events, delta: math.nan) as ledger,
        refused(Code.BUDGET),
    ):
        ledger.reserve("a", ROUND)


def test_a_checkpoint_records_the_head_it_returns(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        head = ledger.checkpoint("coordinator")
        assert ledger.head != head
    last = read(tmp_path / "ledger.jsonl")[-1]
    assert (last.kind, last.body["head"], last.prev) == (Kind.CHECKPOINT, head, head)


@pytest.mark.parametrize(
    ("change", "value"),
    [("epsilon", 0.0), ("epsilon", math.nan), ("delta", 0.0), ("delta", 1.0), ("brand", "")],
)
def test_an_opening_out_of_range_cannot_be_made(change: str, value: float | str) -> None:
    of = opening()
    fields = {name: getattr(of, name) for name in Opening.__slots__}
    with pytest.raises(ValueError, match="Expected"):
        Opening(**{**fields, change: value})


# ------------------------------------------------------------------------------ bills

small = st.builds(Gaussian, st.sampled_from([1.0, 2.0, 3.0]))
atoms = small | st.builds(Sampled, st.sampled_from([0.1, 1.0]), small) | st.just(Unbounded())
trees = st.recursive(
    atoms,
    lambda inner: (
        st.builds(Repeated, inner, st.integers(0, 4))
        | st.builds(lambda parts: Composed(tuple(parts)), st.lists(inner, max_size=3))
    ),
    max_leaves=8,
)


@given(trees, trees)
@settings(max_examples=100)
def test_a_bill_keeps_every_event(left: PrivacyEvent, right: PrivacyEvent) -> None:
    assert bill(Composed(events(bill(left)))) == bill(left)
    assert bill(Composed((left, right))) == bill(left) + bill(right)
    assert bill(left) <= bill(left) | bill(right)


# ------------------------------------------------------------------------------ one writer, files


def test_a_second_writer_is_told_who_holds_the_ledger(tmp_path: Path) -> None:
    with new(tmp_path, KEY), pytest.raises(InputError, match=f"process {os.getpid()} is writing"):
        reopened(tmp_path, KEY)
    reopened(tmp_path, KEY).close()


def test_an_existing_ledger_is_never_replaced(tmp_path: Path) -> None:
    new(tmp_path, KEY).close()
    before = (tmp_path / "ledger.jsonl").read_bytes()
    with pytest.raises(InputError, match="is there already"):
        new(tmp_path, KEY)
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    (tmp_path / "ledger.jsonl").unlink()
    with pytest.raises(InputError, match=r"ledger.head is there already"):
        new(tmp_path, KEY)


def test_a_missing_ledger_or_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        reopened(tmp_path, KEY)
    with pytest.raises(InputError, match="No such file"):
        new(tmp_path / "nowhere", KEY)


def test_another_key_cannot_continue_a_ledger(tmp_path: Path) -> None:
    new(tmp_path, KEY).close()
    with pytest.raises(InputError, match="another key"):
        reopened(tmp_path, SigningKey.generate())


def test_a_ledger_that_was_swapped_while_open_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with new(tmp_path, KEY) as ledger:
        old = path.read_bytes()
        ledger.reserve("a", ROUND)
        path.unlink()
        path.write_bytes(old)
        with pytest.raises(InputError, match="replaced or changed"):
            ledger.commit("a", "train/1", ROUND)
        with pytest.raises(InputError, match="is closed"):
            ledger.commit("a", "train/1", ROUND)


def test_a_ledger_that_somebody_else_wrote_to_while_open_is_not_written_to(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        with (tmp_path / "ledger.jsonl").open("ab") as file:
            file.write(b"{}\n")
        with pytest.raises(InputError, match="replaced or changed"):
            ledger.reserve("a", ROUND)


def test_a_disk_that_fails_closes_the_ledger_until_it_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with new(tmp_path, KEY) as ledger:
        ledger.reserve("a", Repeated(ROUND, 2))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                ledger.commit("a", "train/1", ROUND)
        with pytest.raises(InputError, match="is closed"):
            ledger.commit("a", "train/2", ROUND)
    with reopened(tmp_path, KEY) as ledger:
        ledger.settle("a")
        assert ledger.spent() == (ROUND,)  # written, perhaps not synced: it counts


def test_files_of_a_ledger_are_the_owners_alone(tmp_path: Path) -> None:
    new(tmp_path, KEY).close()
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()}
    assert modes == {"ledger.jsonl": 0o600, "ledger.head": 0o600, "ledger.lock": 0o600}


# ------------------------------------------------------------------------------ set back


def test_a_ledger_behind_its_own_head_stops(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with new(tmp_path, KEY) as ledger:
        old = path.read_bytes()
        ledger.reserve("a", ROUND)
    path.write_bytes(old)
    with pytest.raises(InputError, match="lacks the published head"):
        reopened(tmp_path, KEY)


def test_a_last_line_cut_short_by_hand_is_not_taken_for_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with new(tmp_path, KEY) as ledger:
        ledger.reserve("a", ROUND)
        ledger.commit("a", "train/1", ROUND)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="lacks the published head"):
        reopened(tmp_path, KEY)


def test_the_whole_folder_set_back_shows_against_a_head_that_peers_hold(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        old = {p: p.read_bytes() for p in tmp_path.iterdir()}
        ledger.reserve("a", ROUND)
        held = ledger.head
    for path, content in old.items():
        path.write_bytes(content)
    with pytest.raises(InputError, match="lacks the published head"):
        reopened(tmp_path, KEY, [held])
    with pytest.raises(InputError, match="lacks the published head"):
        verify(tmp_path / "ledger.jsonl", head=held)


def test_a_ledger_without_its_note_needs_a_head_from_outside(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        ledger.reserve("a", ROUND)
        held = ledger.head
    (tmp_path / "ledger.head").unlink()
    with pytest.raises(InputError, match="may have been set back"):
        reopened(tmp_path, KEY)
    (tmp_path / "ledger.head").write_text("?")
    with pytest.raises(InputError, match="damaged"):
        reopened(tmp_path, KEY)
    (tmp_path / "ledger.head").unlink()
    reopened(tmp_path, KEY, [held]).close()
    reopened(tmp_path, KEY).close()


def test_a_ledger_that_lacks_what_its_brand_has_signed_stops(tmp_path: Path) -> None:
    """A mark is a number and a head: what is as long, or longer, is not the same ledger."""
    key, path = KEY, tmp_path / "ledger.jsonl"
    with new(tmp_path, key) as ledger:
        marks = [ledger.mark]
        old = {p: p.read_bytes() for p in tmp_path.iterdir()}
        for run in "ab":
            ledger.reserve(run, ROUND)
            marks.append(ledger.mark)
        assert [mark.entries for mark in marks] == [1, 2, 3]
        assert all(map(ledger.reaches, (NO_LEDGER, *marks)))
        assert not ledger.reaches(marks[2]._replace(entries=2))
    for mark in marks:
        Ledger.open(path, key, accountant=rdp, signed=mark).close()
    for file, content in old.items():
        file.write_bytes(content)
    with reopened(tmp_path, key) as ledger:
        for run in "cdef":
            ledger.reserve(run, ROUND)
        assert ledger.mark.entries > marks[2].entries
        assert list(map(ledger.reaches, marks)) == [True, False, False]
    for mark in marks[1:]:
        with pytest.raises(InputError, match="restore the newer copy") as caught:
            Ledger.open(path, key, accountant=rdp, signed=mark)
        assert caught.value.code is Code.LEDGER_SET_BACK
    (tmp_path / "ledger.head").unlink()
    with pytest.raises(InputError, match="may have been set back"):
        Ledger.open(path, key, accountant=rdp, signed=marks[0])


def test_neighbours_are_named_as_in_the_statement() -> None:
    assert [str(n) for n in Neighbours] == ["add-remove", "replace", "zero-out"]
