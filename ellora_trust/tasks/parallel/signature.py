"""A C++ kernel's signature, read from the text that ends with it: what goes in, what comes out, in which types.

found = signature("/* ... */\\ndouble dot(std::vector<double> const& x, std::vector<double> const& y) {")
found.name, found.parameters[0].kind              # ("dot", "vector<double>")
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEAD = re.compile(r"(?P<result>[\w:<>, ]+?)\s+(?P<name>\w+)\s*\((?P<parameters>[^()]*)\)\s*\{\s*\Z")
_PARAMETER = re.compile(r"(?P<type>.*?)\s*(?P<reference>&?)\s*(?P<name>\w+)", re.DOTALL)
_COMMA = re.compile(r",(?![^<]*>)")  # not one between template arguments
_ELEMENTS = {"double", "float", "int", "size_t", "bool", "COOElement"}
_CONTAINER = re.compile(r"(?:vector<(?P<vector>\w+)>|array<(?P<array>\w+),(?P<length>\d+)>)\Z")


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: As the prompt spells it.
        kind: Its type without `std::`, `const`, `&` and spaces, such as "vector<double>".
        output: Whether the kernel may write to it.
    """

    name: str
    kind: str
    output: bool

    @property
    def declared(self) -> str:
        """The type of a variable that can be passed for it, as C++."""
        return re.sub(r"\b(vector|array)\b", r"std::\1", self.kind)

    @property
    def element(self) -> str:
        """The type of one value."""
        return element(self.kind)


@dataclass(frozen=True)
class Signature:
    """What a kernel takes and gives.

    Attributes:
        name: The function's.
        result: Kind of what it returns; "void" for nothing.
        parameters: In order.
    """

    name: str
    result: str
    parameters: tuple[Parameter, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Kinds of what comes back: the returned value, then what is written to, in order."""
        returned = () if self.result == "void" else (self.result,)
        return returned + tuple(one.kind for one in self.parameters if one.output)

    @property
    def shape(self) -> tuple[str, tuple[tuple[str, bool], ...]]:
        """What a driver depends on: everything but the names."""
        return self.result, tuple((one.kind, one.output) for one in self.parameters)


def element(kind: str) -> str:
    """Return the type of one value of a container, or of a scalar itself."""
    match = _CONTAINER.match(kind)
    return (match["vector"] or match["array"]) if match else kind


def length(kind: str) -> int | None:
    """Return the length of a `std::array`, None for anything else."""
    match = _CONTAINER.match(kind)
    return int(match["length"]) if match and match["length"] else None


def is_container(kind: str) -> bool:
    """Whether values of this kind are written with their count before them."""
    return _CONTAINER.match(kind) is not None


def signature(prompt: str) -> Signature | None:
    """Return the signature with which a prompt ends, or None where there is none that can be called from outside."""
    head = _HEAD.search(prompt.rpartition("*/")[2])
    if head is None:
        return None
    parts = [part for part in _COMMA.split(head["parameters"]) if part.strip()]
    parameters = [_parameter(part.strip()) for part in parts]
    result = _kind(head["result"])
    if not all(_known(one.kind) for one in parameters) or not (result == "void" or _known(result)):
        return None
    return Signature(head["name"], result, tuple(parameters))


def _known(kind: str) -> bool:
    # A vector<bool> has no bytes that could be copied.
    return element(kind) in _ELEMENTS and kind != "vector<bool>"


def _parameter(text: str) -> Parameter:
    match = _PARAMETER.fullmatch(text)
    if match is None:
        return Parameter("", text, False)
    constant = re.search(r"\bconst\b", match["type"]) is not None
    return Parameter(match["name"], _kind(match["type"]), bool(match["reference"]) and not constant)


def _kind(text: str) -> str:
    return re.sub(r"\bconst\b|std::|\s", "", text)
