"""Task vectors: who tells the task, and whether a vector makes the model do it.

    python -m benchmarks.task_vectors [--parts testbed demonstrations built-in] [--seed 0]

testbed: its families, fitted on 24 pairs of words each; held out are other words, and other words in the wording that
stands in no document. demonstrations: Python expressions told by five examples, SmolLM2. built-in: the library's own
tasks, SmolLM2; those that tell what to do in a header can be asked without it. Intervals are Wilson's 95 %, one prompt
a group.
"""

from __future__ import annotations

import argparse
import time

import torch

from attribution.function_vectors.job import TasksFound, measure_tasks
from ellora_trust.loading import load
from ellora_trust.report import Table

BUILT_IN = ("types", "aliasing", "pointers", "races", "synthesis", "humaneval", "parallel")
# Name: model, tasks, prompts to fit on, held-out prompts, trials of heads; each a task.
PARTS = {
    "testbed": ("testbed", "testbed", 24, 12, 8),
    "demonstrations": ("smollm2", "demonstrations", 8, 6, 1),
    "built-in": ("smollm2", BUILT_IN, 12, 12, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for part in args.parts:
        name, tasks, n_fit, n_held, n_trials = PARTS[part]
        model = load(name)
        began = time.monotonic(), time.process_time()
        found = measure_tasks(
            model, tasks, n_fit=n_fit, n_held=n_held, n_trials=n_trials, seed=args.seed, progress=True
        )
        print_part(part, found, time.monotonic() - began[0], time.process_time() - began[1])


def print_part(part: str, found: TasksFound, wall: float, processor: float) -> None:
    vectors = found.vectors
    print(f"\n{found.model}, {part}: {len(vectors.tasks)} tasks, {wall:.0f} s ({processor:.0f} s of the processor)")
    print(f"heads {', '.join(vectors.heads)}\n")
    print_table(found.told_table())
    if found.done:
        print_table(found.done_table())
        conditions = [one.condition for one in found.done]
        tasks = list(found.done[0].by_task)
        rows = [[task, *(f"{one.by_task[task].value:.0%}" for one in found.done)] for task in tasks]
        sizes = [rate.n for rate in found.done[0].by_task.values()]
        print_table(Table(("task", *conditions), rows, f"Each of {min(sizes)} to {max(sizes)} queries."))
    print("\n".join(found.sentences()), flush=True)


def print_table(table: Table) -> None:
    print(f"| {' | '.join(table.columns)} |\n|{'---|' * len(table.columns)}")
    for row in table.rows:
        print(f"| {' | '.join(row)} |")
    print(f"\n{table.caption}\n")


if __name__ == "__main__":
    main()
