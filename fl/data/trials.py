"""Randomised campaigns: an e-mail test of a shop, and a fund-raising letter.

Bounds are public: round figures by knowledge of the unit, or the publisher's description. None is
computed from the rows.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pandas as pd

from fl.data.campaign import RANDOMISED, Campaign
from fl.data.dataset import DataSet, Provenance, one_of
from fl.data.schema import Category, Column, Number, Schema
from fl.data.sources import filed
from fl.errors import InputError


@dataclass(frozen=True, slots=True)
class Hillstrom:
    """An e-mail test: men's merchandise, women's, or no e-mail; the outcome is a visit.

    Attributes:
        outcome: ``visit`` (14.7 %) or ``conversion`` (0.9 %: too rare to say who is moved by what).
        partition_by: ``channel_zip`` (9 brands) or ``bought`` before: mens, womens, both (3).
            What names the brand is no feature.
    """

    name: str = "hillstrom"
    outcome: str = "visit"
    partition_by: str = "channel_zip"

    def __post_init__(self) -> None:
        one_of("outcome", self.outcome, ("visit", "conversion"))
        one_of("partition_by", self.partition_by, ("channel_zip", "bought"))

    def load(self) -> DataSet:
        """Read the file; repeated rows are customers who are alike."""
        title, publisher = "E-Mail Analytics and Data Mining Challenge", "MineThatData, 2008"
        rows = pd.read_csv(filed("hillstrom", "hillstrom.csv", title, publisher))
        rows["zip_code"] = rows["zip_code"].replace("Surburban", "Suburban")
        bought = rows["mens"].map({1: "mens", 0: ""}) + rows["womens"].map({1: "womens", 0: ""})
        rows["bought"] = bought.replace("menswomens", "both")
        rows["channel_zip"] = rows["channel"] + " " + rows["zip_code"]
        named = {"channel_zip": {"channel", "zip_code"}, "bought": {"mens", "womens"}}
        unused = named[self.partition_by]
        note = (
            "64,000 customers of an internet shop (Kevin Hillstrom), divided at random into three "
            "equal arms; in the two weeks after, 14.68 % visited and 0.90 % bought. Repeated rows "
            "are real: keep them. The file's spelling Surburban is corrected. Brand = "
            + ("channel and kind of address, 9 cells" if self.partition_by == "channel_zip" else "")
            + ("what was bought before, 3 groups" if self.partition_by == "bought" else "")
            + " of one shop, which are not organisations."
        )
        return DataSet(
            self.name,
            rows,
            Schema(
                tuple(c for c in _HILLSTROM if c.name not in unused),
                self.outcome,
                campaign=Campaign(
                    "segment",
                    "No E-Mail",
                    ("Mens E-Mail", "Womens E-Mail"),
                    RANDOMISED,
                    (1 / 3, 1 / 3, 1 / 3),
                ),
            ),
            self.partition_by,
            None,
            Provenance(title, publisher, "offered to the public for research", note),
        )


@dataclass(frozen=True, slots=True)
class KarlanList:
    """A letter that offers to match a donation; the outcome is whether the person gave."""

    name: str = "karlan_list"

    def load(self) -> DataSet:
        """Read ``charitable.rda``; a brand is a state, told by two columns that are constant in it.

        Raises:
            InputError: the file is not there or not what it should be.
        """
        title, publisher = "Does Price Matter in Charitable Giving?", "Karlan and List 2007"
        path = filed("karlan_list", "charitable.rda", title, publisher)
        import rdata

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an R class that pandas needs nothing of
                rows = pd.DataFrame(rdata.read_rda(path)["charitable"])
        except (KeyError, ValueError, EOFError, OSError) as error:
            raise InputError("data.name", f"cannot read {path.name!r}", "copy it again") from error
        keys = rows[["statecnt", "perbush"]].apply(tuple, axis=1)
        order = {key: code for code, key in enumerate(sorted(set(keys)))}
        rows = rows.reset_index(drop=True)
        rows["state"] = [f"state-{order[key]:02d}" for key in keys]
        used = [c.name for c in _KARLAN]
        rows[used] = rows[used].astype("float64").where(rows[used] != _MISSING)
        rows["letter"] = [("plain", "match offered")[t] for t in rows["treatment"]]
        note = (
            "50,083 earlier donors of a charity; two in three, drawn at random, were offered that "
            "their gift is matched, 2.20 % of them gave and 1.79 % of the others. Brand = state: "
            "57 groups that agree in the state's share of letters and its vote (statecnt, "
            "perbush), 32 of them with at least 300 rows, 6 with fewer than 20. -999 is missing in "
            "the file. The amounts of the match (1:1 to 3:1) are treated as one arm."
        )
        return DataSet(
            self.name,
            rows[[*used, "letter", "out_gavedum", "state"]],
            Schema(
                _KARLAN,
                "out_gavedum",
                campaign=Campaign(
                    "letter", "plain", ("match offered",), RANDOMISED, (1 / 3, 2 / 3)
                ),
            ),
            "state",
            None,
            Provenance(title, publisher, "CC0", note),
        )


_HILLSTROM: tuple[Column, ...] = (
    Number("recency", 0, 12),  # months since the last purchase
    Number("history", 0, 3500, log=True),  # dollars spent in the past year
    Number("mens", 0, 1),
    Number("womens", 0, 1),
    Number("newbie", 0, 1),
    Category("zip_code", ("Urban", "Suburban", "Rural")),
    Category("channel", ("Phone", "Web", "Multichannel")),
)
_MISSING = -999
_KARLAN: tuple[Column, ...] = (
    Number("hpa", 0, 1000, log=True),  # dollars, highest gift so far
    Number("freq", 0, 250, log=True),  # gifts so far
    Number("years", 0, 100, log=True, missing=0),  # since the first gift
    Number("mrm2", 0, 170, log=True, missing=170),  # months since the last gift
    Number("dormant", 0, 1),
    Number("female", 0, 1, missing=0.5),
    Number("couple", 0, 1, missing=0.5),
)
