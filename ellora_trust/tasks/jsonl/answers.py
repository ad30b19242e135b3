"""Whether a completion gives an accepted answer, or names the right one of some choices.

Use it for questions that need no program to be decided.

    gives(" [1,2]\\n", ("[1, 2]",), match="value")          # True
    chosen(" B) two", ("one", "two"))                       # 1
"""

from __future__ import annotations

import ast
import re
import string
import warnings
from collections.abc import Sequence
from typing import Literal

from ellora_trust.sandbox.calls import same

Match = Literal["exact", "value", "contains"]
MAX_CHOICES = len(string.ascii_uppercase)
_LABELLED = re.compile(r"\(?(?:([A-Za-z])|(\d{1,3}))(?:[).:]+\s*(.*))?")


def gives(completion: str, accepted: Sequence[str], *, match: Match) -> bool:
    """Whether a completion gives one of the accepted answers.

    White space at both ends does not count. An answer of one line is compared to the completion's first line, a
    longer one to all of it.

    Args:
        completion: What the model wrote, cut at a stop string.
        accepted: Answers, stripped, none empty.
        match: "exact" compares text; "value" also takes another spelling of the same Python literal (value and type);
            "contains" looks for the answer anywhere, in later lines too.
    """
    return any(_gives(completion.strip(), answer, match) for answer in accepted)


def _gives(text: str, answer: str, match: Match) -> bool:
    if match == "contains":
        return answer in text
    given = text if "\n" in answer else first_line(text)
    return given == answer or (match == "value" and _same_literal(given, answer))


def first_line(text: str) -> str:
    """Return the first line that is not blank, stripped."""
    return text.strip().partition("\n")[0].rstrip()


def _same_literal(one: str, other: str) -> bool:
    try:
        with warnings.catch_warnings():  # of the tokenizer, about what the model wrote
            warnings.simplefilter("ignore")
            return same(ast.literal_eval(one), ast.literal_eval(other))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def shown(prompt: str, choices: Sequence[str]) -> str:
    """Return a prompt with its choices below, lettered; without choices, the prompt."""
    if not choices:
        return prompt
    lines = [f"{letter}. {choice}\n" for letter, choice in zip(string.ascii_uppercase, choices, strict=False)]
    return f"{prompt}{'' if prompt.endswith(chr(10)) else chr(10)}{''.join(lines)}Answer:"


def chosen(completion: str, choices: Sequence[str]) -> int | None:
    """Return which choice the first line names, from 0, or None where it names none.

    By its text, by letter (A, B, ...), by number from 1, or by either with the text after it ("B) two"). Text goes
    first. Letters are no labels where a choice is itself one letter, numbers none where a choice is a number.
    """
    line = first_line(completion)
    for text in (line, line.strip("\"'`"), line.rstrip(".")):
        if text in choices:
            return choices.index(text)
    found = _LABELLED.fullmatch(line.rstrip("."))
    if found is None:
        return None
    letter, number, rest = found.groups()
    if any(re.fullmatch(r"[A-Za-z]" if letter else r"[+-]?[\d.]+", choice) for choice in choices):
        return None
    index = string.ascii_uppercase.index(letter.upper()) if letter else int(number) - 1
    if not 0 <= index < len(choices):
        return None
    return index if not rest or rest.strip("\"'` ") in (choices[index], choices[index].rstrip(".")) else None
