"""The user's training loop stays the user's, whatever it looks like."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neoteny.testing.comparing import copied, differing, expect
from neoteny.testing.contract.base import check, same
from neoteny.testing.optimizers import OptimizerCase
from neoteny.testing.trial import TASK_AT, Trial, TrialRun, seed_generators


@check("pairs")
def missing_gradients(trial: Trial) -> None:
    """Parameters without a gradient, such as those of a head that is not in use, break the method or are given one."""
    run = trial.start()
    named = dict(run.model.named_parameters())
    for number, (x, y) in enumerate(trial.batches()):
        without = [name for i, name in enumerate(named) if number == TASK_AT or i == number % len(named)]

        def drop(without: list[str] = without) -> None:
            for name in without:
                named[name].grad = None

        run.step(x, y, after_backward=drop)
        made = [name for name in without if named[name].grad is not None]
        expect(not made, "no gradient where the loop made none", f"step {number + 1} left one for {', '.join(made)}")


@check("models")
def frozen_parameters(trial: Trial) -> None:
    """Parameters that the user froze change."""
    freeze = trial.model.freeze

    def make(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer holds every other one of them."""
        frozen = [id(p) for p in parameters if not p.requires_grad]
        return trial.optimizer.make([p for p in parameters if id(p) not in frozen[1::2]])

    run = Trial(trial.method, trial.model.frozen, replace(trial.optimizer, make=make)).start()
    before = {name: p.clone() for name, p in run.model.get_submodule(freeze).named_parameters()}
    run.train_over_tasks(trial.batches())
    for number, (name, p) in enumerate(run.model.get_submodule(freeze).named_parameters()):
        where = "does not hold" if number % 2 else "holds"
        other = bool(differing(before[name], p).any())
        expect(not other, f"frozen parameters, which the optimizer {where}, as they were", f"{freeze}.{name} changed")


@check("models")
def frozen_later(trial: Trial) -> None:
    """Parameters that the user freezes in the middle of training go on changing."""
    if trial.optimizer.closure:
        return  # LBFGS itself goes on moving what is frozen, by what it remembers of earlier gradients
    run = trial.start()
    batches = trial.batches()
    run.train(batches[:3])
    frozen = run.model.get_submodule(trial.model.freeze)
    run.optimizer.zero_grad()
    frozen.requires_grad_(False)
    before = {name: p.clone() for name, p in frozen.named_parameters()}
    run.train_over_tasks(batches)
    for name, p in frozen.named_parameters():
        where = f"{trial.model.freeze}.{name}"
        expect(not bool(differing(before[name], p).any()), "what was frozen to stay as it was", f"{where} changed")


@check("once")
def parameter_groups(trial: Trial) -> None:
    """What the method does to one parameter group follows the step size of another."""
    snapshots = []
    for order in (1, -1):

        def make(parameters: list[nn.Parameter], order: int = order) -> torch.optim.Optimizer:
            groups = [{"params": parameters[::2], "lr": 0.03}, {"params": parameters[1::2], "lr": 0.003}]
            return torch.optim.Adam(groups[::order], lr=0.01)

        run = replace(trial, optimizer=OptimizerCase("two groups", make)).start()
        run.train_over_tasks(trial.batches())
        snapshots.append(run.snapshot())
    same(*snapshots, expected="the same training, whichever group comes first")


@check("once")
def closures(trial: Trial) -> None:
    """An optimizer that is stepped with a closure, such as LBFGS, trains on other gradients than it should."""
    adamw = OptimizerCase("adamw", lambda parameters: torch.optim.AdamW(parameters, 0.01))
    plain = replace(trial, optimizer=adamw).start()
    plain.train(trial.batches())
    run = replace(trial, optimizer=adamw).start()
    for number, (x, y) in enumerate(trial.batches()):
        closure = partial(run.backward, x, y)
        step: Any = run.optimizer.step
        returned = step(closure=closure) if number % 2 else step(closure)
        expect(isinstance(returned, Tensor), "step(closure) to return the loss", f"it returned {returned!r}")
    same(plain.snapshot(), run.snapshot(), "step(closure) to train as backward() and step() do")
    moves = trial.method is not None and trial.method.needs_reference and trial.model.batch_statistics
    if not trial.model.draws and not moves:  # a second pass draws otherwise, or moves the statistics that it looks with
        twice = replace(trial, optimizer=OptimizerCase("asks twice", _AsksTwice, closure=True)).start()
        twice.train(trial.batches()[:4])


