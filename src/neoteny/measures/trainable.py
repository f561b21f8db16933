"""The direct measure of plasticity: how well does the network, as it is now, still learn?

A copy of the network and a freshly initialised copy are trained on new targets for the same number of steps. The target
of each is its own output at the start plus the same random change, of mean 0 and variance 1. So both start at loss 1,
whatever they have learned before, and the comparison shows how fast the loss falls.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from neoteny.errors import NetworkError, SettingError, UnknownNameError
from neoteny.measures.copies import copy_with, fresh_copy, initialisers_of
from neoteny.measures.forward import call, examples_of, generators_kept, seed_generators, without_cudnn_rnn
from neoteny.measures.symptoms import SLOW_LEARNING
from neoteny.progress import bar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from neoteny.units import Initialiser

__all__ = ["Trainability", "trainability"]

Targets = Literal["function", "noise"]
"""`function`: the output of another random network of the architecture; `noise`: a random sign for every output entry
of every example, which can only be memorised."""

LEARNED = 1e-3
"""Share of the initial loss that is added to both losses before the ratio: losses far below it count as equal."""


@dataclass(frozen=True)
class Trainability:
    """How well a network still learns, against a freshly initialised copy.

    Attributes:
        losses: the network's final loss in each repetition; each starts at 1.
        fresh_losses: the fresh copy's final losses.
        mean_losses: the network's mean loss over the steps.
        fresh_mean_losses: the fresh copy's.
        steps: number of training steps.
        guessed: parameters whose initial distribution had to be guessed; the fresh copy may differ there from the
            network at its start.
    """

    losses: tuple[float, ...]
    fresh_losses: tuple[float, ...]
    mean_losses: tuple[float, ...]
    fresh_mean_losses: tuple[float, ...]
    steps: int
    guessed: tuple[str, ...] = ()

    @property
    def ratios(self) -> tuple[float, ...]:
        """The network's final loss divided by the fresh copy's, for each repetition."""
        pairs = zip(self.losses, self.fresh_losses, strict=True)
        return tuple((max(old, 0.0) + LEARNED) / (fresh + LEARNED) for old, fresh in pairs)

    @property
    def mean_ratios(self) -> tuple[float, ...]:
        """The network's mean loss divided by the fresh copy's, for each repetition."""
        pairs = zip(self.mean_losses, self.fresh_mean_losses, strict=True)
        return tuple((max(old, 0.0) + LEARNED) / (fresh + LEARNED) for old, fresh in pairs)

    @property
    def ratio(self) -> float:
        """Their geometric mean: 1 is as good as new, more is worse; infinite if training diverged."""
        return math.exp(sum(map(math.log, self.ratios)) / len(self.ratios))

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest ratio of the repetitions."""
        return min(self.ratios), max(self.ratios)

    @property
    def losing(self) -> bool:
        """Whether the network learns more slowly than a fresh one, in every repetition."""
        return SLOW_LEARNING.shows(self.ratio, 1.0) and self.spread[0] > 1

    def __str__(self) -> str:
        low, high = self.spread
        return (
            f"final loss after {self.steps} steps on fresh targets {self.ratio:.2f} times a freshly initialised copy's "
            f"({low:.2f} to {high:.2f} over {len(self.ratios)} repetitions; 1 is as good as new)"
        )


