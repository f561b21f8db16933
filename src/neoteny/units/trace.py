"""Ask autograd which unit of which module every input index of every module reads.

The network is cut at its parametrised modules: in a double-precision copy in evaluation mode a forward hook replaces
the output of each by a fresh random leaf, and the output of each norm by its input, since a norm keeps channels apart.
The gradient of a module's input index j with respect to all leaves is then non-zero exactly at the units that j reads.
Several draws of the leaves, in antithetic pairs, open every rectifier in at least one of them.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from neoteny.errors import NetworkError
from neoteny.units.reading import Codes, Leaf, read_units

_EXAMPLES = 2  # of the batch are enough to trace; one alone would trip models that squeeze
_DRAWS = 12  # at most; the last two that showed nothing new end the search

Role = Literal["plain", "norm", "opaque"]


@dataclass
class Trace:
    """Who reads whom.

    Attributes:
        order: the modules with parameters of their own, and the norms, in order of execution.
        roles: `plain` (its units are rows of its weight), `norm`, or `opaque`; other modules are seen through.
        opaque: why a module is opaque.
        units: number of units of each plain module; 1 for an opaque one.
        reads: for each consumer, producer by producer, the pairs (input index j, unit u) as sorted j * units + u.
        output: for each producer the units that the network's output reads.
        inputs: for each consumer the number of dimensions of its input, the one that j runs along, and its length.
        same_input: for each consumer a number that consumers of the very same tensor share.
    """

    order: list[str] = field(default_factory=list)
    roles: dict[str, Role] = field(default_factory=dict)
    opaque: dict[str, str] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)
    reads: dict[str, Codes] = field(default_factory=dict)
    output: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    same_input: dict[str, int] = field(default_factory=dict)


@dataclass
class _Call:
    name: str
    inputs: list[Tensor]
    origins: list[tuple[int, int]]
    leaves: list[Tensor]


def weight_dims(module: nn.Module) -> tuple[int, int, int] | None:
    """Of a linear or convolutional one: the weight's dimension of inputs, that of outputs, number of spatial ones."""
    match module:
        case nn.Linear():
            return 1, 0, 0
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return 1, 0, len(module.kernel_size)
        case nn.ConvTranspose1d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():
            return 0, 1, len(module.kernel_size)
    return None


def is_norm(module: nn.Module) -> bool:
    """Whether it is a norm: torch's, and others by their name and one-dimensional parameters."""
    torchs = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    if isinstance(module, torchs):
        return True
    parameters = list(module.parameters())
    named = type(module).__name__.lower().endswith(("norm", "norm1d", "norm2d", "norm3d"))
    return named and bool(parameters) and all(parameter.dim() == 1 for parameter in parameters)


def over_channels(module: nn.Module) -> bool:
    """Whether a norm's statistics run over channels, so that one unit reaches the others through them."""
    return not isinstance(module, nn.modules.batchnorm._NormBase)  # batch and instance norms keep each channel's own


def unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
    """The module inside the wrappers of `torch.compile` and data parallelism, and the prefix they put before names."""
    prefix = ""
    while True:
        if hasattr(model, "_orig_mod"):
            model, prefix = model._orig_mod, prefix + "_orig_mod."  # pyright: ignore
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model, prefix = model.module, prefix + "module."
        else:
            return model, prefix


