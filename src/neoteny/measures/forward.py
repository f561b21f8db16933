"""Running a network forward without changing anything about it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from neoteny.errors import SettingError

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "call",
    "checked",
    "evaluating",
    "examples_of",
    "generators_kept",
    "ordinary",
    "outside_inference",
    "seed_generators",
    "thawed",
    "undisturbed",
    "without_cudnn_rnn",
]

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


def outside_inference(function: Callable[_Given, _Found]) -> Callable[_Given, _Found]:
    """Let a function that makes copies of networks be called within the caller's `torch.inference_mode`."""

    @functools.wraps(function)
    def called(*args: _Given.args, **kwargs: _Given.kwargs) -> _Found:
        import torch

        with torch.inference_mode(False):
            return function(*args, **kwargs)

    return called


def ordinary(inputs: Any) -> Any:
    """The inputs, with tensors that were made in inference mode, which take no part in gradients, as copies."""
    import torch
    from torch.utils._pytree import tree_map_only

    return tree_map_only(torch.Tensor, lambda value: value.clone() if value.is_inference() else value, inputs)


def checked(model: Any, inputs: Any, what: str) -> tuple[nn.Module, Any]:
    """The network without wrappers, and inputs that it can be judged by.

    Raises:
        SettingError: it is no network, or the inputs hold no example, or numbers that are not finite.
    """
    import torch
    from torch.utils._pytree import tree_leaves

    from neoteny.units.inputs import as_dict
    from neoteny.units.maps import unwrapped

    if not isinstance(model, torch.nn.Module):
        raise SettingError(f"{what}: model is a {type(model).__name__}, not a network; give the nn.Module itself.")
    inputs = as_dict(inputs)
    tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
    if any(tensor.dim() and not len(tensor) for tensor in tensors):
        raise SettingError(f"{what}: the inputs hold no example; give a batch of some hundred.")
    wild = [t for t in tensors if t.is_floating_point() and not bool((t.isfinite() | t.isneginf()).all())]
    if wild:
        count = int((~wild[0].isfinite()).any(tuple(range(1, wild[0].dim()))).sum()) if wild[0].dim() else 1
        raise SettingError(
            f"{what}: {count} of the inputs' examples are not finite, so they say nothing about the network; leave "
            "them out, or fill in what is missing."
        )
    return unwrapped(model)[0], ordinary(inputs)


@contextmanager
def thawed(model: nn.Module) -> Iterator[None]:
    """Let frozen parameters take part, so that their layers are looked at too. Afterwards they are frozen again."""
    frozen = [p for p in model.parameters() if not p.requires_grad and (p.is_floating_point() or p.is_complex())]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def call(model: nn.Module, inputs: Any) -> Any:
    """Run the model on a batch as `neoteny.units.inputs` has it."""
    from neoteny.units.inputs import arguments_of

    args, kwargs = arguments_of(inputs)
    return model(*args, **kwargs)


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
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode; afterwards restore the modes."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            # Not `model.eval()`: a model may have overridden it to do more.
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode; afterwards restore modes, buffers and random generators."""
    import torch

    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    with generators_kept(model), evaluating(model):
        try:
            yield
        finally:
            with torch.no_grad():
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