def trainability(
    model: nn.Module,
    inputs: Any,
    *,
    steps: int = 200,
    targets: Targets = "function",
    optimizer: torch.optim.Optimizer | Callable[[Iterable[Tensor]], torch.optim.Optimizer] | None = None,
    repeats: int = 3,
    batch_size: int = 32,
    seed: int = 0,
    reference: nn.Module | Mapping[str, Any] | None = None,
    initialisers: Mapping[str, Initialiser] | None = None,
) -> Trainability:
    """Train a copy of the network and freshly initialised copies on fresh targets, and compare the final losses.

    The network itself is not changed. The copies are trained in evaluation mode (no dropout, fixed running statistics
    of norms) on the mean squared error over all output tensors. Outputs may have any structure and shape. If they are
    bounded (probabilities), much of the target is out of reach and ratios are nearer to 1: give the model that computes
    the logits. Parameters that do not train stay as they are in both copies.

    Args:
        model: any network; its hidden units need not be found.
        inputs: a batch on the model's device, as the network takes it: a tensor, a tuple of positional arguments, or a
            mapping of named ones; a few hundred examples.
        steps: number of training steps of each copy.
        targets: `function` or `noise`, see `Targets`.
        optimizer: a function from parameters to an optimizer; or an optimizer, of which class and settings are taken
            (not its state). By default Adam with a step size of 1e-3.
        repeats: number of repetitions, each with other targets and another fresh copy.
        batch_size: examples in a step; all of them if the inputs' tensors differ in their first dimension.
        seed: equal seeds give equal numbers.
        reference: the network at its start, or its `state_dict`, if there is one: it shows better than trained weights
            how parameters were initialised.
        initialisers: how parameters were initialised, by name, as far as it is known.

    Raises:
        NetworkError: no parameter trains, no output depends on those that do, or the model cannot be copied.
        SettingError: a number is below 1, or a fresh network diverges at this step size.
        CheckpointError: the reference is of another network.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> found = trainability(net, torch.randn(64, 4), steps=20, repeats=2)
    >>> len(found.ratios), 0.5 < found.ratio < 2
    (2, True)

    Source: after Lyle et al., "Understanding plasticity in neural networks", ICML 2023, who fit random targets from the
    network's present state; starting both networks at the same loss, and the ratio, are ours.
    """
    import torch

    from neoteny.units.copying import bare_copy
    from neoteny.units.inputs import as_dict
    from neoteny.units.random import fold_in
    from neoteny.units.random import key as key_of

    for name, value in (("steps", steps), ("repeats", repeats), ("batch_size", batch_size)):
        if value < 1:
            raise SettingError(f"{name} = {value}: trainability needs at least 1.")
    if targets not in get_args(Targets):
        raise UnknownNameError(targets, get_args(Targets), "kind of targets")
    inputs = as_dict(inputs)
    make = _maker(optimizer)
    start = None if reference is None else _start(model, reference)
    said, notes = initialisers_of(model, start, initialisers)
    losses: list[tuple[float, float]] = []
    fresh_losses: list[tuple[float, float]] = []
    with (
        bar("trainability", 2 * repeats * steps, late=True) as advance,
        generators_kept(model),
        torch.enable_grad(),
        without_cudnn_rnn(model),
    ):
        for repeat in range(repeats):
            key = fold_in(key_of(seed), repeat)
            seed_generators(model, int(key[0]) & 0xFFFFFFFF)  # for models that draw in their forward pass
            teacher = fresh_copy(model, said, fold_in(key, 0), inputs, constants=False)
            change = _change(teacher, inputs, targets, fold_in(key, 1))
            order = torch.Generator().manual_seed(int(key[1]) & 0xFFFFFFFF)
            batches = _batches(inputs, change, batch_size, steps, order)
            fresh = fresh_copy(model, said, fold_in(key, 2), inputs)
            for student, final in ((bare_copy(model), losses), (fresh, fresh_losses)):
                final.append(_learn(student, inputs, change, batches, make, advance))
            if not math.isfinite(fresh_losses[-1][0]):
                raise SettingError(
                    "trainability: a freshly initialised copy diverges, so there is nothing to compare with; give an "
                    "optimizer with a smaller step size, such as lambda parameters: torch.optim.Adam(parameters, 1e-4)."
                )
    (final, mean), (fresh_final, fresh_mean) = zip(*losses, strict=True), zip(*fresh_losses, strict=True)
    return Trainability(final, fresh_final, mean, fresh_mean, steps, tuple(notes))


def _start(model: nn.Module, reference: nn.Module | Mapping[str, Any]) -> nn.Module:
    weights = reference if isinstance(reference, Mapping) else reference.state_dict()
    return copy_with(model, weights)


