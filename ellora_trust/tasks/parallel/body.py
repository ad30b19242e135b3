"""Cuts what a model wrote after a function's opening brace down to the function's body.

function_body(" return x; }\\nint main() {}")       # " return x; }"
"""

from __future__ import annotations

import re

# Braces count only outside comments, strings and characters; a digit separator is no quote.
_TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)          # comments
    |R"(?P<mark>[^()\\\s]{0,16})\(.*?(?:\)(?P=mark)"|\Z)  # raw strings
    |"(?:\\.|[^"\\\n])*["\n]?              # strings
    |\b\d[\w']*                            # numbers
    |'(?:\\.|[^'\\\n])*['\n]?              # characters
    |[{}]""",
    re.VERBOSE | re.DOTALL,
)


def function_body(completion: str) -> str:
    """Return the text up to the brace that closes the function; a missing last brace is added.

    A stop string may have cut exactly that brace off. Where more than one is missing the text was cut in the middle,
    and it is left so that it does not compile.
    """
    depth = 1
    for match in _TOKEN.finditer(completion):
        if match[0] in "{}":
            depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return completion[: match.end()]
    return f"{completion}\n}}"
