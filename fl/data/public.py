"""Public tables with a natural partition: an online shop's sessions, a bank's campaign.

Bounds and lists of values are public: round figures by knowledge of the unit, or the publisher's
codebook. None is computed from the rows.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fl.data.dataset import CC_BY, UCI, DataSet, Provenance, one_of
from fl.data.schema import Category, Column, Number, Schema
from fl.data.sources import filed
from fl.errors import InputError


@dataclass(frozen=True, slots=True)
class OnlineShoppers:
    """Sessions of an online shop; the label is whether the session ended with a purchase.

    Attributes:
        page_values: include PageValues, which nearly gives the label away.
        partition_by: ``Region`` (9 brands) or ``TrafficType`` (20, some tiny). Region is never a
            feature; TrafficType is one unless it names the brand.
    """

    name: str = "online_shoppers"
    page_values: bool = False
    partition_by: str = "Region"

    def __post_init__(self) -> None:
        one_of("partition_by", self.partition_by, ("Region", "TrafficType"))

    def load(self) -> DataSet:
        """Read the file; repeated rows are left for the pipeline to handle."""
        title = "Online Shoppers Purchasing Intention"
        path = filed(
            "online_shoppers", "online_shoppers_intention_semicolon.csv", title, f"{UCI}, no. 468"
        )
        rows = pd.read_csv(path, sep=";")
        rows["Revenue"] = rows["Revenue"].astype(int)
        prefix = "region" if self.partition_by == "Region" else "traffic"
        rows[self.partition_by] = prefix + "-" + rows[self.partition_by].astype(str)
        used = [c for c in _SHOPPERS if c.name != self.partition_by]
        if self.page_values:
            used.append(Number("PageValues", 0, 500, log=True))
        note = (
            "12,330 sessions, 15.47 % end with a purchase; 125 repeated rows are kept here and "
            "handled by the preparation. PageValues is "
            + ("used, and nearly gives the label away." if self.page_values else "left out.")
            + f" Brand = {self.partition_by}."
        )
        return DataSet(
            self.name,
            rows,
            Schema(tuple(used), "Revenue"),
            self.partition_by,
            None,
            Provenance(title, f"{UCI}, no. 468", CC_BY, note),
        )


@dataclass(frozen=True, slots=True)
class BankMarketing:
    """Telephone calls of a bank; the label is whether the client took the deposit. Brand = job."""

    name: str = "bank_marketing"

    def load(self) -> DataSet:
        """Read ``bank-full.csv`` from the publisher's archive; ``duration`` is dropped."""
        title = "Bank Marketing"
        path = filed("bank_marketing", "bank_marketing.zip", title, f"{UCI}, no. 222")
        rows = _from_archive(path, "bank-full.csv").drop(columns="duration")
        rows["y"] = (rows["y"] == "yes").astype(int)
        rows["job"] = rows["job"].str.rstrip(".")
        rows["pdays"] = rows["pdays"].where(rows["pdays"] >= 0, _NEVER_DAYS)
        note = (
            "45,211 calls, 11.70 % successful. Brand = job, 12 groups of clients, which are not "
            "organisations. duration is dropped: it is known only after the call. pdays -1 (never "
            f"called before) counts as {_NEVER_DAYS} days. Clients cannot be told apart, so each "
            "row counts as one."
        )
        return DataSet(
            self.name,
            rows,
            Schema(_BANK, "y"),
            "job",
            None,
            Provenance(title, f"{UCI}, no. 222", CC_BY, note),
        )


def _from_archive(path: Path, file: str) -> pd.DataFrame:
    """The member ``file`` of the archive, or of an archive in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.namelist() if not m.startswith("__MACOSX/")]
            for member in members:
                if member.rsplit("/", 1)[-1] == file:
                    return pd.read_csv(io.BytesIO(archive.read(member)), sep=";")
            for member in members:
                if member.endswith("bank.zip"):
                    with zipfile.ZipFile(io.BytesIO(archive.read(member))) as inner:
                        return pd.read_csv(io.BytesIO(inner.read(file)), sep=";")
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError("data.name", f"cannot read {path.name!r}", "copy it again") from error
    raise InputError("data.name", f"no {file} in {path.name!r}", "copy the publisher's archive")


def _numbered(name: str, last: int) -> Category:
    return Category(name, tuple(str(code) for code in range(1, last + 1)))


# --- feature spaces -------------------------------------------------------------------------------

_SHOPPERS: tuple[Column, ...] = (
    Number("Administrative", 0, 30, log=True),  # pages
    Number("Administrative_Duration", 0, 3600, log=True),  # seconds
    Number("Informational", 0, 30, log=True),
    Number("Informational_Duration", 0, 3600, log=True),
    Number("ProductRelated", 0, 500, log=True),
    Number("ProductRelated_Duration", 0, 36000, log=True),
    Number("BounceRates", 0, 0.2),  # share of visits
    Number("ExitRates", 0, 0.2),
    Number("SpecialDay", 0, 1),  # closeness to a holiday
    Category(
        "Month",
        (*("Jan", "Feb", "Mar", "Apr", "May", "June"), *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec")),
    ),
    _numbered("OperatingSystems", 8),
    _numbered("Browser", 13),
    _numbered("TrafficType", 20),
    Category("VisitorType", ("New_Visitor", "Returning_Visitor", "Other")),
    Category("Weekend", ("true", "false")),
)

_NEVER_DAYS = 1000
_YES_NO = ("yes", "no")
_BANK: tuple[Column, ...] = (
    Number("age", 15, 100),
    Category("marital", ("married", "single", "divorced")),
    Category("education", ("primary", "secondary", "tertiary", "unknown")),
    Category("default", _YES_NO),
    Number("balance", -1000, 50000, log=True),  # euros
    Category("housing", _YES_NO),
    Category("loan", _YES_NO),
    Category("contact", ("cellular", "telephone", "unknown")),
    Number("day", 1, 31),
    Category(
        "month",
        (*("jan", "feb", "mar", "apr", "may", "jun"), *("jul", "aug", "sep", "oct", "nov", "dec")),
    ),
    Number("campaign", 1, 50, log=True),  # calls
    Number("pdays", 0, _NEVER_DAYS, log=True),
    Number("previous", 0, 50, log=True),  # calls
    Category("poutcome", ("success", "failure", "other", "unknown")),
)