class _AsksTwice(torch.optim.Optimizer):
    """Gradient descent that calls the closure twice at the same weights, as a line search may."""

    def __init__(self, params: Any):
        super().__init__(params, {"lr": 0.05})

    def step(self, closure: Any) -> None:  # type: ignore[override]
        """One step."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        gradients = []
        for _ in range(2):
            with torch.enable_grad():
                closure()
            gradients.append([p.grad for p in parameters])
        alike = not any(differing(a, b).any() for a, b in zip(*gradients, strict=True))
        expect(alike, "the same gradients both times, from a closure called twice at the same weights", "others")
        with torch.no_grad():
            for p, grad in zip(parameters, gradients[0], strict=True):
                p -= 0.05 * grad


@check("once")
def gradients_are_given_back(trial: Trial) -> None:
    """What a user reads from `.grad` after a step, to log it or to go on accumulating, is not what `backward` left."""
    run = replace(trial, optimizer=OptimizerCase("sgd", lambda parameters: torch.optim.SGD(parameters, 0.05))).start()
    for x, y in trial.batches():
        run.backward(x, y)
        own = [(name, p, p.grad, p.grad.clone()) for name, p in run.model.named_parameters() if p.grad is not None]
        run.optimizer.step()
        for name, p, grad, value in own:
            kept = p.grad is grad and not bool(differing(grad, value).any())
            expect(kept, "the user's own gradients after the step", f"{name}.grad is another")


@check("models")
def accumulated_gradients(trial: Trial) -> None:
    """A batch that comes in several passes before one step trains differently from the whole batch at once."""
    if trial.model.batch_statistics or trial.model.draws or trial.optimizer.closure:
        return  # there it differs without the method, too, by more than rounding
    run = trial.start(dtype=torch.float64)
    run.train_over_tasks(trial.batches(dtype=torch.float64), parts=2)
    cut = run.snapshot()
    for name, value in trial.training(torch.float64).end.items():
        if name.startswith("model"):
            close = torch.allclose(value, cut[name], rtol=1e-5, atol=1e-8, equal_nan=True)
            expect(close, "the same training whether a batch comes in one pass or in two", f"{name} differs")


@check("models")
def evaluation_passes(trial: Trial) -> None:
    """Evaluating the network between two steps changes how it trains."""
    run = trial.start()
    others = trial.batches(seed=5)

    def evaluate(number: int) -> None:
        run.model.eval()
        with torch.set_grad_enabled(number % 2 == 0):
            run.model(others[number][0])
        run.model.train()

    run.train_over_tasks(trial.batches(), before_step=evaluate)
    same(trial.trained, run.snapshot(), "evaluation to change nothing", ("model", "optimizer", "plasticity"))


@check("pairs")
def changes_of_task(trial: Trial) -> None:
    """`new_task` fails at some moment: before the first step, or twice in a row."""
    run = trial.start()
    data = trial.batches()
    for batches in (data[:0], data[:3], data[:0], data[3:6]):
        run.train(batches)
        run.plasticity.new_task()
    tasks = run.plasticity.counters()["tasks"]
    expect(tasks == 4, "4 tasks in counters()", f"{tasks}")


@check("models")
def detached(trial: Trial) -> None:
    """After `detach` the method goes on acting."""
    moment = trial.training().moments[-1]
    run = trial.start()
    run.load(copied(moment.saved))
    run.train(trial.batches()[moment.steps :])
    run.plasticity.detach()
    bare = TrialRun(trial.bare)
    bare.model.load_state_dict(run.model.state_dict())
    state = copied(run.optimizer.state_dict())
    bare.optimizer.load_state_dict({name: state[name] for name in ("state", "param_groups")})
    for each in (run, bare):
        seed_generators(0)  # of a network with dropout
        each.train(trial.batches(5, seed=2))
    same(bare.snapshot(), run.snapshot(), "the bits of the bare optimizer after detach()")
