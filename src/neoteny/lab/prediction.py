"""The objectives of supervised networks: a loss, or a prediction with its error for optimizers that follow one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neoteny.errors import SettingError
from neoteny.lab.losses import CrossEntropy, Loss, MeanSquaredError
from neoteny.lab.objective import Batch, Evaluation, Forward, Objective, Phase, Tensors
from neoteny.optim.base import Optimizer
from neoteny.optim.own_steps import FACTORS
from neoteny.optim.signals import DELTA, ENDED, SIGNALS, TRACE_DECAY

__all__ = ["ErrorPrediction", "LabelPrediction", "Prediction", "beside_of", "only", "supervised"]


def only(outputs: Tensor, classes: Tensor | None) -> Tensor:
    """The logits `[..., outputs]` with -inf after the first `classes`: these outputs are never chosen and do not learn.

    >>> only(torch.zeros(3), torch.tensor(2))
    tensor([0., 0., -inf])
    """
    if classes is None:
        return outputs
    return outputs.masked_fill(torch.arange(outputs.shape[-1], device=outputs.device) >= classes, -torch.inf)


@dataclass(frozen=True)
class Prediction:
    """The loss of a network's outputs on `batch["inputs"]` against `batch["targets"]`.

    Args:
        loss: one of `neoteny.lab.losses`.
    """

    loss: Loss

    def __call__(self, forward: Forward, batch: Batch, key: Tensor) -> Evaluation:
        """The loss and the metrics of a batch."""
        outputs = only(forward(batch["inputs"]), forward.knobs.get("classes"))
        said = self.loss.judge(outputs.detach(), batch["targets"])
        factors = getattr(self.loss, FACTORS, None)
        beside = {} if factors is None else {FACTORS: factors(outputs)}
        return Evaluation(self.loss(outputs, batch["targets"]), said, beside=beside)


@dataclass(frozen=True)
class ErrorPrediction:
    """Squared error for optimizers that follow predictions: a network's output and its error, target - output.

    One example with one output is such a prediction, with traces that end at once. An optimizer that follows losses as
    well gets half the squared error of other batches, summed over outputs, so that its updates have the same scale.
    The recorded `loss` is the mean squared error, as for every optimizer.

    Args:
        loss: the mean squared error.
        alone: whether the optimizer follows predictions alone.
    """

    loss: Loss
    alone: bool

    def __call__(self, forward: Forward, batch: Batch, key: Tensor) -> Evaluation:
        """The prediction or the loss of a batch, and what is recorded of it.

        Raises:
            SettingError: there are several outputs or examples, and the optimizer follows predictions alone.
        """
        outputs, targets = forward(batch["inputs"]), batch["targets"]
        said = {"loss": self.loss(outputs.detach(), targets), **self.loss.judge(outputs.detach(), targets)}
        if outputs.numel() == 1:
            signals = at_once((targets - outputs.detach()).sum())
            return Evaluation(outputs.sum(), said, signals, {FACTORS: outputs.flatten()})
        if self.alone:
            raise SettingError(
                f"outputs of shape {tuple(outputs.shape)}: this optimizer follows one prediction and its error; give "
                "one example a step to a network with one output, or take an optimizer that descends losses, such as "
                "autostep."
            )
        count = len(outputs)
        beside = {FACTORS: outputs.flatten() / count**0.5}
        return Evaluation((targets - outputs).square().sum() / (2 * count), said, beside=beside)


@dataclass(frozen=True)
class LabelPrediction:
    """Cross-entropy for optimizers that follow predictions alone: log p(label), whose target is 0.

    So the error is the example's cross-entropy, and a step that takes away a share of the error takes away this share
    of the loss.

    Args:
        loss: the cross-entropy.
    """

    loss: Loss

    def __call__(self, forward: Forward, batch: Batch, key: Tensor) -> Evaluation:
        """The log-probability of an example's label, and what is recorded."""
        outputs, targets = only(forward(batch["inputs"]), forward.knobs.get("classes")), batch["targets"]
        value = self.loss(outputs, targets)
        said = {"loss": value.detach(), **self.loss.judge(outputs.detach(), targets)}
        return Evaluation(-value, said, at_once(value.detach()))


def at_once(delta: Tensor) -> Tensors:
    """The signals of a prediction that has the error `delta` and nothing to do with those before it."""
    over = torch.ones((), dtype=torch.bool, device=delta.device)
    return {DELTA: delta, TRACE_DECAY: delta * 0, ENDED: over}


def beside_of(loss: Loss) -> tuple[str, ...]:
    """Names of the values whose gradients a loss offers beside its own."""
    return (FACTORS,) if hasattr(loss, FACTORS) else ()


def supervised(loss: Loss, optimizer: Optimizer) -> Objective:
    """The objective of a supervised network: one phase that trains all parameters.

    Raises:
        SettingError: the optimizer follows a prediction's error, and the loss is neither the squared error nor the
            cross-entropy.

    >>> from neoteny.lab.losses import LOSSES
    >>> from neoteny.optim import SGD
    >>> supervised(LOSSES["cross_entropy"], SGD()).metrics
    ('loss', 'accuracy')
    """
    evaluate, signals = Prediction(loss), ()
    if optimizer.follows != "loss" and isinstance(loss, MeanSquaredError):
        alone = optimizer.follows == "prediction"
        evaluate, signals = ErrorPrediction(loss, alone), SIGNALS if alone else (DELTA,)
    elif optimizer.follows == "prediction" and isinstance(loss, CrossEntropy):
        evaluate, signals = LabelPrediction(loss), SIGNALS
    elif optimizer.follows == "prediction":
        raise SettingError(
            f"{type(optimizer).__name__} follows a prediction with its error, and {type(loss).__name__} has none: take "
            "an optimizer that descends losses, such as autostep, the squared error, or the cross-entropy."
        )
    phase = Phase(evaluate=evaluate, optimizer=optimizer, metrics=loss.metrics, signals=signals, beside=beside_of(loss))
    return Objective(phases=(phase,))
