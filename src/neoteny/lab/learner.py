"""The learner: R independent runs of one network, optimizer and set of methods, trained side by side.

It builds every run's network from the run's own seed, finds the network's units once, keeps the clocks of resets on the
host, and lets a strategy do the steps. Nothing is read from the device while it trains.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from neoteny import compiling
from neoteny.errors import CheckpointError, SettingError
from neoteny.lab.building import (
    FEW,
    by_network,
    largest,
    past,
    seeded,
    settings_of_runs,
    tensors_of,
    units_of,
    use_products,
)
from neoteny.lab.clocks import Clocks
from neoteny.lab.gradients import Gradients
from neoteny.lab.losses import LOSSES, Loss
from neoteny.lab.objective import Batch, Objective
from neoteny.lab.prediction import ErrorPrediction, Prediction, only, supervised
from neoteny.lab.step import TrainingStep
from neoteny.lab.strategies import Strategy, choose
from neoteny.lab.strategies.base import stack
from neoteny.lab.temporal import Delayed
from neoteny.methods.base import Method, Schedule
from neoteny.methods.shared.order import method_seed
from neoteny.methods.shared.reference import ReferencePass
from neoteny.optim.base import Optimizer
from neoteny.progress import stage
from neoteny.units import random
from neoteny.units.observe import Observer

FORMAT = 1


class Learner:
    """R runs that train side by side.

    Args:
        build_network: makes one network on the CPU from torch's global generator, which is seeded for each run; or
            several, as a `neoteny.nn.Networks`.
        example: one batch of inputs, `[B, ...]`; for several networks the inputs by the network's name: a tensor, or a
            tuple of arguments.
        loss: for a supervised network: `mse` (targets like the outputs), `cross_entropy` (targets are labels, int64
            `[B]`), or a `Loss`; batches are then those of `neoteny.lab.objective.examples`.
        optimizer: for a supervised network, one of `neoteny.optim`.
        objective: in place of a loss and an optimizer, what is learned from a batch, in one phase or several.
        methods: attached methods in order.
        seeds: the run seed of each run; R of them.
        varied: settings that differ between the runs, one value for each run: `step_size`,
            `critic.optimizer.step_size`, or `cbp.replacement_rate`.
        strategy: `stack`, `loop`, `rank-one`, `lanes` or `auto`, or `one-call` for a learner that acts between its
            steps; all give equal results up to rounding.
        compile: whether steps are compiled (`torch.compile`).
        device: where the runs live.
        unroll: steps in one compiled graph; chosen from the size of the network by default.
        chain: whether hidden units are those of the authors' chain (see `neoteny.units.find`).
        precision: `float32`, or `bfloat16` for products and convolutions.
        rated: whether the step size will change over time (`scale_step_size`).
        classes: how many outputs (the first ones) take part in the first task; None means all.
        watch_updates: whether the size of updates is recorded as `weight_change`.
        reference: examples `[R, E, ...]` that serve as past examples at the first step, for methods that need the
            network on the last `REFERENCES` examples before the present batch; the example by default.

    Raises:
        SettingError: an unknown loss or strategy, or a setting that cannot differ between runs.
        NetworkError: a method acts on hidden units and the network has none.
    """

    def __init__(
        self,
        build_network: Callable[[], nn.Module],
        example: Any,
        *,
        loss: str | Loss | None = None,
        optimizer: Optimizer | None = None,
        objective: Objective | None = None,
        methods: Sequence[Method] = (),
        seeds: Sequence[int] = (0,),
        varied: Mapping[str, Sequence[float]] | None = None,
        strategy: str = "auto",
        compile: bool = True,
        device: torch.device | str = "cpu",
        unroll: int | None = None,
        chain: bool = False,
        precision: str = "float32",
        rated: bool = False,
        classes: int | None = None,
        watch_updates: bool = False,
        reference: Tensor | None = None,
    ):
        if objective is None:
            objective = _supervised(loss, optimizer)
        elif loss is not None or optimizer is not None:
            raise SettingError("an objective has losses and optimizers of its own: give no loss and no optimizer.")
        self.objective = objective
        if precision not in ("float32", "bfloat16"):
            raise SettingError(f"precision = {precision!r} is not one of float32, bfloat16.")
        self.device = torch.device(device)
        self.seeds = tuple(seeds)
        self.methods = tuple(methods)
        self._build = lambda seed: seeded(build_network, self.methods, example, seed)
        modules = [self._build(seed) for seed in self.seeds]
        template = modules[0]
        with stage("finding units"):
            self.network = units_of(template, example, chain, needed=any(m.needs_units for m in methods))
        self.parameters = tuple(name for name, p in template.named_parameters() if p.requires_grad)

        self._meta = copy.deepcopy(template).to("meta").eval()  # for measuring and testing
        training = copy.deepcopy(template).to("meta").train()  # for steps
        self._first = first = largest(example)
        use_products(training, first)
        observing = self.network.layers and any(method.observes for method in methods)
        observer = Observer(training, self.network) if observing else None
        needs_reference = [method.name for method in methods if method.needs_reference]
        if needs_reference and (len(objective.phases) > 1 or isinstance(example, Mapping)):
            raise SettingError(
                f"{needs_reference[0]} compares the output of one network on other examples, and this learner has "
                "several networks or phases: leave it out."
            )
        step = TrainingStep(
            Gradients(training, observer, precision),
            self.network,
            objective,
            methods,
            self.parameters,
            plain=classes is None and precision == "float32" and _is_usual(objective) and not watch_updates,
            watch_updates=watch_updates,
            reference_pass=ReferencePass(template, self.network) if needs_reference else None,
            acting=self._outputs if objective.interaction is not None else None,
        )
        self._before = None
        if needs_reference:
            given = example.expand(len(modules), *example.shape) if reference is None else reference
            self._before = past(given).to(self.device)
        if objective.interaction is not None:
            _ = self._acting
        self._varied = dict(varied or {})
        hyper = settings_of_runs(self._varied, objective, methods, len(modules), self.device)
        carries = self._carries(step, modules, hyper)
        compile = compile and (self.device.type != "cpu" or compiling.available())
        self._step_sizes: dict[str, Tensor] = {}
        if rated:  # tensors from the start: compiled graphs are always called with the same structure
            for phase in objective.phases:
                size = torch.full((len(modules),), phase.optimizer.step_size, device=self.device)
                name = f"{phase.settings_name}.step_size"
                self._step_sizes[name] = hyper.setdefault(name, size)
        if classes is not None:
            hyper["loss.classes"] = torch.full((len(modules),), classes, device=self.device)
        self._best: dict[str, Any] | None = None
        kind = choose(strategy, template, step, first.to(self.device), len(modules), compile)
        self.strategy: Strategy = kind(
            step,
            carries,
            hyper,
            self._keys(),
            unroll if unroll is not None else kind.unroll_for(template, first),
            compile,
        )
        self.strategy.use(template, first)

    def _carries(
        self, step: TrainingStep, modules: Sequence[nn.Module], hyper: Mapping[str, Tensor]
    ) -> list[dict[str, Any]]:
        """The carry of each run before its first step; the clocks and the initial weights are set to it."""
        before = self._before
        carries = [
            step.init(
                tensors_of(module, self.device),
                {name: value[run] for name, value in hyper.items()},
                None if before is None else before[run],
            )
            for run, module in enumerate(modules)
        ]
        self.initial_weights = stack([{n: c["tensors"][n].clone() for n in self.parameters} for c in carries])
        self._clocks = Clocks([self._schedules(method) for method in self.methods])
        return carries

    def _keys(self) -> Tensor:
        return torch.stack([random.key(method_seed(seed), self.device) for seed in self.seeds])

    def begin_anew(self, seeds: Sequence[int]) -> None:
        """Begin again, with the networks, keys, clocks and states of a learner of these seeds; what is compiled stays.

        Args:
            seeds: the run seed of each run; as many as before.
        """
        self.seeds = tuple(seeds)
        strategy, self._best = self.strategy, None
        strategy.keys, strategy.dropped = self._keys(), set()
        strategy.load(stack(self._carries(strategy.step, [self._build(seed) for seed in seeds], strategy.hyper)))

    def _schedules(self, method: Method) -> list[Schedule] | None:
        """The clock of every run, with the run's own settings; None for a method that needs none."""
        own = {name.partition(".")[2]: v for name, v in self._varied.items() if name.startswith(f"{method.name}.")}
        clocks = [
            method.bind({name: values[run] for name, values in own.items()}).schedule(self.network, seed)
            for run, seed in enumerate(self.seeds)
        ]
        found = [clock for clock in clocks if clock is not None]
        return found if len(found) == len(clocks) else None

    @property
    def runs(self) -> int:
        """The number of runs, R."""
        return len(self.seeds)

    def advance(self, batches: Batch) -> dict[str, Tensor]:
        """Train S steps.

        Args:
            batches: the batch of every step: a pytree of tensors `[R, S, B, ...]`.

        Returns:
            For each of the objective's metrics (`loss`, and `accuracy` where targets are labels) the sum over the
            steps, float64 `[R]`, on the device.
        """
        steps = tree_leaves(batches)[0].shape[1]
        self.strategy.advance(tree_map(lambda leaf: leaf.to(self.device), batches), self._clocks.take(steps))
        return self.strategy.take_sums()

    def learn(self, batch: Batch) -> None:
        """Train one step, as `advance` does; the strategy `one-call` makes single steps cheap.

        Args:
            batch: a pytree of tensors `[R, B, ...]`.
        """
        if self.device.type != "cpu":
            batch = tree_map(lambda leaf: leaf.to(self.device), batch)
        self.strategy.learn(batch, self._clocks.next())

    def take_sums(self) -> dict[str, Tensor]:
        """The sums that `advance` returns, over the steps since they were last taken."""
        return self.strategy.take_sums()

    def new_task(self, classes: int | None = None) -> None:
        """Tell every method that the next step starts a new task, in which `classes` outputs take part."""
        if classes is not None:
            self.strategy.hyper["loss.classes"] = torch.full_like(self.strategy.hyper["loss.classes"], classes)
        self.strategy.at_task()

    def scale_step_size(self, factor: float) -> None:
        """Set the step sizes to the initial ones times a factor."""
        self.strategy.hyper.update({name: size * factor for name, size in self._step_sizes.items()})

    def keep_best(self, scores: Tensor) -> None:
        """Remember the weights and buffers of the runs whose score `[R]` is the highest so far."""
        tensors = self.strategy.carry()["tensors"]
        if self._best is None:
            self._best = {"scores": scores.clone(), "tensors": {name: value.clone() for name, value in tensors.items()}}
            return
        better = scores > self._best["scores"]
        self._best["scores"] = torch.where(better, scores, self._best["scores"])
        for name, value in tensors.items():
            mask = better.view(-1, *[1] * (value.dim() - 1))
            self._best["tensors"][name] = torch.where(mask, value, self._best["tensors"][name])

    def restore_best(self) -> None:
        """Go back to the weights and buffers remembered, and forget them; the optimizer's state stays as it is."""
        if self._best is not None:
            self.strategy.load({**self.strategy.carry(), "tensors": self._best["tensors"]})
            self._best = None

    def drop(self, run: int) -> None:
        """Stop training a run, where the strategy can leave it out; the others go on."""
        self.strategy.dropped.add(run)

    @cached_property
    def _acting(self) -> nn.Module:
        """The network in evaluation mode for a few examples between steps; only learners that act need it.

        It must be there before a step is traced, in which no module can be copied.
        """
        module = copy.deepcopy(self._meta)
        use_products(module, self._first[:FEW])
        return module

    def _outputs(self, tensors: Mapping[str, Tensor], *inputs: Any, network: str = "") -> Any:
        """The outputs of a run for a few examples, in evaluation mode."""
        return functional_call(self._acting, dict(tensors), (network, *inputs) if network else inputs)

    def begin(self, batch: Batch) -> None:
        """Let the interaction begin, for a learner that acts.

        Args:
            batch: what it sees first, a pytree of tensors `[R, ...]`.
        """
        self.strategy.begin(tree_map(lambda leaf: leaf.to(self.device), batch))

    def interaction(self) -> dict[str, Tensor]:
        """The state of the interaction by name, `[R, ...]`.

        Under the strategy `one-call` these tensors stay in place, and every step writes into them.
        """
        return self.strategy.interaction()

    @torch.no_grad()
    def features(self, inputs: Any) -> dict[str, Tensor]:
        """Activations in evaluation mode, `[R, E, units, positions]`, by unit layer.

        Args:
            inputs: x `[R, E, ...]`; for several networks the inputs by name, as in the learner's example.
        """
        if not self.network.layers:
            return {}
        observer = Observer(self._meta, self.network)
        calls = {name: x if isinstance(x, tuple) else (x,) for name, x in by_network(inputs).items()}

        def forward(tensors: dict[str, Tensor], calls: dict[str, tuple[Tensor, ...]]) -> dict[str, Tensor]:
            found: dict[str, Tensor] = {}
            for name, x in calls.items():
                functional_call(self._meta, tensors, (name, *x) if name else x)
                seen = observer.take()
                found |= {layer: value for layer, value in seen.items() if layer not in found}
            return found

        try:
            return self.strategy.evaluated(forward, tree_map(lambda leaf: leaf.to(self.device), calls))
        finally:
            observer.remove()

    def act(self, *inputs: Tensor, network: str = "", evaluated: bool = False) -> Any:
        """Outputs for acting between steps, by the weights that learn, or slow ones where the objective says so.

        With `evaluated` they are those of `outputs`. The strategy `one-call` compiles it for these shapes.
        """
        module = self._acting if inputs[0].shape[1] <= FEW else self._meta
        before = (network,) if network else ()
        return self.strategy.act(
            network,
            lambda tensors, *x: functional_call(module, tensors, (*before, *x)),
            *(each.to(self.device) for each in inputs),
            evaluated=evaluated,
        )

    @torch.no_grad()
    def outputs(self, *inputs: Tensor, network: str = "", trained: bool = False) -> Any:
        """The outputs on inputs `[R, E, ...]` in evaluation mode; `network` names one of several networks.

        They are those of the weights that are evaluated, which may be an average; with `trained`, of those that learn.
        """
        before = (network,) if network else ()
        weights = self.strategy.each if trained else self.strategy.evaluated
        return weights(
            lambda tensors, *x: functional_call(self._meta, tensors, (*before, *x)),
            *(each.to(self.device) for each in inputs),
        )

    @torch.no_grad()
    def accuracy(self, blocks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """The share of examples that each run classifies correctly in evaluation mode, among the outputs in use.

        Args:
            blocks: inputs `[R, E, ...]` and labels `[R, E]`, in pieces.

        Returns:
            float64 `[R]`, on the device.
        """
        classes = self.strategy.hyper.get("loss.classes")
        seen = None if classes is None else classes.view(-1, 1, 1)
        right, count = torch.zeros(self.runs, dtype=torch.float64, device=self.device), 0
        for x, y in blocks:
            right += (only(self.outputs(x), seen).argmax(-1) == y.to(self.device)).sum(-1)
            count += y.shape[1]
        return right / count

    def module(self, name: str) -> nn.Module:
        """A submodule of the runs' network in evaluation mode, on the meta device."""
        return self._meta.get_submodule(name)

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Parameters and buffers whose names begin with `prefix`, `[R, ...]`, by the rest of their names."""
        found = self.strategy.each(lambda tensors: {n: v for n, v in tensors.items() if n.startswith(prefix)})
        return {name.removeprefix(prefix): value for name, value in found.items()}

    def finite(self) -> Tensor:
        """Which runs' trainable parameters are all finite, bool `[R]`."""
        return self.strategy.each(
            lambda tensors: torch.stack([torch.isfinite(tensors[name]).all() for name in self.parameters]).all()
        )

    def weights(self) -> dict[str, Tensor]:
        """The trainable parameters by name, `[R, ...]`."""
        tensors = self.strategy.carry()["tensors"]
        return {name: tensors[name] for name in self.parameters}

    def replaced(self) -> dict[str, np.ndarray]:
        """Units replaced so far by layer, int `[R]`, as the methods count them."""
        total: dict[str, np.ndarray] = {}
        for state in self.strategy.carry()["methods"]:
            for name, value in state.items():
                layer, _, what = name.rpartition("/")
                if what == "replaced":
                    total[layer] = total.get(layer, 0) + value.cpu().numpy()
        return total

    def describe(self) -> dict[str, Any]:
        """How the runs are trained: strategy, unrolled steps, whether compiled, the seconds of compiling, and what a
        run keeps between steps.
        """
        return {
            "strategy": self.strategy.name,
            "unroll": self.strategy.unroll,
            "compiled": self.strategy.compile,
            "compile_seconds": round(self.strategy.compile_seconds, 3),
            "device": str(self.device),
            "bytes_a_run": sum(leaf.nbytes for leaf in tree_leaves(self.strategy.carry())) // self.runs,
            "parameters": sum(value[0].numel() for value in self.initial_weights.values()),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on."""
        return {
            "format": FORMAT,
            "methods": [method.name for method in self.methods],
            "carry": tree_map(lambda leaf: leaf.detach().cpu().clone(), self.strategy.carry()),
            "clocks": self._clocks.state_dict(),
            "initial_weights": {name: value.cpu() for name, value in self.initial_weights.items()},
            "dropped": sorted(self.strategy.dropped),
            "best": self._best and tree_map(lambda leaf: leaf.cpu(), self._best),
            "now": {name: value.cpu() for name, value in self.strategy.hyper.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`.

        Raises:
            CheckpointError: the state belongs to other methods, another network or another number of runs.
        """
        names = [method.name for method in self.methods]
        if state.get("format") != FORMAT:
            raise CheckpointError(
                f"the learner's state has format {state.get('format')!r}, this version reads {FORMAT}: "
                "resume with the version of neoteny that wrote it."
            )
        if state["methods"] != names:
            raise CheckpointError(
                f"the checkpoint belongs to the methods {state['methods']}, this learner has {names}: "
                "resume with the configuration it was made with."
            )
        want, got = (tree_map(lambda leaf: tuple(leaf.shape), c) for c in (self.strategy.carry(), state["carry"]))
        if want != got:
            raise CheckpointError(
                "the checkpoint's tensors have other names or shapes than this learner's: another network, other "
                "methods or another number of runs. Resume with the configuration it was made with."
            )
        self.strategy.load(tree_map(lambda leaf: leaf.to(self.device), state["carry"]))
        self.strategy.dropped = set(state["dropped"])
        self.strategy.hyper.update({name: value.to(self.device) for name, value in state.get("now", {}).items()})
        best = state.get("best")
        self._best = best and tree_map(lambda leaf: leaf.to(self.device), best)
        self.initial_weights = {name: value.to(self.device) for name, value in state["initial_weights"].items()}
        self._clocks.load_state_dict(state["clocks"])


def _supervised(loss: str | Loss | None, optimizer: Optimizer | None) -> Objective:
    if loss is None or optimizer is None:
        raise SettingError("a learner needs a loss and an optimizer, or an objective: give them.")
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise SettingError(f"loss = {loss!r} is not one of {', '.join(LOSSES)}.")
        loss = LOSSES[loss]
    return supervised(loss, optimizer)


def _is_usual(objective: Objective) -> bool:
    """Whether it is supervised learning with one of the named losses."""
    evaluate = objective.phases[0].evaluate
    evaluate = evaluate.evaluate if isinstance(evaluate, Delayed) else evaluate
    alone = len(objective.phases) == 1 and not objective.slow
    return alone and isinstance(evaluate, Prediction | ErrorPrediction) and evaluate.loss in LOSSES.values()
