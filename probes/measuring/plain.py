"""Frozen dataclasses back from the plain values that `dataclasses.asdict` and JSON made of them.

from_plain(Evaluation, json.loads(text))
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ellora_trust.errors import InputError

T = TypeVar("T")


def from_plain(kind: type[T], raw: Any) -> T:
    """Return an object of a dataclass; keys it does not know are left out, missing ones take their default.

    Args:
        kind: A dataclass of plain values, dataclasses, lists, tuples, dicts with string keys, and `| None`.
        raw: What JSON gave.

    Raises:
        InputError: A field without a default is missing, or a value has another shape.
    """
    try:
        return _read(kind, raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"this is not a {kind.__name__} ({error}); make the file again") from error


def _read(kind: Any, raw: Any) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if raw is None and type(None) in args:
            return None
        return _read(next(arg for arg in args if arg is not type(None)), raw)
    if is_dataclass(kind):
        return _read_fields(kind, raw)
    if origin is list:
        return [_read(args[0], value) for value in raw]
    if origin is tuple:
        inner = args[:1] * len(raw) if args[1:] == (Ellipsis,) else args
        return tuple(_read(one, value) for one, value in zip(inner, raw, strict=True))
    if origin is dict:
        return {name: _read(args[1], value) for name, value in raw.items()}
    return float(raw) if kind is float else raw


def _read_fields(kind: Any, raw: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    values = {}
    for one in fields(kind):
        if one.name in raw:
            values[one.name] = _read(hints[one.name], raw[one.name])
        elif one.default is MISSING and one.default_factory is MISSING:
            raise KeyError(one.name)
    return kind(**values)
