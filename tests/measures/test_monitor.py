from __future__ import annotations

import copy
import importlib.util
import json
import warnings

import polars as pl
import pytest
import torch
from torch import nn
from torch.nn import functional

import neoteny
from measures.plastic import INPUTS, mlp
from neoteny.errors import CheckpointError, NetworkError, SettingError, UnknownNameError
from neoteny.measures import PlasticityLossWarning
from neoteny.measures.monitor import MEASURES

TARGETS = INPUTS[:, :3]
NAMES = {f"neoteny/{layer}/{measure}" for layer in "02" for measure in (*MEASURES, "weight_growth")}


def train(net, steps=4, optimizer=None, monitor=None):
    optimizer = optimizer or torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.mse_loss(functional.dropout(net(INPUTS[:32]), 0.1), TARGETS[:32]).backward()
        optimizer.step()
        if monitor is not None:
            monitor.step()
    return net


def test_it_measures_what_the_check_up_does():
    net, log = mlp(), []
    start = copy.deepcopy(net)
    monitor = neoteny.Monitor(net, INPUTS, every=2, log=log, targets=TARGETS)
    train(net, 5, monitor=monitor)
    assert [row["step"] for row in log] == [0, 2, 4]
    train(net, 1, monitor=monitor)
    report = neoteny.diagnose(net, INPUTS, reference=start, targets=TARGETS)
    for layer in report.layers:
        for measure in (*MEASURES, "weight_growth", "gradient_norm"):
            assert log[-1][f"neoteny/{layer.layer}/{measure}"] == pytest.approx(getattr(layer, measure), rel=1e-5)
    gradients = torch.autograd.grad(functional.mse_loss(net(INPUTS), TARGETS), net[0].weight)
    assert log[-1]["neoteny/0/gradient_norm"] == pytest.approx(gradients[0].norm().item(), rel=1e-5)
    assert log[0]["neoteny/2/weight_growth"] == 1