def _maker(
    optimizer: torch.optim.Optimizer | Callable[[Iterable[Tensor]], torch.optim.Optimizer] | None,
) -> Callable[[Iterable[Tensor]], torch.optim.Optimizer]:
    import torch

    if optimizer is None:
        return lambda parameters: torch.optim.Adam(parameters, 1e-3)
    if not isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    kind = type(optimizer)
    known = inspect.signature(kind).parameters
    settings = {name: value for name, value in optimizer.param_groups[0].items() if name in known and name != "params"}
    return lambda parameters: kind(parameters, **settings)


def _outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    """The output tensors that depend on parameters that train."""
    from neoteny.units.copying import output_tensors

    return [tensor for tensor in output_tensors(call(model, inputs)) if tensor.requires_grad and tensor.dim()]


def _change(teacher: nn.Module, inputs: Any, targets: Targets, key: Tensor) -> list[Tensor]:
    """The change to learn, for each output: mean 0 over the first dimension and variance 1, or random signs."""
    import torch

    from neoteny.units.random import fold_in, normal

    if not any(parameter.requires_grad for parameter in teacher.parameters()):
        raise NetworkError(f"{type(teacher).__name__} has no parameter that trains: set requires_grad where it should.")
    outputs = [tensor.detach().float() for tensor in _outputs(teacher, inputs)]
    if not outputs:
        raise NetworkError(
            f"{type(teacher).__name__} gives no floating-point tensor that depends on its parameters: give a model "
            "that returns its predictions, in evaluation mode too."
        )
    changes = []
    for number, output in enumerate(outputs):
        noise = normal(fold_in(key, number).to(output.device), output.shape)
        varied = output - output.mean(dim=0, keepdim=True)
        size = varied.square().mean().sqrt()
        # An output that is the same for all examples (up to rounding) gives no function to learn: take the noise.
        flat = not size > 1e-5 * output.square().mean().sqrt()
        changes.append(torch.sign(noise) if targets == "noise" else noise if flat else varied / size)
    return changes


def _batches(inputs: Any, change: list[Tensor], size: int, steps: int, order: torch.Generator) -> list[Tensor | None]:
    """The rows of every step, drawn without repetition within an epoch; None means all."""
    import torch

    examples = examples_of(inputs)
    if examples is None or examples <= size or any(len(tensor) != examples for tensor in change):
        return [None] * steps
    epochs = -(-steps * size // (examples // size * size))
    rows = [torch.randperm(examples, generator=order)[: examples // size * size].view(-1, size) for _ in range(epochs)]
    return list(torch.cat(rows)[:steps])


def _learn(
    student: nn.Module,
    inputs: Any,
    change: list[Tensor],
    batches: list[Tensor | None],
    make: Callable[[Iterable[Tensor]], torch.optim.Optimizer],
    advance: Callable[[], None],
) -> tuple[float, float]:
    """Train, and give the final loss on all inputs and the mean over the steps; infinite if they are not finite."""
    import torch

    wanted = [own.detach().float() + new for own, new in zip(_outputs(student, inputs), change, strict=True)]
    optimizer = make([parameter for parameter in student.parameters() if parameter.requires_grad])

    def loss(rows: Tensor | None) -> Tensor:
        outputs = _outputs(student, _rows(inputs, rows))
        parts = [
            (output.float() - _rows(goal, rows)).square().mean() for output, goal in zip(outputs, wanted, strict=True)
        ]
        return torch.stack([part.to(parts[0].device) for part in parts]).mean()

    seen: list[Tensor] = []
    for rows in batches:

        def closure(rows: Tensor | None = rows) -> Tensor:
            optimizer.zero_grad()
            value = loss(rows)
            value.backward()
            seen.append(value.detach())
            return value

        optimizer.step(closure)  # pyright: ignore[reportCallIssue, reportArgumentType]
        advance()
    final, mean = loss(None).item(), torch.stack(seen).mean().item()
    return final if math.isfinite(final) else math.inf, mean if math.isfinite(mean) else math.inf


def _rows(value: Any, rows: Tensor | None) -> Any:
    """The chosen rows of every tensor."""
    import torch
    from torch.utils._pytree import tree_map

    if rows is None:
        return value
    return tree_map(
        lambda leaf: leaf[rows.to(leaf.device)] if isinstance(leaf, torch.Tensor) and leaf.dim() else leaf, value
    )
