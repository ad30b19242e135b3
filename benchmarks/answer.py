"""Label and capture in one pass, against the script everybody writes, and what each trick contributes.

The script: left-padded batches of 16 in the order given, `generate(output_hidden_states=True)`, the few-shot examples
in every prompt. Both stop a row at the task's stop string, answer at most 8 tokens, and keep the last prompt token's
and the mean answer token's activation of every layer. Ours is then run with one trick less at a time.

    python benchmarks/answer.py [--model smollm2] [--limit 400] [--rounds 1]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

import ellora_trust as et
from ellora_trust import batching, decoding, runs
from ellora_trust.decoding import Decoding
from ellora_trust.hooks import Recorder
from ellora_trust.positions import Passage

NEW_TOKENS = 8
BATCH = 16


class EveryRowStopped(StoppingCriteria):
    """Ends a batch when each row has written a stop string, as our rows end."""

    def __init__(self, tokenizer: Any, n_prompt: int, stop: tuple[str, ...]):
        self.tokenizer, self.n_prompt, self.stop = tokenizer, n_prompt, stop

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        texts = self.tokenizer.batch_decode(input_ids[:, self.n_prompt :])
        return torch.tensor([any(stop in text for stop in self.stop) for text in texts])


def the_usual_script(model: et.CodeModel, prompts: list[str], stop: tuple[str, ...]) -> list[str]:
    """What a user writes with transformers alone; returns the answers."""
    tokenizer, answers = model.tokenizer, []
    tokenizer.padding_side = "left"
    for start in range(0, len(prompts), BATCH):
        batch = tokenizer(prompts[start : start + BATCH], return_tensors="pt", padding=True)
        n_prompt = batch.input_ids.shape[1]
        generate: Any = model.hf.generate
        out = generate(
            **batch,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            output_hidden_states=True,
            return_dict_in_generate=True,
            pad_token_id=model.pad_id,
            stopping_criteria=StoppingCriteriaList([EveryRowStopped(tokenizer, n_prompt, stop)]),
        )
        torch.stack([layer[:, -1] for layer in out.hidden_states[0]])
        if len(out.hidden_states) > 1:
            torch.stack([torch.cat([step[layer] for step in out.hidden_states[1:]], 1).mean(1) for layer in range(31)])
        for text in tokenizer.batch_decode(out.sequences[:, n_prompt:], skip_special_tokens=True):
            cuts = [text.find(s) for s in stop if s in text]
            answers.append(text[: min(cuts)] if cuts else text)
    return answers


def ours(
    model: et.CodeModel, prompts: list[str], stop: tuple[str, ...], *, capture: bool = True, **options: Any
) -> list[str]:
    """The same in one pass of ours; returns the answers."""
    recorder = Recorder(model, ["embed", "resid.*"], ["prompt_end", "answer"]) if capture else None
    passages = [Passage(prompt) for prompt in prompts]
    result = runs.run(model, passages, decoding=Decoding(NEW_TOKENS, stop), recorder=recorder, **options)
    return [generation.text for generation in result.generations]


def without_shared_prefix(stack: ExitStack) -> None:
    stack.enter_context(patch.object(batching, "MIN_SHARED_TOKENS", 10**9))


def without_sorting(stack: ExitStack) -> None:
    def in_order(lengths: Any, token_budget: int) -> list[list[int]]:
        return [list(range(i, min(i + BATCH, len(lengths)))) for i in range(0, len(lengths), BATCH)]

    stack.enter_context(patch.object(runs, "plan_batches", in_order))


def without_leaving(stack: ExitStack) -> None:
    # The loop asks whether the cache can drop rows; here it never can.
    stack.enter_context(patch.object(decoding, "hasattr", lambda *_: False, create=True))


def two_passes(model: et.CodeModel, prompts: list[str], stop: tuple[str, ...]) -> list[str]:
    """Answer first, then read prompt and answer again for the activations."""
    result = runs.run(model, [Passage(p) for p in prompts], decoding=Decoding(NEW_TOKENS, stop))
    again = [
        Passage(p, answer_ids=tuple(g.tokens[: g.n_answer])) for p, g in zip(prompts, result.generations, strict=True)
    ]
    et.capture(model, again, ["embed", "resid.*"], ["prompt_end", "answer"])
    return [generation.text for generation in result.generations]


def main() -> None:
    args = arguments()
    model = et.load(args.model)
    task = et.load_task("aliasing")
    prompts = [task.header + example.prompt for example in task.examples(limit=args.limit, seed=0)]
    with_tricks: dict[str, Callable[[], list[str]]] = {
        "ours": lambda: ours(model, prompts, task.stop),
        "the usual script": lambda: the_usual_script(model, prompts, task.stop),
        "ours, prefix not shared": lambda: less(without_shared_prefix, model, prompts, task.stop),
        "ours, batches of 16 in the order given": lambda: less(without_sorting, model, prompts, task.stop),
        "ours, finished rows stay": lambda: less(without_leaving, model, prompts, task.stop),
        "ours, a second pass for the activations": lambda: two_passes(model, prompts, task.stop),
        "ours, no activations": lambda: ours(model, prompts, task.stop, capture=False),
    }
    times: dict[str, list[float]] = {name: [] for name in with_tricks}
    answers: dict[str, list[str]] = {}
    for _ in range(args.rounds):
        for name, work in with_tricks.items():
            began = time.perf_counter()
            answers[name] = work()
            times[name].append(time.perf_counter() - began)
    print(f"{args.model}, aliasing, {len(prompts)} prompts, at most {NEW_TOKENS} tokens, {args.rounds} rounds")
    print(f"{'what':42} {'seconds':>8} {'÷ ours':>7} {'min':>6} {'max':>6} {'same answers':>13}")
    for name, values in times.items():
        ratios = [a / b for a, b in zip(values, times["ours"], strict=True)]
        same = sum(a == b for a, b in zip(answers[name], answers["ours"], strict=True))
        print(
            f"{name:42} {statistics.median(values):8.1f} {statistics.median(ratios):7.2f} {min(ratios):6.2f} "
            f"{max(ratios):6.2f} {same:8d}/{len(prompts)}"
        )


def less(
    trick: Callable[[ExitStack], None], model: et.CodeModel, prompts: list[str], stop: tuple[str, ...]
) -> list[str]:
    with ExitStack() as stack:
        trick(stack)
        return ours(model, prompts, stop)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
