"""Optimizers of every kind: a newborn takes the first steps of a fresh network, or one warning says that it does not.

Each optimizer here is a few lines of a kind that is in use. The check knows nothing of how state is made new: right
after a reset the network is copied, a fresh optimizer of the same class is made for the copy, both get the same
gradients, and how far the newborn rows go is compared.
"""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn

import neoteny
from neoteny import PlasticityWarning
from neoteny.errors import SettingError
from neoteny.methods import ContinualBackprop
from wild.reset_two import NEW, ResetTwo


class Own(torch.optim.Optimizer):
    """The base of the hand-written ones: a rule for one parameter, and one count of steps in the group."""

    def __init__(self, params, lr=0.01, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self.one(p, p.grad, group, self.state[p])


def moments(p, state, *names):
    if not state:
        state.update({"step": 0, **{name: torch.zeros_like(p) for name in names}})
    state["step"] += 1
    return state["step"], *(state[name] for name in names)


class AdamAgain(Own):
    """Adam, as many packages have it."""

    def one(self, p, g, group, state):
        (b1, b2), (t, m, v) = group["betas"], moments(p, state, "exp_avg", "exp_avg_sq")
        m.lerp_(g, 1 - b1)
        v.lerp_(g * g, 1 - b2)
        p.sub_(group["lr"] * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + group["eps"]))


class NormalisedFirst(Own):
    """Adam's state and names, but the gradient is normalised before it is averaged (LaProp)."""

    def one(self, p, g, group, state):
        (b1, b2), (t, m, v) = group["betas"], moments(p, state, "exp_avg", "exp_avg_sq")
        v.lerp_(g * g, 1 - b2)
        m.lerp_(g / ((v / (1 - b2**t)).sqrt() + group["eps"]), 1 - b1)
        p.sub_(group["lr"] * m / (1 - b1**t))


class OneStepLater(Own):
    """Adam's state and names; the first step only fills it (ADOPT)."""

    def one(self, p, g, group, state):
        (b1, b2), (t, m, v) = group["betas"], moments(p, state, "exp_avg", "exp_avg_sq")
        if t > 1:
            m.lerp_((g / v.sqrt().clamp_min(1e-6)).clamp(-(t**0.25), t**0.25), 1 - b1)
            p.sub_(group["lr"] * m)
        v.lerp_(g * g, 1 - b2 if t > 1 else 1.0)


class OneNorm(Own):
    """Adam's names, but the second moment is one number for a whole parameter (NovoGrad)."""

    def one(self, p, g, group, state):
        if not state:
            state.update({"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": g.square().sum()})
        state["step"] += 1
        state["exp_avg_sq"].lerp_(g.square().sum(), 0.1)
        state["exp_avg"].mul_(0.9).add_(g / (state["exp_avg_sq"].sqrt() + group["eps"]))
        p.sub_(group["lr"] * state["exp_avg"])


class FromOne(Own):
    """RMSprop whose running average begins at 1 (RMSpropTFLike)."""

    def one(self, p, g, group, state):
        if not state:
            state["square_avg"] = torch.ones_like(p)
        state["square_avg"].lerp_(g * g, 0.01)
        p.sub_(group["lr"] * g / (state["square_avg"] + group["eps"]).sqrt())


class Dual(Own):
    """Dual averaging from the first weights, with a step size that grows (MADGRAD)."""

    def one(self, p, g, group, state):
        if not state:
            state.update({"k": 0, "s": torch.zeros_like(p), "v": torch.zeros_like(p), "x0": p.clone()})
        state["k"] += 1
        growing = group["lr"] * math.sqrt(state["k"])
        state["v"].addcmul_(g, g, value=growing)
        state["s"].add_(g, alpha=growing)
        p.lerp_(state["x0"] - state["s"] / (state["v"].pow(1 / 3) + 1e-6), 0.1)


