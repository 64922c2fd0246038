"""Resolving identities: ``python -m experiments.bench.identity --out F.json [--identifiers N]``.

A made-up brand with two channels: two of three people are in both, a fifth writes their phone
number another way there, one number in a thousand is the till's own. Rows ``{case, metric, value,
unit}``: seconds and peak memory of a fresh process for ``resolve`` (normal forms, keyed hashes,
joining), beside the seconds that the keyed hashes alone take on the same values in the same
process. Goal: 1,000,000 identifiers in under 20 s and under 2 GB.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.bench.published import Row, publish, row
from fl.data.identity import Resolved, Rules, resolve
from fl.seeds import numpy_generator

KEY = b"a key for measurements only....."


def channels(identifiers: int) -> tuple[dict[str, list[pd.Series]], pd.Series]:
    """Records with ``identifiers`` filled cells: 40 % phones, 30 % e-mails, 20 % members, 10 % open
    ids."""
    rng = numpy_generator(0, "identity bench")
    records = identifiers * 2 // 5
    people = rng.integers(0, records * 3 // 4, records)
    other = rng.random(records)
    phones = [
        "13900000000" if x < 0.001 else f"+86 138 {p:08d}" if x < 0.2 else f"138{p:08d}"
        for p, x in zip(people.tolist(), other.tolist(), strict=True)
    ]

    def some(text: str, share: float) -> pd.Series:
        kept = (people % 1000) < 1000 * share
        cells = [text.format(p) if k else None for p, k in zip(people, kept, strict=True)]
        return pd.Series(cells, dtype=object)

    columns = {
        "phone": [pd.Series(phones)],
        "email": [some("Person{}@Example.com", 0.75)],
        "member": [some("M{:08d}", 0.5)],
        "open_id": [some("oX{:x}", 0.25)],
    }
    return columns, pd.Series(np.arange(records))


def measure(identifiers: int) -> list[Row]:
    """One resolution in this process."""
    cells, names = channels(identifiers)
    before = _peak()
    began, used = time.perf_counter(), time.process_time()
    found: Resolved = resolve(cells, names, KEY, Rules("CN"))
    seconds, used = time.perf_counter() - began, time.process_time() - used
    values = [str(v).encode() for columns in cells.values() for c in columns for v in c.dropna()]
    began = time.perf_counter()
    for value in values:
        hashlib.blake2b(value, key=KEY, digest_size=16).digest()
    hashing = time.perf_counter() - began
    case = f"{sum(found.identifiers.values())} identifiers"
    return [
        row(case, "seconds", seconds, "s"),
        row(case, "processor", used, "s"),
        row(case, "over_hashing_alone", seconds / hashing, "ratio"),
        row(case, "peak_memory", _peak() / 2**20, "GiB"),
        row(case, "peak_memory_before", before / 2**20, "GiB"),
        row(case, "records", len(names), "records"),
        row(case, "customers", len(found.pseudonym), "customers"),
        row(case, "conflicts", len(found.conflicts), "conflicts"),
    ]


def _peak() -> float:
    """Peak resident memory of this process in KiB."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> None:
    """Measure and write ``--out``."""
    parser = argparse.ArgumentParser(prog="experiments.bench.identity", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    parser.add_argument("--identifiers", type=int, default=1_000_000)
    asked = parser.parse_args()
    measured = measure(asked.identifiers)
    publish(asked.out, "identity", measured, ("pandas", "scipy", "phonenumbers"))


if __name__ == "__main__":
    main()
