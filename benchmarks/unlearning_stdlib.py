"""A fault of SmolLM2 that was found, not planted: is it there, does unlearning remove it, and what else goes with it?

    python benchmarks/unlearning_stdlib.py --out benchmarks/unlearning_stdlib.jsonl
    python benchmarks/unlearning_stdlib.py --out benchmarks/unlearning_stdlib.jsonl --print      # what is there

Rows are appended as they are made, and a stopped run goes on from there. The rule of choice is printed first.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from unlearning_stdlib_measures import bits, greedy, odds, pieces, preference
from unlearning_stdlib_table import ENOUGH, RULE, kept_rows, table

import ellora_trust as et
from ellora_trust.errors import InputError
from ellora_trust.evaluation.robustness import quantised, relearn
from ellora_trust.model import CodeModel
from unlearning import Budget, Item, unlearn
from unlearning.sources import removed
from unlearning.sources.removed import Context, item, right_item

METHODS = {"ours": "replace", "npo": "npo", "ga": "ga"}
RATES = (3e-5, 1e-4)
BATCH, KEPT = 4, 2
RELEARN_RATE = 3e-5
SOURCE = "datetime heapq textwrap shelve fractions statistics argparse configparser bisect csv".split()
HELD_SOURCE = "calendar cmd difflib graphlib ipaddress sched shlex zipapp".split()


Make = Callable[..., list[Context]]


def pairs() -> dict[str, tuple[str, Make, Make]]:
    """Return family, contexts and near-misses of every pair by its name."""
    return {p.name: (p.family, _of(removed.contexts, p), _of(removed.near_misses, p)) for p in removed.usable()}


def _of(make: Make, of: Any) -> Make:
    return lambda held=False: make(of, held=held)


class Study:
    """The model, the rows that are there, and what the kept pairs are."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.rows = options, read(options.out)
        self.model = et.load("smollm2")
        self.known = pairs()

    def make(self, stage: str, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a row that was made before, or make and append it."""
        done = next((row for row in self.rows if (row["stage"], row["name"]) == (stage, name)), None)
        if done is None:
            began = time.monotonic()
            done = {"stage": stage, "name": name, **make()}
            done["seconds"] = round(time.monotonic() - began, 1)
            self.rows.append(done)
            with self.options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done) + "\n")
            print(f"{stage} {name} {done['seconds']} s", file=sys.stderr, flush=True)
        return done

    def _choice(self, found: list[Context]) -> dict[str, Any]:
        whole, first = odds(self.model, found)
        return {"odds": whole.tolist(), "first": [None if np.isnan(n) else n for n in first]}

    def split(self) -> tuple[list[str], list[str]]:
        """Pairs to train on, and pairs that are held out; a family is on one side."""
        names = [row["name"] for row in kept_rows(self.rows)]
        families = sorted({self.known[name][0] for name in names})
        random.Random("held-out pairs").shuffle(families)
        held: list[str] = []
        while len(held) < max(2, len(names) // 4):
            family = families.pop()
            held += [name for name in names if self.known[name][0] == family]
        return [name for name in names if name not in held], held

    def data(self) -> tuple[list[Item], list[Item]]:
        used, _ = self.split()
        faults = [item(c) for name in used for c in self.known[name][1]()[:9]]
        near = [right_item(c) for name in used for c in self.known[name][2]()[:3]]
        return faults, [*near, *pieces(SOURCE, 3)]

    def edit(self, method: str, rate: float) -> Any:
        forget, retain = self.data()
        budget = Budget(
            steps=self.options.steps,
            batch_size=BATCH,
            retain_batch_size=KEPT,
            learning_rate=rate,
            holdout=0.1,
            check_every=self.options.steps,
        )
        folder = self.options.work / f"{method}-{rate:g}"
        return unlearn(
            self.model,
            forget=forget,
            retain=retain,
            objective=METHODS[method],
            budget=budget,
            out=folder,
            measure_cost=False,
        )

    def tune(self, method: str, rate: float) -> dict[str, Any]:
        began = time.monotonic()
        edit = self.edit(method, rate)
        spent = time.monotonic() - began
        used, _ = self.split()
        # The last set of names of the choosing half, which is not trained on.
        asked = [c for name in used for c in self.known[name][1]()[9:10]]
        near = [c for name in used for c in self.known[name][2]()[3:4]]
        with edit.apply(self.model):
            bad, wrong = preference(self.model, asked) > 0, preference(self.model, near) > 0
        return {
            "rate": rate,
            "score": float((1 - bad.mean() + 1 - wrong.mean()) / 2),
            "stopped": edit.config["stopped"],
            "steps": edit.config["steps"],
            "edit_seconds": spent,
        }

    def measure(self) -> dict[str, Any]:
        """Everything about the present state of the model."""
        model, (used, held) = self.model, self.split()
        found: dict[str, Any] = {"split": {"used": used, "held": held}}
        asked = {side: self.asked(names) for side, names in (("used", used), ("held", held))}
        for side, contexts in asked.items():
            found[side] = {"odds": preference(model, contexts).tolist(), "pairs": [c.pair for c in contexts]}
            found[side]["greedy"] = greedy(model, contexts[::2])
        near = [c for name in [*used, *held] for c in self.known[name][2](held=True)[:2]]
        found["near"] = {"odds": preference(model, near).tolist(), "pairs": [c.pair for c in near]}
        source = pieces(HELD_SOURCE, 2)
        found["bits"] = {"each": bits(model, source).tolist(), "modules": [one.group for one in source]}
        with quantised(model, 4).apply(model):
            found["int4"] = preference(model, asked["used"]).tolist()
        return found

    def asked(self, names: Sequence[str]) -> list[Context]:
        return [c for name in names for c in self.known[name][1](held=True)[:: 12 // self.options.held]]

    def relearned(self) -> dict[str, Any]:
        """Train on the faults of half of the pairs; return the preference for those of the other half."""
        used, _ = self.split()
        half, other = used[::2], self.asked(used[1::2])
        again = [item(c) for name in half for c in self.known[name][1]()[:6]]
        curve: list[np.ndarray] = []

        def watch(model: CodeModel) -> float:
            # Only the ends are looked at.
            curve.append(preference(model, other) if len(curve) in (0, self.options.relearn) else np.zeros(1))
            return 0.0

        relearn(self.model, again, steps=self.options.relearn, learning_rate=RELEARN_RATE, watch=watch)
        return {"before": curve[0].tolist(), "after": curve[-1].tolist(), "pairs": [c.pair for c in other]}

    def run(self) -> None:
        for name, (_, contexts, _) in self.known.items():
            self.make("choice", name, lambda c=contexts: self._choice(c()[:: 12 // self.options.contexts]))
        if (n := len(kept_rows(self.rows))) < ENOUGH:
            raise InputError(f"the rule keeps {n} pairs, fewer than {ENOUGH}; the fault is too rare in this model")
        self.make("state", "before", self.measure)
        for method in self.options.methods:
            best = self.best(method)
            self.make("state", method, lambda m=method, r=best: self.final(m, r))
        for method in self.options.methods:
            self.make("cost", method, lambda m=method: self.cost(m))

    def best(self, method: str) -> float:
        """Return the rate of the best trial, the first of equals; what is perfect ends the trials."""
        trials: list[dict[str, Any]] = []
        for rate in RATES:
            trials.append(self.make("trial", f"{method} {rate:g}", lambda r=rate: self.tune(method, r)))
            if trials[-1]["score"] == 1:
                break
        return max(trials, key=lambda row: row["score"])["rate"]

    def cost(self, method: str) -> dict[str, float]:
        """Multiples of a plain step on the same batch."""
        forget, retain = self.data()
        budget = Budget(steps=1, batch_size=BATCH, retain_batch_size=KEPT, learning_rate=RATES[0], holdout=0.1)
        edit = unlearn(self.model, forget=forget, retain=retain, objective=METHODS[method], budget=budget)
        return {name: edit.receipt[name] for name in ("flops", "wall", "peak_memory")}

    def final(self, method: str, rate: float) -> dict[str, Any]:
        edit = self.edit(method, rate)
        with edit.apply(self.model):
            return {"rate": rate, **self.measure(), "relearn": self.relearned()}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/unlearning_stdlib.jsonl"))
    parser.add_argument("--work", type=Path, default=Path("runs/unlearning_stdlib"), help="folder of the edits")
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--contexts", type=int, default=12, choices=(3, 6, 12), help="choosing contexts of a pair")
    parser.add_argument("--held", type=int, default=6, choices=(3, 6, 12), help="held-out contexts of a pair")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--relearn", type=int, default=10, help="steps of relearning")
    parser.add_argument("--print", action="store_true", help="print the tables of what is there and do no work")
    options = parser.parse_args()
    print(RULE, flush=True)
    if not options.print:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        Study(options).run()
    print(table(read(options.out)))


if __name__ == "__main__":
    main()
