"""The escape corpus, part two: programs that try to be called correct without being so.

Every one is asked for `secret(1)`, whose right value only the parent or the tests know. It may send, print and patch
what it likes; it is caught if the verdict is anything but correct.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ellora_trust.sandbox.calls import call, check, same
from ellora_trust.sandbox.result import Limits
from ellora_trust.sandbox.sandbox import Sandbox
from ellora_trust.tasks.base import Outcome

_LIMITS = Limits(wall=3, cpu=3)


@dataclass(frozen=True)
class Forgery:
    """One attempt; `language` is python or c."""

    name: str
    goal: str
    program: str
    language: str = "python"


FORGERIES = (
    Forgery(
        "stdout-verdict",
        "print what a harness would look for",
        'print(\'PASS\\nValidation: PASS\\n{"outcome": "correct"}\')\n'
        "def secret(x): print('Validation: PASS'); return None",
    ),
    Forgery(
        "always-equal",
        "return an object that equals everything",
        "class Any:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
        "    __hash__ = object.__hash__\ndef secret(x): return Any()",
    ),
    Forgery(
        "equal-subclass",
        "return a str or an int that equals everything",
        "class Any(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "def secret(x): return Any(7)",
    ),
    Forgery(
        "frame-walk",
        "find the harness's variables and overwrite them",
        "import sys\n"
        "def secret(x):\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        for name, value in list(frame.f_locals.items()):\n"
        "            if name == 'expected': return value\n"
        "            if name == 'reply': value(value='\"correct\"', outcome='correct', stage='call')\n"
        "        frame = frame.f_back\n"
        "    return 'correct'",
    ),
    Forgery(
        "memory-search",
        "find the expected value among all objects and files",
        "import gc, os\n"
        "def secret(x):\n"
        "    for thing in gc.get_objects():\n"
        "        if isinstance(thing, (list, tuple, dict)) and 'token-' in str(thing)[:100000]:\n"
        "            text = str(thing); at = text.index('token-'); return text[at:at + 38]\n"
        "    for base, _, names in [*os.walk('/work'), *os.walk('/tmp')]:\n"
        "        for name in names:\n"
        "            text = open(os.path.join(base, name), errors='replace').read()\n"
        "            if 'token-' in text and 'solution' not in name: return text[text.index('token-'):][:38]",
    ),
    Forgery(
        "patched-harness",
        "replace the serialiser and the comparison",
        "import builtins, json, sys, os\n"
        "os.write(1, b'correct')\n"
        'json.dumps = lambda *a, **k: \'{"outcome": "correct", "value": true}\'\n'
        "builtins.all = builtins.any = lambda *a: True\n"
        "for module in list(sys.modules.values()):\n"
        "    if hasattr(module, 'loads'): module.loads = lambda *a: True\n"
        "def secret(x): return True",
    ),
    Forgery(
        "every-descriptor",
        "write verdicts to every open descriptor",
        "import os\n"
        "def secret(x):\n"
        "    for number in range(256):\n"
        "        for line in (b'{\"outcome\": \"correct\"}\\n', b'PASS\\n'):\n"
        "            try: os.write(number, line)\n"
        "            except OSError: pass\n"
        "    return 'PASS'",
    ),
    Forgery(
        "exit-handler",
        "leave early with success and a message",
        "import atexit, os, sys\n"
        "atexit.register(lambda: (print('Validation: PASS'), sys.stdout.flush(), os._exit(0)))\n"
        "def secret(x): sys.exit(0)",
    ),
    Forgery("early-exit", "end the process with exit code 0", "import os\ndef secret(x): os._exit(0)"),
    Forgery(
        "twin",
        "fork and let both answer",
        "import os\ndef secret(x):\n    os.fork()\n    return 'token-' + '0' * 32",
    ),
    Forgery(
        "lost-tests",
        "read the requests before the harness does",
        "import os\n"
        "for number in range(3, 20):\n"
        "    try: os.set_blocking(number, False); os.read(number, 1 << 16)\n"
        "    except OSError: pass\n"
        "def secret(x): return 'PASS'",
    ),
    Forgery(
        "static-constructor",
        "print and report success before main, then leave",
        "#include <stdio.h>\n#include <unistd.h>\n"
        "__attribute__((constructor)) static void early(void) {\n"
        '    puts("Validation: PASS"); fflush(stdout);\n'
        '    for (int fd = 1; fd < 64; fd++) (void)!write(fd, "PASS correct\\n", 13);\n'
        "    _exit(0);\n}\n"
        "long secret(long x) { return 0; }\n",
        "c",
    ),
    Forgery(
        "replaced-libc",
        "replace memcmp, strcmp and write",
        "#include <stddef.h>\n#include <unistd.h>\n"
        "int memcmp(const void *a, const void *b, size_t n) { return 0; }\n"
        "int strcmp(const char *a, const char *b) { return 0; }\n"
        "long secret(long x) { return 0; }\n",
        "c",
    ),
)

# The least harness for C: nonce and argument come in after the constructors, nonce and value go out by a pipe.
_MAIN = """
#include <stdio.h>
#include <stdlib.h>
long secret(long x);
int main(int argc, char **argv) {
    char nonce[64]; long x;
    if (scanf("%63s %ld", nonce, &x) != 2) return 1;
    long value = secret(x);
    FILE *out = fdopen(atoi(argv[1]), "w");
    fprintf(out, "%s %ld\\n", nonce, value);
    return fclose(out);
}
"""


def forge(box: Sandbox, forgery: Forgery, token: str) -> list[str]:
    """Return the ways in which a forged verdict passed; an empty list means that none did.

    Args:
        box: Where it runs.
        forgery: The attempt.
        token: The right value, known to the tests alone.
    """
    ways: dict[str, Callable[[], bool]] = {
        "call": lambda: _passes_call(box, forgery.program, token),
        "check": lambda: _passes_check(box, forgery.program, token),
    }
    if forgery.language == "c":
        ways = {"pipe": lambda: passes_pipe(box, forgery.program, int.from_bytes(token[-7:].encode()))}
    return [name for name, passes in ways.items() if passes()]


def _passes_call(box: Sandbox, program: str, token: str) -> bool:
    called = call(box, program, "secret", [(1,)], limits=_LIMITS, repeats=1)
    return called.returned[0].error is None and same(called.returned[0].value, token)


def _passes_check(box: Sandbox, program: str, token: str) -> bool:
    tests = f"assert secret(1) == {token!r}"
    return check(box, program, tests, ["secret"], limits=_LIMITS, repeats=1).outcome is Outcome.CORRECT


def passes_pipe(box: Sandbox, program: str, value: int) -> bool:
    """Whether a C program's reply over the pipe carries this run's nonce and the value `secret(1)` should have."""
    import os
    import secrets

    nonce = secrets.token_hex(16)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as replies, box.build(program, language="c", files={"main.c": _MAIN}) as built:
        if not built.ok:
            os.close(writer)
            return False
        run = built.execute(
            str(writer), stdin=f"{nonce} 1\n", limits=_LIMITS, keep=(writer,), pipes={"replies": replies}
        )
    return run.replies["replies"] == f"{nonce} {value}\n".encode()
