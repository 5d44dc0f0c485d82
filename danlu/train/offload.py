"""Keep in the machine's memory what a GPU needs only now and then: the optimizer's state, and saved activations.

State rests on the host and visits the device for its update, some 64 MB at a time, so the update's bits are those
without it (ZeRO-Offload, Ren et al. 2021, updates on the host instead, which is slower where the transfer is not the
limit). Activations leave when the forward pass has saved them and come back when the backward pass asks. Both are worth
their transfers only where memory is what stops a run.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

CHUNK_BYTES = 64 << 20
SMALLEST_BYTES = 1 << 20  # below, a transfer's start costs more than the memory is worth

Stores = dict[str, dict[str, Tensor]]


def host_copy(tensor: Tensor) -> Tensor:
    """The same values in memory of the host, page-locked where there is a GPU to send them to."""
    copy = torch.empty_like(tensor, device="cpu", pin_memory=torch.cuda.is_available())
    return copy.copy_(tensor)


def to_host(stores: Stores) -> None:
    """Move all state to the host."""
    for store in stores.values():
        for name, tensor in store.items():
            store[name] = host_copy(tensor)


def chunks(parameters: Mapping[str, Tensor], names: Collection[str] | None) -> Iterator[list[str]]:
    """All names, or those given, in groups whose parameters have some 64 MB together."""
    group, size = list[str](), 0
    for name, parameter in parameters.items():
        if names is not None and name not in names:
            continue
        group.append(name)
        size += parameter.nbytes
        if size >= CHUNK_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


@contextmanager
def borrowed(stores: Stores, names: Collection[str], parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """While it is open, the state of ``names`` is where their parameters are; then what became of it is at home."""
    homes = [(store, name, store[name]) for store in stores.values() for name in names if name in store]
    for store, name, home in homes:
        store[name] = home.to(parameters[name].device, non_blocking=True, copy=True)
    yield
    for store, name, home in homes:
        store[name] = home.copy_(store[name])


def activations_on_host() -> AbstractContextManager[object]:
    """Around a forward pass: what it saves for the backward pass waits on the host, weights and small tensors aside."""

    def pack(tensor: Tensor) -> Tensor | tuple[torch.device, Tensor]:
        if isinstance(tensor, nn.Parameter) or tensor.nbytes < SMALLEST_BYTES:
            return tensor
        return tensor.device, host_copy(tensor)

    def unpack(packed: Tensor | tuple[torch.device, Tensor]) -> Tensor:
        return packed if isinstance(packed, Tensor) else packed[1].to(packed[0], non_blocking=True)

    return saved_tensors_hooks(pack, unpack)
