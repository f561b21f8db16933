"""What happens at an optimizer's step: regularisers before it, Adam's correction and the other methods after it."""

from __future__ import annotations

import functools
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from neoteny.attachment.activations import TrainingActivations
from neoteny.attachment.checkpoint import Saved
from neoteny.attachment.clock import Clock
from neoteny.attachment.fused_silences import FusedSilences
from neoteny.attachment.fused_utilities import FusedUtilities
from neoteny.attachment.user_step import UserStep
from neoteny.attachment.wrappers import is_nested
from neoteny.errors import PlasticityWarning
from neoteny.methods.base import OnReference, Tensors
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.shared import order
from neoteny.methods.shared.redirecting import Redirecting
from neoteny.methods.shared.reference import ReferencePass, detached
from neoteny.optim.torch_optimizer import TorchOptimizer

__all__ = ["Steps"]

_Given = ParamSpec("_Given")
_Held = TypeVar("_Held")
_LONG = 100  # steps of an optimizer while the last of them makes none


def _without_gradients(function: Callable[_Given, _Held]) -> Callable[_Given, _Held]:
    """What `torch.no_grad()` does as a decorator, without a context for each call, of which a step would notice."""

    @functools.wraps(function)
    def called(*args: _Given.args, **kwargs: _Given.kwargs) -> _Held:
        before = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        try:
            return function(*args, **kwargs)
        finally:
            torch._C._set_grad_enabled(before)

    return called


