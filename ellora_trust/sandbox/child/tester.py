"""Runs tests whose functions live in another sandbox; the expected values in the tests never leave this one.

Usage: tester.py REQUESTS REPLIES VERDICT (descriptors: to the solver, from it, to the parent). Standard input: a
line with the parent's nonce, one with the solver's, one with the names, then the tests.
"""

import builtins
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import values  # noqa: E402

sys.path.remove(HERE)
if os.path.isdir("/packages"):
    sys.path.append("/packages")


class Ended(BaseException):
    """The solver's process is gone, or no longer speaks the protocol."""


class Raised(Exception):
    """The function raised; tests may expect that, so it is also of the type that was raised."""

    kind = ""
    stage = ""


class Cannot(BaseException):
    """An argument or a result that does not travel: the tests cannot decide."""


class Opaque:
    """A result that does not travel: equal to nothing; whoever looks closer cannot decide."""

    def __eq__(self, other):
        return False

    def __ne__(self, other):
        return True

    def __hash__(self):
        return id(self)


def _refuse(self, *_):
    raise Cannot("a result that cannot be compared from outside")


for (
    _name
) in "bool len iter next getitem contains call getattr lt le gt ge add sub mul truediv radd rsub rmul abs".split():
    setattr(Opaque, f"__{_name}__", _refuse)


def main():
    parent_nonce, solver_nonce, names = (sys.stdin.readline().strip() for _ in range(3))
    tests = sys.stdin.read()
    requests = os.fdopen(int(sys.argv[1]), "wb", buffering=0)
    replies = os.fdopen(int(sys.argv[2]), "rb")
    verdict = os.fdopen(int(sys.argv[3]), "wb", buffering=0)
    index = 0

    def answer():
        nonlocal index
        try:
            reply = json.loads(replies.readline())
            if reply["nonce"] != solver_nonce or reply["index"] != index:
                raise Ended("a reply that nobody asked for")
        except (ValueError, KeyError, TypeError) as error:
            raise Ended("the program ended") from error
        index += 1
        return reply

    def proxy(name):
        def call(*arguments, **keywords):
            if keywords:
                raise Cannot("keyword arguments")
            try:
                line = values.dumps([name, list(arguments)])
            except (values.Unsupported, RecursionError) as error:
                raise Cannot(str(error)) from error
            try:
                requests.write(line.encode() + b"\n")
            except OSError as error:
                raise Ended("the program ended") from error
            reply = answer()
            if reply.get("error") == "Unsupported":
                return Opaque()
            if "error" in reply:
                raise _raised(reply)
            try:
                return values.loads(reply["value"])
            except (ValueError, TypeError) as error:
                raise Ended("a reply that is no value") from error

        call.__name__ = name
        return call

    def decided():
        try:
            requests.write(solver_nonce.encode() + b"\n")
            loaded = answer()
        except (OSError, Ended):
            return "crash", "the program ended while it was loaded"
        if "error" in loaded:
            return ("build_error" if loaded["stage"] == "compile" else "crash"), str(loaded["error"])
        namespace = {"__name__": "tests", **{name: proxy(name) for name in names.split()}}
        try:
            exec(compile(tests, "tests.py", "exec"), namespace)
        except Cannot as error:
            return "undecided", str(error)
        except Ended as error:
            return "crash", str(error)
        except Raised as error:
            if error.stage == "missing":
                return "build_error", "the function is not defined"
            return "crash", error.kind
        except NameError as error:
            return "undecided", f"the tests need {error}"
        except BaseException as error:
            return "wrong", f"{type(error).__name__}: {error}"[:300]
        return "correct", ""

    outcome, detail = decided()
    verdict.write(json.dumps({"nonce": parent_nonce, "outcome": outcome, "detail": detail}).encode() + b"\n")


def _raised(reply):
    kind = getattr(builtins, str(reply["error"]), None)
    bases = (Raised,)
    if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception:
        bases = (Raised, kind)
    try:
        error = type("Raised", bases, {})(str(reply["error"]))
    except TypeError:  # exceptions whose memory layouts do not mix
        error = Raised(str(reply["error"]))
    error.kind, error.stage = str(reply["error"]), reply.get("stage")
    return error


if __name__ == "__main__":
    main()
    os._exit(0)
