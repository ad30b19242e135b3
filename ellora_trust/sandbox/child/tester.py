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


class Solver:
    """The program under test, at the other end of two descriptors; replies carry its nonce and a running number."""

    def __init__(self, requests, replies, nonce):
        self.requests = os.fdopen(requests, "wb", buffering=0)
        self.replies = os.fdopen(replies, "rb")
        self.nonce = nonce
        self.index = 0

    def load(self):
        """Tell it to load the program; the first reply says whether that went well."""
        self.requests.write(self.nonce.encode() + b"\n")
        return self.answer()

    def answer(self):
        try:
            reply = json.loads(self.replies.readline())
            if reply["nonce"] != self.nonce or reply["index"] != self.index:
                raise Ended("a reply that nobody asked for")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Ended("the program ended") from error
        self.index += 1
        return reply

    def ask(self, line):
        try:
            self.requests.write(line.encode() + b"\n")
        except OSError as error:
            raise Ended("the program ended") from error
        return self.answer()


def proxy(solver, name):
    """Stand in for a function that lives in the other sandbox."""

    def call(*arguments, **keywords):
        if keywords:
            raise Cannot("keyword arguments")
        try:
            line = values.dumps([name, list(arguments)])
        except (values.Unsupported, RecursionError) as error:
            raise Cannot(str(error)) from error
        return _result(solver.ask(line))

    call.__name__ = name
    return call


def _result(reply):
    if reply.get("error") == "Unsupported":
        return Opaque()
    if "error" in reply:
        raise _raised(reply)
    try:
        return values.loads(reply["value"])
    except (ValueError, TypeError) as error:
        raise Ended("a reply that is no value") from error


def decided(solver, names, tests):
    """Load the program, run the tests on its functions, and return outcome and detail."""
    try:
        loaded = solver.load()
    except (OSError, Ended):
        return "crash", "the program ended while it was loaded"
    if "error" in loaded:
        return ("build_error" if loaded["stage"] == "compile" else "crash"), str(loaded["error"])
    return _tested(tests, {"__name__": "tests", **{name: proxy(solver, name) for name in names.split()}})


def _tested(tests, namespace):
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


def main():
    parent_nonce, solver_nonce, names = (sys.stdin.readline().strip() for _ in range(3))
    tests = sys.stdin.read()
    requests, replies, verdict = (int(descriptor) for descriptor in sys.argv[1:4])
    outcome, detail = decided(Solver(requests, replies, solver_nonce), names, tests)
    line = json.dumps({"nonce": parent_nonce, "outcome": outcome, "detail": detail})
    with os.fdopen(verdict, "wb", buffering=0) as parent:
        parent.write(line.encode() + b"\n")


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