class Steps(Saved):
    """The part of `Plasticity` that the optimizers' hooks call."""

    _key: Tensor
    _device: torch.device
    _names: list[str]  # of the methods, by number
    _turns: Sequence[order.Turn]
    _regularisers: Sequence[order.Turn]
    _read_gradients: bool
    _plan: Sequence[
        tuple[order.Turn, Clock | None, FusedUtilities | FusedSilences | None]
    ]  # of the turns after a step, in their order, without methods that never act then
    _reference: Any
    _reference_pass: ReferencePass | None
    _added: list[tuple[nn.Parameter, Tensor, Tensor]]  # gradients to give back: parameter, own, ours
    _made: dict[str, Tensor]
    _guessed: set[str]
    _lost: bool  # whether the optimizer got a saved state of methods before they were attached, and not since
    _errors: dict[torch.optim.Optimizer, Any]  # of predictions, as their optimizers got them in this step
    _stepped: dict[torch.optim.Optimizer, int]  # how often each since the methods last acted
    _dropped: dict[str, Tensor]  # gradients of steps within the backward pass
    _ages: Tensors  # updates since each unit was made new, by layer, without the last `_behind`
    _counts: list[Tensor]  # of which they are parts
    _behind: int
    _waiting: list[Clock]
    _blind: bool
    _waited: bool  # whether there was a warning that methods wait
    _rests: bool
    _uncompiled: Callable[..., Any]  # calls a function outside of what is compiled

    @property
    def _since(self) -> Tensors:
        """Updates since each unit was made new, by layer. Updates are counted together when somebody asks."""
        if self._behind:
            for counts in self._counts:
                counts.add_(self._behind)
            self._behind = 0
        return self._ages

    @abstractmethod
    def _follow(self) -> None:
        """Notice what the user has changed since the last step."""

    def _before(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Before a step: regularise the gradients; with a closure, let the closure do so once it has computed them."""
        if torch.compiler.is_compiling():  # of a step that is compiled, the optimizer's own part is
            return self._uncompiled(self._before, optimizer, args, kwargs)
        if is_nested(optimizer):
            return None
        self._follow()
        if torch._C._current_graph_task_id() != -1:  # the loop will drop them before the methods act
            self._dropped |= self._network.grads(optimizer, dense=True)
        own, *given = args
        delta = optimizer.error_of(given, kwargs) if isinstance(optimizer, TorchOptimizer) else None
        if delta is not None:
            self._errors[optimizer] = delta
        if not self._regularisers:
            return None
        if delta is not None:
            self._regularise(optimizer, delta)
            return None
        positional = bool(given) and callable(given[0])
        closure = given[0] if positional else kwargs.get("closure")
        if not callable(closure):  # none, or another argument of somebody's step
            self._regularise(optimizer)
            return None
        if positional:
            return (own, self._regularising(optimizer, closure), *given[1:]), kwargs
        return args, {**kwargs, "closure": self._regularising(optimizer, closure)}

    def _regularising(self, optimizer: torch.optim.Optimizer, closure: Callable[[], Any]) -> Callable[[], Any]:
        def regularising() -> Any:
            self._give_gradients_back()
            loss = closure()
            self._regularise(optimizer)
            return loss

        return regularising

    @_without_gradients
    def _regularise(self, optimizer: torch.optim.Optimizer, delta: Any = None) -> None:
        """Let regularisers change the gradients; with a prediction's error, tell the optimizer their pulls instead."""
        scale = getattr(optimizer, "grad_scale", None)  # GradScaler: the optimizer's kernel divides by it
        own = self._network.grads(optimizer, dense=True)
        grads = own if scale is None else {name: grad / scale for name, grad in own.items()}
        if delta is not None:  # as of half the squared error
            grads = {name: -delta * grad for name, grad in grads.items()}
        step = UserStep(self._network, dict(grads), {}, lambda: self._since, self._key)
        step.on_reference = self._on_reference()
        ways = None if delta is None else Redirecting(grads, own)
        for number, method, folded in self._regularisers:
            name = self._names[number]
            step.fold(self._key, self.updates, *folded)
            rule = method.regularise if ways is None else functools.partial(ways.regularise, method)
            self._state[name] = rule(step, self._state[name])
        followed = step.grads
        if isinstance(optimizer, TorchOptimizer) and ways is not None:
            followed = ways.predicted
            for name in ways.pulled(step):
                optimizer.pulls[self._network.parameters[name]] = step.grads[name] - ways.own[name]
        given, parameters = grads if followed is step.grads else own, self._network.parameters
        for name, grad in followed.items():
            if grad is not given[name]:
                parameter = parameters[name]
                before = parameter.grad
                assert before is not None
                ours = self._network.laid_out(name, grad if scale is None else grad * scale, before)
                parameter.grad = ours
                self._added.append((parameter, before, ours))

    def _on_reference(self) -> OnReference | None:
        """The network on the reference batch of this step."""
        if self._reference_pass is None:
            return None
        batch = self._reference() if callable(self._reference) else self._reference
        return self._reference_pass.on(detached(batch))

    def _give_gradients_back(self) -> None:
        for parameter, own, ours in self._added:
            if parameter.grad is ours:
                parameter.grad = own
        self._added.clear()

    def _after(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """After a step: let the methods act once the last optimizer has stepped.

        Steps within a backward pass (an optimizer for each parameter) come in any order: then once the pass has ended.
        """
        if torch.compiler.is_compiling():
            self._uncompiled(self._after, optimizer, args, kwargs)
            return
        if is_nested(optimizer):
            return
        if self._added:
            self._give_gradients_back()
        times = self._stepped[optimizer] = self._stepped.get(optimizer, 0) + 1
        if torch._C._current_graph_task_id() != -1:
            if len(self._stepped) == 1:
                torch.autograd.Variable._execution_engine.queue_callback(self._act)
        elif self._network.is_last(optimizer):
            self._act()
        elif times == _LONG and not self._waited:
            self._warn_of_waiting(optimizer)

    def _act(self) -> None:
        """Correct Adam's bias correction, then let the methods act."""
        stepped, self._stepped = list(self._stepped), {}
        if self._guessed:
            self._warn_of_guesses()
        if self._lost:
            self._warn_of_loss()
        watch = self._watch
        if watch is not None and not watch.anything:
            if all(map(_is_void, stepped)):
                return
            self._warn_of_blindness()
        features: Mapping[str, Any] = {}
        if watch is not None:
            features = watch.clear() or {} if self._rests else watch.take()
        # GradScaler with a fused kernel: only the device knows whether it skipped the step.
        overflows = [found for o in stepped if (found := getattr(o, "found_inf", None)) is not None]
        skipped = None if not overflows else torch.stack([found.reshape(()) for found in overflows]).sum() > 0
        if skipped is None:
            self._behind += 1
        else:
            for since in self._since.values():
                since.add_((~skipped).to(torch.int32))
        dropped = self._dropped
        if dropped:
            self._dropped = {}
        self._adam.correct(lambda: self._since, stepped, skipped, dropped or None, (self._ages, self._behind))
        self._made = {}
        self._let_act(features, skipped, dropped)
        self.updates += 1
        if self._waiting:
            self._rest()

    @_without_gradients
    def _let_act(self, features: Mapping[str, Any], skipped: Tensor | None, dropped: Tensors) -> None:
        """Let the methods that have something to do after the step do it, in their order."""
        step = None
        for turn, clock, fused in self._plan:
            row = None if clock is None else clock.tick()
            due = None if row is None else row.tolist()
            if due is None and clock is not None and not turn.method.acts_always:
                continue
            if due is not None and self._watch is not None and self._watch.unseen and turn.method.observes:
                self._warn_of_unseen(self._watch)
            # A kernel sees the weights as they are, so not what methods before have yet to write.
            judged = False
            if fused is not None and step is None and skipped is None:
                judged = fused.judge(self._state[self._names[turn.number]], features, due)
                if judged and (due is None or fused.whole):
                    continue
            if step is None:
                grads = dropped or functools.partial(self._network.grads, dense=self._read_gradients)
                grads = functools.partial(self._of_losses, grads) if self._errors else grads
                step = UserStep(self._network, grads, features, lambda: self._since, self._key, skipped)
            self._intervene(turn, step, due, judged)
        if step is not None:
            self._finish(step)
        self._errors.clear()

    def _of_losses(self, grads: Tensors | Callable[[], Tensors]) -> Tensors:
        """The gradients, where an optimizer got a prediction's with its error those of half the squared error."""
        found: Tensors = {**(grads() if callable(grads) else grads)}
        for optimizer, delta in self._errors.items():
            found |= {name: -delta * found[name] for name in self._network.grads(optimizer) if name in found}
        return found

    def _intervene(self, turn: order.Turn, step: UserStep, due: list[int] | None, judged: bool) -> None:
        """Let a method act; where a kernel has judged the units already, only replace those that are due."""
        name, method = self._names[turn.number], turn.method
        step.fold(self._key, self.updates, *turn.folded)
        step.due = due
        row = None if due is None else torch.tensor(due, device=self._device)
        old = self._state[name]
        if judged and row is not None:
            assert isinstance(method, ContinualBackprop)
            new = method.replace(step, old, row)
        else:
            new = method.intervene(step, old, row)
        if (skipped := step.skipped) is not None:
            new = {key: torch.where(skipped, old[key], value) for key, value in new.items()}
        self._state[name] = new

    def _rest(self) -> None:
        """Let activations be measured only where a method may read them at the next step."""
        rests = bool(self._waiting) and all(clock.rests for clock in self._waiting)
        if rests is not self._rests and self._watch is not None:
            self._rests = rests
            self._watch.rest(rests)

    def _warn_of_waiting(self, optimizer: torch.optim.Optimizer) -> None:
        """Warn, once, that methods wait for the step of an optimizer that makes none."""
        self._waited = True
        last = type(self._network.optimizers[-1]).__name__
        warnings.warn(
            f"{type(optimizer).__name__} has made {_LONG} steps, and the last optimizer in the list, {last}, none "
            "between them; methods act after the step of the last one, so they have not acted since. List the "
            "optimizers so that the one that always steps comes last, or attach to each with its part of the network.",
            PlasticityWarning,
            stacklevel=4,  # the line that calls step()
        )

    def _warn_of_blindness(self) -> None:
        """Warn, once, that nothing is seen of the units."""
        if not self._blind:
            self._blind = True
            warnings.warn(
                "The optimizer stepped, but no activations were seen since its last step, so units cannot be measured. "
                "Is the network in evaluation mode, was it compiled and run before attaching, or is it wrapped in "
                "nn.DataParallel, whose replicas are not seen (DistributedDataParallel's are)?",
                PlasticityWarning,
                stacklevel=5,  # the line that calls step()
            )

    def _warn_of_unseen(self, watch: TrainingActivations) -> None:
        """Warn, once, of layers of which nothing is seen while others are."""
        unseen, watch.unseen = sorted(watch.unseen), set()
        if not self._blind:
            warnings.warn(
                f"Units of {', '.join(unseen[:4])}{', ...' if len(unseen) > 4 else ''} are due, but none of their "
                "activations have been seen so far, so they stay as they are until some are. Do the modules that read "
                "them run in evaluation mode, or not at all?",
                PlasticityWarning,
                stacklevel=7,  # the line that calls step()
            )

    def _warn_of_guesses(self) -> None:
        """Warn, once, that weights do not show how they were drawn; a checkpoint that does may be loaded until now."""
        guessed, self._guessed = self._guessed & self.units.notes.keys(), set()
        if guessed:
            shown = ", ".join(f"{name} ({self.units.initialisers[name]})" for name in sorted(guessed)[:4])
            warnings.warn(
                f"The present weights do not show how {len(guessed)} parameters were drawn when the network was made, "
                f"so it is guessed how new units draw them: {shown}{', ...' if len(guessed) > 4 else ''}. Were they "
                "trained before? Attach before training, load the state that was saved with them, or give "
                "attach(..., initialisers={'name': torch.nn.init.kaiming_uniform_}).",
                PlasticityWarning,
                stacklevel=5,  # the line that calls step()
            )

    def _warn_of_loss(self) -> None:
        """Warn, once, that a saved state of methods was dropped; it may be loaded again until now."""
        self._lost = False
        warnings.warn(
            "The optimizer got a saved state before methods were attached, and PyTorch dropped what it held of them: "
            "they begin anew. To go on with them attach first, then call load_state_dict().",
            PlasticityWarning,
            stacklevel=5,  # the line that calls step()
        )

    def _finish(self, step: UserStep) -> None:
        counted = step.finish()
        for layer, (mask, count) in step.made.items():
            self._made[layer] = mask
            self._adam.restart(layer, count)
        for layer, since in counted.items():
            self._ages[layer].copy_(since)


def _is_void(optimizer: torch.optim.Optimizer) -> bool:
    """Whether every step size is known to the host and 0."""
    sizes = [group.get("lr") for group in optimizer.param_groups]
    known = [size for size in sizes if not (isinstance(size, Tensor) and size.device.type != "cpu")]
    return len(known) == len(sizes) and all(size is not None and float(size) == 0 for size in known)