class Follow(Own):
    """Follow the regularised leader: weights are a function of sums (FTRL)."""

    def one(self, p, g, group, state):
        if not state:
            state.update({"z": torch.zeros_like(p), "n": torch.zeros_like(p)})
        sigma = ((state["n"] + g * g).sqrt() - state["n"].sqrt()) / group["lr"]
        state["z"].add_(g - sigma * p)
        state["n"].addcmul_(g, g)
        p.copy_(-state["z"] / (state["n"].sqrt() / group["lr"] + 1))


class LearntSize(Own):
    """A step size learnt for everything, from the way so far (Prodigy): it has grown when a unit is made new."""

    def one(self, p, g, group, state):
        if not state:
            state.update({"p0": p.clone(), "exp_avg": torch.zeros_like(p)})
        group["d"] = max(group.get("d", 1e-6), min(0.01, group.get("d", 1e-6) * 1.05))
        state["exp_avg"].lerp_(g, 0.1)
        p.sub_(group["d"] * state["exp_avg"].sign()).add_(1e-12 * (state["p0"] - p))


class FirstPlace(Own):
    """A pull to the first weights, which are kept (L2 towards the start, ASGD's and others' copies)."""

    def one(self, p, g, group, state):
        if not state:
            state["p0"] = p.clone()
        p.sub_(group["lr"] * g).lerp_(state["p0"], 0.1)


class ScheduleFree(Own):
    """Weights between a fast sequence z and its average."""

    def one(self, p, g, group, state):
        if not state:
            state.update({"z": p.clone(), "k": 0})
        state["k"] += 1
        p.lerp_(state["z"], 1 / state["k"]).sub_(0.1 * group["lr"] * g)
        state["z"].sub_(group["lr"] * g)


class Masters(Own):
    """Weights in double precision beside those in use."""

    def one(self, p, g, group, state):
        if not state:
            state["master"] = p.double()
        state["master"].sub_(group["lr"] * g)
        p.copy_(state["master"])


class LogSteps(Own):
    """A step size for each weight, as its logarithm (IDBD)."""

    def one(self, p, g, group, state):
        if not state:
            state.update({"log_step": torch.full_like(p, math.log(group["lr"])), "trace": torch.zeros_like(p)})
        state["log_step"].add_(0.1 * (g * state["trace"]).sign())
        state["trace"].mul_(0.9).add_(g)
        p.sub_(state["log_step"].exp() * g)


class Factored(Own):
    """The second moment by rows and columns (Adafactor, SM3)."""

    def one(self, p, g, group, state):
        if not state:
            state["rows"] = torch.zeros(p.shape[:1] if p.dim() > 1 else p.shape)
            state["columns"] = torch.zeros(p.shape[1:] if p.dim() > 1 else ())
        square = g.square() + 1e-12
        if p.dim() > 1:
            state["rows"].lerp_(square.mean(1), 0.01)
            state["columns"].lerp_(square.mean(0), 0.01)
            square = torch.outer(state["rows"], state["columns"]) / state["rows"].mean()
        p.sub_(group["lr"] * g / square.sqrt())


class Several(Own):
    """Momenta in a dict (AggMo)."""

    def one(self, p, g, group, state):
        if not state:
            state["momenta"] = {beta: torch.zeros_like(p) for beta in (0.5, 0.9)}
        for beta, momentum in state["momenta"].items():
            momentum.mul_(beta).add_(g)
            p.sub_(group["lr"] / 2 * momentum)


class Slow(torch.optim.Optimizer):
    """Lookahead: every five steps half-way back to slow weights, which it keeps beside the inner state."""

    def __init__(self, optimizer):
        self.optimizer, self.count, self.param_groups = optimizer, 0, optimizer.param_groups
        self.defaults, self.state = optimizer.defaults, {}

    @torch.no_grad()
    def step(self, closure=None):
        self.optimizer.step(closure)
        self.count += 1
        for p in (p for group in self.param_groups for p in group["params"]):
            slow = self.state.setdefault(p, {}).setdefault("slow", p.detach().clone())
            if self.count % 5 == 0:
                p.copy_(slow.lerp_(p, 0.5))

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none)


