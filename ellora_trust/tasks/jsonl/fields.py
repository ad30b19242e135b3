"""Typed access to the fields of one JSON object, with a sentence for each that is not what it should be.

Use it where people write JSON by hand: the message names the place, the field, what it is and what to give. A field
that is null counts as missing.

    Fields("data.jsonl line 3", {"choices": "a"}).texts("choices", listed=True)
    # InputError: data.jsonl line 3: 'choices' is a string; give a list of strings
"""

from __future__ import annotations

import json
import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from ellora_trust.errors import InputError, one_of

Scalar = str | int | float | bool | None
_NAMES = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class Fields:
    """One object.

    Attributes:
        where: Place that messages begin with, such as "data.jsonl line 3".
        data: The object.
    """

    where: str
    data: Mapping[str, object]

    def fail(self, what: str) -> NoReturn:
        """Raise the sentence.

        Raises:
            InputError: Always.
        """
        raise InputError(f"{self.where}: {what}")

    def has(self, name: str) -> bool:
        """Whether a field is there and not null."""
        return self.data.get(name) is not None

    def text(self, name: str, *, default: str | None = None) -> str:
        """Return a string; a field without default must be there and not be empty."""
        if not self.has(name):
            if default is None:
                self.fail(f"{name!r} is missing; give a string")
            return default
        value = self._encodable(name, self.data[name])
        if not value and default is None:
            self.fail(f"{name!r} is empty; give a string")
        return value

    def texts(
        self, name: str, *, default: Sequence[str] = (), listed: bool = False, many: bool = False
    ) -> tuple[str, ...]:
        """Return strings, none of them blank.

        Args:
            name: The field: a list of strings, or one string.
            default: Where it is missing.
            listed: Whether one string alone is refused.
            many: Whether white space alone (a stop string) and an empty list are taken.
        """
        value = self.data.get(name)
        if value is None:
            return tuple(default)
        if isinstance(value, str) and not listed:
            value = [value]
        if not isinstance(value, list):
            self._wrong(name, value, "a list of strings" if listed else "a string or a list of strings")
        found = tuple(self._encodable(f"{name}[{index}]", item) for index, item in enumerate(value))
        if not (found or many) or not all(item if many else item.strip() for item in found):
            self.fail(f"{name!r} is empty or holds an empty string; give text")
        return found

    def label(self, name: str, *, default: str) -> str:
        """Return a name that may be written as a whole number."""
        value = self.data.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value == "":
            self.fail(f"{name!r} is empty; give a string, or leave it out")
        return self.text(name, default=default)

    def count(self, name: str, *, default: int) -> int:
        """Return a whole number of at least 1."""
        value = self.data.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong(name, value, "a whole number")
        if value < 1:
            self.fail(f"{name!r} is {value}; give 1 or more")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false; true where it is missing."""
        value = self.data.get(name)
        if not isinstance(value, bool | None):
            self._wrong(name, value, "true or false")
        return value is not False

    def choice(self, name: str, allowed: Sequence[str], *, default: str) -> str:
        """Return one of some words."""
        value = self.text(name, default=default)
        if value not in allowed:
            self.fail(one_of(value, list(allowed), what=name))
        return value

    def identifier(self, name: str) -> str:
        """Return the name of a Python function."""
        value = self.text(name)
        if not value.isidentifier() or keyword.iskeyword(value):
            self.fail(f"{name!r} is {value!r}; give the name of a Python function")
        return value

    def position(self, name: str, among: Sequence[str]) -> int:
        """Return a position in a list, given as index from 0 or as the text that stands there."""
        value = self.data.get(name)
        wanted = f"an index in 0..{len(among) - 1} or one of the choices"
        if value is None:
            self.fail(f"{name!r} is missing; give {wanted}")
        if isinstance(value, str):
            if value.strip() not in among:
                self.fail(f"{name!r} is {value!r}, which is none of the choices; give {wanted}")
            return among.index(value.strip())
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong(name, value, wanted)
        if not 0 <= value < len(among):
            self.fail(f"{name!r} is {value}; give {wanted}")
        return value

    def scalars(self, name: str) -> dict[str, Scalar]:
        """Return an object whose values are strings, numbers, booleans and null."""
        value = self.data.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong(name, value, "an object of strings, numbers and booleans")
        for key, item in value.items():
            if isinstance(item, list | dict):
                self._wrong(f"{name}.{key}", item, "a string, a number or a boolean")
        return value

    def _encodable(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            self._wrong(name, value, "a string")
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(f"{name!r} holds half of a surrogate pair; give valid Unicode")
        return value

    def _wrong(self, name: str, value: object, wanted: str) -> NoReturn:
        self.fail(f"{name!r} is {_NAMES.get(type(value), 'null')}; give {wanted}")


def read_object(where: str, line: str) -> Fields:
    """Read one line.

    Raises:
        InputError: It is no JSON object.
    """
    try:
        data = json.loads(line, parse_constant=_no_constant)
    except RecursionError:
        raise InputError(f"{where}: nested too deeply; give one flat JSON object a line") from None
    except ValueError as error:
        reason = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{where}: not JSON ({reason}); write one JSON object a line") from None
    if not isinstance(data, dict):
        raise InputError(f"{where}: no JSON object; write one a line, between {{ and }}")
    return Fields(where, data)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
