"""The check-up of a network, layer by layer, on a fixed probe set: is it losing its ability to learn?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from neoteny.errors import SettingError
from neoteny.measures.checkup import LayerReport, Report
from neoteny.measures.copies import copy_with, fresh_copy, initialisers_of
from neoteny.measures.forward import call, checked, outside_inference, thawed, undisturbed
from neoteny.measures.layers import Loss, loss_on, measure_layers
from neoteny.measures.trainable import trainability as measure_trainability
from neoteny.measures.weights import weight_magnitude

if TYPE_CHECKING:
    from torch import Tensor, nn

    from neoteny.units import Network

__all__ = ["diagnose"]

FRESH = 3
"""Fresh copies that a network is compared with, where there is no other reference."""

_MEASURES = tuple(
    field.name for field in fields(LayerReport) if field.name not in ("layer", "units", "weight_growth", "guessed")
)


@outside_inference
def diagnose(
    model: nn.Module,
    inputs: Any,
    *,
    reference: Report | nn.Module | Mapping[str, Any] | None = None,
    loss: Callable[..., Tensor] | None = None,
    targets: Tensor | None = None,
    trainability: bool | Mapping[str, Any] = False,
    units: Network | None = None,
) -> Report:
    """Measure dead and dormant units, ranks of the features, weights and gradients of any network, layer by layer.

    The network is run in evaluation mode. Its parameters, buffers, gradients, modes and hooks stay as they were, and so
    does torch's random generator. A unit's activation is the input of the module that reads it, so after a pooling
    between them. Dead and dormant units are defined for activations that can be exactly zero (ReLU); for others look at
    `dormant_score`, the ranks and the weights.

    Args:
        model: any network whose hidden units `neoteny.units.find` can find.
        inputs: the probe, a batch on the model's device of, say, 1,000 examples, the same ones each time: a tensor, a
            tuple of positional arguments, or a mapping of named ones.
        reference: what to compare with: the network at its start (a model of the same architecture or a `state_dict`),
            or the report of an earlier check-up. By default freshly initialised copies: a sign counts if it shows
            against each, and the first is shown. Their weights are drawn as the
            network's own were, as far as that is known or can be seen (`neoteny.units.Initialiser`); for trained
            weights that do not show it, torch's default is taken, and the report says so.
        loss: for gradient norms: a function of the model's output, or of output and targets, to a scalar.
        targets: for gradient norms: those of the inputs. Without a loss, whole numbers mean cross-entropy and others
            the mean squared error.
        trainability: whether to measure how well the network still learns, by training copies of it, for a verdict; or
            a mapping of settings for `neoteny.measures.trainability`, such as the optimizer, without which there is
            no verdict. If there are targets and no loss, copies learn
            what these are: so many classes, or values of their standard deviation.
        units: the unit layers, if they are known already.

    Raises:
        NetworkError: the model has no hidden units, or cannot be run on `inputs`.
        CheckpointError: the reference is of another network.
        SettingError: the reference is a report of other layers, the units are another network's, the loss is not a
            scalar, or targets without a loss do not fit the output; or `trainability` is no mapping.
        UnknownNameError: `trainability` has no such setting.

    >>> import torch
    >>> from torch import nn
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> report = diagnose(net, torch.randn(100, 3), targets=torch.randn(100, 1))
    >>> report.layers[0].layer, report.layers[0].units, report.signs()
    ('0', 8, ())
    >>> print(report.losing)  # not measured
    None
    """
    from neoteny.units import find
    from neoteny.units.fitting import fitted
    from neoteny.units.maps import unwrapped

    if not isinstance(trainability, (bool, Mapping)):
        raise SettingError(
            f"trainability = {trainability!r}: give True, or a mapping of its settings, {{'optimizer': optimizer}}."
        )
    inner, inputs = checked(model, inputs, "diagnose")
    with thawed(inner):
        every_unit: Any = {"residual_stream": True, "only_preserving": False, "verify": False}
        network = find(inner, inputs, **every_unit) if units is None else fitted(units, model, "diagnose")
    criterion = loss_on(targets, loss)
    report = _look(inner, network, inputs, criterion)
    weights, others = None, []
    if isinstance(reference, Report):
        then, words, notes = _same_layers(reference, report), "the earlier check-up", {}
    elif reference is not None:
        weights = reference if isinstance(reference, Mapping) else unwrapped(reference)[0].state_dict()
        then, words, notes = _look(copy_with(inner, weights), network, inputs, criterion), "the reference", {}
    else:
        from neoteny.units.random import key

        initialisers, notes = initialisers_of(inner, None, None)
        looks = (
            _look(fresh_copy(inner, initialisers, key(number), inputs), network, inputs, criterion)
            for number in range(FRESH)
        )
        (then, *others), words = looks, "a fresh copy"
    guessed = {layer.name for layer in network.layers if any(slices.name in notes for slices in layer.incoming)}
    before = {layer.layer: layer.weight_magnitude for layer in then.layers}
    layers = [
        replace(
            layer,
            weight_growth=layer.weight_magnitude / before[layer.layer] if before[layer.layer] else None,
            guessed=layer.layer in guessed,
        )
        for layer in report.layers
    ]
    trained = None
    if trainability is not False:
        settings = {} if trainability is True else dict(trainability)
        kind = {} if loss is not None or targets is None else _kind(inner, inputs, targets)
        trained = measure_trainability(inner, inputs, **{"reference": weights, **kind, **settings})
    return replace(
        report,
        layers=tuple(layers),
        reference=replace(then, reference=None, others=()),
        reference_is=words,
        others=tuple(others),
        trainability=trained,
    )


def _look(model: nn.Module, network: Network, inputs: Any, loss: Loss | None) -> Report:
    """The measures of one network, without a comparison."""
    names = _MEASURES if loss is not None else tuple(name for name in _MEASURES if name != "gradient_norm")
    found, examples = measure_layers(model, network, inputs, names, loss)
    sizes = {layer.name: layer.size for layer in network.layers}
    layers = tuple(
        LayerReport(layer=name, units=sizes[name], **values)  # pyright: ignore[reportArgumentType]
        for name, values in found.items()
    )
    matrices = [
        (parameter.detach().abs() if parameter.is_complex() else parameter.detach()).float()
        for parameter in model.parameters()
        if parameter.dim() > 1
    ]
    return Report(layers, examples, weight_magnitude(matrices).item())


def _kind(model: nn.Module, inputs: Any, targets: Tensor) -> dict[str, Any]:
    """What the targets are, as settings of the direct measure: so many classes, or values of some size."""
    import torch

    if targets.is_floating_point():
        size = float(targets.float().std(correction=0))
        return {"scale": size} if size > 0 else {}
    with undisturbed(model), torch.no_grad():
        output = call(model, inputs)
    return {"classes": output.shape[1]} if isinstance(output, torch.Tensor) and output.dim() > 1 else {}


def _same_layers(earlier: Report, now: Report) -> Report:
    was, is_now = ({layer.layer: layer.units for layer in report.layers} for report in (earlier, now))
    if was != is_now:
        raise SettingError(
            f"reference: the earlier report is of the layers {was}, this network has {is_now}; give a report of the "
            "same network."
        )
    return earlier
