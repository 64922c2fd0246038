"""A schema as JSON: what a received model says of its columns is what the run knew."""

from __future__ import annotations

import json

import pytest

from fl.data.campaign import Campaign
from fl.data.schema import Category, Hashed, Number, Schema
from fl.data.schema_file import from_plain, to_plain
from fl.errors import InputError

CAMPAIGN = Campaign("got", "no", ("mail", "call"), "randomised", (0.5, 0.25, 0.25), "sent", "seen")
COLUMNS = (Number("age", 0, 100, log=True, missing=1), Category("zip", ("a", "b")), Hashed("id", 9))


@pytest.mark.parametrize(
    "schema",
    [
        Schema(COLUMNS, "bought", "yes", ("no", "")),
        Schema(COLUMNS, "kind", classes=("x", "y", "z")),
        Schema(COLUMNS, "bought", campaign=CAMPAIGN),
        Schema(COLUMNS, "bought", campaign=Campaign("got", "no", ("mail",), "observational")),
    ],
)
def test_what_is_written_is_read_again(schema: Schema) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(schema)))) == schema


def test_a_schema_without_a_campaign_says_nothing_of_one() -> None:
    assert "campaign" not in to_plain(Schema(COLUMNS, "bought"))


@pytest.mark.parametrize("wrong", [{"treatment": "got"}, {"other": 1}, 7, {"arms": []}])
def test_a_broken_campaign_is_refused(wrong: object) -> None:
    whole = to_plain(Schema(COLUMNS, "bought", campaign=CAMPAIGN))
    with pytest.raises(InputError, match="schema"):
        from_plain({**whole, "campaign": wrong})
