"""The learner: strategies and stacks give equal results, and equal the ordinary loop.

Tolerances: the strategies sum the same products in another order, so a step's float32 results differ by some units in
the last place (6e-8 relative each); over a few hundred steps of a stable problem that stays below 1e-4.
"""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves

from neoteny import compiling
from neoteny.errors import CheckpointError, NetworkError, SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods import L2, ContinualBackprop, HeadReset, L2Init, ReDo, ShrinkAndPerturb
from neoteny.nn import MLP, VGG16, ContinualImageNetNet, LinearNetwork, ResNet18
from neoteny.optim import SGD, Adam

STEPS = 160
METHODS = {
    "none": (),
    "l2": (L2(strength=1e-2),),
    "cbp": (ContinualBackprop(replacement_rate=5e-3, maturity_threshold=20, utility="adaptable_contribution"),),
    "cbp-contribution": (ContinualBackprop(replacement_rate=5e-3, maturity_threshold=20),),
    "cbp-drawn": (ContinualBackprop(replacement_rate=5e-3, maturity_threshold=20, replacement="drawn"), L2()),
    "cbp-accumulate": (ContinualBackprop(replacement_rate=0.2, maturity_threshold=9, replacement="accumulate"),),
    "snp": (ShrinkAndPerturb(sigma=1e-3, weight_decay=1e-3, interval=20),),
    "snp-every-step": (ShrinkAndPerturb(sigma=1e-3, weight_decay=1e-3),),
    "redo": (ReDo(tau=0.5, period=40),),
}


def network(hidden: tuple[int, ...] = (9, 7)) -> nn.Module:
    return MLP(12, list(hidden), 3, activation="tanh")