class Restless(nn.Module):
    """A norm, dropout and random numbers: everything that a pass moves."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, x):
        return self.body(x) + 0.01 * torch.rand(3)


def test_training_does_not_notice():
    def trained(monitored):
        torch.manual_seed(0)
        net = Restless()
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        log = {}
        settings = {"every": 1, "log": log, "optimizer": optimizer, "targets": TARGETS}
        monitor = neoteny.Monitor(net, INPUTS, **settings) if monitored else None
        train(net, 6, optimizer)
        assert net.training
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
        assert monitor is None or len(log["neoteny/body.0/dead_units"]) == 7
        return [*net.state_dict().values(), *(p.grad for p in net.parameters()), torch.get_rng_state()]

    assert all(torch.equal(a, b) for a, b in zip(trained(True), trained(False), strict=True))


def test_it_rides_on_the_optimizer_until_detached():
    net, log = mlp(), {}
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    monitor = neoteny.Monitor(net, INPUTS, every=3, log=log, optimizer=optimizer)
    train(net, 7, optimizer)
    assert monitor.steps == 7
    assert set(log) == NAMES
    assert [step for step, _ in log["neoteny/0/srank_99"]] == [0, 3, 6]
    monitor.detach()
    train(net, 3, optimizer)
    assert monitor.steps == 7


def test_history_and_going_on_after_a_checkpoint():
    whole, first = mlp(), mlp()
    torch.manual_seed(0)
    kept = neoteny.Monitor(whole, INPUTS, every=2)
    train(whole, 6, monitor=kept)
    torch.manual_seed(0)
    begun = neoteny.Monitor(first, INPUTS, every=2)
    train(first, 3, monitor=begun)
    saved = json.loads(json.dumps(begun.state_dict()))
    resumed = neoteny.Monitor(first, INPUTS, every=2)  # its own start is not the network's
    resumed.load_state_dict(saved)
    train(first, 3, monitor=resumed)
    history = resumed.history()
    assert history.equals(kept.history())
    assert history.columns == ["step", "metric", "layer", "value"]
    assert history["step"].unique().sort().to_list() == [0, 2, 4, 6]
    growth = history.filter((pl.col("metric") == "weight_growth") & (pl.col("step") == 6))
    assert growth["value"].to_list() != [1, 1]

    other = neoteny.Monitor(mlp(), INPUTS, measures=["dead_units"])
    for state, message in ((saved, "measured"), ({**saved, "version": 0}, "version 0")):
        with pytest.raises(CheckpointError, match=message):
            other.load_state_dict(state)
    assert other.steps == 0


def test_it_warns_once_a_layer():
    net = mlp()
    monitor = neoteny.Monitor(net, INPUTS, every=1, warn=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(net, 2, monitor=monitor)
    with torch.no_grad():
        net[0].bias[:16] = -1e3
    message = r"After 3 steps 0: 5\d% of its units are dormant .* redo, cbp"
    with pytest.warns(PlasticityLossWarning, match=message) as told:
        monitor.step()
    assert len(told) == 1
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.step()


def test_weights_that_begin_at_zero_are_finite():
    net = mlp()
    nn.init.zeros_(net[2].weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PlasticityLossWarning)
        monitor = neoteny.Monitor(net, INPUTS, warn=True)
    assert monitor.measure()["2"]["weight_magnitude"] == 0


def test_a_wrapped_network_has_its_own_names():
    log = {}
    neoteny.Monitor(nn.DataParallel(mlp()), INPUTS, log=log)
    assert set(log) == NAMES


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"every": 0}, SettingError, "every = 0"),
        ({"every": 2.5}, SettingError, "every = 2.5"),
        ({"measures": ["dead"]}, UnknownNameError, "Did you mean 'dead_units'"),
        ({"measures": ["gradient_norm"]}, SettingError, "needs a loss"),
        ({"loss": lambda output: output}, SettingError, r"Tensor \[256, 3\]"),
        ({"loss": lambda output: 3.0}, SettingError, "float 3.0"),
        ({"log": 3}, SettingError, "log = 3"),
    ],
)
def test_what_cannot_be_is_told(settings, error, message):
    with pytest.raises(error, match=message):
        neoteny.Monitor(mlp(), INPUTS, **settings)


def test_a_network_without_hidden_units_is_refused():
    with pytest.raises(NetworkError):
        neoteny.Monitor(nn.Linear(10, 3), INPUTS)


def test_a_function_as_log():
    seen = []
    neoteny.Monitor(mlp(), INPUTS, log=lambda values, step: seen.append((step, set(values))))
    assert seen == [(0, NAMES)]


def needs(module: str):
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed: pip install -e '.[tracking]'")


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    net = mlp()
    with SummaryWriter(str(tmp_path)) as writer:
        monitor = neoteny.Monitor(net, INPUTS, every=2, log=writer)
        train(net, 4, monitor=monitor)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == NAMES
    for name in NAMES:
        _, layer, metric = name.split("/")
        rows = monitor.history().filter(layer=layer, metric=metric)
        assert [event.step for event in events.Scalars(name)] == rows["step"].to_list()
        assert [event.value for event in events.Scalars(name)] == pytest.approx(rows["value"].to_list(), rel=1e-6)


@needs("wandb")
def test_weights_and_biases_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for folder in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(folder, str(tmp_path / folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # W&B's own, about its dependencies
        import wandb

        settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
        run = wandb.init(dir=str(tmp_path), project="neoteny", settings=settings)
        net = mlp()
        monitor = neoteny.Monitor(net, INPUTS, every=2, log=run)
        for step in range(4):
            run.log({"mine": step}, step=step + 1)  # counting in one's own way goes on working
            train(net, 1, monitor=monitor)
        summary = dict(run.summary)
        run.finish()
    assert NAMES <= set(summary)
    assert (summary["neoteny/step"], summary["mine"]) == (4, 3)
    last = monitor.history().filter(step=4, layer="2", metric="srank_99")["value"].item()
    assert summary["neoteny/2/srank_99"] == last
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
