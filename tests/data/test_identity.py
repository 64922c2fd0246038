"""Identities: normal forms, keyed hashes, joins, conflicts, and numbers that many share."""

from __future__ import annotations

import pandas as pd
import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.data.identifiers import email, member, open_id, phone
from fl.data.identity import Resolved, Rules, resolve
from fl.errors import InputError

KEY = bytes(range(32))
CN = Rules("CN")


def joined(
    phones: list[str | None],
    emails: list[str | None] | None = None,
    members: list[str | None] | None = None,
    key: bytes = KEY,
    rules: Rules = CN,
) -> Resolved:
    cells = {"phone": [pd.Series(phones, dtype=object)]}
    if emails is not None:
        cells["email"] = [pd.Series(emails, dtype=object)]
    if members is not None:
        cells["member"] = [pd.Series(members, dtype=object)]
    return resolve(cells, pd.Series([f"shop:{i}" for i in range(len(phones))]), key, rules)


def test_records_are_joined_through_other_records() -> None:
    found = joined(
        ["13800000001", None, "+86 138 0000 0001", None],
        ["a@x.example", "A@X.example", None, None],
    )
    assert found.customer.tolist() == [0, 0, 0, 1]
    assert len(set(found.pseudonym)) == 2
    assert found.identifiers == {"phone": 2, "email": 2, "member": 0, "open_id": 0}


def test_records_without_any_identifier_stay_apart() -> None:
    assert joined([None, "", "  ", float("nan")]).customer.tolist() == [0, 1, 2, 3]  # type: ignore[list-item]
    assert joined([]).customer.tolist() == []
    assert resolve({}, pd.Series(["a", "b"]), KEY, Rules()).customer.tolist() == [0, 1]


def test_two_members_joined_by_a_phone_are_reported_and_joined() -> None:
    found = joined(["13800000001", "13800000001", "13800000002"], None, ["M1", "M2", "m-2"])
    assert found.customer.tolist() == [0, 0, 0]
    (conflict,) = found.conflicts
    assert (conflict.kind, conflict.count, conflict.joined_by) == ("two members", 2, ("phone",))
    assert conflict.records == (0, 1, 2)


def test_a_phone_of_ten_thousand_records_joins_nobody_and_is_reported() -> None:
    members = [f"M{i // 2}" for i in range(10_000)]
    found = joined(["13900000000"] * 10_000, None, members)
    assert len(found.pseudonym) == 5_000
    (conflict,) = found.conflicts
    assert (conflict.kind, conflict.count, conflict.joined_by) == ("shared", 10_000, ("phone",))
    assert len(conflict.records) == 20


def test_the_cap_is_where_the_rules_put_it() -> None:
    phones: list[str | None] = ["13900000000"] * 4
    assert len(joined(phones, rules=Rules("CN", shared_by_at_most=4)).pseudonym) == 1
    assert len(joined(phones, rules=Rules("CN", shared_by_at_most=3)).pseudonym) == 4


def test_identifiers_to_ignore_join_nobody_in_whatever_form() -> None:
    rules = Rules("CN", ignore={"phone": ("138-0000-0000",)})
    found = joined(["13800000000", "+8613800000000", "none"], rules=rules)
    assert found.customer.tolist() == [0, 1, 2]
    assert not found.conflicts
    assert found.unreadable["phone"] == 1


def test_what_is_no_identifier_joins_nobody_and_is_counted() -> None:
    found = joined(["12", "12", "n/a", "n/a"], ["no address"] * 4)
    assert found.customer.tolist() == [0, 1, 2, 3]
    assert found.unreadable["phone"] == 4
    assert found.unreadable["email"] == 4


def test_kinds_are_apart_even_where_texts_are_equal() -> None:
    cells = {
        "member": [pd.Series(["7", None], dtype=object)],
        "open_id": [pd.Series([None, "7"], dtype=object)],
    }
    assert resolve(cells, pd.Series(["a", "b"]), KEY, Rules()).customer.tolist() == [0, 1]


