"""Write a checkpoint whose matrices are rounded as a quantised model's are, for trying `probe recalibrate`.

Round to nearest, symmetric, one scale for each group of weights along a row; embeddings, norms and head stay. Weights
are stored in their old dtype, so any engine reads the folder: it has the errors of quantisation, not its size.

    python benchmarks/quantise.py --bits 4 --out runs/smollm2-int4
    ellora-trust probe recalibrate runs/probe/probe-types --model runs/smollm2-int4
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import ellora_trust as et


def rounded(weight: Tensor, bits: int, group: int) -> Tensor:
    """Return a matrix on the grid of its groups' scales, same shape and dtype.

    Args:
        weight: (n_out, n_in); n_in is a multiple of `group`.
        bits: 2..8.
        group: Weights that share a scale.
    """
    parts = weight.float().unflatten(-1, (-1, group))
    largest = 2 ** (bits - 1) - 1
    scale = parts.abs().amax(-1, keepdim=True).clamp_min(1e-12) / largest
    return ((parts / scale).round().clamp(-largest, largest) * scale).flatten(-2).to(weight.dtype)


@torch.no_grad()
def main() -> None:
    args = arguments()
    model = et.load(args.model)
    change, size = 0.0, 0.0
    for module in model.arch.base.modules():
        if isinstance(module, torch.nn.Linear):
            new = rounded(module.weight, args.bits, args.group)
            change += float((new - module.weight).square().sum())
            size += float(module.weight.square().sum())
            module.weight.copy_(new)
    model.hf.save_pretrained(args.out)
    model.tokenizer.save_pretrained(args.out)
    moved = (change / size) ** 0.5
    print(f"{args.out}: {args.bits} bits, groups of {args.group}; relative change of the matrices {moved:.4f}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--bits", type=int, default=4, choices=range(2, 9))
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("runs/smollm2-int4"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