class SlowLater(torch.optim.Optimizer):
    """Lookahead whose slow weights come with the first pull, among the inner state; it calls no hooks (timm's)."""

    def __init__(self, base):
        self._base, self.count, self.param_groups = base, 0, base.param_groups
        self.defaults, self.state = base.defaults, {}

    @torch.no_grad()
    def step(self, closure=None):
        self._base.step(closure)
        self.count += 1
        for p in (p for group in self.param_groups for p in group["params"] if self.count % 6 == 0):
            slow = self._base.state[p].setdefault("slow_buffer", p.detach().clone())
            p.copy_(slow.lerp_(p, 0.5))

    def zero_grad(self, set_to_none=True):
        self._base.zero_grad(set_to_none)


class Sharp(torch.optim.Optimizer):
    """Sharpness-aware: a step uphill, then the inner optimizer's with the gradient from there."""

    def __init__(self, params, base_optimizer, rho=0.05, **settings):
        super().__init__(params, {"rho": rho, **settings})
        self.base_optimizer = base_optimizer(self.param_groups, **settings)
        self.param_groups = self.base_optimizer.param_groups

    def all(self):
        return [p for group in self.param_groups for p in group["params"] if p.grad is not None]

    @torch.no_grad()
    def first_step(self):
        for p in self.all():
            self.state[p]["old"] = p.clone()
            p.add_(0.05 * p.grad)

    @torch.no_grad()
    def second_step(self):
        for p in self.all():
            p.copy_(self.state[p]["old"])
        self.base_optimizer.step()

    def step(self, closure=None):
        raise NotImplementedError


O = torch.optim  # noqa: E741
KINDS = {
    "sgd": lambda p: O.SGD(p, 0.01),
    "momentum": lambda p: O.SGD(p, 0.01, momentum=0.9, nesterov=True),
    "damped": lambda p: O.SGD(p, 0.01, momentum=0.9, dampening=0.9),
    "adam": lambda p: O.Adam(p, 0.01),
    "amsgrad": lambda p: O.AdamW(p, 0.01, amsgrad=True),
    "adamax": lambda p: O.Adamax(p, 0.01),
    "nadam": lambda p: O.NAdam(p, 0.01),
    "radam": lambda p: O.RAdam(p, 0.01),
    "adagrad": lambda p: O.Adagrad(p, 0.01, initial_accumulator_value=0.1),
    "adadelta": lambda p: O.Adadelta(p, 1.0),
    "rmsprop": lambda p: O.RMSprop(p, 0.001, centered=True, momentum=0.5),
    "rprop": lambda p: O.Rprop(p, 0.01),
    "asgd": lambda p: O.ASGD(p, 0.01),
    "adafactor": lambda p: O.Adafactor(p, 0.01),
    **{cls.__name__: cls for cls in Own.__subclasses__()},
    "slow-sgd": lambda p: Slow(O.SGD(p, 0.01, momentum=0.9)),
    "slow-later": lambda p: SlowLater(O.SGD(p, 0.01, momentum=0.9)),
    "slow-adam": lambda p: Slow(O.Adam(p, 0.01)),
    "sharp": lambda p: Sharp(p, O.Adam, lr=0.01),
}
SERVED = {
    *("sgd", "momentum", "adam", "amsgrad", "adamax", "adagrad", "adadelta", "rmsprop", "rprop", "asgd", "AdamAgain"),
    *("FromOne", "FirstPlace", "Masters", "LogSteps", "slow-sgd", "slow-later", "slow-adam", "sharp", "Follow"),
}
"""Those that need no warning; all others must have one, or be as good."""


def steps(optimizer, closure, count):
    for number in range(count):
        closure(number)
        if isinstance(optimizer, Sharp):
            optimizer.first_step()
            closure(number)
            optimizer.second_step()
        else:
            optimizer.step()


