"""The one exception that means "the caller can fix this".

Every message has three parts: what was given, what is allowed, what to do. The command line prints such a message as
one sentence and exits with `exit_code`; any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


class InputError(ValueError):
    """Bad input: a wrong name, shape, range, file or setting."""

    exit_code = 2


class EnvironmentProblem(InputError):
    """The machine lacks something: a package, disk space, a permission, the network."""

    exit_code = 1


def one_of(given: object, allowed: object, *, what: str) -> str:
    """Return the sentence for a choice that does not exist, with the nearest spelling when there is one."""
    names = [str(name) for name in allowed] if isinstance(allowed, (list, tuple, set, dict)) else [str(allowed)]
    near = closest(str(given), names)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"unknown {what} {given!r}; use one of {', '.join(sorted(names))}{hint}"


def closest(given: str, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the name that is spelled most alike; None where none is alike to the cutoff, [0, 1]."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(given, list(names), n=1, cutoff=cutoff)), None)


def is_slip(given: str, names: Collection[str]) -> bool:
    """Whether a name is near one of these and so no hub id; without a network the hub is tried for a minute."""
    return "/" not in given and given not in names and closest(given, names, cutoff=0.75) is not None
