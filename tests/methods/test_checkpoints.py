"""What attached methods keep comes back: from their own state, inside the optimizer's, and from older versions."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import neoteny
from neoteny import PlasticityWarning
from neoteny.errors import CheckpointError, SettingError
from neoteny.methods import ContinualBackprop, L2Init

CHECKPOINTS = Path(__file__).parent / "checkpoints"


def attached(**settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    methods = [ContinualBackprop(replacement_rate=0.02, maturity_threshold=5), L2Init(strength=0.01)]
    return model, optimizer, neoteny.attach(model, optimizer, methods, torch.zeros(1, 3), **{"seed": 4, **settings})


def train(model, optimizer, start, stop):
    for step in range(start, stop):
        x = torch.sin(torch.arange(15.0) * (step + 1)).view(5, 3)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), torch.cos(x.sum(1, keepdim=True) * 3)).backward()
        optimizer.step()


def write_checkpoint(path):
    """How the files in `checkpoints/` were made, each by the version of its name."""
    model, optimizer, plasticity = attached()
    train(model, optimizer, 0, 30)
    parts = {"model": model, "optimizer": optimizer, "plasticity": plasticity}
    saved = copy.deepcopy({name: part.state_dict() for name, part in parts.items()})
    train(model, optimizer, 30, 45)
    torch.save({**saved, "later": model.state_dict(), "counters": plasticity.counters()}, path)


@pytest.mark.parametrize("path", sorted(CHECKPOINTS.glob("*.pt")), ids=lambda path: path.stem)
def test_checkpoints_of_older_versions_go_on(path):
    saved = torch.load(path, weights_only=True)
    model, optimizer, plasticity = attached(seed=77, state_in_optimizer=False)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    plasticity.load_state_dict(saved["plasticity"])
    train(model, optimizer, 30, 45)
    assert plasticity.counters() == saved["counters"]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, saved["later"][name], rtol=1e-4, atol=1e-4)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_the_state_rides_in_the_optimizers():
    """A loop that saves model and optimizer saves all."""
    model, optimizer, plasticity = attached()
    train(model, optimizer, 0, 20)
    saved = through_a_file([model.state_dict(), optimizer.state_dict()])
    train(model, optimizer, 20, 40)
    again, other, restored = attached(seed=9)
    again.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    assert restored.updates == 20
    train(again, other, 20, 40)
    assert restored.counters() == plasticity.counters()
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_it_does_not_ride_where_it_shall_not_or_is_detached():
    _, optimizer, plasticity = attached(state_in_optimizer=False)
    assert set(optimizer.state_dict()) == {"state", "param_groups"}
    _, optimizer, plasticity = attached()
    assert "plasticity" in optimizer.state_dict()
    plasticity.detach()
    assert "plasticity" not in optimizer.state_dict()


def test_an_optimizers_state_without_the_methods_is_said_so():
    _, optimizer, _ = attached()
    with pytest.warns(PlasticityWarning, match="holds no state of the attached methods"):
        optimizer.load_state_dict(torch.optim.Adam(optimizer.param_groups[0]["params"]).state_dict())
    model, _, _ = attached()
    bare = torch.optim.Adam(model.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bare.load_state_dict(optimizer.state_dict())  # an optimizer that nothing is attached to ignores it


def test_a_state_that_came_before_the_methods_is_said_to_be_lost():
    """At the first step, as a trainer may load again; the mark is never left in the groups of an optimizer in use."""
    model, optimizer, plasticity = attached()
    train(model, optimizer, 0, 8)
    saved = through_a_file(optimizer.state_dict())
    methods = list(plasticity.methods.values())

    def resumed():
        again = torch.optim.Adam(model.parameters())
        again.load_state_dict(saved)
        return again, neoteny.attach(model, again, methods, torch.zeros(1, 3))

    again, restored = resumed()
    again.load_state_dict(saved)
    train(model, again, 8, 9)
    assert restored.updates == 9
    groups = [set(one.param_groups[0]) for one in (torch.optim.Adam(model.parameters()), optimizer, again)]
    assert groups[0] == groups[1] == groups[2]
    assert saved["param_groups"][0]["plasticity_saved"]  # nothing is taken out of what the user holds
    again, restored = resumed()
    with pytest.warns(PlasticityWarning, match="attach first, then call load_state_dict") as caught:
        train(model, again, 8, 10)
    (told,) = [told for told in caught if "attach first" in str(told.message)]
    assert told.filename == __file__ and restored.updates == 2


@pytest.mark.parametrize("in_optimizer", [True, False])
@pytest.mark.filterwarnings("ignore:The optimizer's state holds no state:neoteny.PlasticityWarning")
def test_moments_that_are_loaded_after_attaching_are_as_old_as_they_are(in_optimizer):
    """Else Adam's steps of old units would be corrected as if they were as young as the handle."""
    model, optimizer, plasticity = attached()
    plasticity.detach()
    train(model, optimizer, 0, 30)
    other = torch.optim.Adam(model.parameters(), 0.01)
    again = neoteny.attach(
        model, other, plasticity.methods.values(), torch.zeros(1, 3), state_in_optimizer=in_optimizer
    )
    other.load_state_dict(optimizer.state_dict())
    train(model, other, 30, 32)
    assert [layer.tolist() for layer in again.state_dict()["since"].values()] == [[32] * 8, [32] * 6]


def test_a_foreign_state_in_the_optimizers_is_refused_before_anything_changes():
    model, optimizer, _ = attached()
    train(model, optimizer, 0, 8)
    saved = optimizer.state_dict()
    saved["plasticity"]["version"] = 99
    _, other, _ = attached()
    with pytest.raises(CheckpointError, match="version"):
        other.load_state_dict(saved)
    assert not other.state


def test_newborns_are_drawn_as_at_the_start_though_trained_weights_came_back_before():
    model, optimizer, plasticity = attached()
    drawn, saved = plasticity.units.initialisers["0.weight"], copy.deepcopy(optimizer.state_dict())
    with torch.no_grad():
        model[0].weight.mul_(3)  # what it was drawn from does not show any more
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    again = neoteny.attach(model, optimizer, plasticity.methods.values(), torch.zeros(1, 3))
    assert again.units.initialisers["0.weight"] != drawn
    optimizer.load_state_dict(saved)
    assert again.units.initialisers["0.weight"] == drawn
    assert again._network.network is again.units


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_of_the_handle_is_attached_to_nothing_and_says_so(copied):
    model, optimizer, plasticity = attached()
    *_, handle = copied((model, optimizer, plasticity))
    assert not hasattr(handle, "updates")
    with pytest.raises(SettingError, match="attach to the copied"):
        handle.counters()
    train(model, optimizer, 0, 2)
    assert plasticity.updates == 2
