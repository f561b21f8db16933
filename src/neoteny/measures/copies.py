"""Copies of a network: with other weights, and freshly initialised."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from neoteny.errors import CheckpointError
from neoteny.measures.forward import call, generators_kept

if TYPE_CHECKING:
    from torch import Tensor, nn

    from neoteny.units import Initialiser

__all__ = ["copy_with", "fresh_copy", "initialisers_of", "weights_for"]

_WRAPPED = re.compile(r"((_orig_mod|module|model)\.)*")
_PLACES = ("state_dict", "model_state_dict", "model")


def weights_for(model: nn.Module, saved: Any) -> dict[str, Any]:
    """Of what was saved the weights, under the names that the network has.

    They may lie under `state_dict`, `model_state_dict` or `model`, and their names may begin with what `torch.compile`,
    data parallelism and trainers put there, in any order.

    Raises:
        CheckpointError: it holds no weights.

    >>> from torch import nn
    >>> net = nn.Linear(2, 1)
    >>> saved = {"model": {f"model._orig_mod.module.{name}": value for name, value in net.state_dict().items()}}
    >>> list(weights_for(net, saved))
    ['weight', 'bias']
    """
    import torch

    while isinstance(saved, Mapping) and not any(isinstance(value, torch.Tensor) for value in saved.values()):
        inner = next((saved[place] for place in _PLACES if isinstance(saved.get(place), Mapping)), None)
        if inner is None:
            break
        saved = inner
    if not (isinstance(saved, Mapping) and any(isinstance(value, torch.Tensor) for value in saved.values())):
        names = f" of {', '.join(map(str, list(saved)[:8]))}" if isinstance(saved, Mapping) else ""
        raise CheckpointError(
            f"It holds a {type(saved).__name__}{names}, not weights: give a state_dict, alone or in a dict under one "
            f"of {', '.join(_PLACES)}."
        )
    own = list(model.state_dict())
    ends = [str(name) for name in saved if own and str(name).endswith(own[0])]
    for prefix in sorted((name.removesuffix(own[0]) for name in ends), key=len):
        if _WRAPPED.fullmatch(prefix) and all(prefix + name in saved for name in own):
            return {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}
    return dict(saved)


def copy_with(model: nn.Module, weights: Mapping[str, Any]) -> nn.Module:
    """A copy with the weights of a `state_dict`.

    Raises:
        CheckpointError: they belong to another network.
    """
    from neoteny.units.copying import bare_copy

    copied = bare_copy(model)
    try:
        copied.load_state_dict(weights_for(copied, weights))
    except (RuntimeError, CheckpointError) as error:
        raise CheckpointError(
            f"The reference is not this network's ({error}): give a state_dict, or a model, of the same architecture."
        ) from error
    return copied


def initialisers_of(
    model: nn.Module, reference: nn.Module | None, given: Mapping[str, Initialiser] | None
) -> tuple[dict[str, Initialiser], dict[str, str]]:
    """How each parameter was initialised, by name, and a note on each that had to be guessed.

    Trained weights often agree with one of the usual normal distributions by chance. So if more weights show no
    distribution than agree with a normal one, the network has been trained: no match with a normal distribution counts,
    and torch's default is taken.

    Args:
        model: the network now.
        reference: the same network at its start, whose weights show their distribution; or None.
        given: initialisers that are known.
    """
    from torch import nn

    from neoteny.units import Initialiser
    from neoteny.units.inference import UNLIKE, infer_initialisers
    from neoteny.units.maps import unwrapped

    shown = unwrapped(model)[0] if reference is None else reference
    found, notes = infer_initialisers(shown, given or {})
    # An embedding with a row of zeros for padding matches no distribution, trained or not.
    embeddings = {
        ".".join(filter(None, (prefix, "weight")))
        for prefix, module in shown.named_modules()
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    }
    for name in _gains_from_zero(shown, notes):
        found[name] = Initialiser("constant", 0.0)
    matrices = {name for name, parameter in shown.named_parameters() if parameter.dim() > 1} - embeddings
    unlike = {name for name in matrices & notes.keys() if notes[name].startswith(UNLIKE)}
    normal = {name for name in matrices - unlike if found[name].kind == "normal"}
    if reference is not None or not unlike:
        return found, notes
    if len(unlike) <= len(normal):
        return found, {name: note for name, note in notes.items() if name not in normal}
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


def _gains_from_zero(model: nn.Module, guessed: Mapping[str, str]) -> list[str]:
    """Gains of norms that have both signs, around 0: they began at 0, as the last ones of residual blocks often do."""
    from neoteny.units.maps import is_norm

    names = [f"{prefix}.weight".lstrip(".") for prefix, module in model.named_modules() if is_norm(module)]
    gains = {name: p.detach().float() for name, p in model.named_parameters() if name in names and name in guessed}
    return [name for name, gain in gains.items() if gain.numel() > 1 and gain.mean().abs() < gain.std()]


def fresh_copy(
    model: nn.Module, initialisers: Mapping[str, Initialiser], key: Tensor, inputs: Any, *, constants: bool = True
) -> nn.Module:
    """A freshly initialised copy, in evaluation mode.

    Every parameter that trains is drawn again; frozen ones stay. Running statistics of norms are computed again, in one
    pass over the inputs, as far as the network's own have followed its batches: of a network that never saw one they
    are the initial ones.

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
    momenta, unseen = [norm.momentum for norm in norms], [_unseen(norm) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.training, norm.momentum = True, None  # None: the plain mean over passes
    if norms:
        call(model, inputs)
    for norm, momentum, share in zip(norms, momenta, unseen, strict=True):
        norm.training, norm.momentum = False, momentum
        if share > 0.01:  # (1 - share) of what was seen, and of mean 0 and variance 1 the rest
            mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
            mean.mul_(1 - share)
            variance.mul_(1 - share).add_(share)


def _unseen(norm: Any) -> float:
    """How much of its initial statistics a norm still has: 1 before the first batch, near 0 after some dozen."""
    if bool((norm.running_mean == 0).all()) and bool((norm.running_var == 1).all()):
        return 1.0
    batches = 0 if norm.num_batches_tracked is None else int(norm.num_batches_tracked)
    if not batches or norm.momentum is None:
        return 0.0
    return (1 - norm.momentum) ** batches
