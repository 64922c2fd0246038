"""Tables with a split fixed by their publisher or recipe: four hospitals, and the census."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fl.data.dataset import CC_BY, UCI, DataSet, Provenance, one_of
from fl.data.schema import Category, Column, Number, Schema
from fl.data.sources import filed

_HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")


@dataclass(frozen=True, slots=True)
class HeartDisease:
    """Patients of four hospitals, prepared as FLamby's Fed-Heart-Disease; 13 features."""

    name: str = "heart_disease"

    def load(self) -> DataSet:
        """Read the four processed files and mark FLamby's 66/34 split."""
        title, publisher = "Heart Disease", f"{UCI}, no. 45"
        parts = []
        for hospital in _HOSPITALS:
            path = filed("heart_disease", f"processed.{hospital}.data", title, publisher)
            parts.append(_hospital(pd.read_csv(path, header=None, na_values="?"), hospital))
        note = (
            "740 patients of four hospitals, by FLamby's Fed-Heart-Disease recipe: '?' or empty is "
            "missing; columns 10-12 (slope, vessels, thal) and then incomplete rows are dropped; "
            "label 0 against 1-4; chest pain and resting ECG one-hot without their first level; "
            "66/34 split per hospital, seed 43, stratified where each class has more than two "
            "patients (all hospitals but switzerland). FLamby standardises by each hospital's own "
            "train rows: preparation.scaling=own."
        )
        columns = tuple(Number(name, low, high) for name, low, high in _HEART)
        return DataSet(
            self.name,
            pd.concat(parts, ignore_index=True),
            Schema(columns, "disease"),
            "hospital",
            None,
            Provenance(title, publisher, CC_BY, note),
            split="split",
        )


@dataclass(frozen=True, slots=True)
class Adult:
    """Census answers; the label is an income above 50,000 dollars a year.

    Attributes:
        partition_by: ``occupation`` (15 brands) or ``education`` (16); not a feature then.
    """

    name: str = "adult"
    partition_by: str = "occupation"

    def __post_init__(self) -> None:
        one_of("partition_by", self.partition_by, ("occupation", "education"))

    def load(self) -> DataSet:
        """Read the publisher's train and test file, which fix the split."""
        title, publisher = "Adult", f"{UCI}, no. 2"
        parts = []
        for split, file in (("train", "adult.data"), ("test", "adult.test")):
            path = filed("adult", file, title, publisher)
            part = pd.read_csv(path, skipinitialspace=True).drop(columns="fnlwgt")
            parts.append(part.assign(split=split))
        rows = pd.concat(parts, ignore_index=True)
        rich = rows.pop("classification").str.rstrip(".") == ">50K"
        rows["rich"] = rich.astype(int)
        brand = rows[self.partition_by].where(rows[self.partition_by] != "?", "unknown")
        rows[self.partition_by] = brand
        unused = {self.partition_by} | ({"education-num"} & {f"{self.partition_by}-num"})
        note = (
            "32,561 train and 16,281 test rows, the publisher's split; 24.1 % of the train rows "
            "are positive. fnlwgt (a sampling weight) is dropped, '?' is a value of its own. "
            f"Brand = {self.partition_by}, groups of people, which are not organisations."
        )
        return DataSet(
            self.name,
            rows,
            Schema(tuple(c for c in _ADULT if c.name not in unused), "rich"),
            self.partition_by,
            None,
            Provenance(title, publisher, CC_BY, note),
            split="split",
        )


def _hospital(raw: pd.DataFrame, hospital: str) -> pd.DataFrame:
    from sklearn.model_selection import train_test_split

    kept = raw.drop(columns=[10, 11, 12]).dropna().astype(float).reset_index(drop=True)
    rows = kept.rename(columns=dict(enumerate(_HEART_FILE)) | {13: "disease"})
    for name, levels in _HEART_LEVELS.items():
        codes = rows.pop(name)
        for level in levels:
            rows[f"{name}_{level}"] = (codes == level).astype(float)
    rows["disease"] = (rows.pop("disease") > 0).astype(int)
    smallest = int(rows["disease"].value_counts().min())
    _, test = train_test_split(
        np.arange(len(rows)),
        test_size=1 - 0.66,
        train_size=0.66,
        random_state=43,
        shuffle=True,
        stratify=rows["disease"] if smallest > 2 else None,
    )
    rows["split"] = np.where(rows.index.isin(test), "test", "train")
    return rows.assign(hospital=hospital)


