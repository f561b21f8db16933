"""The measures of every unit layer of a network, from one pass over the inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neoteny.errors import SettingError
from neoteny.measures.catalogue import of_features
from neoteny.measures.forward import call, examples_of, ordinary, thawed, undisturbed, without_cudnn_rnn
from neoteny.measures.weights import gradient_norm, weight_magnitude

if TYPE_CHECKING:
    from torch import Tensor, nn

    from neoteny.units import Network, UnitLayer

__all__ = ["Loss", "loss_on", "measure_layers"]

Loss = Callable[[Any], "Tensor"]
"""From a model's output to a scalar."""

_IGNORED = -100  # torch's sign of an entry without a class
_OF_WEIGHTS = ("weight_magnitude", "gradient_norm")


def loss_on(targets: Tensor | None, loss: Callable[..., Tensor] | None) -> Loss | None:
    """The loss as a function of the output, from a loss, targets, both or neither.

    Targets alone mean cross-entropy if they are whole numbers (classes, along dimension 1 of the output), otherwise the
    mean squared error. Then they must fit the output, which shows at the first call.

    Raises:
        SettingError: targets without a loss are no tensor.

    >>> import torch
    >>> loss_on(torch.zeros(5), None)(torch.zeros(5, 1))
    Traceback (most recent call last):
    neoteny.errors.SettingError: targets have the shape [5], the output has [5, 1]; give them in its shape, or a loss.
    """
    import torch

    if targets is None:
        return loss
    if loss is not None:
        return lambda output: loss(output, targets)
    if not isinstance(targets, torch.Tensor):
        raise SettingError(f"targets is a {type(targets).__name__}; give a tensor, or a loss that takes it.")
    usual, own = (_squared if targets.is_floating_point() else _classified), ordinary(targets)
    return lambda output: usual(output, own)


def _squared(output: Any, targets: Tensor) -> Tensor:
    from torch.nn import functional

    if _shape(output) != list(targets.shape):  # which the mean of the squares would broadcast
        raise SettingError(
            f"targets have the shape {list(targets.shape)}, the output has {_shape(output)}; give them in its "
            "shape, or a loss."
        )
    return functional.mse_loss(output, targets)


def _classified(output: Any, targets: Tensor) -> Tensor:
    from torch.nn import functional

    shape = _shape(output)
    if len(shape) < 2 or shape[:1] + shape[2:] != list(targets.shape):
        raise SettingError(
            f"targets are whole numbers of the shape {list(targets.shape)}, so classes along dimension 1 of the "
            f"output, which has the shape {shape}; give one class for each of its other entries, or a loss."
        )
    targets = targets.long()
    known = (targets >= 0) & (targets < shape[1]) | (targets == _IGNORED)
    if not bool(known.all()):
        raise SettingError(
            f"targets: {int(targets[~known][0])} is no class of an output with {shape[1]}, which are 0 to "
            f"{shape[1] - 1}; give others, or a loss."
        )
    return functional.cross_entropy(output, targets)


def _shape(output: Any) -> list[int]:
    import torch

    if not isinstance(output, torch.Tensor):
        raise SettingError(
            f"targets: the network gives a {type(output).__name__}, not a tensor to compare them with; give "
            "loss=lambda output, targets: ..., which takes the tensor out."
        )
    return list(output.shape)


def measure_layers(
    model: nn.Module, network: Network, inputs: Any, measures: Sequence[str], loss: Loss | None = None
) -> tuple[dict[str, dict[str, float]], int]:
    """Measure the network without changing it.

    Args:
        model: the network, without wrappers such as DistributedDataParallel.
        network: its unit layers.
        inputs: the probe.
        measures: names from `FEATURE_MEASURES`, `weight_magnitude` and, if a loss is given, `gradient_norm`.
        loss: of the output.

    Returns:
        The values by layer and measure, of the layers that the pass reached; and the number of examples.

    Raises:
        SettingError: a gradient norm without a loss, or a loss that is not a scalar with a gradient.
    """
    import torch

    of_units = [name for name in measures if name not in _OF_WEIGHTS]
    wants_gradient = "gradient_norm" in measures
    parameters = dict(model.named_parameters(remove_duplicate=False))
    with undisturbed(model), thawed(model), without_cudnn_rnn(model):
        with _seen(model, network) as features, torch.set_grad_enabled(wants_gradient):
            output = call(model, inputs)
        gradients = _gradients(parameters, output, loss) if wants_gradient else {}
    found: dict[str, dict[str, float]] = {}
    with torch.no_grad():
        for layer in network.layers:
            if not features[layer.name]:
                continue
            values = of_features(of_units, _joined(features[layer.name]))
            if "weight_magnitude" in measures:
                values["weight_magnitude"] = weight_magnitude(_incoming(layer, parameters))
            if wants_gradient:
                values["gradient_norm"] = gradient_norm(_incoming(layer, gradients))
            found[layer.name] = {name: values[name].item() for name in measures}
    examples = examples_of(inputs) or max((len(passes[0]) for passes in features.values() if passes), default=0)
    return found, examples


@contextmanager
def _seen(model: nn.Module, network: Network) -> Iterator[dict[str, list[Tensor]]]:
    """Activations of each layer, [batch, units, positions], one entry for each call of the module that reads them."""
    seen: dict[str, list[Tensor]] = {layer.name: [] for layer in network.layers}

    def listener(layer: UnitLayer) -> Callable[[nn.Module, Tensor | None], None]:
        def see(module: nn.Module, value: Tensor | None) -> None:
            if value is not None:
                # cloned, as a later operation may write into it in place
                seen[layer.name].append(layer.readers[0].features(value.detach().clone()))

        return see

    readers = [(layer, layer.readers[0]) for layer in network.layers]
    handles = [reader.listen(model.get_submodule(reader.module), listener(layer)) for layer, reader in readers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _joined(passes: list[Tensor]) -> Tensor:
    """Several calls as one: further positions of the same examples if batch sizes agree, else further examples."""
    import torch

    if len({len(value) for value in passes}) == 1:
        return torch.cat(passes, dim=2)
    return torch.cat([value.movedim(2, 1).flatten(0, 1).unsqueeze(2) for value in passes])


def _incoming(layer: UnitLayer, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    return [slices.rows(tensors[slices.name]).float() for slices in layer.incoming]


def _gradients(parameters: dict[str, nn.Parameter], output: Any, loss: Loss | None) -> dict[str, Tensor]:
    """Gradients by name, zero for parameters that the loss does not depend on; `.grad` is left alone."""
    import torch

    if loss is None:
        raise SettingError("gradient_norm needs a loss: give loss, a function of the model's output, or targets.")
    value = loss(output)
    if not (isinstance(value, torch.Tensor) and value.numel() == 1 and value.requires_grad):
        shape = list(value.shape) if isinstance(value, torch.Tensor) else value
        raise SettingError(
            f"loss gives {type(value).__name__} {shape}, not one number with a gradient: compute it from the model's "
            "output and take the mean."
        )
    trained = {id(parameter): parameter for parameter in parameters.values() if parameter.requires_grad}
    found = torch.autograd.grad(value, list(trained.values()), allow_unused=True)
    gradients = dict(zip(trained, found, strict=True))
    return {
        name: torch.zeros_like(parameter) if (gradient := gradients.get(id(parameter))) is None else gradient
        for name, parameter in parameters.items()
    }
