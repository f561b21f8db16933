"""Running somebody's network to look at it, and leaving everything as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "call",
    "examples_of",
    "generators_kept",
    "plain",
    "seed_generators",
    "slow_rnn",
    "undisturbed",
]


def call(model: nn.Module, inputs: Any) -> Any:
    """Run the model on a tensor, a tuple or list of positional arguments, or a mapping of named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def plain(inputs: Any) -> Any:
    """Named inputs as a dict, which torch's tree functions look into; a tokenizer's output is another mapping."""
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
    """The model in evaluation mode; afterwards modes, buffers and generators are as they were."""
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
def generators_kept(model: nn.Module) -> Iterator[None]:
    """Torch's generators, those of the model's devices too, are afterwards as they were.

    The caller's autocast and inference mode are off inside, so that what is measured does not depend on them.
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
def slow_rnn(model: nn.Module) -> Iterator[None]:
    """Without cuDNN where the model is recurrent: cuDNN has no gradient of recurrent networks in evaluation mode."""
    import torch

    recurrent = any(isinstance(module, torch.nn.RNNBase) for module in model.modules())
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not recurrent):
        yield
