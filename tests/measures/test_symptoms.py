from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import neoteny
from measures.plastic import INPUTS, mlp, well, worn
from neoteny.measures import SYMPTOMS, Report, Trainability, trainability
from neoteny.measures.checkup import LayerReport
from neoteny.measures.symptoms import GUESS, NOT_FINITE, SLOW_LEARNING, UNREADY, findings
from neoteny.registry import METHODS


def signs(now, then, **options):
    return [finding.symptom for finding in findings("fc", now, then, "the start", **options)]


def test_every_symptom_names_registered_methods():
    assert {"cbp", "l2-init"} <= set(SLOW_LEARNING) <= set(METHODS)
    for symptom in (*SYMPTOMS, UNREADY):
        assert len(symptom.methods) == len(set(symptom.methods)) >= 4
        assert set(symptom.methods) <= set(METHODS)
    assert NOT_FINITE.methods == ("full-reset",)
    fields = {*LayerReport.__dataclass_fields__}
    assert all(symptom.measure in fields for symptom in SYMPTOMS)


@pytest.mark.parametrize(
    ("measure", "healthy", "ill", "then", "name"),
    [
        ("dormant_units", 0.39, 0.41, 0.3, "dormant units"),
        ("dormant_score", 0.39, 0.41, 0.3, "weak units"),
        ("srank_99", 11, 10, 20, "falling rank"),
        ("weight_magnitude", 0.19, 0.21, 0.1, "growing weights"),
        ("gradient_norm", 1e-9, 0.0, 1.0, "no gradient"),
    ],
)
def test_signs_are_changes_since_the_start(measure, healthy, ill, then, name):
    assert signs({measure: healthy}, {measure: then}) == []
    assert signs({measure: ill}, {measure: then}) == [name]
    assert signs({measure: None}, {measure: then}) == []
    assert signs({measure: 0.0}, {measure: 0.0}) == []
    assert signs({measure: ill}, {}) == ([name] if name == "no gradient" else [])


def test_growth_against_a_guess_must_be_larger():
    assert signs({"weight_magnitude": 2.1 * GUESS}, {"weight_magnitude": 1.0}, guessed=True) == ["growing weights"]
    assert signs({"weight_magnitude": 1.9 * GUESS}, {"weight_magnitude": 1.0}, guessed=True) == []


def test_one_word_for_dormant_units_and_one_for_what_is_not_finite():
    assert signs({"dormant_units": 0.5, "dormant_score": 0.5}, {"dormant_units": 0.0, "dormant_score": 0.0}) == [
        "dormant units"
    ]
    assert signs({"dormant_units": 0.5, "srank_99": float("nan")}, {"dormant_units": 0.0}) == ["not finite"]


def test_a_worn_network_is_named_with_reasons_and_methods():
    by_name = {symptom.name: symptom for symptom in SYMPTOMS}
    for reference in (None, mlp(), mlp().state_dict(), neoteny.diagnose(mlp(), INPUTS)):
        report = neoteny.diagnose(worn(), INPUTS, reference=reference)
        found = report.signs()
        assert {finding.layer for finding in found} == {"0", "2"}
        dormant = next(finding for finding in found if finding.symptom == "dormant units")
        assert {"cbp", "redo"} <= set(dormant.methods)
        assert report.reference_is in dormant.reason
        growing = [finding.methods for finding in found if finding.symptom == "growing weights"]
        assert set(growing) == (set() if reference is None else {by_name["growing weights"].methods})
        shown = str(report)
        assert "Signs to watch" in shown
        assert "redo, cbp" in shown
        assert "dormant units" in report.to_frame().filter(layer="2")["signs"].to_list()[0]


@pytest.mark.parametrize("make", [mlp, well])
def test_a_healthy_network_is_not(make):
    for reference in (None, mlp()):
        report = neoteny.diagnose(make(), INPUTS, reference=reference)
        assert report.signs() == ()
        assert "No layer shows a sign of plasticity loss." in str(report)


