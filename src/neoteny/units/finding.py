"""Find the hidden units of any network: from classes of outputs to plain records of names and index maps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import nn

from neoteny.errors import NetworkError, UnknownNameError
from neoteny.units.chain import chained
from neoteny.units.fitting import shapes_of
from neoteny.units.inference import Given, infer_initialisers
from neoteny.units.maps import is_norm, unwrapped
from neoteny.units.outputs import makers_of, own_parameters
from neoteny.units.passing import drawn_around_zero
from neoteny.units.records import Network, UnitLayer
from neoteny.units.smaller import smaller
from neoteny.units.trace import Trace
from neoteny.units.tracing import trace
from neoteny.units.verify import Verification
from neoteny.units.verify import verify as check
from neoteny.units.writing import Writer

__all__ = ["find", "without_units"]

_TAKEN_WITH = "no reset preserves the function; only_preserving=False takes it"


def find(
    model: nn.Module,
    example_inputs: Any,
    *,
    residual_stream: bool = False,
    chain: bool = False,
    initialisers: Mapping[str, Given] | None = None,
    only_preserving: bool = True,
    verify: bool = True,
    allow_none: bool = False,
) -> Network:
    """Find the hidden units of a network by asking autograd what every module reads.

    The network is traced as a copy: its parameters, buffers, gradients, mode and hooks and torch's generators stay as
    they were. Sees through anything that autograd can differentiate: functional activations, pooling, flattening,
    residual sums, concatenation, gates, attention, recurrence. Units are outputs of `nn.Linear`, of convolutions, of
    the cells of recurrent modules, and of any module that turns out to compute a linear map; norms and depthwise
    convolutions lie on their way. By default only units are taken whose every consumer is known and can be zeroed, so
    that a newborn contributes nothing; that is also checked with numbers (`neoteny.units.verify`). Where the check
    shows that outputs which exist only in training mode read units, the network is traced as it is in that mode.

    Args:
        model: the network.
        example_inputs: a batch as the network takes it: a tensor, a tuple of arguments, a dict of named ones, or
            `(args, kwargs)`, a tuple and a dict.
        residual_stream: also take the units of residual streams, to which one module after the other adds: resetting
            one resets its part of all those modules.
        chain: instead, take the authors' rule for ResNet-18 (Nature 632, 2024): the outputs of every module along the
            network, and of their consumers only the next module. A reset then changes what the network computes.
        initialisers: how parameters are drawn, by name, where modules do not say so themselves (by an attribute
            `initialisers`) and the present weights do not show it: a `neoteny.units.Initialiser`, or a function that
            fills a tensor, such as `torch.nn.init.orthogonal_`.
        only_preserving: leave out units whose reset changes what the network computes: those that norms couple by
            their statistics (LayerNorm, GroupNorm), and those that move the output although their outgoing weights are
            zero. With False they are taken, and the table says that they are not function-preserving. With `chain`
            none preserves the function, and all are taken.
        verify: check with numbers, in a few forward passes, that the units found reach no output when they are silent.
        allow_none: return a network without unit layers instead of refusing it.

    Raises:
        NetworkError: the network cannot be traced, or has no hidden units.
        UnknownNameError: an initialiser for a parameter that does not exist.

    >>> import torch
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    >>> network = find(net, torch.zeros(1, 1, 4, 4))
    >>> [(layer.name, layer.size) for layer in network.layers], network.head
    ([('0', 4)], ('3.weight', '3.bias'))
    >>> network.layers[0].outgoing[0].index[1]
    (4, 5, 6, 7)
    """
    for name in initialisers or ():
        if name not in dict(model.named_parameters()):
            raise UnknownNameError(name, [name for name, _ in model.named_parameters()], "parameter to initialise")
    inner, prefix = unwrapped(model)
    small = smaller(inner, example_inputs)
    traced = trace(inner, small)
    modules = dict(inner.named_modules())
    given = {name.removeprefix(prefix): how for name, how in (initialisers or {}).items()}
    guessed, notes = infer_initialisers(inner, given)

    def search(traced: Trace) -> tuple[Trace, Writer, list[UnitLayer], dict[str, str], Verification]:
        loose = {name: parameter for name, parameter in inner.named_parameters() if name in traced.unowned}
        writer = Writer(modules, traced, residual_stream, {*given, *drawn_around_zero(loose, guessed, notes)})
        layers, skipped = chained(writer.grouping, modules) if chain else writer.layers()
        layers, done = list(_named_apart(layers)), Verification()
        if verify and not chain:
            done = check(inner, [layer for layer in layers if not layer.coupled], example_inputs)
        return traced, writer, layers, dict(skipped), done

    found, training = search(traced), False
    if found[-1].in_training:  # outputs that exist only in training mode read these layers
        with suppress(NetworkError):
            again = search(trace(inner, small, training=True))
            if not again[-1].moved.keys() - found[-1].moved.keys() and not again[-1].in_training:
                found, training = again, True
    traced, writer, layers, skipped, done = found
    checked = str(done) if layers and verify and not chain else ""
    layers = [_marked(layer, done.moved) for layer in layers]
    if only_preserving and not chain:
        normed = {known.weight for name, known in traced.maps.items() if name in traced.statistics}
        against = {layer.name: _not_preserving(layer, done.moved, normed) for layer in layers}
        skipped = {**skipped, **{name: reason for name, reason in against.items() if reason}}
        layers = [layer for layer in layers if not against[layer.name]]
    if not layers and not allow_none:
        why = "; ".join(f"{name!r}: {reason}" for name, reason in skipped.items()) or "only its output has parameters"
        raise NetworkError(
            f"{type(inner).__name__} has no hidden units that can be made new ({why}). Give a network with a hidden "
            "nn.Linear or convolution whose weights train and that other such modules read, or name its unit layers by "
            "hand with neoteny.units.declare."
        )
    order = list(dict.fromkeys(traced.owner(name) for name in traced.order))
    made = makers_of(inner, small, training)
    own = {name: own_parameters(inner, name) for name in dict.fromkeys([*order, *made.modules])}
    fresh = writer.fresh
    network = Network(
        layers=tuple(layers),
        initialisers={**guessed, **fresh},
        head=tuple(p for name in made.modules for p in own[name]),
        norms=tuple(p for name in order if traced.roles.get(name) == "norm" for p in own[name]),
        modules={name: own[name] for name in order if own[name]},
        skipped=skipped,
        notes={name: note for name, note in notes.items() if name not in fresh},
        towers=tuple(_tower(traced, order, name) if name in order else made.towers[name] for name in made.modules),
        shared=_shared(inner),
        checked=checked,
        shapes=shapes_of(inner),
    )
    return network.prefixed(prefix)


def _marked(layer: UnitLayer, moved: Mapping[str, str]) -> UnitLayer:
    return replace(layer, preserving=False) if layer.name in moved else layer


def _not_preserving(layer: UnitLayer, moved: Mapping[str, str], normed: Collection[str]) -> str | None:
    """Why a reset of a layer's units would change what the network computes, or None.

    `normed`: the weights of which a norm that is no module takes statistics.
    """
    if layer.name in moved and any(slices.name in normed for slices in layer.incoming):
        return f"a norm that is no module takes statistics over its units, so each reaches the others: {_TAKEN_WITH}"
    if layer.name in moved:
        return (
            "checked with numbers, the output moves with what feeds its units although nothing should read them (by "
            f"{moved[layer.name]}): {_TAKEN_WITH}"
        )
    if layer.coupled:
        return f"{_listed(layer.coupled)} takes statistics over its units, so each reaches the others: {_TAKEN_WITH}"
    return None


def _shared(model: nn.Module) -> dict[str, str]:
    """The parameters that several modules have, under each of their names, with another of these."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    return {name: next(n for n in of if n != name) for of in names.values() if len(of) > 1 for name in of}


