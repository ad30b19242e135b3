"""Generation with an attached probe against the same generation without, in one run, on the same prompts.

Both the library's own `generate` and transformers' are watched, with the `flag` policy and a probe of the whole answer
(`answer`: it also reads the last token, one step more than plain generation runs). Rounds alternate the order; a row's
ratio is the median over rounds of watched time divided by plain time in the same round, with the smallest and largest.
The bar is 1.03. Beside it stand what peers publish of theirs, on other machines and models: not measured here.

    python benchmarks/attach.py [--model smollm2] [--batches 1 16] [--new-tokens 64] [--rounds 6]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import ellora_trust as et
from probes.error_probe import Calibration, ErrorProbe
from probes.watching.attach import attach

Work = Callable[[], Any]
BAR = 1.03
# name -> (ratio, what was measured)
PUBLISHED = {
    "vLLM-Lens, one layer": ("1.12", "wall time, 70B notebook, over an already eager baseline"),
    "eager tap (ProbeX's comparison)": ("2.94", "time per output token, vLLM, concurrency 1"),
}


def main() -> None:
    args = arguments()
    model = et.load(args.model)
    probe = made_probe(model)
    print(f"{args.model}, {args.new_tokens} new tokens, {args.rounds} rounds, {torch.get_num_threads()} threads")
    print(f"{'what':44} {'batch':>5} {'ratio':>6} {'min':>6} {'max':>6} {'plain s':>8} {'bar':>5}")
    for batch in args.batches:
        for name, work in works(model, batch, args.new_tokens).items():
            ratios, seconds = paired(model, probe, work, args.rounds)
            verdict = "ok" if statistics.median(ratios) <= BAR else "MISS"
            print(
                f"{name:44} {batch:5} {statistics.median(ratios):6.3f} {min(ratios):6.3f} {max(ratios):6.3f} "
                f"{statistics.median(seconds):8.2f} {verdict:>5}"
            )
    for name, (ratio, what) in PUBLISHED.items():
        print(f"{name:44} {'-':>5} {ratio:>6}   published, not measured here: {what}")


def paired(model: et.CodeModel, probe: ErrorProbe, work: Work, rounds: int) -> tuple[list[float], list[float]]:
    """Return watched / plain of each round, and the plain times in seconds."""

    def watched() -> None:
        with attach(probe, model):
            work()

    ratios, plain_times = [], []
    for round_ in range(rounds + 1):
        # Every other round the other way round: what runs second finds a warmer machine.
        order = [work, watched] if round_ % 2 else [watched, work]
        taken = {one: seconds(one) for one in order}
        if round_:  # the first round warms up
            ratios.append(taken[watched] / taken[work])
            plain_times.append(taken[work])
    return ratios, plain_times


def seconds(work: Work) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def made_probe(model: et.CodeModel) -> ErrorProbe:
    """A probe in the middle of the model: its weights decide no time."""
    probe = ErrorProbe()
    probe.site_, probe.position_ = f"resid.{model.arch.n_layers // 2}", "answer"
    probe.weight_ = torch.randn(model.arch.d_model, generator=torch.Generator().manual_seed(0)) / 100
    probe.bias_, probe.calibration_ = 0.0, Calibration(1.0, 0.0)
    return probe


def works(model: et.CodeModel, batch: int, n_new: int) -> dict[str, Work]:
    """Every way to generate that can be watched, of the same prompts."""
    prompts = [example.prompt for example in et.load_task("aliasing").examples(limit=batch, seed=0)]
    model.tokenizer.padding_side = "left"
    inputs = model.tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False).to(model.device)

    def ours() -> None:
        model.generate(prompts, max_new_tokens=n_new)

    hf: Any = model.hf

    def transformers() -> None:
        # An end-of-text token would make batches unequally long; both ways are kept from it.
        hf.generate(**inputs, max_new_tokens=n_new, min_new_tokens=n_new, do_sample=False, pad_token_id=model.pad_id)

    return {"ellora-trust generate, watched / plain": ours, "transformers generate, watched / plain": transformers}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=6)
    return parser.parse_args()


if __name__ == "__main__":
    main()
