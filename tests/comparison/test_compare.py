"""`neoteny.compare`: what is predicted and learned, how settings are chosen, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from comparison.streams import classes, dead, mlp, regression, sgd
from neoteny.comparison.entries import Entry
from neoteny.comparison.given import as_entries, usual_loss
from neoteny.comparison.learning import Problem, Way, learn
from neoteny.comparison.result import Comparison
from neoteny.comparison.stream import OwnStream
from neoteny.comparison.tuning import COARSE, FINE, tune
from neoteny.methods import Method
from neoteny.report.statistics.paired import differences

RESETS = neoteny.ContinualBackprop(replacement_rate=0.1, maturity_threshold=2)


def problem(build, batches, **options):
    return Problem(build, sgd, OwnStream(batches), usual_loss(batches[0][1]), **options)


@pytest.fixture(scope="module")
def helped():
    return neoteny.compare(dead, sgd, regression(60), [RESETS, neoteny.L2(strength=1e-6)], seeds=3, points=1, fresh=2)


def test_each_batch_is_predicted_before_it_is_learned_from():
    """Against gradient descent on a linear map, in NumPy and double precision."""
    batches = [(x.double(), y.double()) for x, y in regression(12)]
    found = learn(problem(lambda: nn.Linear(4, 1, dtype=torch.float64), batches), Way(factor=0.5), 3, 10)
    torch.manual_seed(3)
    start = nn.Linear(4, 1, dtype=torch.float64)
    w, b = start.weight.detach().numpy()[0].copy(), float(start.bias.detach())
    for loss, (x, y) in zip(found.losses, batches, strict=False):
        x, error = x.numpy(), x.numpy() @ w + b - y.numpy()[:, 0]
        np.testing.assert_allclose(loss, np.mean(error**2), rtol=1e-6)  # kept in single precision
        w, b = w - 0.025 * 2 * error @ x / len(x), b - 0.025 * 2 * error.mean()
    assert len(found.losses) == 10
    assert found.accuracies is None


def test_the_prediction_is_that_of_evaluation():
    """Dropout of everything in training: its outputs are 0 there, and those of evaluation are recorded."""

    def build():
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(1.0), nn.Linear(8, 1, bias=False))

    batches = regression(10)
    found = learn(problem(build, batches), Way(), 0, 1)
    torch.manual_seed(0)
    model = build().eval()
    x, y = batches[0]
    assert found.losses[0] == pytest.approx(float(nn.functional.mse_loss(model(x), y).detach()), rel=1e-6)
    average = learn(problem(mlp, batches), Way((neoteny.EMA(mu=0.999),)), 0, 10).losses
    assert average[-1] > learn(problem(mlp, batches), Way(), 0, 10).losses[-1]  # the slow average is what predicts


def test_runs_repeat_and_a_method_that_does_nothing_changes_nothing():
    stream = problem(lambda: mlp(3), classes(12))
    one, again, other = (learn(stream, Way(), seed, 12) for seed in (0, 0, 1))
    assert one.losses.tolist() == again.losses.tolist() != other.losses.tolist()
    assert one.accuracies is not None
    assert all(0 <= value <= 1 for value in one.accuracies)
    with pytest.warns(neoteny.PlasticityWarning, match="Nothing will ever happen"):
        idle = learn(stream, Way((neoteny.L2(strength=0.0),)), 0, 12)
    np.testing.assert_allclose(idle.losses, one.losses, rtol=1e-5)
    anew = learn(stream, Way(), 0, 12, anew=(6,))
    assert anew.losses[:6].tolist() == one.losses[:6].tolist()
    assert anew.losses[6] != one.losses[6]


def test_changes_of_task_reach_the_methods():
    batches, head = regression(10), neoteny.HeadReset()
    told = learn(problem(mlp, batches, tasks=frozenset({5})), Way((head,)), 0, 10).losses
    bare = learn(problem(mlp, batches), Way(), 0, 10).losses
    np.testing.assert_allclose(told[:5], bare[:5], rtol=1e-5)
    assert told[5] != pytest.approx(bare[5])


def test_every_entry_gets_as_many_points():
    for methods in ((), (neoteny.L2Init(),), (neoteny.WithCReLU(),), (RESETS, neoteny.L2())):
        seen: list[Way] = []

        def score(way: Way, seen=seen) -> list[float]:
            seen.append(way)
            return [abs(way.factor - 0.3), 0.0]

        tuned = tune(methods, 7, score, higher_is_better=False)
        assert len(seen) == len(set(map(repr, seen))) == 7
        assert [way.factor for way in seen[:4]] == list(COARSE[:4])
        assert tuned.way.factor == pytest.approx(0.3)
        assert all(type(a) is type(b) for way in seen for a, b in zip(way.methods, methods, strict=True))
        if not methods:
            assert [way.factor for way in seen[4:]] == [0.3 * fine for fine in FINE[:3]]
        else:
            own = [way for way in seen[4:] if way.factor == 0.3]
            assert len(own) == (3 if any(method.grid for method in methods) else 0)
    assert tune((), 1, score, higher_is_better=False).way == Way()


def test_a_point_that_turns_non_finite_is_not_chosen():
    tuned = tune((), 4, lambda way: [float("nan") if way.factor < 1 else way.factor], higher_is_better=False)
    assert tuned.way.factor == 1


def test_resets_help_where_all_units_are_dead(helped):
    assert [entry.name for entry in helped.entries] == ["bare loop", "fresh network", "cbp", "l2"]
    assert helped.best == "cbp"
    assert helped.better == ("cbp",)
    expected = differences({name: helped.scores(name) for name in ("bare loop", "cbp", "l2")}, to="bare loop")
    assert helped.against_bare == expected
    said = " ".join(helped.says())
    assert "cbp is better than the bare loop: loss" in said
    assert helped.first == 0  # nothing was tuned


def test_it_says_so_where_no_method_helps():
    found = neoteny.compare(mlp, sgd, regression(30), neoteny.L2(strength=1.0), seeds=3, points=1, fresh=0)
    assert found.best == "bare loop"
    assert found.says()[0] == "No method is better than the bare loop here."
    assert found.code().startswith("# No method is better than the bare loop here.\nmodel = mlp()\n")


class Ageing(nn.Module):
    """Learns nothing after 20 steps."""

    def __init__(self):
        super().__init__()
        self.net, self.age = nn.Linear(4, 1), 0

    def forward(self, x):
        self.age += self.training
        out = self.net(x)
        return out if self.age < 20 else out.detach() + 0.0 * out


def test_a_network_that_begins_anew_shows_lost_plasticity():
    turned = [(x, -y) for x, y in regression(40)]
    batches = [*regression(40)[:20], *turned[20:]]
    found = neoteny.compare(Ageing, sgd, batches, "l2", seeds=3, points=1, fresh=2)
    assert found.anew == (0, 20)
    (said,) = [line for line in found.says() if "begins anew" in line]
    assert said.startswith("A network that begins anew 2 times")
    assert said.endswith("so plasticity is being lost.")
    late = np.r_[10:20, 30:40]
    gap = found.scores("fresh network", late) - found.scores("bare loop", late)
    assert f"{gap.mean():+.2f}"[:3] in said
    plain = neoteny.compare(lambda: nn.Linear(4, 1), sgd, regression(40), "l2", seeds=3, points=1, fresh=2)
    assert "is being lost" not in " ".join(plain.says())


def test_the_score_is_the_mean_over_examples_after_the_part_for_tuning():
    batches = regression(20)
    batches[-1] = tuple(part[:3] for part in batches[-1])
    found = neoteny.compare(mlp, sgd, batches, "l2", seeds=2, points=2, tuning_seeds=1, tuning_share=0.4, fresh=0)
    assert found.first == 8
    losses = found["bare loop"].losses
    expected = [(own[8:19].sum() * 16 + own[19] * 3) / (11 * 16 + 3) for own in losses]
    np.testing.assert_allclose(found.scores("bare loop"), expected, rtol=1e-12)
    assert [len(entry.tried) for entry in found.entries] == [2, 2]
    assert neoteny.compare(mlp, sgd, batches, "l2", seeds=1, points=1, last=10).sizes == (16,) * 9 + (3,)


def test_runs_that_turn_non_finite_are_told():
    found = neoteny.compare(mlp, sgd, regression(12), neoteny.L2(strength=1e20), seeds=2, points=1, fresh=0)
    assert found.best == "bare loop"
    assert "l2: 2 of 2 runs became non-finite." in found.says()
    assert "0 of 2" in str(found) or "-" in str(found)
    broken = neoteny.compare(mlp, lambda p: torch.optim.SGD(p, 1e12), regression(12), "l2", seeds=2, points=1, fresh=0)
    assert broken.says()[0] == "2 of 2 runs of the bare loop became non-finite."


def test_a_classifier_that_turned_non_finite_is_not_taken_for_one_that_says_class_0():
    batches = [(x, torch.zeros(len(x), dtype=torch.int64)) for x, _ in classes(12)]
    ways = (Way((neoteny.L2(strength=1e20),)), Way())
    lost, well = (learn(problem(lambda: mlp(2), batches), way, 0, 12) for way in ways)
    assert np.isnan(lost.losses[-1])
    assert np.isnan(lost.accuracies[-1])
    assert np.isfinite(well.accuracies).all()


def test_one_run_says_nothing(helped):
    found = neoteny.compare(mlp, sgd, regression(10), "l2", seeds=1, points=1)
    assert found.best == "bare loop"
    assert "cannot be told" in found.says()[0]


def test_the_short_list_leaves_out_what_cannot_act():
    found = neoteny.compare(lambda: nn.Linear(4, 1), sgd, regression(8), seeds=2, points=1, fresh=0)
    assert {"cbp", "redo", "crelu"} <= set(found.left_out)
    assert {"huber-init", "weight-clipping"} <= {entry.name for entry in found.entries}
    assert any(line.startswith("Left out: cbp, which cannot act on this network") for line in found.says())


def test_entries_by_name_by_instance_and_together():
    assert list(as_entries(["cbp+l2", RESETS, "cbp", ["redo", "l2"]], False)) == [
        "cbp + l2",
        "cbp",
        "cbp (2)",
        "redo + l2",
    ]
    assert "hare-and-tortoise" in as_entries(None, True)
    assert "hare-and-tortoise" not in as_entries(None, False)
    assert list(as_entries("l2", False)) == list(as_entries(neoteny.L2(), False)) == ["l2"]


def test_table_frame_and_figure(helped):
    frame = helped.to_frame()
    assert frame["entry"].to_list() == ["bare loop", "fresh network", "cbp", "l2"]
    assert frame["p"].to_list()[2] == pytest.approx(helped.against_bare["cbp"].p)
    shown = str(helped)
    assert shown.index("cbp") < shown.index("bare loop")
    assert "reported from batch 0 on" in shown
    assert helped.markdown().count("\n|") == 5
    axes = helped.figure().axes[0]
    assert len(axes.lines) == 4
    assert axes.get_ylabel() == "loss"
    with pytest.raises(neoteny.errors.UnknownNameError, match="accuracy"):
        helped.figure("accuracy")


def test_the_figure_says_which_runs_became_non_finite_and_has_no_more_bins_than_asked():
    losses = np.ones((3, 47))
    broken = np.where(np.arange(47) < 20, losses, np.inf)
    entries = tuple(
        Entry(name, Way(), values, None, 1.0)
        for name, values in (("bare loop", losses), ("cbp", np.concatenate([broken[:2], losses[:1]])))
    )
    figure = Comparison(entries, (8,) * 47, 0, (), (0.1,), {}).figure(bins=24)
    assert len(figure.axes[0].lines[0].get_xdata()) == 24
    assert "cbp: 2 of 3 runs became non-finite" in " ".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize("methods", ["cbp", "crelu", "c-chain", "l2+redo"])
def test_the_code_runs(methods):
    found = neoteny.compare(mlp, sgd, regression(8), methods, seeds=1, points=2, tuning_seeds=1, tuning_share=0.3)
    x, y = regression(1)[0]
    space = {"torch": torch, "mlp": mlp, "sgd": sgd, "inputs": x, "other_inputs": x}
    exec(found.code(found.entries[2].name), space)
    model, optimizer, plasticity = (space[name] for name in ("model", "optimizer", "plasticity"))
    assert tuple(plasticity.methods.values()) == found.entries[2].way.methods
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * found.entries[2].way.factor, rel=1e-3)
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()


class Lazy(Method):
    """A method of one's own."""


def test_the_code_of_ones_own_method_imports_it():
    found = neoteny.compare(mlp, torch.optim.Adam, regression(8), Lazy(), seeds=1, points=1)
    code = found.code("Lazy")
    assert f"import {__name__}\n" in code
    assert f"[{__name__}.Lazy()]" in code
    assert "import torch\n" in code
    assert "torch.optim.Adam(model.parameters())" in code
