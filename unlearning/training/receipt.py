"""What a step of an edit costs relative to a plain fine-tuning step of the same model on the same batch, in one run.

    receipt(edit_step, plain_step, edit_bytes=..., plain_bytes=...)

FLOPs and bytes are counted, not timed, so they do not depend on what else the machine does; wall time does.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

_TIMED = 3
_LONG = 3.0  # seconds


@dataclass(frozen=True)
class Cost:
    """Of one step, forward and backward.

    Attributes:
        flops: Floating-point operations of matrix products and attention.
        peak_bytes: Most memory allocated at once during the step, beyond what was allocated before it.
        seconds: Median wall time of `_TIMED` steps, or of one long one.
    """

    flops: int
    peak_bytes: int
    seconds: float


def cost(step: Callable[[], None]) -> Cost:
    """Run a step that leaves no gradients behind a few times, and return what it costs."""
    seconds = [_seconds(step)]
    # Allocations and kernels of a first call spoil short times; long ones are not worth repeating.
    if seconds[0] < _LONG:
        seconds = [_seconds(step) for _ in range(_TIMED)]
    counter = FlopCounterMode(display=False)
    with counter:
        step()
    # Not in the same step: the counter's hooks hold tensors for longer than they are needed.
    return Cost(int(counter.get_total_flops()), _peak(step), median(seconds))


def _seconds(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def receipt(edit: Cost, plain: Cost, *, edit_bytes: int, plain_bytes: int) -> dict[str, float]:
    """Return the multiples.

    Args:
        edit: A step of the edit.
        plain: A plain step.
        edit_bytes: What lies in memory between steps: weights and the optimizer's moments of what is trained.
        plain_bytes: The same when all weights are trained.
    """
    return {
        "flops": edit.flops / plain.flops,
        "wall": edit.seconds / plain.seconds,
        "peak_memory": (edit_bytes + edit.peak_bytes) / (plain_bytes + plain.peak_bytes),
        "flops_of_a_step": float(edit.flops),
        "seconds_of_a_step": edit.seconds,
        "peak_bytes": float(edit_bytes + edit.peak_bytes),
    }


def _peak(step: Callable[[], None]) -> int:
    """Most bytes allocated at once during a call, beyond those allocated before."""
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    with _Allocations() as seen:
        step()
    return seen.peak


class _Allocations(TorchDispatchMode):
    """Counts the bytes of tensors that operations return, while anything still holds them.

    What an operation allocates and frees within itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What comes in and was not made here lay in memory before.
        before = {_address(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and _address(tensor) not in before | self._known:
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        self._known.add(address)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._free, address, size)

    def _free(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.held -= size


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
