"""Attach methods to a user's network: they act in the optimizer's step, and the training loop stays as it was."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from neoteny.attachment.all_or_nothing import all_or_nothing
from neoteny.attachment.distributed import is_sharded
from neoteny.attachment.given import as_network, as_optimizers
from neoteny.attachment.plasticity import Plasticity
from neoteny.attachment.user_network import trained_part
from neoteny.attachment.wrappers import acting, saving
from neoteny.errors import NetworkError, PlasticityWarning, SettingError
from neoteny.methods.base import Method
from neoteny.methods.shared.combining import as_methods, prepared, refuse_impossible
from neoteny.seeds import checked_seed
from neoteny.units import find
from neoteny.units.finding import without_units
from neoteny.units.fitting import fitted
from neoteny.units.inference import Given, drawn_by, remembered
from neoteny.units.maps import unwrapped
from neoteny.units.records import Network

__all__ = ["attach"]


def attach(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer],
    methods: Method | str | Iterable[Method | str],
    example_inputs: Any = None,
    *,
    seed: int = 0,
    units: Network | None = None,
    residual_stream: bool = False,
    chain: bool = False,
    only_preserving: bool = True,
    state_in_optimizer: bool = True,
    reference: Any = None,
    initialisers: Mapping[str, Given] | None = None,
) -> Plasticity:
    """Keep a network able to learn: let methods act at every step of its optimizer.

    Regularisers add to the gradients before the step, and remove what they added after it. Resets and perturbations act
    after the step. Closures, schedulers, gradient accumulation and loss scaling work as before. Only parameters that
    these optimizers train are changed. A step of size 0 before which no activations were seen does not count; with such
    a step `torch.distributed.checkpoint` sets up an optimizer's state.

    On a CPU in single precision the first step compiles small kernels where a C++ compiler is at hand; that takes about
    two seconds, once on a machine. Without one tensors do the same, and steps of small networks take longer.

    Args:
        model: the network, compiled or wrapped for data parallelism or not. Processes that train it together
            (`DistributedDataParallel`, `fully_shard`) measure units on the whole batch and make the same ones new.
        optimizer: any `torch.optim` optimizer over its parameters, or several that make their steps in turn; methods
            then act after the step of the last one. Where units are reset, its state is set to what a fresh optimizer
            of its class would hold, and Adam's, AdamW's and Adamax's bias correction starts anew for them.
        methods: one method or several, which act in the order that `neoteny.methods.shared.order` defines. A name, such
            as "cbp", stands for the method with its defaults. A method that changes the network itself asks for
            `neoteny.prepare` first.
        example_inputs: a batch as the network takes it: a tensor, a tuple of arguments, a dict of named ones, or both
            as `(args, kwargs)`. A list or a dict that is one argument comes in a tuple, `(x,)`.
        seed: the seed of all random numbers, at least 0.
        units: the network's units, if they are known already (`neoteny.units.find`).
        residual_stream: also take the units of residual streams.
        chain: take the units along the network by the rule of the Nature paper's ResNet-18.
        only_preserving: where a method makes units new, leave out those whose reset changes what the network computes,
            such as those that a LayerNorm couples; with False they are taken (see `neoteny.units.find`).
        state_in_optimizer: keep the methods' state in `optimizer.state_dict()["plasticity"]` and restore it in
            `optimizer.load_state_dict`, so that whatever saves the optimizer (the last of several) saves it, too. A
            second attachment to the same optimizer uses `"plasticity-2"`, and so on: attach in the same order again.
        reference: for methods that need the network on other examples than those trained on (`needs_reference`): a
            batch as the network takes it, with examples of everything that it should remember; or a function that
            returns such a batch, called once a step.
        initialisers: how parameters are drawn anew, by name, where the present weights do not show it (those of a
            trained network do not): a `neoteny.units.Initialiser`, or a function that fills a tensor, such as
            `torch.nn.init.orthogonal_`.

    Returns:
        The handle: `state_dict`, `load_state_dict`, `new_task`, `counters`, `made_new`, `forget`, `detach`.

    Raises:
        NetworkError: the network has no hidden units, and a method needs some.
        SettingError: something attached is no method, two methods exclude each other, one needs `neoteny.prepare`
            first, the optimizer does not train this network, the units are those of another one, or
            `torch.inference_mode` is on.

    Warns:
        PlasticityWarning: with its settings a method never does anything; it is attached already; parameters are
            complex; or the first steps of new units will not be those of a fresh network, since the optimizer's state
            or its bias correction does not start anew for them (tried out with a throw-away optimizer); later, once:
            the optimizer got the saved state of methods before they were attached, and not again; no activations were
            seen before a step, or none yet of units that are due; what was frozen when methods were attached is
            trained; or of several optimizers the last, for which methods wait, makes no steps.

    >>> import neoteny
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> cbp = neoteny.ContinualBackprop(replacement_rate=0.1, maturity_threshold=5)
    >>> plasticity = neoteny.attach(model, optimizer, [cbp], example_inputs=torch.zeros(1, 3))
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     model(torch.ones(4, 3)).sum().backward()
    ...     optimizer.step()
    >>> plasticity.counters()["cbp"]["0"]
    {'units_replaced': 3, 'mature_share': 0.625}
    """
    if torch.is_inference_mode_enabled():
        raise SettingError(
            "attach: inference mode is on, and what methods keep could not change later; attach outside of "
            "torch.inference_mode()."
        )
    chosen = as_methods(methods, "attach")
    seed = checked_seed(seed, "attach: seed")
    refuse_impossible(chosen)
    inner, prefix = unwrapped(as_network(model, optimizer))
    optimizers = as_optimizers(optimizer)
    unprepared = [method for method in chosen if method.prepares and method.name not in prepared(inner)]
    if unprepared:
        names = ", ".join(type(method).__name__ for method in unprepared)
        raise SettingError(
            f"attach: {names} changes the network first; before the optimizer is made, write "
            "model = neoteny.prepare(model, methods, example_inputs)."
        )
    if units is None:
        needing = [type(method).__name__ for method in chosen if method.needs_examples]
        if example_inputs is None and needing:
            raise SettingError(
                f"attach: example_inputs is missing, from which {', '.join(needing)} has to know the network's units; "
                "give a batch as the network takes it."
            )
        if example_inputs is not None and any(map(is_sharded, inner.parameters())):
            raise SettingError(
                f"attach: {type(inner).__name__} is sharded, so its units cannot be found; find them before it is "
                "sharded, units = neoteny.units.find(model, example_inputs), and give them as units=units."
            )
        if hasattr(model, "_forward_module"):  # Fabric's wrapper converts inputs
            example_inputs = _in_type_of(inner, example_inputs)
        renewed = any(method.resets_units for method in chosen)
        units = (
            without_units(inner)
            if example_inputs is None
            else find(
                inner,
                example_inputs,
                residual_stream=residual_stream,
                chain=chain,
                only_preserving=only_preserving and renewed,
                verify=renewed,
                allow_none=True,
            )
        )
    else:
        units = fitted(units, model, "attach")
    units = drawn_by(units, {name.removeprefix(prefix): how for name, how in (initialisers or {}).items()})
    units = remembered(inner, units)
    units = trained_part(inner, [acting(one) for one in optimizers], units)
    blind = [type(method).__name__ for method in chosen if method.needs_units and not units.layers]
    if blind:
        why = "; ".join(f"{name!r}: {reason}" for name, reason in units.skipped.items())
        raise NetworkError(
            f"{type(inner).__name__} has no hidden units that this optimizer trains{f' ({why})' if why else ''}, so "
            f"{', '.join(blind)} would never act; give a network with a hidden nn.Linear or convolution, or leave the "
            "method out."
        )
    needing = [type(method).__name__ for method in chosen if method.needs_loss]
    if needing:
        raise SettingError(
            f"attach: {', '.join(needing)} with these settings needs the loss of each batch, which an optimizer does "
            "not see; take a scaling by gradients, or train in the laboratory (neoteny run)."
        )
    needing = [type(method).__name__ for method in chosen if method.needs_reference]
    if needing and reference is None:
        raise SettingError(
            f"attach: {', '.join(needing)} needs the network on a batch other than the one trained on; give it as "
            "reference=batch, or as a function that returns one."
        )
    before = [one for one in Plasticity.on(acting(optimizers[-1])) if one.acts_on(inner)]
    touched = [other for one in optimizers for other in (one, acting(one), saving(one))]
    with all_or_nothing(inner, touched) as undo:
        plasticity = Plasticity(
            model, optimizers, chosen, units, seed, state_in_optimizer, reference if needing else None
        )
        undo.append(plasticity.detach)
        idle = [f"{name}: {reason}" for name, method in plasticity.methods.items() if (reason := method.inert())]
        if idle:
            warnings.warn(f"Nothing will ever happen: {'; '.join(idle)}.", PlasticityWarning, stacklevel=2)
        numbers = [name for name, p in inner.named_parameters() if p.is_complex() and p.requires_grad]
        if numbers:
            warnings.warn(
                f"Methods leave complex parameters alone: {', '.join(numbers)}. To let them act, keep real and "
                "imaginary parts as parameters of their own (torch.view_as_complex).",
                PlasticityWarning,
                stacklevel=2,
            )
        averaging = [name for name, module in inner.named_modules() if _averages_all(module)]
        if averaging and any(method.resets_units and not method.starts_anew for method in chosen):
            warnings.warn(
                f"{', '.join(averaging)} with momentum=None: running statistics are averages over all batches, so "
                "those of newborn units hardly move from mean 0 and variance 1; give the norm a momentum, such as 0.1.",
                PlasticityWarning,
                stacklevel=2,
            )
        twice = sorted({name for one in before for name, method in one.methods.items() if method in chosen})
        if twice:
            warnings.warn(
                f"{', '.join(twice)}: attached to this network and this optimizer already, with the same settings, and "
                "will now act twice at every step; call detach() of the earlier handle, or leave it out.",
                PlasticityWarning,
                stacklevel=2,
            )
        plasticity.warn_of_state(stacklevel=2)
    return plasticity


def _in_type_of(model: nn.Module, inputs: Any) -> Any:
    """Inputs with floating-point tensors in the type of the network's parameters."""
    kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return tree_map_only(torch.Tensor, lambda value: value.to(kind) if value.is_floating_point() else value, inputs)


def _averages_all(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats and module.momentum is None
    )
