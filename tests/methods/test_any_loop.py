"""Methods in anybody's training loop: the same numbers, however the gradients of a step come about."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import neoteny
from neoteny.errors import PlasticityWarning
from neoteny.methods import L2, ContinualBackprop, L2Init
from neoteny.units import find

CBP = ContinualBackprop(replacement_rate=0.05, maturity_threshold=4)
ABOUT = ContinualBackprop(replacement_rate=0.05, maturity_threshold=4, utility="adaptable_contribution")


class Blocks(nn.Module):
    """Two hidden layers, the second behind a checkpoint on request."""

    def __init__(self, reentrant=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.reentrant = nn.Linear(4, 9), reentrant
        self.rest = nn.Sequential(nn.Tanh(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))

    def forward(self, x):
        h = self.first(x)
        return self.rest(h) if self.reentrant is None else checkpoint(self.rest, h, use_reentrant=self.reentrant)


def batches(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(6, 4, generator=generator), torch.randn(6, 3, generator=generator)) for _ in range(count)]


def train(model, optimizer, data):
    for x, y in data:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def attached(model=None, make=torch.optim.Adam, methods=CBP):
    model = Blocks() if model is None else model
    optimizer = make(model.parameters(), lr=0.01)
    units = find(Blocks(), torch.zeros(2, 4))
    return model, optimizer, neoteny.attach(model, optimizer, methods, units=units)


def assert_alike(one, two, **tolerance):
    """Everything that methods keep, and the weights."""
    assert one.counters() == two.counters()
    for name, state in one._state.items():
        for key, value in state.items():
            torch.testing.assert_close(two._state[name][key], value, **tolerance, msg=lambda m, k=key: f"{k}: {m}")
    for p, q in zip(one._network.parameters.values(), two._network.parameters.values(), strict=True):
        torch.testing.assert_close(q, p, **tolerance)


@pytest.mark.parametrize("method", [CBP, ABOUT], ids=["sums", "tensors"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing(reentrant, method):
    """What is computed again within the backward pass is not seen again, and what was computed first is."""
    plain, again = attached(methods=method), attached(Blocks(reentrant), methods=method)
    for model, optimizer, _ in (plain, again):
        train(model, optimizer, batches(15))
    assert_alike(plain[2], again[2])
    assert plain[2].counters()["cbp"]["first"]["units_replaced"] > 0


@pytest.mark.parametrize("method", [CBP, ABOUT], ids=["sums", "tensors"])
def test_compiled_as_one_graph_and_once(method):
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    plain = attached(methods=method)
    inner = Blocks()
    compiled = attached(torch.compile(inner, fullgraph=True, backend="aot_eager"), methods=method)
    for model, optimizer, _ in (plain, compiled):
        train(model, optimizer, batches(12))
    assert_alike(plain[2], compiled[2])
    assert counters["stats"]["unique_graphs"] == 1


def test_a_compiled_step_of_the_optimizer():
    """The optimizer's own part is compiled, and what methods do is not."""
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    plain = attached(make=torch.optim.SGD, methods=[L2(strength=0.01), CBP])
    compiled = attached(make=torch.optim.SGD, methods=[L2(strength=0.01), CBP])
    train(plain[0], plain[1], batches(12))
    model, optimizer, plasticity = compiled
    step = torch.compile(lambda: optimizer.step(), backend=count)
    for x, y in batches(12):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        step()
    assert_alike(plain[2], plasticity)
    assert plasticity.counters()["cbp"]["first"]["units_replaced"] > 0
    assert len(graphs) == 1


@pytest.mark.parametrize("backward", ["each", "once"])
def test_accumulated_gradients(backward):
    """Parts of a batch, each with a backward pass of its own or one for all, count as the whole."""
    whole, parts = attached(), attached()
    train(whole[0], whole[1], batches(15))
    model, optimizer, _ = parts
    for x, y in batches(15):
        optimizer.zero_grad()
        losses = [nn.functional.mse_loss(model(x[i : i + 2]), y[i : i + 2]) / 3 for i in (0, 2, 4)]
        for loss in losses if backward == "each" else [sum(losses)]:
            loss.backward()
        optimizer.step()
    assert_alike(whole[2], parts[2])


def test_a_batch_whose_gradients_were_thrown_away_does_not_count():
    plain, other = attached(methods=[CBP]), attached(methods=[CBP])
    train(plain[0], plain[1], batches(12))
    model, optimizer, _ = other
    for number, (x, y) in enumerate(batches(12)):
        if number % 3 == 1:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x * float("nan" if number == 4 else 30)), y).backward()
        train(model, optimizer, [(x, y)])
    assert_alike(plain[2], other[2])


