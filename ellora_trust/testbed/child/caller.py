"""Calls many small functions, each in a process of its own, and hands back what they gave; nothing is compared here.

Usage: caller.py REPLIES (descriptor). Input: the nonce that every reply must carry, then one JSON line a job:
{"source", "entry", "calls": [{"kinds", "arguments"}]}. One reply a job: {"nonce", "job", "found"}, where "found" is a
list of {"value"} or {"error"}, or {"stage": "compile" | "load" | "missing" | "ended" | "timeout"}.
"""

import io
import json
import os
import select
import signal
import sqlite3
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = 4.0  # of one job, by the clock; a loaded machine takes its time
MOST = 1 << 20  # bytes of one job's reply


class Buffer:
    """What a buffer is since `push` was removed."""

    def __init__(self, items):
        self._items = list(items)

    def append(self, item):
        self._items.append(item)


class LegacyBuffer(Buffer):
    """What it was before."""

    push = Buffer.append


class Stack:
    """Takes `push` only."""

    def __init__(self, items):
        self._items = list(items)

    def push(self, item):
        self._items.append(item)


def cursor(spec):
    table, field, rows = spec
    made = sqlite3.connect(":memory:").cursor()
    made.execute(f"CREATE TABLE {table} (id INTEGER, {field} TEXT)")
    made.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)
    return made


MAKERS = {"plain": lambda value: value, "buffer": Buffer, "legacy": LegacyBuffer, "stack": Stack, "cursor": cursor}


def plain(value):
    return list(value._items) if type(value) in (Buffer, LegacyBuffer, Stack) else value


def call(values, function, request):
    given = values.loads(json.dumps(request["arguments"]))
    kinds = request["kinds"]
    made = [MAKERS[kind](value) for kind, value in zip(kinds, given, strict=True)]
    try:
        result = plain(function(*made))
        after = [value if kind == "cursor" else plain(one) for kind, value, one in zip(kinds, given, made, strict=True)]
        return {"value": values.dumps([result, after])}
    except values.Unsupported:
        return {"error": "Unsupported"}
    except BaseException as error:
        return {"error": type(error).__name__}


def work(values, job):
    os.environ.update(job.get("environment", {}))
    namespace = {"__name__": "solution", "os": os}
    try:
        code = compile(job["source"], "solution.py", "exec")
    except (SyntaxError, ValueError):
        return {"stage": "compile"}
    try:
        exec(code, namespace)
    except BaseException as error:
        return {"stage": "load", "error": type(error).__name__}
    if job["entry"] not in namespace:
        return {"stage": "missing"}
    found = namespace[job["entry"]]
    if not job["calls"]:
        return [call(values, lambda: found, {"arguments": [], "kinds": []})]
    return [call(values, found, request) for request in job["calls"]]


def in_child(values, job, closed):
    """Return the bytes that a forked process wrote about a job, and how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        for descriptor in closed:
            os.close(descriptor)
        data = json.dumps(work(values, job)).encode()
        with os.fdopen(writer, "wb") as out:
            out.write(data)
        os._exit(0)
    os.close(writer)
    pieces, size, ended = [], 0, "ended"
    while size <= MOST:
        if not select.select([reader], [], [], SECONDS)[0]:
            ended = "timeout"
            break
        piece = os.read(reader, 1 << 16)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
    os.close(reader)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return b"".join(pieces), ended


def main():
    sys.path.insert(0, HERE)
    import values  # pyright: ignore[reportMissingImports]

    sys.path.remove(HERE)
    out = int(sys.argv[1])
    lines = sys.stdin.read().splitlines()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # what the programs read or print is no request and no reply
        os.dup2(nothing, descriptor)
    sys.stdout = sys.stderr = io.StringIO()
    for number, line in enumerate(lines[1:]):
        data, ended = in_child(values, json.loads(line), [out])
        try:
            found = json.loads(data)
        except ValueError:
            found = {"stage": ended}
        reply = {"nonce": lines[0], "job": number, "found": found}
        os.write(out, json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    main()
    os._exit(0)
