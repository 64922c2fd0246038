"""The policy file: TOML, every key required, unknown keys refused; a template that allows nothing;
which line of it a refusal means.

Reading marks each key as used; what is left over at the end is unknown, and an error.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fl.errors import Code, InputError
from fl.private_files import read_trusted, write_private

TEMPLATE = """\
# What this brand allows. It is read from this disk before every run, and nothing that a
# coordinator sends can loosen it. What is not named here is not allowed: as written, nothing is.
# "deployed" says what experiment=conversion_deploy needs; fl-node check says what is still refused.

[runs]                          # system level: which runs at all
tasks = []                      # deployed: ["conversion"]
plans = ["local"]               # deployed: ["distributed"], noise that is enough in the sum alone;
                                # "none" gives no guarantee and must be written to be possible
units = ["customer"]            # whose presence is hidden
accountants = ["pld"]           # "pld", "prv", "rdp"; never "gdp", which reports too little
noise_sources = ["secure"]      # never "insecure_noise_for_tests"
# rehearsal = true              # only where all data is made up: then even that one is possible

[limits]
epsilon_per_run = 1.0           # of one run; deployed: 3.0
epsilon_lifetime = 3.0          # of all runs ever made on this data set. A run is admitted by 1.2
                                # to 1.45 times its own epsilon; deployed: 4.0 (two runs: 5.5). The
                                # ledger keeps the first figure: fl-node ledger --renew
delta = 1e-6                    # ceiling; must be below 1 / number of customers; deployed: 1e-5.
                                # The ledger keeps the figure that it finds at the first offer
min_customers = 1000            # of this brand; with fewer it does not take part; deployed: 500
min_brands = 5                  # in a sum; with fewer this brand's part could be worked out;
                                # deployed: the brands of the roster less privacy.dropouts (four: 3)

[columns]                       # field level: what a run may read, the label included
allowed = []                    # as fl-node check lists them

# Role level: which columns each role may use in a run it asks for. Runs are asked for in the name
# of operator (fl-server submit --role). Roles: operator, steward, approver, auditor. Leave a role
# out and it may do nothing.
[roles.operator]
use = []                        # deployed: the same names as in [columns] allowed

[coordinators]                  # the line that fl-node join printed: name = "64 hex digits"

[approval]
mode = "signature"              # a person signs each run; "auto" leaves it to the limits above

[approval.people]               # name = "64 hex digits", as fl-node approve --new-key prints them
"""

LINES: Mapping[Code, str] = {
    Code.POLICY_COORDINATOR: "[coordinators]",
    Code.POLICY_TASK: "[runs] tasks",
    Code.POLICY_ROLE: "[roles]",
    Code.POLICY_COLUMNS: "[columns] allowed and [roles.operator] use",
    Code.POLICY_PLAN: "[runs] plans",
    Code.POLICY_UNIT: "[runs] units",
    Code.POLICY_ACCOUNTANT: "[runs] accountants",
    Code.POLICY_NOISE: "[runs] noise_sources",
    Code.POLICY_EPSILON: "[limits] epsilon_per_run",
    Code.POLICY_LIFETIME: "[limits] epsilon_lifetime",
    Code.POLICY_DELTA: "[limits] delta",
    Code.POLICY_DELTA_CUSTOMERS: "[limits] delta, below 1 / customers",
    Code.POLICY_CUSTOMERS: "[limits] min_customers",
    Code.POLICY_BRANDS: "[limits] min_brands",
    Code.POLICY_APPROVAL: "[approval], or a person's fl-node approve",
    Code.BUDGET: "the ledger's budget, fl-node ledger --renew",
}
"""Which line of a brand's ``policy.toml`` a refusal means; other codes mean none."""


def explained(codes: Iterable[Code]) -> str:
    """Codes with the lines of ``policy.toml`` they mean.

    Guarantee: says nothing that the codes do not say.

    >>> explained([Code.POLICY_PLAN, Code.POLICY_UNDERSTATED])
    'policy.plan: [runs] plans; policy.understated'
    """
    return "; ".join(f"{code}: {LINES[code]}" if code in LINES else str(code) for code in codes)


