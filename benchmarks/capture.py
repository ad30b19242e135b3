"""Capture of every layer's residual stream, pooled, against a plain forward of the same batches without the head.

Beside it, what a user would do instead: `output_hidden_states=True`, TransformerLens' `run_with_cache`, nnsight's
`trace`. All in one run on the same prompts, in turn, repeated; a row's ratio is the median over rounds of its time
divided by the plain forward's time in the same round. Extra memory is the peak above the loaded model, each way in a
process of its own.

    python benchmarks/capture.py [--model smollm2] [--prompts 32] [--rounds 6]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import ellora_trust as et
from ellora_trust.backends.around import modules_around
from ellora_trust.backends.transformer_lens import open_bridge
from ellora_trust.batching import pad_left, plan_batches, tokenize
from ellora_trust.hooks import Recorder
from ellora_trust.inference import SharedPrefix, forward, start_recorder
from ellora_trust.positions import Passage

Work = Callable[[], Any]
BUDGET = 2048


def main() -> None:
    args = arguments()
    model = et.load(args.model)
    works = build(model, args.prompts)
    if args.memory:
        works[args.memory]()  # the first call builds what it needs
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
        before = memory("VmRSS")
        works[args.memory]()
        print(memory("VmHWM") - before)
        return
    n_tokens = sum(len(row.ids) for row in rows(model, args.prompts))
    times: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(args.rounds + 1):
        # Every other round backwards: what runs first in a round is not always the same.
        for name, work in list(works.items())[:: 1 if round_ % 2 else -1]:
            began = time.perf_counter()
            work()
            if round_:  # the first round warms up
                times[name].append(time.perf_counter() - began)
    plain = times["plain forward, no head"]
    print(f"{args.model}, {args.prompts} prompts, {n_tokens} tokens, {args.rounds} rounds")
    print(f"{'what':44} {'ratio':>6} {'min':>6} {'max':>6} {'tokens/s':>9} {'extra MB':>8}")
    for name, values in times.items():
        ratios = [a / b for a, b in zip(values, plain, strict=True)]
        rate = n_tokens / statistics.median(values)
        print(
            f"{name:44} {statistics.median(ratios):6.3f} {min(ratios):6.3f} {max(ratios):6.3f} {rate:9.0f} "
            f"{peak(args, name):8.0f}"
        )


def memory(field: str) -> int:
    """A field of this process's status, in kB."""
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0])


def peak(args: argparse.Namespace, name: str) -> float:
    """Peak resident memory, in MB above the loaded model's, in a process that does this alone."""
    command = [sys.executable, __file__, "--model", args.model, "--prompts", str(args.prompts), "--memory", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1000


def rows(model: et.CodeModel, n: int) -> list:
    task = et.load_task("aliasing")
    return [tokenize(model, Passage(example.prompt)) for example in task.examples(limit=n, seed=0)]


def build(model: et.CodeModel, n: int) -> dict[str, Work]:
    """Every way to get last and mean of each layer, over the same padded batches."""
    texts = rows(model, n)
    batches = [[texts[i] for i in batch] for batch in plan_batches([len(row.ids) for row in texts], BUDGET)]
    none = SharedPrefix([])

    def plain() -> None:
        for batch in batches:
            forward(model, [row.ids for row in batch], keep_logits=0, use_cache=False)

    def ours() -> None:
        recorder = Recorder(model, ["resid.*"], ["last", "mean"])
        with recorder.attached():
            for batch in batches:
                start_recorder(recorder, batch, none)
                forward(model, [row.ids for row in batch], keep_logits=0, use_cache=False)
                recorder.finish()

    @torch.no_grad()
    def hidden_states() -> None:
        for batch in batches:
            ids, mask = pad_left([row.ids for row in batch], model.pad_id, model.device)
            out = model.hf(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
            weights = (mask / mask.sum(1, keepdim=True)).unsqueeze(-1)
            [(h[:, -1], (h * weights).sum(1)) for h in out.hidden_states[1:]]

    return {
        "plain forward, no head": plain,
        "ellora-trust capture (last + mean)": ours,
        "transformers output_hidden_states": hidden_states,
        "TransformerLens run_with_cache": _lens(model, batches),
        "nnsight trace": _nnsight(model, batches),
    }


def _lens(model: et.CodeModel, batches: list) -> Work:
    lens: list[Any] = []

    def run() -> None:
        if not lens:
            lens.append(open_bridge(model))
        names = [f"blocks.{layer}.hook_out" for layer in range(model.arch.n_layers)]
        with torch.no_grad():
            for batch in batches:
                ids, mask = pad_left([row.ids for row in batch], model.pad_id, model.device)
                _, cache = lens[0].run_with_cache(ids, attention_mask=mask, names_filter=names)
                weights = (mask / mask.sum(1, keepdim=True)).unsqueeze(-1)
                [(cache[name][:, -1], (cache[name] * weights).sum(1)) for name in names]

    return run


def _nnsight(model: et.CodeModel, batches: list) -> Work:
    traced: list[Any] = []

    def run() -> None:
        if not traced:
            from nnsight import TransformersModel

            traced.append(TransformersModel(modules_around(model), tokenizer=model.tokenizer, task="text-generation"))
        wrapped = traced[0]
        for batch in batches:
            ids, mask = pad_left([row.ids for row in batch], model.pad_id, model.device)
            weights = (mask / mask.sum(1, keepdim=True)).unsqueeze(-1)
            with torch.no_grad(), wrapped.trace({"input_ids": ids, "attention_mask": mask}):
                pooled = list().save()  # pyright: ignore[reportAttributeAccessIssue]  # nnsight's own
                for layer in wrapped.model.layers:
                    hidden = layer.output[0] if isinstance(layer.output, tuple) else layer.output
                    pooled.append((hidden[:, -1], (hidden * weights).sum(1)))

    return run


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
