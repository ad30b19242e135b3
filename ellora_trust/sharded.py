"""A model whose weights are divided over processes, for what is larger than one device: FSDP2.

    torchrun --nproc-per-node 4 analysis.py         # or: accelerate launch --num-processes 4 analysis.py
    model = et.load("bigcode/starcoder2-15b", sharded=True)         # in it

Each process keeps a part of every block's weights and gets the others' while the block runs. All processes do the same
work on the same texts, so what is read, captured and differentiated is what one process would have got: memory is
divided, time is not. To divide the time instead, give each process a share of the texts (`ellora_trust.share`).

Every process has to make the same calls in the same order: a block waits for the others' parts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ellora_trust.errors import EnvironmentProblem

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


def shard(model: CodeModel, device_type: str = "cpu") -> None:
    """Divide a loaded model's weights over the processes of the launcher, in place.

    Args:
        model: The same in every process; it has to fit into the host's memory while it is divided.
        device_type: Where the parts lie: `cuda`, or `cpu`.

    Raises:
        EnvironmentProblem: The process was not started by a launcher, or torch cannot divide here.
    """
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if "RANK" not in os.environ or not dist.is_available():
        raise EnvironmentProblem(
            "a sharded model needs several processes, and this one has no launcher; start it with "
            "'torchrun --nproc-per-node 2 SCRIPT' or 'accelerate launch', or leave sharded out"
        )
    if device_type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    mesh = init_device_mesh(device_type, (int(os.environ["WORLD_SIZE"]),))
    # Asked for now, the fingerprint of a source is known later and costs no messages.
    _ = model.fingerprint
    for block in model.arch.blocks:
        fully_shard(block.module, mesh=mesh)
    # By default the outermost part would stay whole after a forward, and an optimizer be given what is thrown away.
    fully_shard(model.hf, mesh=mesh, reshard_after_forward=True)
    model.take_as_loaded()


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor of which this process may hold a part; of a divided one every process must ask."""
    return tensor.full_tensor() if is_divided(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue]


def is_divided(tensor: Any) -> bool:
    """Whether processes hold parts of it; asked by name, since importing torch's own type takes a third of a second."""
    return hasattr(tensor, "full_tensor")


@torch.no_grad()
def put(parameter: nn.Parameter, value: Tensor) -> None:
    """Write a whole value into a parameter of which this process may hold a part."""
    parameter.copy_(alike(parameter, value))


def alike(parameter: Tensor, value: Tensor) -> Tensor:
    """Return a whole value divided as a parameter of its shape is; a counter stays whole."""
    if not is_divided(parameter) or value.shape != parameter.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    held: Any = parameter
    # Every process has the value, so none has to send it.
    return distribute_tensor(value.to(held.device), held.device_mesh, held.placements, src_data_rank=None)
