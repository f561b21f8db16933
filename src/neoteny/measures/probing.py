"""One trial of the direct measure: new targets, and how a copy of the network and a new network learn them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from neoteny.errors import NetworkError, SettingError
from neoteny.measures.copies import fresh_copy
from neoteny.measures.forward import call, examples_of, generators_kept, seed_generators, without_cudnn_rnn
from neoteny.progress import bar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from neoteny.units import Initialiser

__all__ = ["Course", "Make", "Probe", "Targets"]

Targets = Literal["function", "noise"]
"""`function`: the output of another random network of the architecture; `noise`: a random sign, or class, for every
output entry of every example, which can only be memorised."""
Make = Callable[[Iterable["Tensor"]], "torch.optim.Optimizer"]

DIVERGED = 4.0
"""A loss from which on a copy counts as diverged: so many times that of knowing nothing of the targets, and of its
own at the start."""
READY = 8
"""Minibatches whose gradients are compared before the first step."""


@dataclass(frozen=True)
class Course:
    """How one copy learned, the mean over the steps; infinite if that is not finite.

    Attributes:
        error: the share of wrong classes, or the squared error over the variance of the targets.
        loss: the loss, over that of knowing nothing of the targets, or over its own at the start if that is larger.
        readiness: |mean gradient|^2 / mean |gradient|^2 over minibatches, before the first step.
    """

    error: float
    loss: float
    readiness: float

    @property
    def diverged(self) -> bool:
        """Whether it went astray."""
        return not self.loss < DIVERGED


@dataclass(frozen=True)
class Probe:
    """What copies of a network are trained on."""

    model: nn.Module
    inputs: Any
    initialisers: Mapping[str, Initialiser]
    targets: Targets
    classes: int | None
    scale: float | None
    steps: int
    batch_size: int
    seed: int

    def measure(self, repeats: int, make: Make, *, whole: bool) -> list[tuple[Course, Course]]:
        """The courses of the network and of a new one in each repetition, up to the first in which a copy diverges.

        Args:
            repeats: how many.
            make: the optimizer.
            whole: whether to go on where the network diverges and the new one does not.
        """
        import torch

        from neoteny.units.copying import bare_copy
        from neoteny.units.random import fold_in
        from neoteny.units.random import key as key_of

        pairs: list[tuple[Course, Course]] = []
        with (
            bar("trainability", 2 * repeats * self.steps, late=True) as advance,
            generators_kept(self.model),
            torch.enable_grad(),
            without_cudnn_rnn(self.model),
        ):
            old_copy = _training_norms(bare_copy(self.model), self.inputs)
            outputs = [output.detach().float() for output in _outputs(old_copy, self.inputs)]
            for repeat in range(repeats):
                key = fold_in(key_of(self.seed), repeat)
                seed_generators(self.model, int(key[0]) & 0xFFFFFFFF)  # for models that draw in their forward pass
                goals = self._goals(self._new(fold_in(key, 0), constants=False), outputs, fold_in(key, 1))
                order = torch.Generator().manual_seed(int(key[1]) & 0xFFFFFFFF)
                batches = _batches(self.inputs, goals, self.batch_size, self.steps, order)
                young = _learn(self._new(fold_in(key, 2)), self.inputs, goals, batches, make, advance)
                own = _training_norms(bare_copy(self.model), self.inputs)
                old = _learn(own, self.inputs, goals, batches, make, advance)
                if young.diverged or (old.diverged and not whole):
                    break
                pairs.append((old, young))
        return pairs

    def _new(self, key: Tensor, *, constants: bool = True) -> nn.Module:
        young = fresh_copy(self.model, self.initialisers, key, self.inputs, constants=constants)
        return _training_norms(young, self.inputs)

    def _goals(self, teacher: nn.Module, outputs: list[Tensor], key: Tensor) -> list[_Goal]:
        """What each output learns.

        Args:
            teacher: a new network, whose outputs are the function to learn.
            outputs: the network's own.
            key: of what is drawn.
        """
        from neoteny.units.random import fold_in, normal

        goals = []
        for number, (taught, own) in enumerate(zip(_outputs(teacher, self.inputs), outputs, strict=True)):
            output = taught.detach().float()
            noise = normal(fold_in(key, number).to(output.device), output.shape)
            # An output that is the same for all examples (up to rounding) gives no function to learn: take noise.
            flat = not _spread(output) > 1e-5 * output.square().mean().sqrt()
            answer = noise if self.targets == "noise" or flat else output
            varied = answer - answer.mean(dim=0, keepdim=True)
            size, where = varied.square().mean().sqrt(), _class_dimension(output, self.classes)
            if where is None:
                scale = self.scale or max(_spread(own), _spread(output)) or 1.0
                goals.append(_Goal(varied / size, None, scale))
            else:
                # each class with an equal spread, or one of large outputs would be the answer to all
                equal = varied / (varied.square().mean(dim=0, keepdim=True).sqrt() + 1e-5 * size)
                goals.append(_Goal(equal.argmax(where), where, 1.0))
        return goals

    def check(self) -> None:
        """Refuse a model that has nothing to train, and classes that no output has."""
        from neoteny.units.copying import bare_copy

        kind = type(self.model).__name__
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            raise NetworkError(f"{kind} has no parameter that trains: set requires_grad where it should.")
        import torch

        with generators_kept(self.model), torch.enable_grad(), without_cudnn_rnn(self.model):
            outputs = _outputs(bare_copy(self.model), self.inputs)
        if not outputs:
            raise NetworkError(
                f"{kind} gives no floating-point tensor that depends on its parameters: give a model that returns its "
                "predictions, in evaluation mode too."
            )
        if self.classes is not None and all(_class_dimension(output, self.classes) is None for output in outputs):
            shapes = ", ".join(str(list(output.shape)) for output in outputs)
            raise SettingError(
                f"classes = {self.classes}: the outputs have the shapes {shapes}, none with so many entries in the "
                "last dimension or in dimension 1; give the number of logits."
            )


@dataclass(frozen=True)
class _Goal:
    """What one output learns.

    Attributes:
        target: values of mean 0 and variance 1; or the classes, without the dimension of the logits.
        classes: the dimension of the logits; None for values.
        scale: the standard deviation that values are to have.
    """

    target: Tensor
    classes: int | None
    scale: float

    def judge(self, output: Tensor, middle: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, that over the loss of knowing nothing, and the error; values are around the copy's own `middle`."""
        from torch.nn import functional

        target = _rows(self.target, rows)
        if self.classes is None:
            loss = (output.float() - middle - self.scale * target).square().mean()
            share = loss.detach() / self.scale**2
            return loss, share, share
        logits = output.float().movedim(self.classes, -1).flatten(0, -2)
        loss = functional.cross_entropy(logits, target.flatten())
        wrong = (logits.detach().argmax(-1) != target.flatten()).float().mean()
        return loss, loss.detach() / math.log(logits.shape[-1]), wrong


