"""Ask autograd which unit of which module every input index of every module reads.

The network is cut at its linear maps: in a double-precision copy in evaluation mode a forward hook replaces the output
of each call by a fresh random leaf, and the output of each norm by its input, since a norm keeps channels apart. The
gradient of a module's input index j with respect to all leaves is then non-zero exactly at the units that j reads.
Several draws of the leaves, in antithetic pairs, open every rectifier in at least one of them. A module that is called
several times has the same units in every call.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import checkpoint as checkpointing

from neoteny.errors import NetworkError
from neoteny.progress import waiting
from neoteny.units.copying import set_mode
from neoteny.units.decompose import opened
from neoteny.units.graph import Graph
from neoteny.units.inputs import arguments_of, first_examples
from neoteny.units.light import only_shapes, traceable_copy
from neoteny.units.maps import LinearMap, beside_weight, is_channelwise, is_linear, is_norm, known_map
from neoteny.units.passes import Call, check_calls, is_number, kind, merge, merge_bare, read_still, run
from neoteny.units.trace import Masks, Trace

__all__ = ["apart", "trace"]

_EXAMPLES = 2  # of the batch are enough to trace; a single one would fail in models that call `squeeze`
_DRAWS = 12  # at most; the last two that showed nothing new end the search


def trace(model: nn.Module, example_inputs: Any, training: bool = False) -> Trace:
    """Trace a network on example inputs; it stays exactly as it was, and so does the generator.

    Args:
        model: the network.
        example_inputs: a batch as the network takes it, see `neoteny.units.inputs`.
        training: as it is in training mode, with outputs that exist only there; dropout and norms as in evaluation.

    Raises:
        NetworkError: it has parameters that do not exist yet, cannot be copied, does not run on these inputs, or needs
            more memory than there is.
    """
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            at = f"module {name!r} is" if name else "it is"
            raise NetworkError(
                f"{kind(model)}: {at} TorchScript, which cannot be looked into; give the network that it was made of, "
                "and script or trace that after attaching."
            )
    for name, tensor in model.named_parameters():
        if nn.parameter.is_lazy(tensor):
            raise NetworkError(
                f"{kind(model)}: parameter {name!r} does not exist yet; run the network once, then attach."
            )
    with apart(model), waiting() as say:
        # In double precision, on two examples and without large weights where the model lets us, else as it is.
        own = next((t.dtype for t in model.parameters() if t.is_floating_point()), torch.float32)
        error: NetworkError | None = None
        ways = ((torch.float64, _EXAMPLES, True), (torch.float64, _EXAMPLES, False), (torch.float64, None, False))
        for dtype, examples, light in (*ways, (own, None, False)):
            try:
                given = arguments_of(first_examples(example_inputs, examples, dtype))
                return _traced(model, dtype, given, light, training, say)
            except NetworkError as failed:
                error = failed if error is None or not light else error
            except MemoryError as failed:
                raise NetworkError(
                    f"{kind(model)} cannot be searched in the memory that is here ({failed}): give smaller inputs if "
                    "it takes them, or name its unit layers by hand with neoteny.units.declare."
                ) from failed
        assert error is not None
        raise error


@contextmanager
def apart(model: nn.Module) -> Iterator[None]:
    """Run copies without a trace: generators stay as they were, and what the caller has switched on does not count."""
    tensors = [*model.parameters(), *model.buffers()]
    indices = sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})
    with (
        torch.random.fork_rng(devices=indices),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.compiler.set_stance("force_eager"),  # compiled parts must call their hooks
        sdpa_kernel(SDPBackend.MATH),  # the fused kernels have no second derivative
        _without_reentry(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _without_reentry() -> Iterator[None]:
    """Reentrant checkpoints run through: they hide the graph that is looked at here."""
    own = checkpointing.CheckpointFunction.apply
    checkpointing.CheckpointFunction.apply = staticmethod(lambda function, _, *inputs: function(*inputs))
    try:
        yield
    finally:
        checkpointing.CheckpointFunction.apply = own


def _traced(
    model: nn.Module, dtype: torch.dtype, arguments: Any, light: bool, training: bool, say: Callable[[str], None]
) -> Trace:
    """Trace a copy; again with real numbers in the weights that turn out to be read beside their modules."""
    whole = set[str]()
    while True:
        copied = traceable_copy(model, dtype, whole if light else None)
        if training:
            set_mode(copied, True)
        result, missing = _trace_of(copied, arguments, whole if light else None, say)
        if not missing:
            return result
        whole |= missing


def _trace_of(
    model: nn.Module, arguments: Any, whole: Set[str] | None, say: Callable[[str], None]
) -> tuple[Trace, set[str]]:
    """What a copy shows; of a light one only if no other weights are read beside their modules than those in `whole`.

    Also returns such weights.
    """
    shared = _shared(model)
    for module in model.modules():
        if hasattr(module, "muted"):  # frozen copies of a head are no units of it (nn/surgery/injection.py)
            module.__dict__["muted"] = True
    maps, views = opened(model)
    modules = dict(model.named_modules())
    result = Trace(say=say, views=views, parts={name: name.rpartition(".")[0] for name in maps})
    _assign_roles(modules, maps, result)
    for name in result.maps if whole is not None else ():
        if result.roles[name] == "plain":
            only_shapes(modules[name])
    _open_bare(model, modules, result)
    quiet, elsewhere, bare, unseen = 0, dict[str, str](), dict[str, Tensor](), True
    for draw in range(_DRAWS):
        calls, outputs = run(model, modules, result, arguments, draw)
        check_calls(modules, calls, result)
        if draw == 0:
            elsewhere = _used_elsewhere(model, result, calls, outputs)
            if whole is not None and not elsewhere.keys() <= whole:
                return result, set(elsewhere) - whole
            bare = _unowned(model, result, calls, outputs)
            result.unowned, result.bare_shapes = list(bare), {name: tuple(p.shape) for name, p in bare.items()}
            for name, known in result.maps.items():
                both = {**elsewhere, **shared}
                reason = next((both[p] for p in (known.weight, known.bias) if p in both), None)
                result.maps[name] = replace(known, shared=reason)
        new, varies = merge(calls, outputs, result, modules)
        quiet = 0 if new else quiet + 1
        unseen = draw < 2 and unseen and merge_bare(calls, bare, modules, result)
        if quiet == 2 or not (varies or unseen or result.roles.keys() - result.calls.keys()):
            break

    def still_read(zeros: Masks, asked: Sequence[Mapping[str, np.ndarray]]) -> list[Masks]:
        found: list[Masks] = [{} for _ in asked]
        with apart(model):
            for draw in range(2):
                calls, _ = run(model, modules, result, arguments, draw, zeros)
                read_still(calls, asked, modules, result, found)
        return found

    result.still_read = still_read
    return result, set()


def _shared(model: nn.Module) -> dict[str | None, str]:
    """The parameters that have several names, and which."""
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules():  # each once: one module under two names is no sharing
        for own, parameter in module.named_parameters(name, recurse=False, remove_duplicate=False):
            names.setdefault(id(parameter), []).append(own)
    found = {}
    for several in names.values():
        for name in several if len(several) > 1 else ():
            others = sorted(other.rpartition(".")[0] for other in several if other != name)
            found[name] = f"it shares parameters with {_listed(others)}"
    return found


def _used_elsewhere(model: nn.Module, result: Trace, calls: list[Call], outputs: list[Tensor]) -> dict[str, str]:
    """The weights that something reads beside the module that they belong to, whose output is cut off."""
    own = {p for known in result.maps.values() for p in (known.weight, known.bias)}
    reached = [t for t in (*outputs, *(value for call in calls for value in call.inputs)) if t.requires_grad]
    used = Graph.variables(t.grad_fn for t in reached) | {id(t) for t in reached}
    return {
        name: "its weights are used outside it as well"
        for name, parameter in model.named_parameters()
        if name in own and id(parameter) in used
    }


def _open_bare(model: nn.Module, modules: Mapping[str, nn.Module], result: Trace) -> None:
    """Parameters that no known module owns: all are asked, and none may hide what it is multiplied with by being 0."""
    owned = {id(p) for name in result.roles for p in modules[name].parameters(recurse=False)}
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if id(parameter) in owned or not is_number(parameter):
            continue
        if parameter.requires_grad and parameter.numel() and not parameter.any():  # a gain that training opens
            parameter.data.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
        parameter.requires_grad_()


def _unowned(model: nn.Module, result: Trace, calls: list[Call], outputs: list[Tensor]) -> dict[str, Tensor]:
    """The parameters that the pass computed with outside the modules of known roles."""
    own = {name for name in result.roles if name in result.calls}
    reached = [t for t in (*outputs, *(value for call in calls for value in call.inputs)) if t.requires_grad]
    used = Graph.variables(t.grad_fn for t in reached) | {id(t) for t in reached}
    return {n: p for n, p in model.named_parameters() if n.rpartition(".")[0] not in own and id(p) in used}


def _assign_roles(modules: Mapping[str, nn.Module], maps: Mapping[str, LinearMap], result: Trace) -> None:
    for name, module in modules.items():
        known = maps.get(name) or known_map(name, module)
        reason = None
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)):
            if name in result.parts.values():
                continue
            reason = f"it is a {kind(module)}, which works differently from torch's own"
        elif is_linear(module) and getattr(module.weight, "is_complex", bool)():
            reason = "its weight is complex"
        elif beside := beside_weight(module):
            reason = f"it computes with more than its weight ({_listed(beside)})"
        elif isinstance(module, nn.Bilinear):
            reason = "it is an nn.Bilinear, whose weights each multiply two inputs"
        elif isinstance(module, nn.EmbeddingBag):
            reason = "it is a bag of embeddings"
        elif isinstance(module, nn.Embedding) and module.padding_idx is not None:
            reason = "it is an embedding with a padding row, which has to stay as it is"
        elif known is None and is_linear(module):
            reason = "its weight is computed from other parameters"
        elif known is None:
            if is_norm(module):
                result.roles[name] = "norm"
            continue
        if reason is not None:
            result.roles[name], result.opaque[name] = "opaque", reason
            continue
        assert known is not None
        result.roles[name], result.maps[name] = "channelwise" if is_channelwise(module) else "plain", known
        if is_channelwise(module):  # seen through: no channel may be lost to a weight of zero
            nn.init.ones_(module.weight)  # pyright: ignore
            if module.bias is not None:  # nor may a bias hide that a channel is 0
                nn.init.zeros_(module.bias)  # pyright: ignore


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))