def test_what_overflowed_does_not_stay_in_the_averages():
    model, optimizer, plasticity = attached(make=torch.optim.SGD)
    data = batches(8)
    for number, (x, y) in enumerate(data):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x / 0 if number == 3 else x), y).backward()
        for p in model.parameters():
            p.grad.nan_to_num_(0.0, 0.0, 0.0)
        optimizer.step()
    assert all(value.isfinite().all() for value in plasticity._state["cbp"].values())


def scaled(model, optimizer, data, bad):
    """A loop with a loss scaler, whose gradients overflow in some batches."""
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for number, (x, y) in enumerate(data):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        scaler.scale(loss * float("inf") if number in bad else loss).backward()
        scaler.step(optimizer)
        scaler.update(4.0)


def test_steps_that_a_loss_scaler_skips_are_skipped():
    plain, other = attached(methods=[CBP, L2(strength=0.01)]), attached(methods=[CBP, L2(strength=0.01)])
    data = batches(14)
    scaled(plain[0], plain[1], [batch for number, batch in enumerate(data) if number not in (3, 8)], ())
    scaled(other[0], other[1], data, (3, 8))
    assert_alike(plain[2], other[2])
    assert plain[2].updates == 12


def test_steps_that_a_fused_kernel_skips_change_nothing():
    """Here only the device knows; nothing is asked of it, and nothing changes."""
    model, optimizer, plasticity = attached(make=lambda p, lr: torch.optim.Adam(p, lr, fused=True))
    for number, (x, y) in enumerate(batches(24)):

        def everything():
            states = [*plasticity._state["cbp"].values(), *plasticity._since.values(), *model.state_dict().values()]
            moments = [v for s in optimizer.state.values() for k, v in s.items() if k != "step"]
            return [value.clone() for value in states + moments]

        before, skip = everything(), number in (7, 8, 9, 10, 11)
        scaled(model, optimizer, [(x, y)], (0,) if skip else ())
        if number:
            assert skip == all(torch.equal(a, b) for a, b in zip(before, everything(), strict=True))
    assert sum(layer["units_replaced"] for layer in plasticity.counters()["cbp"].values()) > 3


def test_half_precision_of_the_forward_pass():
    """Sums are taken in single precision, from whatever the readers are given."""
    plain, half = attached(make=torch.optim.SGD), attached(make=torch.optim.SGD)
    train(plain[0], plain[1], batches(10))
    model, optimizer, _ = half
    for x, y in batches(10):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.mse_loss(model(x).float(), y)
        loss.backward()
        optimizer.step()
    for key, value in plain[2]._state["cbp"].items():
        assert half[2]._state["cbp"][key].dtype == value.dtype
        if key.endswith("utility"):
            torch.testing.assert_close(half[2]._state["cbp"][key], value, rtol=0.05, atol=1e-4)


