"""Tell from the present weights how a network was initialised, where its modules do not say so.

Among the families in use (torch's default, Kaiming, Xavier, LeCun, orthogonal, the fixed deviations of transformers)
the likeliest one is taken, if the weights' maximum and standard deviation agree with it; else what torch draws by
default.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.units.initialise import Initialiser
from neoteny.units.maps import is_linear, is_norm

__all__ = ["infer_initialisers"]

_GAINS = (math.sqrt(2), 1.0, 5 / 3, 0.5, 0.1, 0.01)
_FAVOUR = 5.0  # of what torch draws by default, in nats
_DEVIATIONS = (0.02, 0.01, 0.1, 1.0)


def infer_initialisers(
    model: nn.Module, given: Mapping[str, Initialiser]
) -> tuple[dict[str, Initialiser], dict[str, str]]:
    """The initialiser of every parameter by name, and a note on each that had to be guessed.

    `given` comes first, then what a module says in its attribute `initialisers` (by names of its own parameters and of
    those inside it), then what the present weights show.

    >>> net = nn.Sequential(nn.Linear(100, 50))
    >>> infer_initialisers(net, {})[0]["0.weight"]
    Initialiser(kind='uniform', scale=0.1)
    """
    said: dict[str, Initialiser] = {}
    for name, module in model.named_modules():  # from the outside in, so that the innermost module decides
        own = getattr(module, "initialisers", None)
        if isinstance(own, Mapping):
            for parameter, initialiser in own.items():
                if not isinstance(initialiser, Initialiser):
                    raise SettingError(
                        f"{type(module).__name__}.initialisers[{parameter!r}] = {initialiser!r} is no Initialiser; "
                        "give a neoteny.units.Initialiser."
                    )
                said[f"{name}.{parameter}" if name else parameter] = initialiser
    said.update(given)
    found: dict[str, Initialiser] = {}
    notes: dict[str, str] = {}
    for prefix, module in model.named_modules():
        for own, parameter in module.named_parameters(prefix="", recurse=False):
            name = f"{prefix}.{own}" if prefix else own
            if name in said:
                found[name] = said[name]
                continue
            found[name], sure = _from_values(module, own, parameter.detach())
            if not sure:
                notes[name] = f"its values show no usual initialisation; taken for {found[name]}"
    return found, notes


def _from_values(module: nn.Module, name: str, values: Tensor) -> tuple[Initialiser, bool]:
    constant = bool(values.numel()) and bool((values == values.flatten()[0]).all())
    if constant and (values.numel() > 1 or float(values.flatten()[0]) in (0.0, 1.0)):
        return Initialiser("constant", float(values.flatten()[0])), True
    if is_norm(module):
        return Initialiser("constant", 0.0 if name == "bias" else 1.0), False
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return _default_or_fixed(Initialiser("normal", 1.0), values)
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return _default_or_fixed(Initialiser.torch_default(module.hidden_size), values)
    fan_in, fan_out = _fans(module, values)
    default = Initialiser.torch_default(fan_in)
    if values.dim() < 2:
        return default, _agrees(default, _Summary.of(values))
    found = _likeliest(_Summary.of(values), [default, *_families(fan_in, fan_out), *_fixed()], default)
    return (default, False) if found is None else (found, True)


def _default_or_fixed(default: Initialiser, values: Tensor) -> tuple[Initialiser, bool]:
    summary = _Summary.of(values)
    return (default, True) if _agrees(default, summary) else (_likeliest(summary, _fixed()) or default, False)


def _fans(module: nn.Module, values: Tensor) -> tuple[int, int]:
    """Inputs and outputs of one unit, counting the positions of a kernel."""
    weight = module._parameters.get("weight")
    weight = values if weight is None else weight
    if weight.dim() < 2:
        return max(1, weight.numel()), max(1, weight.numel())
    if not is_linear(module):
        return weight[0].numel(), weight.shape[0]
    positions = weight[0, 0].numel()
    # torch counts the fan-in of a transposed convolution by dimension 1 as well
    return max(1, weight.shape[1] * positions), max(1, weight.shape[0] * positions)


def _families(fan_in: int, fan_out: int) -> Iterator[Initialiser]:
    for gain in _GAINS:
        yield Initialiser.kaiming_uniform(fan_in, gain)
        yield Initialiser("normal", gain / math.sqrt(fan_in))
        yield Initialiser.xavier_uniform(fan_in, fan_out, gain)
        yield Initialiser("normal", gain * math.sqrt(2 / (fan_in + fan_out)))
        yield Initialiser("normal", gain / math.sqrt(max(fan_in, fan_out)))  # an orthogonal matrix's entries
        yield Initialiser("normal", gain / math.sqrt(fan_out))


def _fixed() -> Iterator[Initialiser]:
    for deviation in _DEVIATIONS:
        yield Initialiser("normal", deviation)
        yield Initialiser("uniform", deviation)


class _Summary(NamedTuple):
    """What is looked at of a tensor's values: their number, the sum of their squares, the largest magnitude."""

    size: int
    squares: float
    largest: float

    @classmethod
    def of(cls, values: Tensor) -> _Summary:
        values = torch.view_as_real(values) if values.is_complex() else values
        values = values.double() if values.numel() < 1e6 else values.float()
        largest = float(values.abs().max()) if values.numel() else 0.0
        return cls(values.numel(), float(values.square().sum()), largest)


def _likeliest(
    summary: _Summary, candidates: Iterable[Initialiser], default: Initialiser | None = None
) -> Initialiser | None:
    """The candidate under which the values are likeliest, or None where they disagree with that one.

    The default is favoured, since a few values are easily a little likelier under another one.
    """
    best, best_likelihood = None, -math.inf
    count, squares, largest = summary
    for candidate in candidates:
        scale = candidate.scale
        if candidate.kind == "uniform":
            likelihood = -count * math.log(2 * scale) if largest <= scale * (1 + 1e-6) else -math.inf
        else:
            likelihood = -count * math.log(scale * math.sqrt(2 * math.pi)) - squares / (2 * scale**2)
        if candidate == default:
            likelihood += _FAVOUR
        if likelihood > best_likelihood + 1e-9 * count:
            best, best_likelihood = candidate, likelihood
    return best if best is not None and _agrees(best, summary) else None


def _agrees(initialiser: Initialiser, summary: _Summary) -> bool:
    """Whether maximum and root mean square are within what chance allows (five standard errors)."""
    count, squares, largest = summary
    if count == 0 or not math.isfinite(squares):
        return False
    ratio = math.sqrt(squares / count) / initialiser.scale
    if initialiser.kind == "normal":
        # A uniform distribution that training has blurred ends at sqrt(3) deviations; of 1,000 normal numbers at least
        # one lies beyond 2 deviations, except with probability 1e-20.
        bell = count < 1000 or largest > 1.95 * initialiser.scale
        return bell and abs(ratio - 1) < 5 / math.sqrt(2 * count) + 0.005
    bounded = largest <= initialiser.scale * (1 + 1e-6) and largest >= initialiser.scale * (1 - 14 / count)
    return bounded and abs(ratio * math.sqrt(3) - 1) < 5 * math.sqrt(0.2 / count)
