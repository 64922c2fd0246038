"""Train, validation and test rows: split by customer, never by row, each brand by itself.

Where each row is a customer, it is drawn within its brand, stratified by label. Where customers
have ids, and may be known to several brands (a household buys from many manufacturers), a
customer's split is a hash of the seed and its id: the same at every brand, so that no test customer
is ever trained on. Either way a brand's split is the same whatever rows other brands have.

Seeds may be folds instead of fresh draws: then K seeds in a row turn the same order of customers by
a K-th each, so that every customer is a test customer of one of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.seeds import Generator, numpy_generator

Names = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Fractions:
    """Shares of customers.

    Attributes:
        test: in (0, 1); not used where the publisher fixed the test rows.
        validation: share of the other customers, in [0, 1); 0 means tuning is off.
        folds: 0 where every seed draws anew; else 1 / ``test``: seed ``s`` tests the customers of
            fold ``s % folds`` of division ``s // folds``.
    """

    test: float = 0.3
    validation: float = 0.25
    folds: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.test < 1 or not 0 <= self.validation < 1:
            raise ValueError(
                f"Expected test={self.test} in (0, 1) and validation={self.validation} in [0, 1)."
            )
        if self.folds and (self.folds < 2 or abs(self.test * self.folds - 1) > 0.01):
            raise ValueError(
                f"Expected folds={self.folds} to be 0, or >= 2 with test={self.test} one of them "
                f"(1 / folds)."
            )

    def turned(self, u: npt.NDArray[np.float64], seed: int) -> Names:
        """The split of customers at ``u`` in [0, 1) of their division, as this seed's fold."""
        fold = seed % self.folds
        mine = np.minimum((u * self.folds).astype(np.int64), self.folds - 1) == fold
        edge = 1 / self.folds
        known = edge + (1 - edge) * self.validation
        rest = np.where((u - fold * edge) % 1.0 < known, "validation", "train")
        return np.where(mine, "test", rest).astype(object)


def by_hash(customers: pd.Series, fractions: Fractions, seed: int) -> Names:
    """Split of each row from its customer's id alone."""
    if fractions.folds:
        return fractions.turned(_uniforms(customers, seed // fractions.folds), seed)
    u = _uniforms(customers, seed)
    edge = fractions.test + (1 - fractions.test) * fractions.validation
    return np.where(u < fractions.test, "test", np.where(u < edge, "validation", "train")).astype(
        object
    )


def by_stratum(
    customers: pd.Series, targets: pd.Series, fractions: Fractions, seed: int, brand: str
) -> Names:
    """Split of each row of one brand, drawn per class of customer (the highest of its rows)."""
    has = targets.groupby(customers).max().sort_index()
    split = pd.Series("train", index=has.index, dtype=object)
    for kind in sorted(has.unique()):
        members = has.index[has.to_numpy() == kind]
        if fractions.folds:
            rng = numpy_generator(seed // fractions.folds, "folds", brand, int(kind))
            place = rng.permutation(len(members)) + rng.random()
            split[members] = fractions.turned(place / len(members), seed)
            continue
        rng = numpy_generator(seed, "split", brand, int(kind))
        order = rng.permutation(len(members))
        tested = _share(len(members), fractions.test, rng)
        validated = _share(len(members) - tested, fractions.validation, rng)
        split[members[order[:tested]]] = "test"
        split[members[order[tested : tested + validated]]] = "validation"
    return customers.map(split).to_numpy(object)


def validation_only(
    fixed: pd.Series, customers: pd.Series, fractions: Fractions, seed: int
) -> Names:
    """Keep the publisher's test rows; draw validation customers from the rest by hash.

    Validation rows that are fixed as well are kept, or with a share of 0 are training rows.
    """
    if (fixed == "validation").any():
        return fixed.replace({} if fractions.validation else {"validation": "train"}).to_numpy(
            object
        )
    names = np.where(_uniforms(customers, seed) < fractions.validation, "validation", "train")
    return np.where(fixed.to_numpy() == "test", "test", names).astype(object)


def _share(n: int, fraction: float, rng: Generator) -> int:
    """``n * fraction``, rounded up or down at random so that it is right in expectation."""
    exact = n * fraction
    return int(exact) + int(rng.random() < exact - int(exact))


def _uniforms(customers: pd.Series, seed: int) -> npt.NDArray[np.float64]:
    """One number in [0, 1) per row, a function of the seed and the customer's id alone."""
    drawn = {
        who: hashlib.sha256(f"{seed}|{who}".encode()).digest()[:8] for who in customers.unique()
    }
    scale = 2.0**-64
    return customers.map({w: int.from_bytes(d, "big") * scale for w, d in drawn.items()}).to_numpy(
        np.float64
    )
