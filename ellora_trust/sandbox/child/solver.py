"""Holds the program under test and answers calls: the arguments come in, values go out, nothing is compared here.

Usage: solver.py REQUESTS REPLIES (descriptors). The first line of the requests is the nonce that every reply must
carry; each further one is [name, arguments].
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    sys.path.insert(0, HERE)
    import values

    sys.path.remove(HERE)
    requests = os.fdopen(os.dup(int(sys.argv[1])), "rb")
    replies = os.fdopen(int(sys.argv[2]), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # what the program reads is never a request
    nonce = requests.readline().decode().strip()
    count = 0

    def reply(**content):
        nonlocal count
        replies.write(json.dumps({"nonce": nonce, "index": count, **content}).encode() + b"\n")
        count += 1

    namespace = {"__name__": "solution", "__builtins__": __builtins__}
    try:
        with open(os.path.join(HERE, "solution.txt"), encoding="utf-8") as file:
            source = file.read()
        code = compile(source, "solution.py", "exec")
    except (SyntaxError, ValueError) as error:
        return reply(error=type(error).__name__, stage="compile")
    try:
        exec(code, namespace)
    except BaseException as error:
        return reply(error=type(error).__name__, stage="load")
    reply(value="true", stage="load")
    for line in requests:
        name, arguments = values.loads(line.decode())  # pyright: ignore[reportGeneralTypeIssues]
        try:
            if name not in namespace:
                reply(error="NameError", stage="missing")
                continue
            result = namespace[name](*arguments)  # pyright: ignore
            reply(value=values.dumps(result), stage="call")
        except BaseException as error:
            reply(error=type(error).__name__, stage="call")


if __name__ == "__main__":
    main()
    # Neither exit handlers nor threads of the program get another turn.
    os._exit(0)
