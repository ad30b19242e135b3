"""The sweep from a shared prefix against full forwards, on the same cells of the same prompt.

One prompt of about 500 tokens; 28 windows of three layers, strength 1. Naive: a full forward a cell, in batches of the
size that is fastest here (tried first). Ours: the prompt is read once, every cell is a row of one token. Both give the
logits of a one-token answer; their largest difference and the agreement of the argmax are printed. The
bar is 10.

    python -m benchmarks.sweep [--model smollm2] [--tokens 500] [--windows 28] [--rounds 5]
"""

from __future__ import annotations

import argparse

import torch

import ellora_trust as et
from benchmarks.paired import cell, interval, paired, seconds
from steering.sweep import Patch, Reading, naive, patched

BAR = 10.0


def main() -> None:
    args = arguments()
    model = et.load(args.model)
    prompt, answer = question(model, args.tokens)
    patches = windows(model, args.windows)
    bare = Reading(tuple(prompt), tuple(answer), None, None)
    sizes = {size: seconds(lambda size=size: full(model, bare, patches[:8], size))[0] for size in (1, 2, 4, 8)}
    batch = min(sizes, key=lambda size: sizes[size])
    reading = Reading.of(model, prompt, answer)
    error, agree = compare(model, reading, patches, batch)
    print(
        f"{args.model}, {len(prompt)} tokens, {len(patches)} windows, {args.rounds} rounds, naive in batches of {batch}"
    )
    print(f"largest difference of a logit {error:.1e}; same argmax in {agree} of {len(patches)} cells")
    taken = paired(
        lambda: full(model, bare, patches, batch), lambda: shared(model, prompt, answer, patches), args.rounds
    )
    wall, processor = (interval(taken[:, 0, clock] / taken[:, 1, clock]) for clock in (0, 1))
    verdict = "ok" if wall[1] >= BAR else "MISS" if wall[2] < BAR else "open"
    print(f"naive / ours: {cell(wall, 1)}, processor {cell(processor, 1)}, bar {BAR:g}: {verdict}")


def question(model: et.CodeModel, n_tokens: int) -> tuple[list[int], list[int]]:
    """Prompts of the task types, one after the other, and one token to score."""
    text = "\n\n".join(example.prompt for example in et.load_task("types").examples(limit=30, seed=0))
    return model.tokenizer(text).input_ids[:n_tokens], model.tokenizer(" str").input_ids[:1]


def windows(model: et.CodeModel, n: int) -> list[Patch]:
    generator = torch.Generator().manual_seed(0)
    starts = [i % (model.arch.n_layers - 2) for i in range(n)]
    return [Patch(start, torch.randn(3, model.arch.d_model, generator=generator)) for start in starts]


def full(model: et.CodeModel, reading: Reading, patches: list[Patch], batch: int) -> torch.Tensor:
    return torch.cat([naive(model, reading, patches[i : i + batch]) for i in range(0, len(patches), batch)])


def shared(model: et.CodeModel, prompt: list[int], answer: list[int], patches: list[Patch]) -> torch.Tensor:
    reading = Reading.of(model, prompt, answer)
    found = torch.empty(len(patches), len(answer), model.hf.config.vocab_size)
    for numbers, logits in patched(model, reading, patches):
        found[numbers] = logits
    return found


def compare(model: et.CodeModel, reading: Reading, patches: list[Patch], batch: int) -> tuple[float, int]:
    ours = shared(model, list(reading.prompt), list(reading.answer), patches)
    theirs = full(model, reading, patches, batch)
    return float((ours - theirs).abs().max()), int((ours.argmax(-1) == theirs.argmax(-1)).all(-1).sum())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--windows", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