def write_template(path: Path) -> None:
    """Write a commented policy to a new file, for its owner to edit.

    Guarantee: it allows nothing until it is edited, and never replaces a file.

    Raises:
        InputError: the file exists or cannot be written.
    """
    write_private(path, TEMPLATE.encode(), "policy")


class Table:
    """One table of the file; each value is taken once.

    Guarantee: a value of another type than asked for is an error, never converted.
    """

    def __init__(self, where: str, values: dict[str, object]) -> None:
        self._where, self._left, self._inner = where, dict(values), list[Table]()

    def left(self) -> list[str]:
        """Keys not taken yet. Guarantee: in the order of the file."""
        return list(self._left)

    def table(self, key: str, *, optional: bool = False) -> Table:
        """A table inside this one. Guarantee: its leftovers count too; empty if optional."""
        values = self._take(key, "a table", {} if optional else None)
        if not isinstance(values, dict):
            raise self._wrong(key, "a table")
        self._inner.append(Table(f"{self._where} {key}", values))
        return self._inner[-1]

    def names(self, key: str, *, of: Collection[str] | None = None) -> frozenset[str]:
        """A list of texts. Guarantee: each is in ``of``, if that is given."""
        values = self._take(key, "a list of texts")
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise self._wrong(key, "a list of texts")
        names = frozenset(values)
        for name in sorted(names - set(names if of is None else of)):
            near = difflib.get_close_matches(name, list(of or ()), 1)
            hint = f"did you mean {near[0]!r}" if near else "correct or remove the name"
            raise InputError(f"{self._where} {key}", f"the data has no field {name!r}", hint)
        return names

    def number(self, key: str) -> float:
        """A number. Guarantee: a boolean is not one."""
        value = self._take(key, "a number")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number")
        return float(value)

    def whole(self, key: str) -> int:
        """A whole number. Guarantee: a boolean is not one."""
        value = self._take(key, "a whole number")
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "a whole number")
        return value

    def flag(self, key: str) -> bool:
        """True if it says so. Guarantee: false where nothing is said."""
        value = self._left.pop(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def text(self, key: str) -> str:
        """A text. Guarantee: nothing is read into it."""
        value = self._take(key, "a text")
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def texts(self) -> dict[str, str]:
        """All that is left, as texts by name. Guarantee: nothing of another type is passed over."""
        return {key: self.text(key) for key in self.left()}

    def finish(self) -> None:
        """Raise an error about the first key that nobody asked for.

        Guarantee: a misspelt limit is noticed, never ignored.
        """
        for key in self._left:
            raise InputError(
                f"{self._where} {key}", "no such key", "remove it, or correct its name"
            )
        for table in self._inner:
            table.finish()

    def _take(self, key: str, expected: str, default: object = None) -> object:
        if key not in self._left and default is None:
            raise InputError(f"{self._where} {key}", "is missing", f"give {expected}")
        return self._left.pop(key, default)

    def _wrong(self, key: str, expected: str) -> InputError:
        return InputError(f"{self._where} {key}", f"is not {expected}", f"give {expected}")


def settings_of(where: str, path: Path, make: str) -> Table:
    """The tables of a file of settings; ``make`` says how to begin one.

    Guarantee: nothing is taken yet; :meth:`Table.finish` names what nobody asked for.

    Raises:
        InputError: missing, or not TOML.
    """
    try:
        return Table(where, tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise InputError(where, "no such file", make) from error
    except (OSError, ValueError) as error:
        raise InputError(where, str(error).rstrip("."), "correct the file") from error


@contextmanager
def reading(path: Path) -> Iterator[Table]:
    """The tables of a policy file; after the block every key must have been taken.

    Guarantee: a file that others may write is not a policy.

    Raises:
        InputError: missing, writable by others, not TOML, an unknown key, or a value out of range.
    """
    where = f"policy {path}"
    text = read_trusted(path, where, lost="check the path, or write a template")
    try:
        file = Table(where, tomllib.loads(text))
        yield file
    except ValueError as error:
        raise InputError(where, str(error).rstrip("."), "see the policy template") from error
    file.finish()