def _spread(output: Tensor) -> float:
    """The standard deviation over examples; 0 if it is not finite."""
    spread = (output - output.mean(dim=0, keepdim=True)).square().mean().sqrt().item()
    return spread if math.isfinite(spread) else 0.0


def _class_dimension(output: Tensor, classes: int | None) -> int | None:
    """Where the logits of so many classes lie: in the last dimension, or else in dimension 1."""
    if classes is None or output.dim() < 2:
        return None
    return next((place for place in (output.dim() - 1, 1) if output.shape[place] == classes), None)


def _training_norms(model: nn.Module, inputs: Any) -> nn.Module:
    """Let norms over the batch use its statistics, as in training, if it has several examples."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and examples_of(inputs) != 1:
            module.training = True
    return model


def _outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    """The output tensors that depend on parameters that train."""
    from neoteny.units.copying import output_tensors

    return [tensor for tensor in output_tensors(call(model, inputs)) if tensor.requires_grad and tensor.dim()]


def _batches(inputs: Any, goals: list[_Goal], size: int, steps: int, order: torch.Generator) -> list[Tensor | None]:
    """The rows of every step, drawn without repetition within an epoch; None means all."""
    import torch

    examples = examples_of(inputs)
    if examples is None or examples <= size or any(len(goal.target) != examples for goal in goals):
        return [None] * steps
    epochs = -(-steps * size // (examples // size * size))
    rows = [torch.randperm(examples, generator=order)[: examples // size * size].view(-1, size) for _ in range(epochs)]
    return list(torch.cat(rows)[:steps])


def _learn(
    student: nn.Module,
    inputs: Any,
    goals: list[_Goal],
    batches: list[Tensor | None],
    make: Make,
    advance: Callable[[], None],
) -> Course:
    """Train, and say how it went; nothing is read from the device before the end."""
    import torch

    middles = [output.detach().float().mean(dim=0, keepdim=True) for output in _outputs(student, inputs)]
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = make(parameters)

    def judge(rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        outputs = _outputs(student, _rows(inputs, rows))
        parts = [goal.judge(output, middle, rows) for goal, output, middle in zip(goals, outputs, middles, strict=True)]
        home = parts[0][0].device
        loss, share, error = (torch.stack([part.to(home) for part in each]).mean() for each in zip(*parts, strict=True))
        return loss, share, error

    readiness = _readiness(lambda rows: judge(rows)[0], parameters, batches[:READY])
    seen: list[list[Tensor]] = []  # of each step; some optimizers look several times
    for rows in batches:
        seen.append([])

        def closure(rows: Tensor | None = rows, looks: list[Tensor] = seen[-1]) -> Tensor:
            optimizer.zero_grad()
            loss, share, error = judge(rows)
            loss.backward()
            looks.append(torch.stack([share, error]))
            return loss

        optimizer.step(closure)  # pyright: ignore[reportCallIssue, reportArgumentType]
        advance()
    shares, errors = torch.stack([looks[0] for looks in seen]).T
    share, start, error = (each.item() for each in (shares.mean(), shares[0], errors.mean()))
    grown = share / max(1.0, start)
    return Course(error, grown, readiness) if math.isfinite(grown) else Course(math.inf, math.inf, readiness)


def _readiness(
    loss: Callable[[Tensor | None], Tensor], parameters: Sequence[Tensor], batches: list[Tensor | None]
) -> float:
    """|mean g|^2 / mean |g|^2 of the gradients g of minibatches; NaN for a single one, 0 where there is no gradient."""
    import torch

    if len(batches) < 2 or batches[0] is None:
        return math.nan
    total = [torch.zeros_like(parameter) for parameter in parameters]
    squares: list[Tensor] = []
    for rows in batches:
        gradients = torch.autograd.grad(loss(rows), parameters, allow_unused=True, materialize_grads=True)
        for summed, own in zip(total, gradients, strict=True):
            summed.add_(own)
        squares.append(_square(gradients))
    mean, strength = torch.stack(squares).mean().item(), _square(total).item() / len(batches) ** 2
    return strength / mean if mean > 0 else 0.0


def _square(tensors: Sequence[Tensor]) -> Tensor:
    """The sum of the squared entries, on the device of the first."""
    import torch

    parts = [tensor.abs().square().sum() for tensor in tensors]
    return torch.stack([part.to(parts[0].device) for part in parts]).sum()


def _rows(value: Any, rows: Tensor | None) -> Any:
    """The chosen rows of every tensor."""
    import torch
    from torch.utils._pytree import tree_map

    if rows is None:
        return value
    return tree_map(
        lambda leaf: leaf[rows.to(leaf.device)] if isinstance(leaf, torch.Tensor) and leaf.dim() else leaf, value
    )