def trace(model: nn.Module, example_inputs: Any) -> Trace:
    """Trace a network on example inputs; it stays exactly as it was, and so does the generator.

    Arguments:
        model: the network.
        example_inputs: a batch: a tensor, a tuple or list of positional arguments, or a dict of named ones.

    Raises:
        NetworkError: it has parameters that do not exist yet, cannot be copied, or does not run on these inputs.
    """
    for name, tensor in model.named_parameters():
        if nn.parameter.is_lazy(tensor):
            raise NetworkError(
                f"{_kind(model)}: parameter {name!r} does not exist yet; run the network once, then attach."
            )
    tensors = [*model.parameters(), *model.buffers()]
    indices = sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})
    with (
        torch.random.fork_rng(devices=indices),
        torch.inference_mode(False),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        # In double precision and on two examples where the model lets us, else as it is.
        own = next((t.dtype for t in model.parameters() if t.is_floating_point()), torch.float32)
        error: NetworkError | None = None
        for dtype, examples in ((torch.float64, _EXAMPLES), (torch.float64, None), (own, None)):
            try:
                return _traced(_copied(model, dtype), _arguments(example_inputs, dtype, examples))
            except NetworkError as failed:
                error = failed
        assert error is not None
        raise error


def _traced(model: nn.Module, arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> Trace:
    result = Trace()
    modules = dict(model.named_modules())
    _assign_roles(modules, result)
    quiet = 0
    for draw in range(_DRAWS):
        calls, outputs = _run(model, modules, result, arguments, draw)
        if draw == 0:
            _check_calls(modules, calls, result)
        quiet = 0 if _merge(calls, outputs, result, modules) else quiet + 1
        if quiet == 2:
            break
    return result


def _copied(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    try:
        model = copy.deepcopy(model)
    except Exception as error:
        raise NetworkError(
            f"{_kind(model)} cannot be copied ({error}); find its units before the first forward pass, or drop the "
            "tensors that its modules keep."
        ) from error
    for module in model.modules():
        # Hooks of the user's would act on the user's objects; those that compute a weight are part of the network.
        module._forward_hooks.clear()
        module._backward_hooks.clear()
        module._backward_pre_hooks.clear()
        module._forward_hooks_with_kwargs.clear()
        module._forward_hooks_always_called.clear()
        for key, hook in list(module._forward_pre_hooks.items()):
            if not type(hook).__module__.startswith("torch.nn.utils"):
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
    return model.to(dtype).eval()


def _arguments(example: Any, dtype: torch.dtype, examples: int | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    sizes = {t.shape[0] for t in tree_leaves(example) if isinstance(t, Tensor) and t.dim()}
    batch = sizes.pop() if len(sizes) == 1 else None

    def ready(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = value.detach().clone()
        if examples is not None and batch is not None and batch > examples and value.dim():
            value = value[:examples]
        return value.to(dtype) if value.is_floating_point() else value

    example = tree_map(ready, example)
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example) if isinstance(example, (tuple, list)) else (example,)), {}


def _assign_roles(modules: Mapping[str, nn.Module], result: Trace) -> None:
    owners: dict[int, set[str]] = {}
    for name, module in modules.items():
        for parameter in module._parameters.values():
            owners.setdefault(id(parameter), set()).add(name)
    for name, module in modules.items():
        dims, own = weight_dims(module), {p for p in module._parameters.values() if p is not None}
        tied = {other for p in own for other in owners[id(p)]} - {name}
        reason = None
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            reason = "it is recurrent: its units feed themselves"
        elif isinstance(module, nn.MultiheadAttention):
            reason = "attention in one module is not taken apart"
        elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            reason = "it is an embedding"
        elif dims is None:
            if is_norm(module):
                result.roles[name] = "norm"
            continue
        elif module._parameters.get("weight") is None:
            reason = "its weight is computed from other parameters"
        elif tied:
            reason = f"it shares parameters with {_listed(sorted(tied))}"
        elif getattr(module, "groups", 1) != 1:
            reason = "it is a grouped convolution"
        result.roles[name] = "plain" if reason is None else "opaque"
        if reason is not None:
            result.opaque[name] = reason


def _check_calls(modules: Mapping[str, nn.Module], calls: list[_Call], result: Trace) -> None:
    """After the first pass: who was called, how often, on what."""
    for call in calls:
        if call.name in result.order:
            if result.roles[call.name] == "plain":
                result.roles[call.name] = "opaque"
                result.opaque[call.name] = "it is called several times in one forward pass"
            continue
        result.order.append(call.name)
        dims = weight_dims(modules[call.name])
        if result.roles[call.name] == "plain" and dims and call.inputs[0].dim() < dims[2] + 2:
            raise NetworkError(
                f"{call.name!r} ({_kind(modules[call.name])}) saw an input of shape {list(call.inputs[0].shape)}, "
                "without a batch dimension; give example_inputs as a batch, x.unsqueeze(0)."
            )


@contextmanager
def _hooked(modules: Mapping[str, nn.Module], pre: Any, post: Any) -> Iterator[None]:
    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: pre(name)))
            handles.append(
                module.register_forward_hook(lambda m, a, k, o, name=name: post(name, a, k, o), with_kwargs=True)
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


def _run(model: nn.Module, modules: Mapping[str, nn.Module], result: Trace, arguments: Any, draw: int) -> Any:
    """One forward pass on random leaves: the calls in order, and the tensors of the output."""
    generator = torch.Generator().manual_seed(draw // 2)
    sign = 1 if draw % 2 == 0 else -1
    calls: list[_Call] = []
    inside: list[str] = []

    def fresh(value: Tensor) -> Tensor:
        leaf = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value) * sign
        return leaf.requires_grad_()

    def after(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        inside.pop()
        role = result.roles.get(name)
        if role is None:
            return None
        seen = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.is_floating_point()]
        # Clones: what the network does in place afterwards must change neither leaves nor what was seen.
        call = _Call(name, [t.clone() for t in seen], [(id(t), t._version) for t in seen], [])
        kept.extend(seen)
        calls.append(call)
        if role == "norm":
            return seen[0].clone()
        flat, spec = tree_flatten(output)
        for position, value in enumerate(flat):
            if isinstance(value, Tensor) and value.is_floating_point():
                call.leaves.append(fresh(value))
                flat[position] = call.leaves[-1].clone()
        return tree_unflatten(flat, spec)

    kept: list[Tensor] = []  # so that no tensor of this pass takes the identity of an earlier one
    args, kwargs = tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, arguments)
    with _hooked(modules, inside.append, after):
        try:
            output = model(*args, **kwargs)
        except Exception as error:
            name = inside[-1] if inside else ""
            where = f"module {name!r} ({_kind(modules[name])})" if name else _kind(model)
            raise NetworkError(
                f"{_kind(model)} cannot be traced: {where} raised {type(error).__name__}: {error}. Check that the "
                "model runs on example_inputs: a tensor, a tuple of arguments or a dict of named ones."
            ) from error
    return calls, [t for t in _tensors_of(output) if t.requires_grad]


def _tensors_of(output: Any) -> list[Tensor]:
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        output = [getattr(output, f.name) for f in dataclasses.fields(output)]
    return [t for t in tree_leaves(output) if isinstance(t, Tensor) and t.is_floating_point()]


def _merge(calls: list[_Call], outputs: list[Tensor], result: Trace, modules: Mapping[str, nn.Module]) -> bool:
    """Add what one draw shows; whether anything was new."""
    leaves: list[Leaf] = []
    for call in calls:
        role, dims = result.roles[call.name], weight_dims(modules[call.name])
        for leaf in call.leaves if role != "norm" else ():
            dim = leaf.dim() - 1 - dims[2] if role == "plain" and dims else None
            leaves.append(Leaf(call.name, leaf, dim))
            result.units[call.name] = leaves[-1].units
    new = False
    known: dict[Any, Codes] = {}
    for call in calls:
        dim = _input_dim(modules[call.name], call.inputs[0]) if result.roles[call.name] != "opaque" else None
        if dim is not None:
            shape = call.inputs[0].shape
            result.inputs[call.name] = (len(shape), dim, shape[dim])
            result.same_input.setdefault(call.name, hash(call.origins[0]))
        for value, origin in list(zip(call.inputs, call.origins, strict=True))[: None if dim is None else 1]:
            if value.requires_grad:
                if (origin, dim) not in known:
                    known[origin, dim] = read_units(value, dim, leaves)
                new |= _add(result.reads.setdefault(call.name, {}), known[origin, dim])
    before = {name: units.sum() for name, units in result.output.items()}
    for value in outputs:
        for name, codes in read_units(value, None, leaves).items():
            result.output.setdefault(name, np.zeros(result.units[name], bool))[codes] = True
    return new or before != {name: units.sum() for name, units in result.output.items()}


def _input_dim(module: nn.Module, value: Tensor) -> int | None:
    """The dimension of a module's input that its weight, or its gain, runs along."""
    dims = weight_dims(module)
    if dims is not None:
        return value.dim() - 1 - dims[2]
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        own, dim = module.normalized_shape[0], value.dim() - len(module.normalized_shape)
    elif isinstance(module, nn.GroupNorm):
        own, dim = module.num_channels, 1
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        own, dim = module.num_features, 1
    else:
        own, dim = next(module.parameters()).shape[0], value.dim() - 1
    for candidate in (dim, 1):  # a LayerNorm of images, as some write it, runs along dimension 1
        if candidate < value.dim() and value.shape[candidate] == own:
            return candidate
    return None


def _add(target: Codes, found: Codes) -> bool:
    new = False
    for name, codes in found.items():
        union = codes if name not in target else np.union1d(target[name], codes)
        new |= len(union) > (len(target[name]) if name in target else 0)
        target[name] = union
    return new


def _kind(module: nn.Module) -> str:
    return type(module).__name__


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))
