"""Requests and replies as bytes, for whatever carries them between processes.

``length | JSON | .npz``: the JSON holds kind, number or code, and the scalars; bytes are in hex.
Whoever reads believes nothing: anything else than such bytes is a ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from fl.arrays import Arrays, from_bytes, to_bytes
from fl.contracts import Reply, Request, Scalar
from fl.errors import Code

_LENGTH = 8


def request_bytes(run: str, request: Request) -> bytes:
    """A request of a run.

    >>> request_of(request_bytes("r", Request("train", 1, {}, {"salt": b"x"})))[1].config
    {'salt': b'x'}
    """
    head = {"run": run, "kind": request.kind, "number": request.number}
    return _join({**head, "config": _plain(request.config)}, request.arrays)


def request_of(raw: bytes) -> tuple[str, Request]:
    """The run and the request of :func:`request_bytes`.

    Raises:
        ValueError: not such bytes.
    """
    head, arrays = _split(raw)
    match head:
        case {"run": str(run), "kind": str(kind), "number": int(number), "config": dict(config)}:
            return run, Request(kind, number, arrays, _scalars(config))
    raise ValueError("Expected a request.")


def reply_bytes(reply: Reply) -> bytes:
    """A reply."""
    return _join({"code": str(reply.code), "config": _plain(reply.config)}, reply.arrays)


def reply_of(raw: bytes) -> Reply:
    """The reply of :func:`reply_bytes`.

    Raises:
        ValueError: not such bytes, or a code that is not known.
    """
    head, arrays = _split(raw)
    match head:
        case {"code": str(code), "config": dict(config)}:
            return Reply(Code(code), arrays, _scalars(config))
    raise ValueError("Expected a reply.")


def codes_of(reply: Reply) -> tuple[Code, ...]:
    """All reasons of a reply that gives several, or its one code; what is no code is left out.

    >>> codes_of(Reply(Code.BUDGET)), codes_of(Reply(Code.BUDGET, {}, {"codes": "x policy.plan"}))
    ((<Code.BUDGET: 'budget.exhausted'>,), (<Code.POLICY_PLAN: 'policy.plan'>,))
    """
    said, known = str(reply.config.get("codes", "")).split(), set(Code)
    return tuple(Code(code) for code in said if code in known) or (reply.code,)


def _join(head: Mapping[str, object], arrays: Arrays) -> bytes:
    text = json.dumps(head, sort_keys=True).encode()
    return b"".join((len(text).to_bytes(_LENGTH, "big"), text, to_bytes(arrays) if arrays else b""))


def _split(raw: bytes) -> tuple[object, Arrays]:
    end = _LENGTH + int.from_bytes(raw[:_LENGTH], "big")
    if len(raw) < end:
        raise ValueError("Expected a whole message.")
    rest = raw[end:]
    return json.loads(raw[_LENGTH:end]), from_bytes(rest) if rest else {}


def _plain(config: Mapping[str, Scalar]) -> dict[str, object]:
    return {k: {"hex": v.hex()} if isinstance(v, bytes) else v for k, v in config.items()}


def _scalars(config: Mapping[str, object]) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for key, value in config.items():
        match value:
            case {"hex": str(text)}:
                found[key] = bytes.fromhex(text)
            case bool() | int() | float() | str():
                found[key] = value
            case _:
                raise ValueError("Expected scalars.")
    return found
