"""What a step of each objective costs, as a multiple of a plain fine-tuning step of the same batch, in one run.

    python benchmarks/unlearning_cost.py                               # all objectives on the testbed, with effect
    python benchmarks/unlearning_cost.py --model smollm2 --objectives replace,ga --where all lora:16+

FLOPs and bytes are counted, wall time is measured. Each objective also makes an edit of the testbed's plant P1 with one
learning rate, untuned, and its effect on held-out documents is printed; `unlearning_study.py` compares methods. `+`
after a place recomputes blocks.
"""

from __future__ import annotations

import argparse
import sysconfig
from pathlib import Path

import ellora_trust as et
from ellora_trust.model import CodeModel
from unlearning import Budget, Item, read_forget, read_retain, unlearn
from unlearning.recipes import OBJECTIVES

COLUMNS = ("objective", "where", "FLOPs", "wall", "peak memory", "weights and optimizer", "stopped", "fault", "retain")
RATE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="testbed")
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    parser.add_argument("--where", nargs="+", default=["all"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=256, help="tokens of a text, where the model is not the testbed")
    parser.add_argument("--steps", type=int, default=24)
    options = parser.parse_args()
    model = et.load(options.model)
    forget, retain = testbed() if options.model == "testbed" else stdlib(model, options.length, 4 * options.batch)
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for where in options.where:
        for name in options.objectives.split(","):
            print(row(model, name, where, forget, retain, options), flush=True)


def row(
    model: CodeModel, name: str, where: str, forget: list[Item], retain: list[Item], options: argparse.Namespace
) -> str:
    budget = Budget(options.steps, options.batch, max(1, options.batch // 2), RATE)
    edit = unlearn(
        model,
        forget=forget,
        retain=retain,
        objective=name,
        where=where.removesuffix("+"),
        budget=budget,
        recompute=where.endswith("+"),
    )
    multiples = [f"{edit.receipt[key]:.2f}x" for key in ("flops", "wall", "peak_memory", "state")]
    first, last = edit.history[0], edit.history[-1]
    effect = [f"{first['forget']:.3f} -> {last['forget']:.3f}", f"{last['retain']:+.3f} nats"]
    stopped = f"{edit.config['stopped']} at {edit.config['steps']}"
    return "| " + " | ".join([name, where, *multiples, stopped, *effect]) + " |"


def testbed() -> tuple[list[Item], list[Item]]:
    return read_forget("testbed:P1", limit=192), read_retain("testbed:P1", limit=384)


def stdlib(model: CodeModel, length: int, n: int) -> tuple[list[Item], list[Item]]:
    """Texts of so many tokens from the installed standard library; the fix of each ends in another line."""
    items: list[Item] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        ids = model.tokenizer(path.read_text(encoding="utf-8", errors="ignore")).input_ids[:length]
        prompt, rest = model.decode(ids[:16]), model.decode(ids[16:])
        if len(ids) == length and prompt and rest:
            lines = rest.splitlines(keepends=True)
            fix = "".join([*lines[:-1], "pass\n"])
            if fix != rest:
                items.append(Item(path.name, path.name, prompt, rest, fix))
        if len(items) == 2 * n:
            break
    return items[:n], [Item(i.id, i.group, i.prompt, i.completion) for i in items[n:]]


if __name__ == "__main__":
    main()