def without_units(model: nn.Module) -> Network:
    """What is known of a network without running it: how its parameters are drawn, and which are those of norms.

    >>> without_units(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))).norms
    ('1.weight', '1.bias')
    """
    own = {name: [n for n, _ in m.named_parameters(name, recurse=False)] for name, m in model.named_modules()}
    drawn, notes = infer_initialisers(model, {})
    return Network(
        layers=(),
        initialisers=drawn,
        head=(),
        norms=tuple(p for name, module in model.named_modules() if is_norm(module) for p in own[name]),
        modules={name: tuple(parameters) for name, parameters in own.items() if parameters},
        notes=notes,
    )


def _tower(traced: Trace, order: Sequence[str], head: str) -> tuple[str, ...]:
    """The modules that a module of the output depends on, with the norms between them, and the module itself."""
    parts = [name for name in traced.order if traced.owner(name) == head]
    behind = {producer for part in parts for producer in traced.behind(part)}
    behind |= {n for n in traced.order if traced.roles[n] == "norm" and behind.issuperset(traced.reads.get(n, {}))}
    known = {head, *map(traced.owner, behind)}
    return tuple(name for name in order[: order.index(head) + 1] if name in known)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _named_apart(layers: list[UnitLayer]) -> tuple[UnitLayer, ...]:
    """Layers of the same producers (units of different consumers) get a number after their name."""
    times: dict[str, int] = defaultdict(int)
    named = []
    for layer in layers:
        times[layer.name] += 1
        named.append(layer if times[layer.name] == 1 else replace(layer, name=f"{layer.name}#{times[layer.name]}"))
    return tuple(named)
