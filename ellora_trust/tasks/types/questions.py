"""Questions about one annotation: which slots can be asked about, and the text a model sees.

A model without fill-in-the-middle tokens sees the function without the annotation, then its signature again up to the
gap, which it continues. Of six designs tried on SmolLM2 none was right more often: few-shot examples before it and
headings (`# Typed:`) changed nothing that could be measured; the signature alone, a question in a comment (`# x:`) and
a `<FILL>` to be named were right less often.

    function = next(functions("def f(x: int):\\n    return x + 1\\n"))
    question = ask(function.source, "f", Slot("param", "x"))
    question.prompt                           # 'def f(x):\\n    return x + 1\\n\\ndef f(x:'
"""

from __future__ import annotations

import ast
import builtins
import collections.abc
import re
import typing
from dataclasses import dataclass

from ellora_trust.tasks.types.annotations import Function, FunctionNode, Slot, mask, parameter_default
from ellora_trust.tasks.types.normal import normalise, type_names
from ellora_trust.tasks.types.shorten import shorten

# Characters of code shown, about 3.3 to a token; longer bodies are shortened, longer signatures not asked about.
MAX_CODE, MAX_SIGNATURE = 420, 260
MAX_TYPE = 40  # characters; longer answers test patience, and do not fit into 12 tokens
_GAP = "ELLORA_GAP_"
# What an annotation may use without an import: a question must be answerable from Python or from the file.
COMMON_NAMES = frozenset({*dir(builtins), *typing.__all__, *collections.abc.__all__})
# Says nothing about the values (Any, type variables) or is an enumeration of values (Literal).
_NO_ANSWER = re.compile(r"Any|AnyStr|Literal\[.*|_?[A-Z][A-Z0-9]?|_?[A-Z]T|\w*[a-z]T|T[A-Z_]\w*|\w+_(co|contra)")
# The protocol fixes what these return; only the name would be asked for.
_FIXED_RETURNS = frozenset(
    f"__{name}__"
    for name in "init init_subclass post_init repr str len hash bool contains index int float bytes format dir "
    "sizeof eq ne lt le gt ge setattr delattr setitem delitem del set_name set delete setstate".split()
)


@dataclass(frozen=True)
class Question:
    """What a model sees of one slot.

    Attributes:
        prompt: For plain models: the function, then its signature up to the gap.
        prefix: Code before the gap.
        suffix: Code after the gap.
        truncated: Whether lines of the body were left out.
    """

    prompt: str
    prefix: str
    suffix: str
    truncated: bool


def askable_type(function: Function, slot: Slot, visible: set[str]) -> str | None:
    """Return the normal form of a slot's annotation, or None where asking for it makes no sense.

    Left out: types that are no answer (`Any`, type variables, `Literal`), long, or built from names the file does not
    know; functions without a body; parameters the body does not use; what a protocol method returns; a default of
    None whose annotation does not admit it.

    Args:
        function: Where the slot is.
        slot: With its annotation, from the function itself or from a stub.
        visible: Names the file imports or defines as classes, next to Python's own.
    """
    answer = normalise(slot.annotation)
    if answer is None or len(answer) > MAX_TYPE or not type_names(slot.annotation) <= visible | COMMON_NAMES:
        return None
    parts = {answer, *re.findall(r"\w+(?:\[)?", answer)} - {"Any", "Any["}
    if answer == "Any" or any(_NO_ANSWER.fullmatch(part) for part in parts) or not _has_body(function.node):
        return None
    if slot.kind == "return":
        return None if function.node.name in _FIXED_RETURNS else answer
    default = parameter_default(function.node, slot.name)
    lies = isinstance(default, ast.Constant) and default.value is None and "None" not in answer
    return answer if _uses(function.node, slot.name) and not lies else None


def visible_names(tree: ast.Module) -> set[str]:
    """Return the names a file imports or defines as classes, at any depth."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return names


def ask(source: str, qualname: str, slot: Slot) -> Question | None:
    """Return the question about one slot, or None where its signature or every statement is too long.

    Args:
        source: A function that has a body, as it is in its file, indentation included.
        qualname: Its qualified name; of a method, the class name is shown.
        slot: What to ask for; the annotation in it is not used.
    """
    prefix, suffix = mask(source, slot)
    owner = qualname.rpartition(".")[0]
    prefix = f"class {owner}:\n{prefix}" if owner else prefix
    wanted = re.compile(rf"\b{re.escape(slot.name)}\b" if slot.kind == "param" else r"\b(return|yield)\b")
    code = f"{prefix}{_GAP}{suffix.rstrip()}\n"
    shown = shorten(code, max_chars=MAX_CODE + len(_GAP), wanted=wanted)
    signature = prefix[_definition(prefix).start() :]
    if shown is None or len(signature) > MAX_SIGNATURE:
        return None
    suffix = shown.partition(_GAP)[2]
    return Question(plain_prompt(prefix, suffix), prefix, suffix, truncated=shown != code)


def plain_prompt(prefix: str, suffix: str) -> str:
    """Return what a model without fill-in-the-middle tokens sees of a function with a gap.

    Args:
        prefix: Code before the gap.
        suffix: Code after the gap, as it is to be shown.
    """
    without = re.sub(r"\s*(:|->)\s*$", "", prefix) + suffix
    return f"{without}\n{_one_line(prefix[_definition(prefix).start() :])}"


def _has_body(node: FunctionNode) -> bool:
    """Whether anything happens in a function, next to docstrings, `pass`, `...` and raising."""
    empty = (ast.Pass, ast.Raise)
    return not all(
        isinstance(item, empty) or (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
        for item in node.body
    )


def _uses(node: FunctionNode, name: str) -> bool:
    return any(isinstance(part, ast.Name) and part.id == name for item in node.body for part in ast.walk(item))


def _definition(prefix: str) -> re.Match[str]:
    found = re.search(r"^[ \t]*(async\s+)?def\s", prefix, re.MULTILINE)
    assert found is not None  # mask() only returns functions
    return found


def _one_line(signature: str) -> str:
    indentation = signature[: len(signature) - len(signature.lstrip())]
    joined = " ".join(line.strip() for line in signature.strip().splitlines())
    return indentation + joined.replace("( ", "(").replace(", )", ")")
