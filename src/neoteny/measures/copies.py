"""Copies of a network: with other weights, and freshly initialised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from neoteny.errors import CheckpointError
from neoteny.measures.forward import call, generators_kept

if TYPE_CHECKING:
    from torch import Tensor, nn

    from neoteny.units import Initialiser

__all__ = ["copy_with", "fresh_copy", "initialisers_of"]

_WRAPPERS = ("_orig_mod.", "module.")


def copy_with(model: nn.Module, weights: Mapping[str, Any]) -> nn.Module:
    """A copy with the weights of a `state_dict`.

    Raises:
        CheckpointError: they belong to another network.
    """
    from neoteny.units.copying import bare_copy

    copied = bare_copy(model)
    plain = dict(weights)
    for wrapper in _WRAPPERS:
        own = any(name.startswith(wrapper) for name in copied.state_dict())
        if plain and not own and all(name.startswith(wrapper) for name in plain):
            plain = {name.removeprefix(wrapper): value for name, value in plain.items()}
    try:
        copied.load_state_dict(plain)
    except RuntimeError as error:
        raise CheckpointError(
            f"The reference is not this network's ({error}): give a state_dict, or a model, of the same architecture."
        ) from error
    return copied


def initialisers_of(
    model: nn.Module, reference: nn.Module | None, given: Mapping[str, Initialiser] | None
) -> tuple[dict[str, Initialiser], dict[str, str]]:
    """How each parameter was initialised, by name, and a note on each that had to be guessed.

    Trained weights often agree with one of the usual normal distributions by chance. So if other parameters show that
    the network has been trained, no match with a normal distribution counts, and torch's default is taken.

    Args:
        model: the network now.
        reference: the same network at its start, whose weights show their distribution; or None.
        given: initialisers that are known.
    """
    from torch import nn

    from neoteny.units import Initialiser
    from neoteny.units.inference import infer_initialisers
    from neoteny.units.maps import unwrapped

    shown = unwrapped(model)[0] if reference is None else reference
    found, notes = infer_initialisers(shown, given or {})
    # An embedding with a row of zeros for padding matches no distribution, trained or not.
    embeddings = {
        ".".join(filter(None, (prefix, "weight")))
        for prefix, module in shown.named_modules()
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    }
    if reference is not None or set(notes) <= embeddings:
        return found, notes
    told = set(given or ()) | {
        ".".join(filter(None, (prefix, name)))
        for prefix, module in shown.named_modules()
        for name in getattr(module, "initialisers", None) or ()
    }
    for name, parameter in shown.named_parameters():
        by_chance = name not in told and found[name].kind == "normal" and name not in embeddings
        if by_chance and parameter.dim() > 1:
            found[name] = Initialiser.torch_default(parameter[0].numel())
            notes[name] = f"the network has been trained; taken for {found[name]}"
    return found, notes


def fresh_copy(
    model: nn.Module, initialisers: Mapping[str, Initialiser], key: Tensor, inputs: Any, *, constants: bool = True
) -> nn.Module:
    """A freshly initialised copy, in evaluation mode.

    Every parameter that trains is drawn again; frozen ones stay. Running statistics of norms are computed again, in one
    pass over the inputs.

    Args:
        model: the network.
        initialisers: of every parameter, by name.
        key: of the draws, which are a pure function of it (`neoteny.units.random`).
        inputs: a batch.
        constants: whether weights that start at a constant do so here too; otherwise they get torch's default.
    """
    import torch

    from neoteny.units import Initialiser
    from neoteny.units.copying import bare_copy
    from neoteny.units.random import fold_in

    young = bare_copy(model)
    with generators_kept(model), torch.no_grad():  # in this order, as leaving inference mode turns gradients on
        for number, (name, parameter) in enumerate(young.named_parameters()):
            if not parameter.requires_grad:
                continue
            initialiser = initialisers[name]
            if initialiser.kind == "constant" and parameter.dim() > 1 and not constants:
                initialiser = Initialiser.torch_default(parameter[0].numel())
            parameter.copy_(initialiser.draw(fold_in(key, number).to(parameter.device), parameter.shape))
        _recompute_running_statistics(young, inputs)
    return young


def _recompute_running_statistics(model: nn.Module, inputs: Any) -> None:
    from torch import nn

    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.training, norm.momentum = True, None  # None: the plain mean over passes
    if norms:
        call(model, inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.training, norm.momentum = False, momentum
