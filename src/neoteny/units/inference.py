"""Tell from the present weights how a network was initialised, where its modules do not say so.

Among the families in use (torch's default, Kaiming, Xavier, LeCun, orthogonal, the fixed deviations of transformers)
the likeliest one is taken, if the weights' maximum and standard deviation agree with it; else what torch draws by
default. Entries that are exactly 0 in a pattern (sparse or structured initialisation) stay so. Norms begin as they
began: with one number (RegNet's last gains are 0, and so are Gemma's, whose norms add 1), or drawn (RepVGG).

A trained network shows none of this any more. Where its weights look trained, all is noted as guessed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from neoteny.errors import SettingError, UnknownNameError
from neoteny.units.initialise import Initialiser
from neoteny.units.maps import is_linear, is_norm
from neoteny.units.records import Network

__all__ = ["Given", "as_initialiser", "drawn_by", "infer_initialisers", "remembered"]

_GAINS = (math.sqrt(2), 1.0, 5 / 3, 0.5, 0.1, 0.01)
_FAVOUR = 5.0  # of what torch draws by default, in nats
_DEVIATIONS = (0.02, 0.01, 0.1, 1.0)
_DRAWN = 0.03  # the least deviation of gains that were drawn, not trained a little
UNLIKE = "its values show no usual initialisation"
_PATTERN = 0.02  # share of exact zeros, outside of whole rows and columns, from which on they are no chance

_KNOWN: Any = WeakTensorKeyDictionary()  # how parameters were drawn, seen before they were trained
Given = Initialiser | Callable[[Tensor], object]
"""How a parameter is drawn, as a caller says it: an `Initialiser`, or a function such as those of `torch.nn.init`."""


def infer_initialisers(model: nn.Module, given: Mapping[str, Given]) -> tuple[dict[str, Initialiser], dict[str, str]]:
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
            where = f"{type(module).__name__}.initialisers"
            said |= {_joined(name, parameter): as_initialiser(where, parameter, how) for parameter, how in own.items()}
    said |= {name: as_initialiser("initialisers", name, how) for name, how in given.items()}
    found: dict[str, Initialiser] = {}
    notes: dict[str, str] = {}
    shapes: dict[str, int] = {}
    tables = set[str]()  # embeddings: a row for padding agrees with nothing
    later: list[tuple[str, nn.Module, str, Tensor]] = []
    for prefix, module in model.named_modules():
        for own, parameter in module.named_parameters(prefix="", recurse=False):
            name, values = _joined(prefix, own), parameter.detach()
            shapes[name] = values.dim()
            if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
                tables.add(name)
            if name in said:
                found[name] = said[name]
            elif values.is_meta:
                usual = Initialiser.torch_default(_fans(module, values)[0])
                found[name] = Initialiser("constant", float(own != "bias")) if is_norm(module) else usual
                notes[name] = f"it is on meta, without values; taken for {found[name]}"
            elif is_norm(module):
                found[name] = Initialiser("constant", 0.0)  # in its place; see below
                later.append((name, module, own, values))
            else:
                found[name], sure = _from_values(module, own, values)
                if not sure:
                    notes[name] = f"{UNLIKE}; taken for {found[name]}"
    trained = any(shapes[name] > 1 and name not in tables and "meta" not in notes[name] for name in notes)
    for name, at in found.items():
        if trained and at.kind == "normal" and shapes[name] > 1 and name not in {*said, *notes, *tables}:
            notes[name] = f"other weights look trained, so that its values agree with {at} may be chance"
    for name, module, own, values in later:
        gain = found.get(name.removesuffix("bias") + "weight")
        kept = trained or (own == "bias" and gain is not None and gain.kind == "constant")  # shifts go with gains
        found[name], sure = _of_norm(module, own, values, kept)
        if not sure:
            notes[name] = f"{UNLIKE}; taken for {found[name]}"
    return found, notes


def drawn_by(network: Network, given: Mapping[str, Given]) -> Network:
    """The units of a network whose parameters are drawn as a caller says, by name.

    Raises:
        UnknownNameError: there is no such parameter.
    """
    for name in given:
        if name not in network.initialisers:
            raise UnknownNameError(name, list(network.initialisers), "parameter to initialise")
    said = {name: as_initialiser("initialisers", name, how) for name, how in given.items()}
    notes = {name: note for name, note in network.notes.items() if name not in said}
    return replace(network, initialisers={**network.initialisers, **said}, notes=notes)


def remembered(model: nn.Module, network: Network) -> Network:
    """The units of a network with what was known of its parameters when they were looked at before, untrained.

    What is known now is kept for the next time, as long as the parameters live.
    """
    parameters = dict(model.named_parameters())
    known = {
        name: _KNOWN[parameters[name]] for name in network.notes if name in parameters and parameters[name] in _KNOWN
    }
    notes = {name: note for name, note in network.notes.items() if name not in known}
    drawn = {**network.initialisers, **known}
    for name in parameters.keys() & drawn.keys() - notes.keys():
        _KNOWN[parameters[name]] = drawn[name]
    return replace(network, initialisers=drawn, notes=notes)


def as_initialiser(where: str, name: str, how: object) -> Initialiser:
    """What a caller says of a parameter, as an `Initialiser`.

    Args:
        where: where it is said, for the error.
        name: the parameter's name.
        how: an `Initialiser` or a function that fills a tensor.

    Raises:
        SettingError: it is neither.
    """
    if isinstance(how, Initialiser):
        return how
    if callable(how):
        return Initialiser.by(how)
    raise SettingError(
        f"{where}[{name!r}] = {how!r} is no Initialiser; give a neoteny.units.Initialiser, or a function that fills a "
        "tensor, such as torch.nn.init.orthogonal_."
    )


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _of_norm(module: nn.Module, name: str, values: Tensor, trained: bool) -> tuple[Initialiser, bool]:
    """How a gain or a shift of a norm begins: with one number, or drawn; the neutral number where it was trained."""
    if values.numel() and bool((values == values.flatten()[0]).all()):
        return Initialiser("constant", float(values.flatten()[0])), True
    neutral = Initialiser("constant", 0.0 if name == "bias" or _adds_one(module, name) else 1.0)
    if trained or values.numel() < 2 or not bool(values.isfinite().all()):
        return neutral, False
    mean, deviation = float(values.double().mean()), float(values.double().std())
    if deviation < _DRAWN or (name != "bias" and abs(mean - neutral.scale) < 2 * deviation):
        return neutral, False
    return Initialiser("normal", deviation, mean), True


def _adds_one(module: nn.Module, name: str) -> bool:
    """Whether a norm multiplies by 1 + its gain (Gemma): with gains of 0 it gives something out."""
    if type(module).__module__.startswith("torch."):
        return False
    try:
        with torch.no_grad():
            own = copy.deepcopy(module)
            gain = own.get_parameter(name)
            gain.zero_()
            given = own(torch.linspace(-1, 2, gain.numel(), dtype=gain.dtype, device=gain.device).unsqueeze(0))
            shift = 0.0 if (bias := own._parameters.get("bias")) is None else bias
            return bool((given - shift).abs().max() > 0.1)
    except Exception:  # it wants other inputs
        return False


def _from_values(module: nn.Module, name: str, values: Tensor) -> tuple[Initialiser, bool]:
    constant = bool(values.numel()) and bool((values == values.flatten()[0]).all())
    if constant and (values.numel() > 1 or float(values.flatten()[0]) in (0.0, 1.0)):
        return Initialiser("constant", float(values.flatten()[0])), True
    zeros = _zero_pattern(values)
    if zeros is not None:
        return _around(zeros, module, values)
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


def _zero_pattern(values: Tensor) -> Tensor | None:
    """Where a tensor is exactly 0 by construction; None where that is chance, or the rest of units that are gone.

    Whole rows and columns are not by construction: units that were just made new, a row for padding.
    """
    zeros = values == 0
    if values.dim() < 2:
        others = values[~zeros]
        one_value = bool(len(others)) and bool((others == others[0]).all())
        return zeros if one_value and bool(zeros.any()) else None
    flat = zeros.flatten(1)
    inner = zeros[~flat.all(1)].movedim(1, 0).flatten(1)
    inner = inner[~inner.all(1)]
    return zeros if inner.numel() and float(inner.float().mean()) >= _PATTERN else None


def _around(zeros: Tensor, module: nn.Module, values: Tensor) -> tuple[Initialiser, bool]:
    """The initialiser of a tensor that is 0 in places, from its other entries."""
    others = values[~zeros]
    if bool((others == others[0]).all()):
        return Initialiser("constant", float(others[0]), zeros=zeros.clone()), True
    fan_in, fan_out = _fans(module, values)
    share = len(others) / values.numel()
    full = [Initialiser.torch_default(fan_in), *_families(fan_in, fan_out), *_fixed()]
    fewer = list(_families(max(1, round(fan_in * share)), max(1, round(fan_out * share))))
    found = _likeliest(_Summary.of(others), [*full, *fewer], full[0])
    return replace(found or full[0], zeros=zeros.clone()), found is not None


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
