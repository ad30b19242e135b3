"""Generation with a steering vector against the same generation without, in one run, on the same prompts.

All rows call `generate` of transformers for a fixed number of new tokens, so the ratio is that of time per
decoded token (prompts are short). `idle`: attached, but nothing of the answer is steered. `one layer`, `all layers`:
every token of the answer. Each round runs both in turn; a ratio is the median over rounds with its 95 % bootstrap
interval, `processor` the same of processor time, which other programs disturb less. The null row runs plain against
plain. Peers, where benchmarks/requirements-steering.txt is installed, add the same vectors at the same layers to every
token, as they do by default.

    python -m benchmarks.steering [--model smollm2] [--batches 1 16] [--new-tokens 48] [--rounds 9]
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

import ellora_trust as et
from benchmarks.paired import cell, interval, paired
from steering import SteeringVector

Attach = Callable[[], AbstractContextManager[Any]]
BARS = {"idle": 1.0, "one layer": 1.02, "all layers": 1.05}


def main() -> None:
    args = arguments()
    model = et.load(args.model)
    vector = small_vector(model)
    print(f"{args.model}, {args.new_tokens} new tokens, {args.rounds} rounds, {torch.get_num_threads()} threads")
    print(f"{'steered / plain':32} {'batch':>5} {'ratio [95 %]':>22} {'processor [95 %]':>22} {'bar':>6}")
    for batch in args.batches:
        plain = generation(model, batch, args.new_tokens)
        for name, attach in ways(model, vector).items():
            taken = paired(steered(plain, attach), plain, args.rounds)
            show(name, batch, taken)
        if importlib.util.find_spec("repeng"):
            show("repeng, all layers", batch, repeng(model, vector, plain, args.rounds))
        show("nnsight, one layer", batch, nnsight(model, vector, batch, args.new_tokens, plain, args.rounds))


def small_vector(model: et.CodeModel) -> SteeringVector:
    """Directions too short to change an answer: their values decide no time."""
    generator = torch.Generator().manual_seed(0)
    sites = [f"resid.{layer}" for layer in range(model.arch.n_layers)]
    return SteeringVector({site: torch.randn(model.arch.d_model, generator=generator) * 1e-4 for site in sites})


def generation(model: et.CodeModel, batch: int, n_new: int) -> Callable[[], Any]:
    inputs = inputs_of(model, batch)
    hf: Any = model.hf

    def work() -> Any:
        return hf.generate(**inputs, do_sample=False, max_new_tokens=n_new, min_new_tokens=n_new)

    return work


def inputs_of(model: et.CodeModel, batch: int) -> Any:
    prompts = [example.prompt for example in et.load_task("aliasing").examples(limit=batch, seed=0)]
    model.tokenizer.padding_side = "left"
    return model.tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False).to(model.device)


def steered(plain: Callable[[], Any], attach: Attach) -> Callable[[], Any]:
    def work() -> Any:
        with attach():
            return plain()

    return work


def ways(model: et.CodeModel, vector: SteeringVector) -> dict[str, Attach]:
    """Every way to steer that only attaches to the model."""
    middle, every = f"resid.{model.arch.n_layers // 2}", list(vector.directions)
    found: dict[str, Attach] = {
        "null: plain": nullcontext,
        "idle": lambda: vector.apply(model, sites=every, positions="prompt_end"),
        "one layer": lambda: vector.apply(model, sites=middle, positions="answer"),
        "all layers": lambda: vector.apply(model, sites=every, positions="answer"),
    }
    if importlib.util.find_spec("steering_vectors"):
        from steering_vectors import SteeringVector as Peer  # pyright: ignore[reportMissingImports]

        directions = {int(site.split(".")[1]): value for site, value in vector.directions.items()}
        one, all_ = Peer({model.arch.n_layers // 2: directions[model.arch.n_layers // 2]}), Peer(directions)
        found["steering-vectors, one layer"] = lambda: one.apply(model.hf)
        found["steering-vectors, all layers"] = lambda: all_.apply(model.hf)
    return found


def repeng(model: et.CodeModel, vector: SteeringVector, plain: Callable[[], Any], rounds: int) -> Any:
    """repeng replaces the model's blocks by wrappers; they are put in and taken out around each run."""
    np.float_ = np.float64  # pyright: ignore[reportAttributeAccessIssue]  # repeng 0.4.0 names what NumPy 2 removed
    from repeng import ControlModel, ControlVector  # pyright: ignore[reportMissingImports]

    directions = {int(site.split(".")[1]): value.numpy() for site, value in vector.directions.items()}
    control = ControlVector(model_type=model.hf.config.model_type, directions=directions)

    @contextmanager
    def attached() -> Iterator[None]:
        wrapped = ControlModel(model.hf, list(directions))
        try:
            wrapped.set_control(control, 1.0)
            yield
        finally:
            wrapped.unwrap()

    return paired(steered(plain, attached), plain, rounds)


def nnsight(
    model: et.CodeModel, vector: SteeringVector, batch: int, n_new: int, plain: Callable[[], Any], rounds: int
) -> Any:
    """nnsight runs `generate` itself, with an intervention at every step."""
    from nnsight import TransformersModel

    traced: Any = TransformersModel(model.hf, tokenizer=model.tokenizer, task="text-generation")
    inputs, layer = inputs_of(model, batch), model.arch.n_layers // 2
    value = vector.directions[f"resid.{layer}"]

    def work() -> None:
        how = {"do_sample": False, "max_new_tokens": n_new, "min_new_tokens": n_new}
        with traced.generate(dict(inputs), **how) as tracer:
            for _ in tracer.iter[:n_new]:
                traced.model.layers[layer].output[:] += value

    return paired(work, plain, rounds)


def show(name: str, batch: int, taken: Any) -> None:
    wall, processor = (interval(taken[:, 0, clock] / taken[:, 1, clock]) for clock in (0, 1))
    bar = BARS.get(name)
    verdict = "" if bar is None else f"{bar:g}"
    print(f"{name:32} {batch:5} {cell(wall):>22} {cell(processor):>22} {verdict:>6}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()