def test_a_deep_network_born_with_dormant_units_is_not():
    torch.manual_seed(0)
    layers = [module for _ in range(8) for module in (nn.Linear(10, 10), nn.ReLU())]
    net = nn.Sequential(*layers, nn.Linear(10, 1))
    report = neoteny.diagnose(net, INPUTS, reference=net)
    assert report.dormant_units > 0.1
    assert report.signs() == ()


def test_growth_is_against_what_is_given():
    net, start = mlp(), mlp()
    with torch.no_grad():
        net[2].weight.mul_(20)
    by_model = neoteny.diagnose(net, INPUTS, reference=start)
    assert by_model.reference_is == "the reference"
    assert [layer.weight_growth for layer in by_model.layers] == pytest.approx([1, 20])
    again = neoteny.diagnose(net, INPUTS, reference=by_model)
    assert [layer.weight_growth for layer in again.layers] == pytest.approx([1, 1])
    assert again.reference_is == "the earlier check-up"
    assert isinstance(again.reference, Report)
    assert again.reference.reference is None
    fresh = neoteny.diagnose(net, INPUTS)
    assert fresh.reference_is == "a fresh copy"
    # the layer left alone shows its initialiser, and the mean of |w| over 320 weights is known to a few per cent
    assert fresh.layers[0].weight_growth == pytest.approx(1, abs=0.1)
    assert not fresh.layers[0].guessed
    assert fresh.layers[1].guessed
    assert "~" in str(fresh)


def test_the_verdict_comes_from_the_direct_measure_alone():
    momentum = torch.optim.SGD(mlp().parameters(), 0.05, momentum=0.9)
    settings = {"steps": 60, "classes": 3, "optimizer": momentum}
    bare = neoteny.diagnose(worn(), INPUTS, reference=mlp())
    assert bare.losing is None
    assert bare.signs()
    assert "Verdict: none, as it was not measured" in str(bare)
    assert "Signs alone are no verdict" in " ".join(str(bare).split())
    measured = neoteny.diagnose(worn(), INPUTS, reference=mlp(), trainability=settings)
    assert measured.losing is measured.trainability.losing is True
    assert "Verdict: slower than a new network" in str(measured)
    assert "Acting on that: " + SLOW_LEARNING[0] in " ".join(str(measured).split())
    healthy = neoteny.diagnose(well(), INPUTS, reference=mlp(), trainability=settings)
    assert healthy.losing is False
    assert "Verdict: as young as new" in str(healthy)
    assert "Acting on that" not in str(healthy)


def test_gradients_that_contradict_each_other_are_a_sign():
    report = neoteny.diagnose(mlp(), INPUTS, reference=mlp())
    for own, shown in ((0.3, True), (0.9, False), (float("nan"), False)):
        direct = Trainability((0.1,), (0.1,), 10, readiness=(own,), fresh_readiness=(0.8,))
        found = [(each.layer, each.symptom) for each in replace(report, trainability=direct).signs()]
        assert found == ([("", UNREADY.name)] if shown else [])


@pytest.mark.parametrize(
    ("targets", "learns"),
    [(torch.arange(256) % 3, "3 classes by Adam at 0.001"), (7 * INPUTS[:, :3], "values by Adam at 0.001")],
)
def test_copies_learn_what_the_targets_are(targets, learns):
    quick = {"steps": 2, "repeats": 1}
    direct = neoteny.diagnose(mlp(), INPUTS, targets=targets, trainability=quick).trainability
    assert direct.learns == learns
    told = {"classes": 3} if "classes" in learns else {"scale": float(targets.std(correction=0))}
    assert direct.errors == trainability(mlp(), INPUTS, **told, **quick).errors


def test_the_manual_says_the_same():
    manual = (Path(__file__).parents[2] / "docs" / "usage.md").read_text()
    rows = [line for line in manual.splitlines() if line.startswith("| ")]
    for symptom in SYMPTOMS:
        (row,) = [row for row in rows if row.startswith(f"| {symptom.name}")]
        assert row.endswith(f"| {', '.join(f'`{name}`' for name in symptom.methods)} |")
