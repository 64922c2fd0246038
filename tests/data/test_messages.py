"""Messages: cut, hashed and refused one by one, by rules that are the same everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fl.data.grams import Grams, normalised, readable
from fl.data.messages import Messages
from fl.data.sources import data_folder
from fl.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
words = st.text(st.sampled_from("很好差不退货 abc。"), max_size=30)


def bag(grams: Grams, message: str) -> dict[int, float]:
    bags = grams.encode([message])
    return dict(zip(bags.code.tolist(), bags.value.tolist(), strict=True))


@given(st.lists(words, max_size=8))
def test_a_message_has_the_same_bag_in_any_company(messages: list[str]) -> None:
    grams = Grams(buckets=500)
    together = grams.encode(messages)
    for i, message in enumerate(messages):
        at = slice(together.start[i], together.start[i + 1])
        codes, values = together.code[at].tolist(), together.value[at].tolist()
        assert dict(zip(codes, values, strict=True)) == bag(grams, message)
        assert codes == sorted(set(codes))  # each bucket once, rising


@given(words)
def test_all_messages_have_the_same_norm(message: str) -> None:
    found = bag(Grams(buckets=500, norm=3.0, intercept=0.7), message)
    assert found.pop(500) == pytest.approx(0.7)
    norm = np.linalg.norm(list(found.values()))
    assert norm == pytest.approx(3.0 if normalised(message) else 0.0, abs=1e-5)


def test_the_buckets_of_a_message_are_a_public_fact() -> None:
    """Golden: a rolled fmix64 with Python's whole numbers; and the same in a fresh process."""
    wide = (1 << 64) - 1

    def mixed(h: int) -> int:
        h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & wide
        h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & wide
        return h ^ h >> 33

    expected, text = set(), "退货aA"
    for begin in range(4):
        h = 0
        for character in text.lower()[begin : begin + 3]:
            h = mixed((h * 0x9E3779B97F4A7C15 + ord(character) + 1) & wide)
            expected.add(h % 1000)
    assert set(bag(Grams(buckets=1000), text)) == expected | {1000}
    grams = "from fl.data.grams import Grams; print(Grams(buckets=1000)"
    code = f"{grams}.encode(['退货aA']).code.tolist())"
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout)) == expected | {1000}


def test_lengths_weigh_what_they_are_given() -> None:
    grams = Grams(buckets=1 << 20, weights=(1.0, 2.0), norm=3.0, intercept=1.0)
    values = sorted(bag(grams, "ab").values())
    assert values == pytest.approx(sorted([3 / 6**0.5, 3 / 6**0.5, 6 / 6**0.5, 1.0]), rel=1e-6)
    only_pairs = Grams(buckets=1 << 20, weights=(0.0, 1.0))
    assert len(bag(only_pairs, "abc")) == 3  # ab, bc and everybody's entry


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (None, "empty"),
        (float("nan"), "empty"),
        ("   ", "empty"),
        ("\ufeff", "empty"),
        (7, "empty"),
        ("退货".encode("gb18030"), "bytes"),
        ("这家店的水果不新鲜".encode().decode("latin-1"), "another encoding"),
        ("这家店的水果不新鲜".encode("gb18030").decode("latin-1"), "another encoding"),
        ("这家店的水果不新鲜".encode("gb18030").decode("utf-8", "replace"), "another encoding"),
        ("这家店的水果不新鲜".encode().decode("gb18030", "replace"), "another encoding"),
        ("质量很好 good".encode().decode("gb18030", "ignore"), "another encoding"),
    ],
)
def test_what_is_no_message_is_refused_by_its_row_and_never_by_its_words(
    cell: object, problem: str
) -> None:
    cells = pd.Series(["好", cell], name="review", dtype=object)
    with pytest.raises(InputError, match=problem) as refused:
        readable(cells, "brand 水果")
    assert refused.value.field == "brand 水果, column review, row 2"
    assert not isinstance(cell, str) or not cell.strip("\ufeff ") or cell not in str(refused.value)


@pytest.mark.parametrize(
    "message",
    [
        "伤不起的蒙牛···伤不起的2月···",
        "très déçu, à éviter",
        "100以上动力真心差\ufffd\ufffd",
        "好",
        "厚！厚！厚！厚！",  # noqa: RUF001
    ],
)
def test_odd_but_readable_messages_are_read(message: str) -> None:
    assert readable(pd.Series([message], name="m"), "table") == [message]


def made(rows: int) -> Messages:
    bags = Grams(buckets=300).encode(["好差退货"[: 1 + i % 4] * (1 + i % 3) for i in range(rows)])
    number = torch.arange(rows)
    return Messages(
        torch.from_numpy(bags.code),
        torch.from_numpy(bags.value),
        torch.from_numpy(bags.start),
        number[:, None].float(),
        number,
        number + 100,
    )


@given(st.lists(st.integers(0, 8), max_size=12))
def test_rows_pick_whole_messages(index: list[int]) -> None:
    rows, picked = made(9), made(9).rows(torch.tensor(index, dtype=torch.int64))
    assert len(picked) == len(index)
    for place, i in enumerate(index):
        one, same = picked.span(place, place + 1), rows.span(i, i + 1)
        for part in Messages.__slots__:
            assert torch.equal(getattr(one, part), getattr(same, part))


def test_an_empty_span_is_empty() -> None:
    assert len(made(5).span(3, 3)) == 0 and len(made(5).span(0, 0)) == 0
    assert made(5).span(5, 9).start_b.tolist() == [0]


@pytest.mark.skipif(data_folder() is None, reason="the filed data sets are not on this machine")
@pytest.mark.parametrize(
    ("name", "rows", "classes", "customers"),
    [
        ("reviews", 74_760, 2, None),
        ("car_forum", 9_947, 10, 8_290),
        ("smp_intents", 3_736, 31, None),
        ("banking77", 13_083, 77, None),
    ],
)
def test_filed_sets_are_read_as_their_notes_say(
    name: str, rows: int, classes: int, customers: int | None
) -> None:
    from fl.data.catalog import DATASETS

    data = DATASETS[name]().load()
    assert len(data.rows) == rows and len(data.schema.classes) == classes
    assert data.schema.targets(data.rows).nunique() == classes
    assert customers is None or data.rows[data.customer].nunique() == customers
    messages = readable(data.rows[data.schema.columns[0].name], name)
    assert not any("\ufeff" in message for message in messages)
