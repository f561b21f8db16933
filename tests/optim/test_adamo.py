"""AdamO against NumPy, its pull against autograd, and what it does to singular values."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.nn import MLP
from neoteny.optim import Adam, AdamO
from neoteny.optim.adamo import isometry_pull

SHAPES = {"tall": (8, 5), "wide": (3, 8), "square": (4, 4), "kernel": (4, 3, 2, 2), "bias": (5,), "token": (1, 1, 6)}
MATRICES = ("tall", "wide", "square", "kernel")


def reference(start, grads, alpha, b1, b2, eps, decay, strength):
    """The rule entry by entry as it is printed, in float64; the pull always by W^T W."""
    w, m, v = dict(start), {}, {}
    for t, step in enumerate(grads, 1):
        for name, g in step.items():
            m[name] = b1 * m.get(name, 0.0) + (1 - b1) * g
            v[name] = b2 * v.get(name, 0.0) + (1 - b2) * g**2
            direction = m[name] / (1 - b1**t) / (np.sqrt(v[name] / (1 - b2**t)) + eps)
            new = (1 - alpha * decay) * w[name] - alpha * direction
            if name in MATRICES:
                flat = w[name].reshape(len(w[name]), -1)
                pull = 4 * flat @ (flat.T @ flat - np.eye(flat.shape[1]))
                new = new - alpha * strength * pull.reshape(w[name].shape)
            w[name] = new
    return w


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_is_the_rule(decay):
    random = np.random.default_rng(0)
    start = {name: random.normal(size=shape) for name, shape in SHAPES.items()}
    grads = [{name: random.normal(size=shape) for name, shape in SHAPES.items()} for _ in range(30)]
    adamo = AdamO(step_size=0.01, betas=(0.9, 0.99), weight_decay=decay, isometry=0.2)
    tensors = {name: torch.from_numpy(value) for name, value in start.items()}
    state = adamo.init(tensors)
    for t, step in enumerate(grads, 1):
        gradients = {name: torch.from_numpy(value) for name, value in step.items()}
        adamo.update(tensors, gradients, state, {name: torch.tensor(t) for name in step})
    expected = reference(start, grads, 0.01, 0.9, 0.99, adamo.eps, decay, 0.2)
    for name, value in tensors.items():  # expm1 of a float32 count in ours
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 2, 3)])
def test_the_pull_descends_the_distance_from_isometry(shape):
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    flat = weight.flatten(1)
    gram = flat.T @ flat if flat.shape[0] > flat.shape[1] else flat @ flat.T
    (gram - torch.eye(len(gram))).pow(2).sum().backward()
    torch.testing.assert_close(isometry_pull(weight.detach()), weight.grad)


def test_singular_values_go_to_one_without_gradients():
    torch.manual_seed(0)
    tensors = {"w": torch.randn(6, 4, dtype=torch.float64)}
    adamo, state = AdamO(step_size=0.05, isometry=0.5), AdamO().init(tensors)
    for t in range(300):
        adamo.update(tensors, {"w": torch.zeros(6, 4, dtype=torch.float64)}, state, {"w": torch.tensor(t + 1)})
    torch.testing.assert_close(torch.linalg.svdvals(tensors["w"]), torch.ones(4, dtype=torch.float64))
    assert not state["w"]["exp_avg"].any()  # Adam's averages see gradients alone


def test_without_strength_it_is_adam():
    torch.manual_seed(1)
    found = []
    for optimizer in (AdamO(isometry=0.0), Adam()):
        tensors = {"w": torch.ones(3, 2), "b": torch.ones(2)}
        state = optimizer.init(tensors)
        optimizer.update(
            tensors, {"w": torch.ones(3, 2), "b": torch.ones(2)}, state, {"w": torch.tensor(1), "b": torch.tensor(1)}
        )
        found.append(tensors)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_each_run_has_its_own_strength(strategy):
    torch.manual_seed(2)
    x, y = torch.randn(1, 6, 4, 5), torch.randint(0, 3, (1, 6, 4))
    strengths = (0.0, 0.1, 1.0)
    made = Learner(
        lambda: MLP(5, [6], 3),
        x[0, 0],
        loss="cross_entropy",
        optimizer=AdamO(step_size=0.01),
        seeds=(7, 7, 7),
        varied={"isometry": strengths},
        strategy=strategy,
        compile=False,
    )
    start = {key: value[0].clone() for key, value in made.strategy.carry()["tensors"].items()}
    made.advance(examples(x.expand(3, *x.shape[1:]), y.expand(3, *y.shape[1:])))
    for run, strength in enumerate(strengths):
        net = MLP(5, [6], 3)
        net.load_state_dict(start)
        named = dict(net.named_parameters())
        adamo, state = AdamO(step_size=0.01, isometry=strength), None
        for t, (inputs, labels) in enumerate(zip(x[0], y[0], strict=True), 1):
            gradients = torch.autograd.grad(F.cross_entropy(net(inputs), labels), list(named.values()))
            tensors = {name: value.detach() for name, value in named.items()}
            state = state or adamo.init(tensors)
            adamo.update(tensors, dict(zip(named, gradients, strict=True)), state, {n: torch.tensor(t) for n in named})
            net.load_state_dict(tensors)
        for name, value in net.state_dict().items():
            torch.testing.assert_close(made.strategy.carry()["tensors"][name][run], value, rtol=1e-4, atol=1e-5)


def test_bad_settings_are_refused():
    with pytest.raises(SettingError, match="isometry"):
        AdamO(isometry=-1.0)
    with pytest.raises(SettingError, match="betas"):
        AdamO(betas=(0.9, 1.0))
