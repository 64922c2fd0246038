"""Train, validation and test rows: split by customer, never by row, each brand by itself.

Where each row is a customer, it is drawn within its brand, stratified by label. Where customers
have ids, and may be known to several brands (a household buys from many manufacturers), a
customer's split is a hash of the seed and its id: the same at every brand, so that no test customer
is ever trained on. Either way a brand's split is the same whatever rows other brands have.
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
    """

    test: float = 0.3
    validation: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.test < 1 or not 0 <= self.validation < 1:
            raise ValueError(
                f"Expected test={self.test} in (0, 1) and validation={self.validation} in [0, 1)."
            )


def by_hash(customers: pd.Series, fractions: Fractions, seed: int) -> Names:
    """Split of each row from its customer's id alone."""
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
    """Keep the publisher's test rows; draw validation customers from the rest by hash."""
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
