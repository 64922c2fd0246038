"""Rows that are dataclasses of tensors: chosen and joined field by field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

D = TypeVar("D", bound="DataclassInstance")


def each(rows: D, change: Callable[[Tensor], Tensor]) -> D:
    """The rows with ``change`` applied to every field."""
    made: Callable[..., D] = type(rows)
    return made(*(change(getattr(rows, f.name)) for f in fields(rows)))


def joined(parts: Sequence[D]) -> D:
    """All rows, in order."""
    made: Callable[..., D] = type(parts[0])
    return made(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(parts[0])))
