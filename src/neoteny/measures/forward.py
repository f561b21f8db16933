"""Running a network forward without changing anything about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "as_dict",
    "call",
    "examples_of",
    "generators_kept",
    "seed_generators",
    "undisturbed",
    "without_cudnn_rnn",
]


def call(model: nn.Module, inputs: Any) -> Any:
    """Run the model on a tensor, on a tuple or list of positional arguments, or on a mapping of named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def as_dict(inputs: Any) -> Any:
    """Named inputs as a dict: torch's tree functions do not look into other mappings, such as a tokenizer's output."""
    return dict(inputs) if isinstance(inputs, Mapping) else inputs


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


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode; afterwards restore modes, buffers and random generators."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    with generators_kept(model):
        try:
            for module, _ in modes:
                # Not `model.eval()`: a model may have overridden it to do more.
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
def generators_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards restore torch's random generators, also those of the model's devices.

    The caller's autocast and inference mode are switched off inside, so that measures do not depend on them.
    """
    import torch

    kind = next((parameter.device.type for parameter in model.parameters()), "cpu")
    with (
        torch.random.fork_rng(devices=_cuda(model)),
        torch.inference_mode(False),
        torch.autocast(kind, enabled=False),
    ):
        yield


def seed_generators(model: nn.Module, seed: int) -> None:
    """Seed the generators that `generators_kept` keeps, and no others, as `torch.manual_seed` would."""
    import torch

    torch.default_generator.manual_seed(seed)
    for device in _cuda(model):
        torch.cuda.default_generators[device].manual_seed(seed)


def _cuda(model: nn.Module) -> list[int]:
    return sorted({parameter.device.index for parameter in model.parameters() if parameter.is_cuda})


@contextmanager
def without_cudnn_rnn(model: nn.Module) -> Iterator[None]:
    """Turn cuDNN off if the model is recurrent: it computes no gradients of recurrent networks in evaluation mode."""
    import torch

    recurrent = any(isinstance(module, torch.nn.RNNBase) for module in model.modules())
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not recurrent):
        yield
