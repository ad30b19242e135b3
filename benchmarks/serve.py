"""`ellora-trust serve` under the real openai client: a stream, an abstention, a hang-up, and more clients than slots.

Starts the server on a free port of this machine, asks, prints what came, and stops it. An answer under load counts as
the same if its text is that of the same request alone; a refused client (429) comes back when it is told to.

    python benchmarks/serve.py --probe runs/probe/probe-aliasing [--clients 16] [--each 2]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import OpenAI, RateLimitError

PROMPT = "x = [1, 2]\ny = x\ny.append(3)\nprint(x)\n# prints"
ABSTAIN = {"ellora_trust": {"policy": "abstain", "threshold": 0.2}}


def main() -> None:
    args = arguments()
    with serving(args.probe) as (base, model):
        client = OpenAI(base_url=base, api_key="none", max_retries=0, timeout=600)
        ask = Asking(client, base.removesuffix("/v1"), model)
        ask.stream()
        ask.abstain()
        ask.hang_up()
        ask.load(args.clients, args.each)


@contextmanager
def serving(probe: Path):
    """Run the command; gives the address and the model's name."""
    command = [sys.executable, "-m", "ellora_trust", "serve", "--probe", str(probe), "--port", "0", "--json"]
    server = subprocess.Popen([*command, "--queue", "4"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None, "it was asked for"
    try:
        greeting = ""
        while not greeting.endswith("}\n"):
            line = server.stdout.readline()
            if not line:
                raise SystemExit(f"the server ended; try: {' '.join(command)}")
            greeting += line
        said = json.loads(greeting)
        yield said["base_url"], said["model"]
    finally:
        server.terminate()
        server.wait()


class Asking:
    """Requests to one server."""

    def __init__(self, client: OpenAI, root: str, model: str):
        self.client, self.root, self.model = client, root, model

    def complete(self, n: int, **settings: Any) -> Any:
        asked = {"model": self.model, "prompt": PROMPT, "max_tokens": n, "temperature": 0.0}
        return self.client.completions.create(**(asked | settings))

    def waiting(self) -> int:
        with urllib.request.urlopen(f"{self.root}/health") as reply:
            return json.loads(reply.read())["working_or_waiting"]

    def stream(self) -> None:
        whole = self.complete(24).choices[0]
        chunks = [chunk.choices[0] for chunk in self.complete(24, stream=True)]
        same = "".join(chunk.text for chunk in chunks) == whole.text
        risks = [token["risk"] for chunk in chunks for token in chunk.risk["tokens"]]
        verdict = chunks[-1].risk["verdict"]
        print(f"stream: {len(risks)} tokens with their risks; text as without streaming: {same}; {verdict}")

    def abstain(self) -> None:
        done = self.complete(64, extra_body=ABSTAIN).choices[0]
        print(f"abstain from risk 0.2: finish_reason {done.finish_reason!r} after {done.text!r}; {done.risk['reason']}")

    def hang_up(self) -> None:
        stream = self.complete(256, stream=True)
        next(iter(stream))
        before = self.waiting()
        stream.close()
        began = time.perf_counter()
        while self.waiting():
            time.sleep(0.02)
        print(f"hang-up: {before} at work, free again {time.perf_counter() - began:.2f} s after the client left")

    def load(self, n_clients: int, each: int) -> None:
        alone, refused = self.complete(4).choices[0].text, Counter()

        def one(_: int) -> tuple[bool, float]:
            began = time.perf_counter()
            while True:
                try:
                    return self.complete(4).choices[0].text == alone, time.perf_counter() - began
                except RateLimitError as error:
                    refused["429"] += 1
                    time.sleep(float(error.response.headers.get("retry-after", 1)))

        with ThreadPoolExecutor(n_clients) as pool:
            found = list(pool.map(one, range(n_clients * each)))
        seconds = [taken for _, taken in found]
        same = sum(equal for equal, _ in found)
        print(
            f"load: {n_clients} clients, {len(found)} answers, {same} as alone, {refused['429']} times told to wait; "
            f"seconds an answer: median {statistics.median(seconds):.1f}, most {max(seconds):.1f}"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probe", type=Path, default=Path("runs/probe/probe-aliasing"))
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--each", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
