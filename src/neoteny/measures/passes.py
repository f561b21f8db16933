"""Running somebody's network to look at it, and leaving everything as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["call", "examples_of", "output_tensors", "slow_rnn", "undisturbed"]


def call(model: nn.Module, inputs: Any) -> Any:
    """Run the model on a tensor, a tuple or list of positional arguments, or a mapping of named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def examples_of(inputs: Any) -> int | None:
    """The number of examples in a batch, or None where its tensors disagree on their first dimension.

    >>> import torch
    >>> examples_of({"x": torch.zeros(5, 2), "scale": 2.0}), examples_of((torch.zeros(5, 2), torch.zeros(3)))
    (5, None)
    """
    import torch
    from torch.utils._pytree import tree_leaves

    sizes = {leaf.shape[0] for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor) and leaf.dim()}
    return sizes.pop() if len(sizes) == 1 else None


def output_tensors(output: Any) -> list[Tensor]:
    """The floating-point tensors, of one dimension or more, in an output of any make: tuples, mappings, dataclasses.

    >>> import torch
    >>> [tensor.shape for tensor in output_tensors({"logits": torch.zeros(2, 3), "loss": torch.tensor(0.0)})]
    [torch.Size([2, 3])]
    """
    import torch
    from torch.utils._pytree import tree_leaves

    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        output = [getattr(output, field.name) for field in dataclasses.fields(output)]
    if not isinstance(output, torch.Tensor):
        leaves = tree_leaves(output)
        return [tensor for leaf in leaves if leaf is not output for tensor in output_tensors(leaf)]
    return [output] if output.is_floating_point() and output.dim() else []


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards modes, buffers and generators are as they were.

    Autocast and inference mode of the caller's are off inside, so that what is measured does not depend on them.
    """
    import torch

    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    devices = {tensor.device for tensor in model.parameters()}
    cuda = sorted({device.index for device in devices if device.type == "cuda"})
    kind = next(iter(devices)).type if devices else "cpu"
    with torch.random.fork_rng(devices=cuda), torch.inference_mode(False), torch.autocast(kind, enabled=False):
        try:
            for module, _ in modes:
                # Not `model.eval()`, which a model may have made do more than this.
                module.training = False
            yield
        finally:
            with torch.no_grad():
                for module, training in modes:
                    module.training = training
                for module, name, buffer, value in buffers:
                    module._buffers[name] = buffer
                    if not torch.equal(buffer, value):
                        buffer.copy_(value)


@contextmanager
def slow_rnn(model: nn.Module) -> Iterator[None]:
    """Without cuDNN where the model is recurrent: cuDNN has no gradient of recurrent networks in evaluation mode."""
    import torch

    recurrent = any(isinstance(module, torch.nn.RNNBase) for module in model.modules())
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not recurrent):
        yield