_HEART_FILE = (
    "age",
    "sex",
    "chest_pain",
    "pressure",
    "cholesterol",
    "sugar",
    "ecg",
    "heart_rate",
    "angina",
    "depression",
)
"""Columns 0-9 of the processed files; column 13 is the diagnosis."""

_HEART_LEVELS = {"chest_pain": (2, 3, 4), "ecg": (1, 2)}

_HEART = (
    ("age", 0, 100),  # years
    ("sex", 0, 1),
    ("pressure", 0, 250),  # mm Hg
    ("cholesterol", 0, 700),  # mg/dl
    ("sugar", 0, 1),
    ("heart_rate", 0, 250),  # per minute
    ("angina", 0, 1),
    ("depression", -5, 10),  # mm of ST
    ("chest_pain_2", 0, 1),
    ("chest_pain_3", 0, 1),
    ("chest_pain_4", 0, 1),
    ("ecg_1", 0, 1),
    ("ecg_2", 0, 1),
)

_ADULT: tuple[Column, ...] = (
    Number("age", 0, 100),
    Category(
        "workclass",
        (
            "Private",
            "Self-emp-not-inc",
            "Self-emp-inc",
            "Federal-gov",
            "Local-gov",
            "State-gov",
            "Without-pay",
            "Never-worked",
            "?",
        ),
    ),
    Category(
        "education",
        (
            *("Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th"),
            *("HS-grad", "Some-college", "Assoc-voc", "Assoc-acdm", "Bachelors", "Masters"),
            *("Prof-school", "Doctorate"),
        ),
    ),
    Number("education-num", 0, 16),
    Category(
        "marital-status",
        (
            *("Married-civ-spouse", "Divorced", "Never-married", "Separated", "Widowed"),
            *("Married-spouse-absent", "Married-AF-spouse"),
        ),
    ),
    Category(
        "occupation",
        (
            *("Tech-support", "Craft-repair", "Other-service", "Sales", "Exec-managerial"),
            *("Prof-specialty", "Handlers-cleaners", "Machine-op-inspct", "Adm-clerical"),
            *("Farming-fishing", "Transport-moving", "Priv-house-serv", "Protective-serv"),
            *("Armed-Forces", "?"),
        ),
    ),
    Category(
        "relationship",
        ("Wife", "Own-child", "Husband", "Not-in-family", "Other-relative", "Unmarried"),
    ),
    Category("race", ("White", "Black", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other")),
    Category("sex", ("Female", "Male")),
    Number("capital-gain", 0, 100_000, log=True),  # dollars
    Number("capital-loss", 0, 5_000, log=True),
    Number("hours-per-week", 0, 100),
    Category(
        "native-country",
        (
            *("United-States", "Cambodia", "England", "Puerto-Rico", "Canada", "Germany"),
            *("Outlying-US(Guam-USVI-etc)", "India", "Japan", "Greece", "South", "China", "Cuba"),
            *("Iran", "Honduras", "Philippines", "Italy", "Poland", "Jamaica", "Vietnam"),
            *("Mexico", "Portugal", "Ireland", "France", "Dominican-Republic", "Laos", "Ecuador"),
            *("Taiwan", "Haiti", "Columbia", "Hungary", "Guatemala", "Nicaragua", "Scotland"),
            *("Thailand", "Yugoslavia", "El-Salvador", "Trinadad&Tobago", "Peru", "Hong"),
            *("Holand-Netherlands", "?"),
        ),
    ),
)
