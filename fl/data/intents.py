"""What somebody who writes wants: utterances to an assistant, questions to a bank."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass

import pandas as pd

from fl.data.dataset import DataSet, Provenance
from fl.data.reviews import archived
from fl.data.schema import Schema, Text
from fl.data.sources import filed
from fl.errors import InputError

_SPLITS = {"train": "train", "develop": "train", "test": "test"}


@dataclass(frozen=True, slots=True)
class SmpIntents:
    """Chinese utterances to an assistant with 31 intents, in the publisher's split."""

    name: str = "smp_intents"

    def load(self) -> DataSet:
        """Read the text files of the archive, one for each intent and split.

        The archive's ``data.json`` is several objects run together, and has no test rows.
        """
        title, publisher = "SMP2017-ECDT task 1", "Chinese Information Processing Society of China"
        path = filed("smp_intents", "smp2017.zip", title, publisher)
        try:
            with zipfile.ZipFile(path) as archive:
                files = [n for n in archive.namelist() if n.endswith(".txt")]
        except zipfile.BadZipFile as error:
            raise InputError("data.name", f"cannot read {path.name!r}", "copy it again") from error
        rows = [
            {"utterance": line.strip(), "intent": intent, "split": _SPLITS[part]}
            for file in sorted(files)
            for part, _, intent in [file.rsplit("/", 1)[-1].removesuffix(".txt").partition("_")]
            if part in _SPLITS
            for line in archived(path, file).decode("utf-8-sig").splitlines()
            if line.strip()
        ]
        note = (
            "3,736 utterances of users to an assistant, 31 intents: 2,299 to train, 770 to develop "
            "(here: train), 667 to test. Chat has 20 % of them, the rarest 1 %. The data has no "
            "brands: choose a partition."
        )
        table = pd.DataFrame(rows, columns=["utterance", "intent", "split"])
        return DataSet(
            self.name,
            table,
            Schema((Text("utterance"),), "intent", classes=tuple(sorted(set(table["intent"])))),
            None,
            None,
            Provenance(title, publisher, "research use", note),
            split="split",
        )


@dataclass(frozen=True, slots=True)
class Banking77:
    """English questions of a bank's customers with 77 intents, in the publisher's split."""

    name: str = "banking77"

    def load(self) -> DataSet:
        """Read both files."""
        title, publisher = "BANKING77", "PolyAI"
        rows = pd.concat(
            [
                pd.read_csv(filed("banking77", f"{part}.csv", title, publisher)).assign(split=part)
                for part in ("train", "test")
            ],
            ignore_index=True,
        )
        note = (
            "10,003 questions to train and 3,080 to test, 77 intents of 35 to 187 and of 40 "
            "questions. The data has no brands: choose a partition."
        )
        return DataSet(
            self.name,
            rows,
            Schema((Text("text"),), "category", classes=tuple(sorted(set(rows["category"])))),
            None,
            None,
            Provenance(title, publisher, "CC BY 4.0", note),
            split="split",
        )
