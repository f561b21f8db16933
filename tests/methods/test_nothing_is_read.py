"""Host and device run side by side: in a step with attached methods nothing waits for a number from the device."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import neoteny
from neoteny.registry import METHODS
from neoteny.testing.models import mlp

READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique", "_unique2")
OPTIMIZERS = {
    "cpu": {"momentum": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9)},
    "cuda": {
        "momentum": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, 0.01),
        "fused": lambda p: torch.optim.AdamW(p, 0.01, fused=True),
    },
}


class _NothingIsRead(TorchDispatchMode):
    """Raises where an operation would wait; rules see no value then, as on a GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in READS, f"{func} reads a value from the device"
        return func(*args, **(kwargs or {}))


@contextmanager
def nothing_is_read(device):
    if device == "cpu":
        with _NothingIsRead():
            yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("name", METHODS)
def test_a_step_reads_nothing(name, device):
    for method in METHODS[name].load().contract()[0]:
        for make in OPTIMIZERS[device].values():
            torch.manual_seed(0)
            x, y = torch.randn(16, 6, device=device), torch.randn(16, 2, device=device)
            model = neoteny.prepare(mlp(6, 12, 9, 2).to(device), method, x)
            optimizer = make(model.parameters())
            neoteny.attach(model, optimizer, method, x, reference=x, only_preserving=False)
            for number in range(12):
                optimizer.zero_grad()
                nn.functional.mse_loss(model(x), y).backward()
                if number < 5:  # the first resets try out what an optimizer keeps of new weights
                    optimizer.step()
                    continue
                with nothing_is_read(device):
                    optimizer.step()


def test_what_reads_is_found():
    with pytest.raises(AssertionError, match="reads a value"), nothing_is_read("cpu"):
        torch.ones(3).sum().item()
