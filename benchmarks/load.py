"""Seconds to load a model once torch and transformers are imported, each in a process of its own.

    python -m benchmarks.load [--models testbed smollm2] [--rounds 5]

The bar is 1 s for the testbed; the second model says how fast the machine is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import numpy as np

from benchmarks.paired import interval

CODE = """
import sys, time, torch, transformers
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast
import ellora_trust.loading as loading
start = time.perf_counter()
loading.load(sys.argv[1])
print(time.perf_counter() - start)
"""


def main() -> None:
    args = arguments()
    taken = np.array([[seconds(model) for model in args.models] for _ in range(args.rounds)])
    for number, model in enumerate(args.models):
        ratio = "{:.3f} [{:.3f}, {:.3f}]".format(*interval(taken[:, number] / taken[:, -1]))
        middle = "{:.2f} s [{:.2f}, {:.2f}]".format(*interval(taken[:, number]))
        print(f"{model:12} {middle:>22}   / {args.models[-1]}: {ratio}")


def seconds(model: str) -> float:
    done = subprocess.run([sys.executable, "-c", CODE, model], capture_output=True, text=True, check=True)
    return float(done.stdout)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=["testbed", "smollm2"])
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
