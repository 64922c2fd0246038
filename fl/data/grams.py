"""Messages as bags of hashed character n-grams: no vocabulary, so nothing to agree on or to tell.

A message is normalised (Unicode NFKC, lower case, runs of white space as one space), cut into
n-grams of characters, and every n-gram falls into one of a fixed number of buckets (Weinberger et
al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009, without signs: with 2^18
buckets collisions are rare). The hash is murmur3's 64-bit finaliser, rolled over the characters; it
is public and the same everywhere. A bucket counts once, however often it occurs, with the public
weight of its n-gram's length, and all messages have the same L2 norm: none counts more for being
long, and the gradient of one message is bounded. Nothing depends on any other message.

Own code because scikit-learn hashes n-grams one by one in Python: HashingVectorizer takes nearly
three times as long (``experiments.bench.grams``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.errors import InputError

_U64 = npt.NDArray[np.uint64]
_WRONG = 0.3  # share of characters that only a wrong encoding reaches


@dataclass(frozen=True, slots=True)
class Bags:
    """Entries of messages, one message behind the other; see ``fl/sparse.py``.

    Attributes:
        code: int32 ``[n]``, rising within a message; the last is the entry that all have.
        value: float32 ``[n]``.
        start: int32 ``[messages + 1]``.
    """

    code: npt.NDArray[np.int32]
    value: npt.NDArray[np.float32]
    start: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Grams:
    """How messages are cut and hashed. Public, and the same for all brands.

    Attributes:
        buckets: of the hash, >= 2.
        weights: of an n-gram of 1, 2, ... characters, >= 0; a weight of 0 leaves a length out.
        norm: L2 norm of a message's n-grams, > 0.
        intercept: value of the entry that every message has, > 0; its code is ``buckets``.
        longest: characters of a message that are read, >= 1.
    """

    buckets: int = 1 << 18
    weights: tuple[float, ...] = (1.0, 1.0, 0.5)
    norm: float = 3.0
    intercept: float = 1.0
    longest: int = 400

    def __post_init__(self) -> None:
        if not 2 <= self.buckets < 1 << 31:
            raise ValueError(f"Expected buckets={self.buckets} >= 2 (and below 2^31).")
        if not self.weights or not all(0 <= w < np.inf for w in self.weights):
            raise ValueError(f"Expected weights={self.weights} >= 0, one for each length.")
        if not any(self.weights):
            raise ValueError("Expected at least one of weights to be > 0.")
        if not (0 < self.norm < np.inf and 0 < self.intercept < np.inf) or self.longest < 1:
            raise ValueError(
                f"Expected norm={self.norm} > 0, intercept={self.intercept} > 0 and "
                f"longest={self.longest} >= 1."
            )

    def encode(self, messages: Sequence[str]) -> Bags:
        """The bag of each message; a message has one even if none of its n-grams counts.

        >>> bags = Grams(buckets=50, weights=(1.0,), norm=1, intercept=0.5).encode(["aab", "b"])
        >>> bags.start.tolist(), bags.code.tolist()[-1], [f"{v:.2f}" for v in bags.value]
        ([0, 3, 5], 50, ['0.71', '0.71', '0.50', '1.00', '0.50'])
        """
        kinds, rows = len(self.weights) + 1, len(messages)
        keys = [  # message, bucket, length in one number, so that one sort brings them together
            (row * (self.buckets + 1) + bucket) * kinds + length
            for length, row, bucket in self._hashed(messages)
        ]
        everybody = (np.arange(rows) * (self.buckets + 1) + self.buckets) * kinds
        key = np.sort(np.concatenate([*keys, everybody]))
        place = key // kinds
        first = np.ones(len(place), np.bool_)
        first[1:] = place[1:] != place[:-1]  # of n-grams in one bucket, the shortest counts
        row, code = np.divmod(place[first], self.buckets + 1)
        value = np.array([0.0, *self.weights])[key[first] % kinds]
        square = np.bincount(row, weights=value**2, minlength=rows)
        value *= (self.norm / np.sqrt(np.maximum(square, 1e-12)))[row]
        value[code == self.buckets] = self.intercept
        start = np.concatenate([[0], np.bincount(row, minlength=rows).cumsum()])
        return Bags(code.astype(np.int32), value.astype(np.float32), start.astype(np.int32))

    def _hashed(
        self, messages: Sequence[str]
    ) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """For each length, the message and the bucket of every n-gram."""
        texts = [normalised(message)[: self.longest] for message in messages]
        row = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
        joined = "".join(texts).encode("utf-32-le", "surrogatepass")
        character = np.frombuffer(joined, np.uint32).astype(np.uint64) + np.uint64(1)
        rolled = np.zeros(len(character), np.uint64)
        for length, weight in enumerate(self.weights, start=1):
            begins = max(0, len(character) - length + 1)
            rolled = _mixed(rolled[:begins] * _ODD + character[length - 1 :])
            inside = row[:begins] == row[length - 1 :]
            if weight:
                bucket = (rolled[inside] % np.uint64(self.buckets)).astype(np.int64)
                yield length, row[:begins][inside], bucket


def normalised(message: str) -> str:
    """What is read of a message.

    >>> normalised("  \\uff27OOD\\n phone ")
    'good phone'
    """
    return " ".join(unicodedata.normalize("NFKC", message).lower().split())


def readable(cells: pd.Series, where: str) -> list[str]:
    """The cells of a column as messages.

    Raises:
        InputError: a cell that is empty or no text, or that was read in another encoding than it
            was written in; by its row, never by its words.
    """
    messages: list[str] = []
    for index, cell in cells.items():
        if problem := _problem(cell):
            row = index + 1 if isinstance(index, int | np.integer) else index
            raise InputError(f"{where}, column {cells.name}, row {row}", *problem)
        messages.append(str(cell))
    return messages


def _problem(cell: object) -> tuple[str, str] | None:
    if isinstance(cell, bytes):
        return "the message is bytes, not text", "decode the column, usually from UTF-8 or GB18030"
    if not isinstance(cell, str) or not cell.strip().strip("\ufeff\ufffd"):
        return "the message is empty", "remove the row, or give it a message"
    if len(_MISREAD.findall(cell)) > max(4, _WRONG * len(cell)) or _utf8_as_gb18030(cell):
        return (
            "the message was written in another encoding than it was read in",
            "save the file as UTF-8, or read it in its own encoding (often GB18030)",
        )
    return None


def _utf8_as_gb18030(cell: str) -> bool:
    """Whether a message's GB18030 bytes spell text in UTF-8, as those of Chinese do not by chance.

    >>> _utf8_as_gb18030("这家店的水果不新鲜".encode().decode("gb18030", "replace"))
    True
    >>> _utf8_as_gb18030("这家店的水果不新鲜"), _utf8_as_gb18030("good")
    (False, False)
    """
    if cell.isascii():
        return False
    spelt = cell.replace("\ufffd", "").encode("gb18030", "replace").decode("utf-8", "replace")
    wide = sum("\u0800" <= character < "\ufffd" for character in spelt)
    return wide > 1 and wide > 2 * spelt.count("\ufffd")


_MISREAD = re.compile("[\x80-\x9f\xc0-\xff\ufffd\ud800-\udfff]")
"""What bytes become under a wrong encoding: controls, accented letters, marks of replacement."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


def _mixed(h: _U64) -> _U64:
    """The finaliser ``fmix64`` of MurmurHash3 (Appleby, public domain)."""
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))
