"""What the processes of a run tell each other, on torch.distributed. A process that is alone tells nothing."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, overload

import torch
import torch.distributed as dist

# The group at the time of this import is the default of its functions. If dynamo imports it later, the group's threads live
# until the interpreter ends, and one that drops a tensor then aborts the process.
import torch.distributed.nn.functional
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from zskd_onnx.errors import PeerLostError
from zskd_onnx.system.ranks import ranks

Value = TypeVar("Value")

PATIENCE = timedelta(days=1)
"""Time that a process waits for another one. One that ends is noticed at once; this is for slow ones."""


class _State:
    """Whether this process works without the others for a while, on all of its threads."""

    alone = False


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect the processes that torchrun has started: by NCCL on GPUs, by gloo on CPUs."""
    if ranks().count == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    with _peers():
        store, rank, size = next(rendezvous("env://"))
        # Without a name of its own, a group that is started again reads the addresses of the group before it.
        store = PrefixStore(f"zskd-onnx/{ranks().restarts}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def together() -> bool:
    """Whether this process works with others."""
    return not _State.alone and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def working_alone() -> Iterator[None]:
    """Work without the other processes within the context, such as for a measurement."""
    before, _State.alone = _State.alone, True
    try:
        yield
    finally:
        _State.alone = before


def own_share(count: int) -> slice:
    """The rows of a batch that this process takes; a batch has as many rows as there are processes, or more."""
    if not together():
        return slice(0, count)
    rank, size = dist.get_rank(), dist.get_world_size()
    return slice(count * rank // size, count * (rank + 1) // size)


@overload
def from_rank_0(value: Value) -> Value: ...


@overload
def from_rank_0() -> Any: ...


def from_rank_0(value: Any = None) -> Any:
    """What rank 0 gives, on every process. Rank 0 does not wait until the others have it; what they give is ignored."""
    if not together():
        return value
    values = [value]
    with _peers():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def wait_for_all() -> None:
    """Wait until every process is here."""
    if together():
        with _peers():
            dist.barrier()


def share_weights(module: nn.Module) -> None:
    """Give a module the weights that it has on rank 0."""
    if together():
        with _peers():
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, src=0)


def sum_gradients(parameters: Iterable[Tensor], signals: Sequence[float] = ()) -> list[float]:
    """Replace gradients by their sums over all processes, in place.

    Args:
        signals: numbers of this process.

    Returns:
        The sums of the signals over all processes.
    """
    if not together():
        return list(signals)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    device = gradients[0].device
    flat = torch.cat([*(g.flatten() for g in gradients), torch.tensor(signals, dtype=torch.float32, device=device)])
    with _peers():
        dist.all_reduce(flat)
    first = 0
    for gradient in gradients:
        gradient.copy_(flat[first : first + gradient.numel()].view_as(gradient))
        first += gradient.numel()
    return [float(value) for value in flat[first:]]


class SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        with _peers():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        with _peers():
            dist.all_reduce(total)
        return total


@contextmanager
def _peers() -> Iterator[None]:
    """The end of another process becomes an error of its own kind."""
    try:
        yield
    except (dist.DistError, RuntimeError, pickle.PickleError) as error:
        raise PeerLostError(
            f"another process of the run has ended ({' '.join(str(error).split())[:200]}); its own message says why"
        ) from error
