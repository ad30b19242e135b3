"""Generation with an attached probe against the same generation without, in one run, on the same prompts.

Both the library's own `generate` and transformers' are watched, with the `flag` policy and a probe of the whole answer
(`answer`: it also reads the last token, one step more than plain generation runs). A round runs watched, plain, plain,
watched (or the other way round): a machine that slows down during a round then slows both alike. A row's ratio is the
median over rounds of watched time divided by plain time in the same round, with a 95 % bootstrap interval of that
median. `processor` is the same of the processor time that this process used, which other programs disturb less. The
null row runs plain generation in both places: how far its interval lies around 1 is the noise. The bar is 1.03; `ok`
means that the whole interval is below it, `MISS` that it is above, `open` that the rounds do not decide. Beside it
stands what peers publish of theirs, on other machines and models: not measured here.

    python benchmarks/attach.py [--model smollm2] [--batches 1 16] [--new-tokens 64] [--rounds 15]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

import ellora_trust as et
from benchmarks.paired import Work, interval, paired
from probes.error_probe import Calibration, ErrorProbe
from probes.watching.attach import attach

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
    print(
        f"{'watched / plain':28} {'batch':>5} {'ratio [95 %]':>22} {'processor [95 %]':>22} {'plain s':>8} {'bar':>5}"
    )
    for batch in args.batches:
        made = works(model, batch, args.new_tokens)
        for name, work in made.items():
            show(name, batch, paired(watched(work, lambda: attach(probe, model)), work, args.rounds))
        # The same comparison of plain with plain: what the machine does to a ratio that is 1.
        name, work = next(iter(made.items()))
        show(f"null: {name}", batch, paired(watched(work, nullcontext), work, args.rounds))
    for name, (ratio, what) in PUBLISHED.items():
        print(f"{name:34} {ratio}   published, not measured here: {what}")


def watched(work: Work, watching: Callable[[], Any]) -> Work:
    """The same work inside a context."""

    def run() -> None:
        with watching():
            work()

    return run


def show(name: str, batch: int, taken: np.ndarray) -> None:
    """Print the median ratio with its interval, of wall clock and of processor time."""
    wall, processor = (interval(taken[:, 0, clock] / taken[:, 1, clock]) for clock in (0, 1))
    verdict = "ok" if wall[2] <= BAR else "MISS" if wall[1] > BAR else "open"
    cells = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in (wall, processor)]
    plain = float(np.median(taken[:, 1, 0])) / 2
    print(f"{name:28} {batch:5} {cells[0]:>22} {cells[1]:>22} {plain:8.2f} {verdict:>5}", flush=True)


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

    return {"ellora-trust generate": ours, "transformers generate": transformers}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


if __name__ == "__main__":
    main()
