"""Where units are made new, they and only they are, and the optimizer has fresh state for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neoteny.testing.comparing import differing, expect
from neoteny.testing.contract.base import check
from neoteny.testing.trial import STEPS, TASK_AT, Trial, TrialRun, made_new
from neoteny.units.reset import slices_of


@check("pairs")
def other_units_are_untouched(trial: Trial) -> None:
    """Resetting a unit changes weights of others, which forget what they had learnt."""
    found = _first_reset(trial)
    if found is None or all(chosen.all() for chosen in found.chosen.values()):
        return  # no units, or the whole network, so that there is no bystander
    assert trial.method is not None
    bystanders = trial.method.changes_besides(trial.model.units(), found.before)
    for name, before in found.before.items():
        parameter = name.split("/")[0]
        mine = found.mask(trial, parameter)
        if before.shape == mine.shape and parameter not in bystanders:
            other = differing(before, found.after[name]) & ~mine
            words = f"{name} differs in {int(other.sum())} entries of others"
            expect(not bool(other.any()), "only entries of the units made new to change", words)


@check("pairs")
def newborn_state_is_fresh(trial: Trial) -> None:
    """A unit made new has the momentum of the old one, or step sizes of no fresh network, which throw it off at once.

    What the optimizer keeps of it must be what a fresh optimizer would: then both keep the same after a step in which
    no weight has a gradient.
    """
    found = _first_reset(trial)
    if found is None:
        return
    fresh = TrialRun(trial.bare)
    fresh.model.load_state_dict({name: value for name, value in found.after.items() if "/" not in name})
    found.run.plasticity.detach()
    for run in (found.run, fresh):
        for p in run.model.parameters():
            p.grad = torch.zeros_like(p)
        step: Any = run.optimizer.step
        step(*[lambda: torch.zeros(())] * trial.optimizer.closure)
    own = _tensors(found.run)
    for name, value in _tensors(fresh).items():
        parameter, _, key = name.partition("/")
        mine = found.mask(trial, parameter)
        if key and value.shape == mine.shape:
            other = ~torch.isclose(own[name][mine], value[mine], 1e-4, 0.0)
            words = f"{key} of {parameter} is not in {int(other.sum())} of {other.numel()} entries"
            expect(not bool(other.any()), "the state of units made new to be that of a fresh optimizer", words)


@dataclass
class _Reset:
    """The first reset of a run: parameters, buffers and `parameter/state`, and the units made new by layer."""

    run: TrialRun
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    chosen: dict[str, Tensor]

    def mask(self, trial: Trial, parameter: str) -> Tensor:
        """Which entries of a parameter belong to units made new."""
        like = self.before[parameter]
        mask = torch.zeros(like.shape, dtype=torch.bool)
        for layer in trial.model.units().layers:
            for slices in slices_of(layer):
                if slices.name == parameter:
                    mask |= slices.select(self.chosen[layer.name], like)
        return mask


def _first_reset(trial: Trial) -> _Reset | None:
    """The first reset in the usual training; None for methods that reset no units."""
    if trial.method is None or not trial.method.resets_units:
        return None
    if _Reset not in trial.found:
        trial.found[_Reset] = _look_for_it(trial)
    return trial.found[_Reset]


def _look_for_it(trial: Trial) -> _Reset:
    before: dict[str, Tensor] = {}

    # Hooks run in the order in which they were registered: this one comes before the method's.
    def look_first(run: TrialRun) -> None:
        run.optimizer.register_step_post_hook(lambda *_: before.update(_tensors(run)))

    run = trial.start(before=look_first)
    for number, (x, y) in enumerate(trial.batches()):
        if number == TASK_AT:
            before.update(_tensors(run))
            run.plasticity.new_task()
            if any(chosen.any() for chosen in made_new(run).values()):
                break
        run.step(x, y)
        if any(chosen.any() for chosen in made_new(run).values()):
            break
    chosen = made_new(run)
    expect(any(c.any() for c in chosen.values()), f"units made new within {STEPS} steps", "none were")
    return _Reset(run, before, _tensors(run), chosen)


def _tensors(run: TrialRun) -> dict[str, Tensor]:
    tensors = dict(run.model.state_dict())
    for name, p in run.model.named_parameters():
        state = run.optimizer.state.get(p, {})
        tensors |= {f"{name}/{key}": value for key, value in state.items() if isinstance(value, Tensor)}
    return {name: value.clone() for name, value in tensors.items()}
