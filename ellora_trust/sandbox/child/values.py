"""Plain Python values as JSON that keeps their exact types; both ends of a pipe use this file.

Only builtins of exactly these types pass: a subclass may carry methods of its own, such as an `__eq__` that is
always true.
"""

import json


class Unsupported(TypeError):
    """A value of a type that does not travel."""


def _encoded(value):
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return {"int": hex(value)}
    if kind is float:
        return {"float": value.hex()}
    if kind is complex:
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is list:
        return [_encoded(item) for item in value]
    if kind is tuple or kind is set or kind is frozenset:
        return {kind.__name__: [_encoded(item) for item in value]}
    if kind is dict:
        return {"dict": [[_encoded(key), _encoded(item)] for key, item in value.items()]}
    raise Unsupported(f"a value of type {kind.__name__} cannot be compared from outside")


def _decoded(data):
    if data is None or isinstance(data, (bool, str)):
        return data
    if isinstance(data, list):
        return [_decoded(item) for item in data]
    if not isinstance(data, dict) or len(data) != 1:
        raise ValueError("not an encoded value")
    ((kind, content),) = data.items()
    return _READERS[kind](content)


_READERS = {
    "int": lambda text: int(text, 16),
    "float": float.fromhex,
    "complex": lambda parts: complex(*map(float.fromhex, parts)),
    "bytes": bytes.fromhex,
    "tuple": lambda items: tuple(map(_decoded, items)),
    "set": lambda items: set(map(_decoded, items)),
    "frozenset": lambda items: frozenset(map(_decoded, items)),
    "dict": lambda pairs: {_decoded(key): _decoded(item) for key, item in pairs},
}


def dumps(value):
    """Return a value as one line of ASCII JSON; raises Unsupported, or RecursionError for a cycle."""
    return json.dumps(_encoded(value))


def loads(text):
    """Return the value; raises ValueError for anything that dumps() does not write."""
    try:
        return _decoded(json.loads(text))
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:  # of float.fromhex
        raise ValueError("not an encoded value") from error
