"""Activations that a network calls as functions become modules in a copy of it, so that others can take their place.

A module whose `forward` calls `F.relu(x)` gets a submodule `relu_0` and runs under a function mode, which gives
the call to that submodule. A call is known again by its place in the code, so one in a loop is one activation, and a
helper that is called twice is two. A place that was not reached when the network was changed stays as it is. The
submodule gives a new tensor, also in place of a function that writes into its argument.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from contextlib import suppress
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from neoteny.errors import NetworkError
from neoteny.units.copying import output_tensors
from neoteny.units.inputs import arguments_of, first_examples

__all__ = ["FUNCTIONS", "FunctionalActivation", "called_as", "functions_to_modules"]

FUNCTIONS = {
    "relu", "relu6", "leaky_relu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign",
    "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "logsigmoid", "tanhshrink", "softshrink", "hardshrink",
    "threshold",
}  # fmt: skip
"""Names of the functions of torch that are taken for activations, under which they are in `torch.nn.functional`."""

Site = tuple[tuple[str, int], ...]
"""A place in the code: function and instruction of each frame between a module's `forward` and the call."""


def called_as(func: Any) -> str:
    """The name of a function of torch; of one that writes into its argument that of the other.

    >>> called_as(torch.relu_), called_as(torch.Tensor.tanh)
    ('relu', 'tanh')
    """
    return getattr(func, "__name__", "").strip("_")


class FunctionalActivation(nn.Module):
    """A function of `torch.nn.functional` with its settings, as a module.

    Args:
        function: its name.
        args: its further arguments.
        kwargs: and those by name.

    >>> FunctionalActivation("leaky_relu", (0.5,), {})(torch.tensor([-2.0, 2.0]))
    tensor([-1.,  2.])
    """

    def __init__(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]):
        super().__init__()
        self.function, self.args, self.kwargs = function, args, kwargs

    def forward(self, x: Tensor) -> Tensor:
        """The function's value; a mode that the function was told is that of the module."""
        mode = {"training": self.training} if "training" in self.kwargs else {}
        return getattr(functional, self.function)(x, *self.args, **{**self.kwargs, **mode})

    def extra_repr(self) -> str:
        """The function and its settings."""
        return ", ".join([self.function, *map(str, self.args), *(f"{key}={v}" for key, v in self.kwargs.items())])


def functions_to_modules(
    model: nn.Module, example_inputs: Any, activations: Collection[str], known: tuple[type[nn.Module], ...]
) -> None:
    """Change a network so that every activation function that it calls is a module; it computes the same.

    Args:
        model: the network, a copy of the user's; it is changed.
        example_inputs: a batch as the network takes it.
        activations: names of modules that are activations already.
        known: and classes of such.

    Raises:
        NetworkError: it does not compute the same afterwards.
    """
    before = _run(model, example_inputs)
    for name, module in list(model.named_modules()):
        if name not in activations and not isinstance(module, (*known, _Rerouting)):
            with suppress(TypeError):  # a class whose instances cannot get another one keeps its functions
                module.__dict__["_sites"] = {}
                module.__class__ = _rerouting(type(module))
    _run(model, example_inputs)
    for module in model.modules():
        if isinstance(module, _Rerouting) and module._sites:
            module.__dict__["_closed"] = True
            for place in module._sites.values():  # they were made in evaluation mode
                module.get_submodule(place).train(module.training)
        elif "_sites" in module.__dict__:
            if isinstance(module, _Rerouting):
                module.__class__ = module.original  # pyright: ignore[reportAttributeAccessIssue]
            del module.__dict__["_sites"]
    after = _run(model, example_inputs)
    if len(before) != len(after) or not all(map(torch.equal, before, after)):
        raise NetworkError(
            f"{type(model).__name__} does not compute the same once its activation functions are modules (it may go on "
            "with the argument of one that was called inplace); call modules, such as nn.ReLU, kept as attributes."
        )


def _run(model: nn.Module, example_inputs: Any) -> list[Tensor]:
    modes = [(module, module.training) for module in model.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # it rounds otherwise
        for module, _ in modes:
            module.training = False
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            args, kwargs = arguments_of(first_examples(example_inputs))
            return [value.nan_to_num() for value in output_tensors(model(*args, **kwargs))]
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes:
            module.training = training


class _Rerouting(nn.Module):
    """The base of classes of modules whose activation functions are submodules; `original` is the user's class."""

    original: type[nn.Module]
    _sites: dict[Site, str]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return _under_mode(self, args, kwargs)  # pyright: ignore[reportCallIssue]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuilt, (self.original, sys.version_info[:2]), self.__dict__


@torch.compiler.disable  # what is compiled would not see the mode
def _under_mode(module: _Rerouting, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with _Mode(module, sys._getframe()):
        forward: Any = module.original.forward
        return forward(module, *args, **kwargs)


class _Mode(TorchFunctionMode):
    def __init__(self, module: _Rerouting, frame: FrameType):
        super().__init__()
        self._module, self._frame = module, frame
        looking = "_closed" not in module.__dict__
        self._inside = {id(inside) for inside in module.modules()} - {id(module)} if looking else set[int]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = called_as(func)
        if name not in FUNCTIONS:
            return func(*args, **kwargs)
        site = self._site()
        if site is None:
            return func(*args, **kwargs)
        place = self._module._sites.get(site)
        if place is None:
            if self._module.__dict__.get("_closed"):
                return func(*args, **kwargs)
            place = self._module._sites[site] = self._new(name, args[1:], kwargs)
        return self._module.get_submodule(place)(args[0] if args else kwargs["input"])

    def _site(self) -> Site | None:
        """Where the call comes from; None where another module of the network is called in between."""
        found, frame = [], sys._getframe(2)
        while frame is not None and frame is not self._frame:
            code = frame.f_code
            if code is _CALL:
                called = frame.f_locals["self"]
                if id(called) in self._inside:
                    return None
                found.append((type(called).__qualname__, 0))  # one that was made for this call: nn.ReLU()(x)
            elif not code.co_filename.startswith(_TORCH):
                found.append((code.co_qualname, frame.f_lasti))
            frame = frame.f_back
        return tuple(found)

    def _new(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        settings = {key: value for key, value in kwargs.items() if key not in ("inplace", "input", "out")}
        if name == "leaky_relu" or name in ("relu6", "elu", "selu", "celu", "hardtanh", "threshold"):
            args = tuple(value for value in args if not isinstance(value, bool))  # inplace, by its place
        if name == "rrelu":
            settings, args = {**dict(zip(("lower", "upper", "training"), args, strict=False)), **settings}, ()
        number = 0
        while hasattr(self._module, place := f"{name}_{number}"):
            number += 1
        module = FunctionalActivation(name, tuple(args), settings)
        self._module.add_module(place, module)
        return place


_CALL = nn.Module._call_impl.__code__
_TORCH = torch.__file__.rpartition("__init__")[0]
_classes: dict[type[nn.Module], type[_Rerouting]] = {}


def _rerouting(kind: type[nn.Module]) -> type[_Rerouting]:
    if kind not in _classes:
        own = {"original": kind, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
        _classes[kind] = type(kind.__name__, (_Rerouting, kind), own)
    return _classes[kind]


def _rebuilt(kind: type[nn.Module], version: tuple[int, ...]) -> nn.Module:
    if version != sys.version_info[:2]:
        raise NetworkError(
            f"{kind.__name__} was prepared and pickled by Python {'.'.join(map(str, version))}, and its activations "
            "are known by their places in the compiled code; prepare the network again and load its state_dict."
        )
    return nn.Module.__new__(_rerouting(kind))