def first_steps(make):
    """How many times as far newborn rows go as in a fresh network in 1, 2 and 5 steps, and the warnings."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer, method = make(model.parameters()), ResetTwo()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plasticity = neoteny.attach(model, optimizer, method, torch.zeros(1, 5))

        def learn(number, net=model):
            x = torch.randn(16, 5, generator=torch.Generator().manual_seed(number))
            net.zero_grad()
            (net(x) - x[:, :3].cumsum(1).sin() * 2).square().mean().backward()

        steps(optimizer, learn, method.after)
    assert plasticity.counters()["reset-two"]["0"]["units_replaced"] == 2
    assert not model[2].weight[:, NEW].any()
    copied = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    copied.load_state_dict(model.state_dict())
    fresh, start = make(copied.parameters()), model[0].weight[NEW].detach().clone()
    torch.manual_seed(1)
    ratios = []
    for number in range(1, 6):

        def same(_, seed=number):
            for p, q in zip(model.parameters(), copied.parameters(), strict=True):
                grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)) * 0.1
                p.grad, q.grad = grad.clone(), grad.clone()

        steps(optimizer, same, 1)
        steps(fresh, same, 1)
        mine, theirs = (float((net[0].weight[NEW].detach() - start).norm()) for net in (model, copied))
        ratios.append(mine / theirs if theirs else math.inf)
    return [ratios[look - 1] for look in (1, 2, 5)], [w for w in caught if issubclass(w.category, PlasticityWarning)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_newborn_steps_like_a_fresh_network_or_one_warning_names_the_state(kind):
    ratios, told = first_steps(KINDS[kind])
    fresh = all(0.499 <= ratio <= 2.001 for ratio in ratios)
    assert len(told) <= 1
    assert fresh or told, ratios
    if kind in SERVED:
        assert fresh, ratios
        assert not told, told[0].message


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nadam", "NAdam: the bias correction goes on .'step', 'mu_product'"),
        ("NormalisedFirst", "NormalisedFirst: the bias correction goes on .'step'"),
        ("OneStepLater", "OneStepLater: .*'step'"),
        ("Dual", "Dual: .*'k'"),
        ("LearntSize", "LearntSize: .*'d'"),
        ("ScheduleFree", "ScheduleFree: .*'k'"),
        ("Factored", "Factored: .*'rows' has not the parameter's shape"),
        ("Several", "Several: .*'momenta' is a dict"),
        ("adafactor", "Adafactor: .*'row_var' has not the parameter's shape"),
    ],
)
def test_the_warning_names_the_state(kind, words):
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    with pytest.warns(PlasticityWarning, match=words) as caught:
        neoteny.attach(model, KINDS[kind](model.parameters()), ResetTwo(), torch.zeros(1, 5))
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("ignore:.*goes on:neoteny.PlasticityWarning")
@pytest.mark.parametrize("kind", ["NormalisedFirst", "OneStepLater", "OneNorm"])
def test_adams_correction_is_for_adam(kind):
    """Between two resets the weights are those of the optimizer alone, whatever it keeps under Adam's names."""
    made = []
    for attached in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        optimizer = KINDS[kind](model.parameters())
        for number in range(40):
            if number == 20 and attached:
                neoteny.attach(model, optimizer, ResetTwo(after=1000), torch.zeros(1, 5))._adam.restart("0", 8)
            optimizer.zero_grad()
            model(torch.randn(4, 5, generator=torch.Generator().manual_seed(number))).square().sum().backward()
            optimizer.step()
        made.append(model[0].weight.detach())
    assert torch.equal(*made)


