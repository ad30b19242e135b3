"""The one exception that means "the caller can fix this".

Every message has three parts: what was given, what is allowed, what to do. The command line prints such a message as
one sentence and exits with `exit_code`; any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: a wrong name, shape, range, file or setting."""

    exit_code = 2


class EnvironmentProblem(InputError):
    """The machine lacks something: a package, disk space, a permission, the network."""

    exit_code = 1


def one_of(given: object, allowed: object, *, what: str) -> str:
    """Return the sentence for a choice that does not exist, with the nearest spelling when there is one."""
    import difflib

    names = [str(name) for name in allowed] if isinstance(allowed, (list, tuple, set, dict)) else [str(allowed)]
    close = difflib.get_close_matches(str(given), names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {what} {given!r}; use one of {', '.join(sorted(names))}{hint}"