def test_numbers_that_a_spreadsheet_made_of_phones_are_phones() -> None:
    cells = {"phone": [pd.Series([13800000001.0, None]), pd.Series([None, "13800000001"])]}
    assert resolve(cells, pd.Series(["a", "b"]), KEY, Rules("CN")).customer.tolist() == [0, 0]


def test_pseudonyms_are_stable_under_the_key_and_tell_nothing_without_it() -> None:
    first = joined(["13800000001", "13800000002"])
    later = joined(["13800000009", "13800000002", "13800000001"])
    assert set(first.pseudonym) <= set(later.pseudonym)
    other = joined(["13800000001", "13800000002"], key=bytes(32))
    assert set(first.pseudonym).isdisjoint(other.pseudonym)
    assert "13800000001" not in repr(first)
    assert all(len(p) == 32 and set(p) <= set("0123456789abcdef") for p in first.pseudonym)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(InputError, match="has 8 bytes") as raised:
        joined(["1"], key=b"too-shrt")
    assert "too-shrt" not in str(raised.value)


@pytest.mark.parametrize(
    "values",
    [{"region": "cn"}, {"shared_by_at_most": 1}, {"ignore": {"fax": ("1",)}}],
)
def test_rules_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        Rules(**values)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_joins_are_the_components_of_shared_identifiers(pairs: list[tuple[int, int]]) -> None:
    found = joined(
        [f"1380000000{a}" if a else None for a, _ in pairs],
        [f"p{b}@x.example" if b else None for _, b in pairs],
        rules=Rules("CN", shared_by_at_most=100),
    )
    label = list(range(len(pairs)))
    for _ in pairs:  # the slow and obvious way: spread the smallest label until nothing changes
        for i, (a, b) in enumerate(pairs):
            for j, (c, d) in enumerate(pairs):
                if (a and a == c) or (b and b == d):
                    label[i] = label[j] = min(label[i], label[j])
    assert found.customer.tolist() == pd.factorize(pd.Series(label))[0].tolist()


REGIONS = ("CN", "US", "GB", "DE", "IT", "BR", "MX", "AR", "KZ", "SG")


@given(
    st.sampled_from(REGIONS),
    st.sampled_from(["{n}", "+{c}{n}", "00{c}{n}", "0{n}", "{c}{n}", "+{c} (0) {n}", " {n}/"]),
    st.one_of(st.none(), st.from_regex(r"[0-9]{5,13}", fullmatch=True)),
    st.sampled_from([0, 1, 2]),
    st.integers(0, 9),
)
def test_the_fast_way_to_read_a_phone_is_the_library_s(
    region: str, form: str, digits: str | None, kind: int, last: int
) -> None:
    if digits is None:
        example = phonenumbers.example_number_for_type(region, kind)
        if example is None:
            return
        digits = phonenumbers.national_significant_number(example)[:-1] + str(last)
    text = form.format(n=digits, c=phonenumbers.country_code_for_region(region))
    try:
        number = phonenumbers.parse(text, region)
        valid = phonenumbers.is_valid_number(number)
    except phonenumbers.NumberParseException:
        valid = False
    expected = (
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if valid else None
    )
    assert phone(region)(text) == expected


def test_full_width_digits_are_digits() -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) for c in "13812345678")
    assert phone("CN")(wide) == "+8613812345678"
    assert member(wide) == "13812345678"


def test_without_a_region_a_phone_needs_its_country_code() -> None:
    assert phone("")("13812345678") is None
    assert phone("")("+86 13812345678") == "+8613812345678"
    assert phone("ZZ")("13812345678") is None


@pytest.mark.parametrize("text", ["a@b", "@x.example", "a b@x.example", "a@.example", "x" * 300])
def test_what_is_no_address_is_none(text: str) -> None:
    assert email(text) is None


def test_case_counts_in_open_ids_only() -> None:
    assert open_id(" oAb ") == "oAb"
    assert member(" ab ") == "AB"
    assert open_id(" ") is None
    assert member("--") is None