class CountedInGroups(AdamAgain):
    """Adam whose steps are counted once for a group."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1
        super().step()

    def one(self, p, g, group, state):
        if not state:
            state.update({"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)})
        (b1, b2), t = group["betas"], group["step"]
        state["exp_avg"].lerp_(g, 1 - b1)
        state["exp_avg_sq"].lerp_(g * g, 1 - b2)
        p.sub_(group["lr"] * state["exp_avg"] / (1 - b1**t) / ((state["exp_avg_sq"] / (1 - b2**t)).sqrt() + 1e-8))


def test_a_count_for_a_whole_group_is_corrected_for_units_and_told_for_whole_parameters():
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    neoteny.attach(model, CountedInGroups(model.parameters()), ResetTwo(), torch.zeros(1, 5))  # no warning
    with pytest.warns(PlasticityWarning, match="CountedInGroups: .*'step'.*as if parameters that are made new") as told:
        neoteny.attach(model, CountedInGroups(model.parameters()), neoteny.HeadReset(), torch.zeros(1, 5))
    assert len(told) == 1
    for cls in (torch.optim.Adam, torch.optim.SGD, torch.optim.Adagrad, torch.optim.Rprop, AdamAgain):
        neoteny.attach(model, cls(model.parameters()), neoteny.FullReset(), torch.zeros(1, 5))  # no warning


def test_an_optimizer_in_halves_without_another_one_in_it_is_refused():
    class Alone(torch.optim.SGD):
        first_step = second_step = torch.optim.SGD.step

    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    with pytest.raises(SettingError, match="Alone has no step.*first_step"):
        neoteny.attach(model, Alone(model.parameters(), 0.1), ResetTwo(), torch.zeros(1, 5))


@pytest.mark.parametrize("cls", [torch.optim.SGD, torch.optim.Adam])
def test_an_optimizer_for_each_parameter_stepped_in_the_backward_pass(cls):
    """Everything is as with one optimizer that steps after it, to the bit: methods act when the pass has ended."""
    made = []
    for within in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
        several = {p: cls([p], 0.01) for p in model.parameters()}
        one = cls(model.parameters(), 0.01)
        methods = [ContinualBackprop(replacement_rate=0.2, maturity_threshold=3), neoteny.L2(strength=0.01)]
        plasticity = neoteny.attach(model, list(several.values()) if within else one, methods, torch.zeros(1, 5))

        def at_once(p, several=several):
            several[p].step()
            several[p].zero_grad()

        if within:
            for p in model.parameters():
                p.register_post_accumulate_grad_hook(at_once)
        for _ in range(20):
            (model(torch.randn(4, 5)) - 1).square().mean().backward()
            if not within:
                one.step()
                one.zero_grad()
        made.append((torch.cat([p.detach().flatten() for p in model.parameters()]), plasticity.counters()))
    assert torch.equal(made[0][0], made[1][0])
    assert made[0][1] == made[1][1]
    assert made[0][1]["updates"] == 20
    assert made[0][1]["cbp"]["0"]["units_replaced"] > 5


def test_another_argument_of_step_is_no_closure():
    class Stepped(torch.optim.SGD):
        def step(self, td_error=None):
            super().step()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = Stepped(model.parameters(), 0.1)
    neoteny.attach(model, optimizer, [neoteny.L2(strength=0.5), ResetTwo(after=2)], torch.zeros(1, 5))
    before = model[0].weight.detach().clone()
    model(torch.zeros(1, 5)).sum().backward()
    optimizer.step(0.3)
    torch.testing.assert_close(model[0].weight.detach(), before * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("slow", [Slow, SlowLater])
def test_slow_weights_do_not_pull_a_newborn_back(slow):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = slow(torch.optim.SGD(model.parameters(), 1e-6))
    neoteny.attach(model, optimizer, ResetTwo(after=7), torch.zeros(1, 5))
    for number in range(12):
        optimizer.zero_grad()
        model(torch.randn(4, 5)).sum().backward()
        optimizer.step()
        if number == 6:
            after = model[0].weight[NEW].detach().clone()
    torch.testing.assert_close(model[0].weight[NEW].detach(), after, atol=1e-3, rtol=0)
    assert model[2].weight[:, NEW].abs().max() < 1e-3