def data(runs: int, steps: int = STEPS, labels: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(runs, steps, 1, 12, generator=generator)
    if labels:
        return x, torch.randint(0, 3, (runs, steps, 1), generator=generator)
    return x, torch.randn(runs, steps, 1, 3, generator=generator)


def learner(
    methods=(), seeds=(0, 1, 2), strategy="stack", loss="cross_entropy", optimizer=None, build=network, **more
) -> Learner:
    optimizer = SGD(step_size=0.02) if optimizer is None else optimizer
    more = {"compile": False, **more}
    return Learner(
        build,
        torch.zeros(1, 12),
        loss=loss,
        optimizer=optimizer,
        methods=methods,
        seeds=seeds,
        strategy=strategy,
        **more,
    )


def advance(learner: Learner, x: torch.Tensor, y: torch.Tensor, piece: int = 60) -> torch.Tensor:
    begins = range(0, x.shape[1], piece)
    return torch.stack([learner.advance(examples(x[:, i : i + piece], y[:, i : i + piece]))["loss"] for i in begins], 1)


def assert_same(a: Learner, b: Learner, runs=slice(None)) -> None:
    for name, value in a.weights().items():
        torch.testing.assert_close(value, b.weights()[name][runs], rtol=1e-4, atol=1e-5)
    for name, count in a.replaced().items():
        assert (count == b.replaced()[name][runs]).all()


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.skipif(compiling.compiler() is None, reason="the kernels need a C++ compiler")
def test_strategies_give_equal_results(name, loss):
    x, y = data(3, labels=loss == "cross_entropy")
    strategies = ["stack", "loop", "rank-one", *(["lanes"] if name != "snp-every-step" else [])]
    stack, *others = (learner(METHODS[name], strategy=s, loss=loss) for s in strategies)
    losses = advance(stack, x, y)
    for other in others:
        torch.testing.assert_close(advance(other, x, y), losses, rtol=1e-4, atol=1e-4)
        assert_same(stack, other)
    if name.startswith("cbp") or name == "redo":
        assert all(count.min() > 0 for count in stack.replaced().values())


@pytest.mark.parametrize("strategy", ["stack", "loop", "rank-one", "lanes"])
def test_a_run_alone_equals_the_run_in_a_stack_of_thirty(strategy):
    x, y = data(30, 60)
    whole = learner(METHODS["cbp-drawn"], seeds=range(30), strategy=strategy)
    advance(whole, x, y)
    for run in (0, 17, 29):
        alone = learner(METHODS["cbp-drawn"], seeds=[run], strategy=strategy)
        advance(alone, x[run : run + 1], y[run : run + 1])
        assert_same(alone, whole, slice(run, run + 1))


@pytest.mark.parametrize("optimizer", [SGD(step_size=0.05), SGD(step_size=0.005, momentum=0.9), Adam(step_size=0.01)])
def test_without_methods_it_is_the_ordinary_loop(optimizer):
    x, y = data(2)
    ours = learner(optimizer=optimizer, seeds=(0, 1))
    net = network()
    net.load_state_dict({name: value[1] for name, value in ours.weights().items()})
    if isinstance(optimizer, Adam):
        ordinary = torch.optim.Adam(net.parameters(), optimizer.step_size)
    else:
        ordinary = torch.optim.SGD(net.parameters(), optimizer.step_size, momentum=optimizer.momentum)
    advance(ours, x, y)
    for inputs, labels in zip(x[1], y[1], strict=True):
        ordinary.zero_grad()
        F.cross_entropy(net(inputs), labels).backward()
        ordinary.step()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(ours.weights()[name][1], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(compiling.compiler() is None, reason="compiling needs a C++ compiler")
def test_compiled_batches_may_change_their_size():
    plain, compiled = (learner(build=partial(network, (9,)), compile=on) for on in (False, True))
    generator = torch.Generator().manual_seed(0)
    for size in (4, 2, 4):
        x = torch.randn(3, 3, size, 12, generator=generator)
        y = torch.randint(0, 3, (3, 3, size), generator=generator)
        for each in (plain, compiled):
            each.advance(examples(x, y))
    assert_same(plain, compiled)


NORMALISED = {
    "mlp": (lambda: MLP(12, [9, 7], 3, normalisation="batch"), (6, 12)),
    "imagenet": (lambda: ContinualImageNetNet(3, width=0.1, normalisation="batch", pixels=24), (6, 3, 24, 24)),
    "resnet": (lambda: ResNet18(3, 2, hidden=(5,)), (8, 3, 16, 16)),
    "vgg": (lambda: VGG16(3, 2, hidden=(5,), pixels=32), (6, 3, 32, 32)),
}


@pytest.mark.parametrize("strategy", ["stack", "loop"])
@pytest.mark.parametrize("name", NORMALISED)
def test_batch_norm_is_the_ordinary_loops_running_statistics_included(name, strategy):
    # in double precision: a norm multiplies what rounding does to a channel that is all but dead by up to 300
    torch.manual_seed(0)
    build, shape = NORMALISED[name]
    optimizer = SGD(step_size=0.01, momentum=0.9)
    x, y = torch.randn(2, 6, *shape, dtype=torch.float64), torch.randint(0, 3, (2, 6, shape[0]))
    made = Learner(
        lambda: build().double(),
        x[0, 0],
        loss="cross_entropy",
        optimizer=optimizer,
        seeds=(0, 1),
        strategy=strategy,
        compile=False,
    )
    tensors = made.strategy.carry()["tensors"]
    nets = [build().double() for _ in made.seeds]
    for run, net in enumerate(nets):
        net.load_state_dict({key: value[run] for key, value in tensors.items()})
        ordinary = torch.optim.SGD(net.parameters(), optimizer.step_size, momentum=optimizer.momentum)
        for inputs, labels in zip(x[run], y[run], strict=True):
            ordinary.zero_grad()
            F.cross_entropy(net(inputs), labels).backward()
            ordinary.step()
    made.advance(examples(x[:, :4], y[:, :4]))
    made.advance(examples(x[:, 4:], y[:, 4:]))
    tensors, outputs = made.strategy.carry()["tensors"], made.outputs(x[:, 0])
    for run, net in enumerate(nets):
        for key, value in net.state_dict().items():
            torch.testing.assert_close(tensors[key][run], value, rtol=1e-6, atol=1e-9)
        # evaluation uses the running statistics and does not change them
        torch.testing.assert_close(outputs[run], net.eval()(x[run, 0]), rtol=1e-6, atol=1e-9)
    assert {value.item() for key, values in tensors.items() if "batches" in key for value in values} == {6}
    after = made.strategy.carry()["tensors"]
    assert all(torch.equal(after[key], value) for key, value in tensors.items())


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_a_step_leaves_the_state_before_it_as_it_was(strategy):
    """A norm changes its running statistics in place; an earlier state that was kept must not change."""
    build, shape = NORMALISED["mlp"]
    made = Learner(build, torch.zeros(shape), loss="cross_entropy", optimizer=SGD(), strategy=strategy, compile=False)
    before = made.strategy.carry() if strategy == "stack" else made.strategy._carries[0]
    kept = copy.deepcopy(before["tensors"])
    made.advance(examples(torch.randn(1, 3, *shape), torch.randint(0, 3, (1, 3, shape[0]))))
    assert all(torch.equal(before["tensors"][key], value) for key, value in kept.items())
    assert all(not torch.equal(made.strategy.carry()["tensors"][key], value) for key, value in kept.items())


@pytest.mark.slow
@pytest.mark.skipif(compiling.compiler() is None, reason="compiling needs a C++ compiler")
def test_compiled_a_run_keeps_its_place_in_memory_and_what_was_taken_of_it_stays():
    made = learner(seeds=(0, 1), strategy="loop", unroll=1, compile=True)
    advance(made, *data(2, 2))
    places = [[leaf.data_ptr() for leaf in tree_leaves(own)] for own in made.strategy._carries]
    assert all(len(set(own)) == len(own) for own in places)
    taken, state = made.weights(), made.state_dict()
    kept = copy.deepcopy((taken, state["carry"]))
    advance(made, *data(2, 5))
    assert [[leaf.data_ptr() for leaf in tree_leaves(own)] for own in made.strategy._carries] == places
    for before, after in zip(tree_leaves(kept), tree_leaves((taken, state["carry"])), strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(made.weights()["layers.0.weight"], taken["layers.0.weight"])


@pytest.mark.slow
@pytest.mark.skipif(compiling.compiler() is None, reason="compiling needs a C++ compiler")
def test_batch_norm_compiled_equals_uncompiled():
    generator = torch.Generator().manual_seed(5)
    x, y = torch.randn(2, 6, 5, 12, generator=generator), torch.randint(0, 3, (2, 6, 5), generator=generator)
    plain, compiled = (
        Learner(
            lambda: MLP(12, [9], 3, normalisation="batch"),
            x[0, 0],
            loss="cross_entropy",
            optimizer=SGD(step_size=0.01, momentum=0.9),
            seeds=(0, 1),
            strategy="stack",
            compile=compile,
            unroll=1,
        )
        for compile in (False, True)
    )
    for each in (plain, compiled):
        each.advance(examples(x, y))
    tensors = compiled.strategy.carry()["tensors"]
    for key, value in plain.strategy.carry()["tensors"].items():
        torch.testing.assert_close(tensors[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cbp-drawn", "snp", "redo"])
def test_how_steps_are_cut_into_calls_makes_no_difference(name):
    x, y = data(3)
    whole, pieces = learner(METHODS[name]), learner(METHODS[name])
    advance(whole, x, y, STEPS)
    advance(pieces, x, y, 7)
    assert_same(whole, pieces)


@pytest.mark.parametrize("strategy", ["stack", "loop", "rank-one", "lanes"])
@pytest.mark.parametrize("name", ["cbp-drawn", "cbp-accumulate", "snp", "redo"])
def test_saved_and_loaded_the_next_steps_are_bitwise_equal(name, strategy):
    x, y = data(3)
    first = learner(METHODS[name], strategy=strategy)
    advance(first, x[:, :100], y[:, :100], 100)
    second = learner(METHODS[name], strategy=strategy)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    advance(first, x[:, 100:], y[:, 100:], 60)
    advance(second, x[:, 100:], y[:, 100:], 60)
    for name, value in first.weights().items():
        assert torch.equal(value, second.weights()[name])


@pytest.mark.parametrize("strategy", ["stack", "rank-one", "lanes"])
def test_runs_may_differ_in_settings(strategy):
    x, y = data(1)
    x, y = x.expand(3, -1, -1, -1), y.expand(3, -1, -1)
    varied = {"step_size": [0.01, 0.02, 0.02], "cbp.replacement_rate": [5e-3, 5e-3, 0.0]}
    grid = learner(METHODS["cbp"], seeds=(4, 4, 4), varied=varied, strategy=strategy)
    advance(grid, x, y)
    for run in range(3):
        method = ContinualBackprop(
            replacement_rate=varied["cbp.replacement_rate"][run],
            maturity_threshold=20,
            utility="adaptable_contribution",
        )
        alone = learner((method,), seeds=(4,), optimizer=SGD(step_size=varied["step_size"][run]), strategy=strategy)
        advance(alone, x[:1], y[:1])
        assert_same(alone, grid, slice(run, run + 1))
    assert [count[2] for count in grid.replaced().values()] == [0, 0]


def test_a_run_that_diverges_leaves_the_others_as_they_were():
    x, y = data(2, labels=False)
    both = learner(seeds=(0, 1), loss="mse", varied={"step_size": [0.02, 0.02]})
    wild = learner(seeds=(0, 1), loss="mse", varied={"step_size": [0.02, 1e9]})
    advance(both, x, y)
    advance(wild, x, y)
    for name, value in both.weights().items():
        assert torch.equal(value[0], wild.weights()[name][0])
        assert not wild.weights()[name][1].isfinite().all()


def test_tasks_are_told_to_the_methods():
    made = learner((HeadReset(to="zero"),))
    before = {name: value.clone() for name, value in made.weights().items()}
    made.new_task()
    after = made.weights()
    assert all((after[name] == 0).all() for name in made.network.head)
    assert all(torch.equal(after[name], before[name]) for name in after if name not in made.network.head)


def test_adam_counts_a_new_heads_updates_from_its_reset():
    x, y = data(1)
    made = learner((HeadReset(to="zero"),), seeds=(0,), optimizer=Adam(step_size=0.01))
    advance(made, x, y)
    made.new_task()
    made.advance(examples(x[:, :1], y[:, :1]))
    moved = made.weights()[made.network.head[0]][0]
    # Adam's first step is alpha in every entry that has a gradient, whatever its size
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.01), rtol=1e-3, atol=0)


def test_features_and_outputs_are_those_of_each_runs_network():
    made = learner(seeds=(0, 1))
    x = torch.randn(2, 5, 12)
    for run in range(2):
        net = network()
        net.load_state_dict({name: value[run] for name, value in made.weights().items()})
        torch.testing.assert_close(made.outputs(x)[run], net(x[run]), rtol=1e-5, atol=1e-6)
        hidden = torch.tanh(net.layers[0](x[run]))
        torch.testing.assert_close(made.features(x)["layers.0"][run].squeeze(-1), hidden, rtol=1e-5, atol=1e-6)


def test_a_linear_network_learns_without_units():
    made = Learner(lambda: LinearNetwork(12, 1), torch.zeros(1, 12), loss="mse", optimizer=SGD(), compile=False)
    x, y = torch.randn(1, 50, 1, 12), torch.randn(1, 50, 1, 1)
    made.advance(examples(x, y))
    assert made.features(x[:, :, 0]) == {}
    with pytest.raises(NetworkError):
        Learner(
            lambda: LinearNetwork(12, 1),
            torch.zeros(1, 12),
            loss="mse",
            optimizer=SGD(),
            methods=METHODS["cbp"],
            compile=False,
        )


def test_bad_input_is_refused_with_cause_and_cure():
    with pytest.raises(SettingError, match="'hinge' is not one of"):
        learner(loss="hinge")
    with pytest.raises(SettingError, match="'pile' is not one of auto"):
        learner(strategy="pile")
    with pytest.raises(SettingError, match="l2-init acts at every step"):
        learner((L2Init(),), strategy="rank-one")
    with pytest.raises(SettingError, match="shrink-and-perturb acts at every step"):
        learner(METHODS["snp-every-step"], strategy="lanes")
    with pytest.raises(SettingError, match="shrink-and-perturb acts at every step"):
        learner((*METHODS["snp-every-step"], *METHODS["cbp"]), strategy="rank-one")
    with pytest.raises(SettingError, match=r"cbp\.utility cannot differ"):
        learner(METHODS["cbp"], varied={"cbp.utility": [0, 1, 2]})
    with pytest.raises(SettingError, match="2 values for 3 runs"):
        learner(varied={"step_size": [0.1, 0.2]})
    with pytest.raises(CheckpointError, match="belongs to the methods"):
        learner(METHODS["cbp"]).load_state_dict(learner(METHODS["l2"]).state_dict())
    with pytest.raises(CheckpointError, match="other names or shapes"):
        learner(seeds=(0,)).load_state_dict(learner(seeds=(0, 1)).state_dict())


def test_the_strategy_follows_the_size():
    def kind(build, example, optimizer=SGD(), **more):
        made = Learner(build, example, loss="mse", optimizer=optimizer, **more)
        return made.strategy.name

    found, one = ("lanes", "rank-one") if compiling.compiler() else ("stack", "stack")
    assert kind(network, torch.zeros(1, 12), seeds=range(30)) == found
    assert kind(network, torch.zeros(1, 12), seeds=range(30), methods=METHODS["snp-every-step"]) == one
    wide = lambda: MLP(784, [100] * 3, 10)  # noqa: E731
    assert kind(wide, torch.zeros(1, 784)) == ("rank-one" if compiling.compiler() else "loop")
    assert kind(wide, torch.zeros(20, 784)) == "loop"
    small = lambda: MLP(240, [32], 1)  # noqa: E731
    assert kind(small, torch.zeros(1, 240), Adam(), seeds=range(30)) == "stack"
    assert kind(small, torch.zeros(20, 240), Adam(), seeds=range(30)) == "stack"
    assert kind(small, torch.zeros(20, 240), Adam()) == "loop"
    assert kind(wide, torch.zeros(20, 784), seeds=range(30)) == "loop"


def test_without_a_compiler_there_is_one_warning_and_the_same_result(monkeypatch):
    monkeypatch.setattr(compiling, "compiler", lambda: None)
    compiling.available.cache_clear()
    try:
        with pytest.warns(compiling.CompileWarning, match=r"Install g\+\+"):
            made = learner(METHODS["cbp"], compile=True, strategy="auto")
        learner(METHODS["cbp"], compile=True, strategy="auto")  # says it only once: warnings are errors here
        assert made.describe()["compiled"] is False
    finally:
        compiling.available.cache_clear()


@pytest.mark.slow
@pytest.mark.skipif(compiling.compiler() is None, reason="compiling needs a C++ compiler")
@pytest.mark.parametrize(("strategy", "name", "unroll"), [("stack", "cbp-drawn", 2), ("loop", "snp-every-step", 1)])
def test_compiled_equals_uncompiled(name, strategy, unroll):
    x, y = data(3, 64)
    small = partial(network, (9,))  # what takes its time is compiling
    plain = learner(METHODS[name], strategy=strategy, build=small)
    compiled = learner(METHODS[name], strategy=strategy, build=small, compile=True, unroll=unroll)
    # stretches of unequal length: a graph must not depend on the strides of what it is cut from
    for begin, end in ((0, 40), (40, 63), (63, 64)):
        plain.advance(examples(x[:, begin:end], y[:, begin:end]))
        compiled.advance(examples(x[:, begin:end], y[:, begin:end]))
    assert_same(plain, compiled)


def test_a_compiler_that_fails_is_named_with_the_way_out(monkeypatch, tmp_path):
    broken = tmp_path / "broken.cpp"
    broken.write_text("int main( {")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    if compiling.compiler() is None:
        pytest.skip("there is no C++ compiler that could fail")
    with pytest.raises(SettingError, match=r"could not compile broken\.cpp.*strategy='loop'"):
        compiling.kernel(broken)


def test_a_compiler_that_does_not_know_the_processor_compiles_without(monkeypatch, tmp_path):
    found = compiling.compiler()
    if found is None:
        pytest.skip("there is no C++ compiler")
    source, other = tmp_path / "seven.cpp", tmp_path / "other"
    source.write_text('extern "C" int seven() { return 7; }')
    other.write_text(f'#!/bin/sh\ncase "$*" in *=native*) echo "unknown flag" >&2; exit 1;; esac\nexec {found} "$@"\n')
    other.chmod(0o755)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "compiler", lambda: str(other))
    assert compiling.kernel(source).seven() == 7
