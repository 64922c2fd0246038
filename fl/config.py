"""From YAML values to frozen dataclasses: the plug-in is its config, unknown keys are refused.

YAML holds values only. ``name`` selects a class from a table written in code, so a config can never
name something to import.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from fl.errors import InputError

T = TypeVar("T")
Values = Mapping[str, Any]


def choose(table: Mapping[str, type[T]], values: Values, where: str) -> T:
    """Build the plug-in that ``values["name"]`` selects.

    >>> from fl.algorithms import ALGORITHMS
    >>> choose(ALGORITHMS, {"name": "fedprox", "mu": 0.1}, "algorithm").mu
    0.1

    Raises:
        InputError: no name, a name that is not in the table, or values that do not fit.
    """
    name = group(values, where).get("name")
    if not isinstance(name, str) or name not in table:
        raise InputError(
            f"{where}.name", f"{name!r} is not known", f"choose one of {', '.join(sorted(table))}"
        )
    return build(table[name], values, where)


def build(cls: type[T], values: Values, where: str) -> T:
    """Build the frozen dataclass ``cls`` from plain values.

    Raises:
        InputError: an unknown key, a missing key, a value of the wrong type or out of range.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if _configured(f)}  # type: ignore[arg-type]
    for key in group(values, where):
        if key not in fields:
            raise InputError(
                f"{where}.{key}",
                "no such key",
                f"{where} has {', '.join(sorted(fields)) or 'no keys'}",
            )
    read = {key: _read(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    for key, field in fields.items():
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and key not in read:
            raise InputError(f"{where}.{key}", "is missing", "give it a value")
    try:
        return cls(**read)
    except ValueError as error:
        raise InputError(where, str(error).rstrip("."), "change the value") from error


def group(values: object, where: str) -> Values:
    """``values`` if it is a mapping; else an ``InputError`` that names ``where``."""
    if not isinstance(values, Mapping):
        raise InputError(where, f"{values!r} is not a group of values", f"give {where}.KEY=VALUE")
    return values


def plain(config: Any) -> dict[str, Any]:
    """The values of a plug-in, as :func:`build` reads them.

    >>> from fl.algorithms.fedprox import FedProx
    >>> plain(FedProx(mu=0.5))
    {'name': 'fedprox', 'mu': 0.5}
    """
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if _configured(f)}


def run_state(config: Any) -> dict[str, Any]:
    """What a plug-in learned when its run started; no config can set it."""
    kept = [f for f in dataclasses.fields(config) if f.init and not _configured(f)]
    return {f.name: getattr(config, f.name) for f in kept}


def _configured(field: dataclasses.Field[Any]) -> bool:
    return field.init and not field.metadata.get("run_state")


def _read(kind: Any, value: Any, where: str) -> Any:
    """``value`` as ``kind``: scalars, optional, tuples, mappings and nested dataclasses."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _read(next(a for a in args if a is not type(None)), value, where)
    if kind is typing.Any or kind is object:
        return value
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {str(k): _read(args[1], item, f"{where}.{k}") for k, item in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        return build(kind, value, where)
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind is str and type(value) in (int, float, bool):
        return str(value).lower() if type(value) is bool else str(value)
    if type(kind) is type and type(value) is kind:
        return value
    name = getattr(kind, "__name__", str(kind))
    raise InputError(where, f"{value!r} is not of type {name}", f"write a value of type {name}")