def test_a_schedule_and_clipped_gradients():
    """The regulariser's term comes on top of clipped gradients, and the step size is the schedule's."""
    model, optimizer, _ = attached(make=torch.optim.SGD, methods=L2(strength=0.5))
    bare = copy.deepcopy(model)
    other = torch.optim.SGD(bare.parameters(), lr=0.01, weight_decay=0.5)
    for module, it in ((model, optimizer), (bare, other)):
        schedule = torch.optim.lr_scheduler.LambdaLR(it, lambda step: 1 / (1 + step))
        for x, y in batches(6):
            it.zero_grad()
            nn.functional.mse_loss(module(10 * x), y).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 0.1)
            it.step()
            schedule.step()
    for p, q in zip(model.parameters(), bare.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_several_optimizers_are_as_one(kind):
    methods = [L2Init(strength=0.01), ContinualBackprop(replacement_rate=0.1, maturity_threshold=4)]
    one, two = attached(make=kind, methods=methods), Blocks()
    optimizers = [kind(two.first.parameters(), lr=0.01), kind(two.rest.parameters(), lr=0.01)]
    plasticity = neoteny.attach(two, optimizers, methods, torch.zeros(2, 4))
    train(one[0], one[1], batches(20))
    for x, y in batches(20):
        for optimizer in optimizers:
            optimizer.zero_grad()
        nn.functional.mse_loss(two(x), y).backward()
        for optimizer in optimizers:
            optimizer.step()
    assert_alike(one[2], plasticity)
    assert "plasticity" in optimizers[1].state_dict() and "plasticity" not in optimizers[0].state_dict()


def test_an_optimizer_that_methods_wait_for_in_vain_is_named_once():
    model = Blocks()
    optimizers = [torch.optim.Adam(model.first.parameters()), torch.optim.SGD(model.rest.parameters())]
    plasticity = neoteny.attach(model, optimizers, CBP, torch.zeros(2, 4))
    with pytest.warns(PlasticityWarning, match="Adam has made 100 steps, and the last .*, SGD, none") as caught:
        train(model, optimizers[0], batches(250))
    assert [warning.filename for warning in caught] == [__file__] and plasticity.updates == 0
    train(model, optimizers[1], batches(1))
    assert plasticity.updates == 1


def test_moving_averages_are_left_alone():
    plain, other = attached(), attached()
    train(plain[0], plain[1], batches(12))
    model, optimizer, _ = other
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    for x, y in batches(12):
        train(model, optimizer, [(x, y)])
        average.update_parameters(model)
        average(100 * x).sum().backward()
    assert_alike(plain[2], other[2])


def test_no_activation_outlives_its_step():
    model, optimizer, plasticity = attached()
    seen = []
    model.rest[1].register_forward_pre_hook(lambda module, args: seen.append(weakref.ref(args[0])))
    train(model, optimizer, batches(2))
    loss = model(batches(1)[0][0]).sum()
    loss.backward()
    del loss
    gc.collect()
    assert [ref() for ref in seen] == [None] * 3
    assert plasticity._watch.anything


def test_a_network_is_let_go_after_a_pass_without_a_backward_pass():
    model, optimizer, plasticity = attached()
    train(model, optimizer, batches(2))
    loss = model(batches(1)[0][0]).sum()
    held = weakref.ref(model), weakref.ref(model.first.weight)
    del model, optimizer, plasticity, loss
    gc.collect()
    assert [ref() for ref in held] == [None, None]


def test_every_call_of_a_reader_counts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.hidden, self.out = nn.Linear(4, 9), nn.Linear(9, 3)

        def forward(self, x):
            h = self.hidden(x).relu()
            return torch.cat([self.out(h[:1]), self.out(h[1:])])

    class Once(Twice):
        def forward(self, x):
            return self.out(self.hidden(x).relu())

    once, twice = Once(), Twice()
    units = find(once, torch.zeros(2, 4))
    handles = []
    for model in (once, twice):
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        handles.append(neoteny.attach(model, optimizer, CBP, units=units))
        train(model, optimizer, batches(10))
    assert_alike(*handles)


def test_units_that_were_made_new_can_be_told_and_forgotten():
    model, optimizer, plasticity = attached()
    made = 0
    for batch in batches(20):
        train(model, optimizer, [batch])
        mask = plasticity.made_new("first")
        assert torch.equal(mask, plasticity._state["cbp"]["first/age"] == 0)
        hidden = (torch.ones(2, 5, 9), torch.ones(9))
        for before, after in zip(hidden, plasticity.forget(hidden, "first"), strict=True):
            assert (before == 1).all() and torch.equal(after[..., mask].sum(), torch.tensor(0.0))
            assert (after[..., ~mask] == 1).all()
        made += int(mask.sum())
    assert made == plasticity.counters()["cbp"]["first"]["units_replaced"] > 1
    with pytest.raises(neoteny.errors.UnknownNameError, match="unit layer"):
        plasticity.made_new("frist")


def test_an_attachment_goes_with_its_optimizer():
    model, optimizer, plasticity = attached()
    assert model.rest[1]._forward_pre_hooks
    del optimizer, plasticity
    gc.collect()
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert not any(parameter._backward_hooks for parameter in model.parameters())


def test_optimizers_in_the_wrappers_of_trainers():
    class Wrapped(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer = optimizer

    model, _, plain = attached()
    train(model, plain._network.optimizers[0], batches(5))
    other = type(model)()
    other.load_state_dict(attached()[0].state_dict())
    optimizer = torch.optim.Adam(other.parameters(), 0.01)
    wrapped = neoteny.attach(other, Wrapped(Wrapped(optimizer)), list(plain.methods.values()), units=plain.units)
    assert wrapped._network.optimizers == (optimizer,)


def test_moved_to_another_precision_a_network_s_statistics_are_still_reset():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    plasticity = neoteny.attach(model, optimizer, CBP, torch.zeros(2, 4))
    model.double()  # parameters stay themselves, buffers are made anew
    made = 0
    for x, y in batches(20):
        train(model, optimizer, [(x.double(), y.double())])
        mask = plasticity.made_new("0")
        made += int(mask.sum())
        assert (model[1].running_mean[mask] == 0).all() and (model[1].running_var[mask] == 1).all()
    assert made > 0


class NothingIsRead(torch.utils._python_dispatch.TorchDispatchMode):
    """Every operation that would wait for a device raises."""

    reads = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in self.reads, f"{func} reads a value from the device"
        return func(*args, **(kwargs or {}))


def test_nothing_is_read_from_the_device():
    """Host and device run side by side: no step waits for numbers."""
    methods = [CBP, ABOUT, neoteny.ReDo(tau=0.5, period=5), L2Init(), neoteny.ShrinkAndPerturb(), L2(decoupled=True)]
    model, optimizer, plasticity = attached(make=torch.optim.SGD, methods=methods)
    for x, y in batches(12):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        with NothingIsRead():
            optimizer.step()
    with NothingIsRead():
        plasticity.new_task()
    assert plasticity.counters()["cbp"]["first"]["units_replaced"] > 0
