"""All state is state: saved, copied, repeated, and of the network's own type."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from neoteny.testing import recording
from neoteny.testing.comparing import Violation, differing, expect, flat
from neoteny.testing.contract.base import check, same
from neoteny.testing.recording import fresh
from neoteny.testing.trial import TASK_AT, Moment, Trial, TrialRun, generators, restore, seed_generators

EVERYTHING = ("model", "optimizer", "plasticity")


@check("pairs")
def saved_and_loaded_goes_on(trial: Trial) -> None:
    """A run that was stopped and resumed is not the run that would have been: something is missing in its state."""
    early, late = trial.training().moments
    run = _resumed(trial, early)
    run.train(trial.batches()[early.steps : late.steps])
    run.plasticity.new_task()
    same(flat(late.saved), flat(run.save()), f"the same bits {late.steps - early.steps} steps after loading")
    run = _resumed(trial, late)
    run.train(trial.batches()[late.steps :])
    same(trial.trained, run.snapshot(), "the same bits after loading at a change of task", EVERYTHING)


def _resumed(trial: Trial, moment: Moment) -> TrialRun:
    run = trial.start(seed=77, weights=9)
    run.load(pickle.loads(pickle.dumps(moment.saved)))
    restore(moment.generators)
    return run


@check("once")
def loads_with_weights_only(trial: Trial) -> None:
    """A checkpoint holds objects that `torch.load` refuses to read since they could run code."""
    saved = trial.training().moments[-1].saved["optimizer"]["plasticity"]
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    try:
        loaded = torch.load(file, weights_only=True)
    except pickle.UnpicklingError as error:
        raise Violation("torch.load(weights_only=True) to read it", str(error).split("\n")[0]) from error
    other = trial.start(seed=77).plasticity
    other.load_state_dict(loaded)
    words = "load_state_dict to bring back what state_dict() gave"
    same(flat({"plasticity": saved}), flat({"plasticity": other.state_dict()}), words, ("plasticity",))


@check("models")
def copies_and_pickles(trial: Trial) -> None:
    """The network, its optimizer or the method cannot be copied or sent to another process once it is attached."""
    run = trial.start()
    run.train(trial.batches()[:TASK_AT])
    assert trial.method is not None
    copied = copy.deepcopy(trial.method)
    expect(copied == trial.method, f"a copy equal to {trial.method}", f"{copied}")
    pickle.dumps(vars(trial.method))  # not the class, which may live in a notebook
    copies = [copy.deepcopy(run.model), pickle.loads(pickle.dumps(run.model))]
    copy.deepcopy((run.model, run.optimizer, run.plasticity, run.plasticity.state_dict()))
    pickle.loads(pickle.dumps((run.optimizer, run.plasticity)))
    with torch.random.fork_rng(devices=[]):  # of a network with dropout
        for model in copies:
            optimizer = trial.optimizer.make(list(model.parameters()))
            optimizer.zero_grad()
            model(trial.batches()[0][0])  # in training mode, and yet no pass of the attached network
    run.plasticity.new_task()
    run.train(trial.batches()[TASK_AT:])
    same(trial.trained, run.snapshot(), "copies to leave the attached network alone", EVERYTHING)


@check("once")
def the_same_seed_repeats(trial: Trial) -> None:
    """Two runs of one seed differ, or the user's own random numbers do: it draws from torch's global generators."""
    run = trial.start()
    if not trial.model.draws:
        seed_generators(12345)
    before = generators()
    run.train_over_tasks(trial.batches())
    if not trial.model.draws:
        drawn = [name for name, state in generators().items() if not _equal(state, before[name])]
        expect(not drawn, "global generators left alone", f"it drew from {', '.join(drawn)}'s")
    same(trial.trained, run.snapshot(), "the same bits from the same seed", EVERYTHING)


@check("once")
def another_seed_differs(trial: Trial) -> None:
    """Every seed draws the same numbers, so thirty runs are one."""
    assert trial.method is not None
    calls = trial.training().recorder.kept.values()
    if not (any(_follows_the_key(trial, call) for call in calls) or _draws(trial)):
        return
    run = trial.start(seed=1)
    run.train_over_tasks(trial.batches())
    alike = all(
        not bool(differing(value, trial.trained[name]).any())
        for name, value in run.snapshot().items()
        if name.startswith("model")
    )
    expect(not alike, "other weights from another seed", "every bit is the same")


@check("models")
def type_and_device_are_kept(trial: Trial) -> None:
    """In double or half precision, or on a GPU, tensors change type or place, and training slows down or fails."""
    assert trial.method is not None
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    for device in devices:
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            recorder = trial.training(dtype, device).recorder
            for _, old, new in recorder.states:
                moved = recording.changed(old, new, _moved)
                expect(moved is None, f"the state to keep its types on {device}", f"{moved} became another")
            for call in recorder.kept.values():
                returned = recording.replay(fresh(trial.method), call, recording.cloned(call.given))
                moved = recording.changed(call.given, returned, _moved)
                expect(moved is None, f"{call.hook} to keep {dtype} on {device}", f"{moved} became another")


class _Draws(TorchDispatchMode):
    """Notices operations that draw from a generator of torch's."""

    any = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.any = True
        return func(*args, **(kwargs or {}))


def _draws(trial: Trial) -> bool:
    if trial.model.draws:
        return False  # who drew cannot be told
    run, batches = trial.start(), trial.batches()
    with _Draws() as mode:
        run.train_over_tasks(batches)
    return mode.any


def _follows_the_key(trial: Trial, call: recording.Call) -> bool:
    assert trial.method is not None
    one, other = (
        recording.replay(fresh(trial.method), call, recording.cloned({**call.given, "key": call.given["key"] + shift}))
        for shift in (0, 1)
    )
    return recording.changed(one, other) is not None


def _moved(a: torch.Tensor, b: torch.Tensor) -> bool:
    return (a.dtype, a.device) != (b.dtype, b.device)


def _equal(a: Any, b: Any) -> bool:
    return all(map(np.array_equal, a, b)) if isinstance(a, tuple) else np.array_equal(a, b)
