import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import neoteny.measures as measures
from neoteny.errors import SettingError, UnknownNameError

FEATURES = torch.randn(3, 50, 6, 2, generator=torch.Generator().manual_seed(0)).relu()
FEATURES[1, :, 2] = 0


def test_several_at_once_are_the_single_ones():
    found = measures.of_features(measures.FEATURE_MEASURES, FEATURES)
    assert tuple(found) == measures.FEATURE_MEASURES
    for name, values in found.items():
        assert values.shape == (3,)
        assert torch.equal(values, getattr(measures, name)(FEATURES, positions=True))


def test_thresholds_in_brackets():
    found = measures.of_features(["dormant_units(0.6)", "dormant_score(1e-1)", "dormant_score"], FEATURES)
    assert torch.equal(found["dormant_units(0.6)"], measures.dormant_units(FEATURES, 0.6, positions=True))
    assert torch.equal(found["dormant_score(1e-1)"], measures.dormant_score(FEATURES, 0.1, positions=True))
    assert torch.equal(found["dormant_score"], measures.dormant_score(FEATURES, 0.025, positions=True))


def test_singular_values_are_found_once(monkeypatch):
    calls = []
    original = torch.linalg.svdvals
    monkeypatch.setattr(torch.linalg, "svdvals", lambda *args: calls.append(1) or original(*args))
    measures.of_features(measures.FEATURE_MEASURES, FEATURES)
    assert len(calls) == 1
    measures.of_features(["dead_units"], FEATURES)
    assert len(calls) == 1


def test_bad_names_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'srank_99'"):
        measures.of_features(["srank99"], FEATURES)
    with pytest.raises(UnknownNameError):
        measures.of_features(["dormant_units(0.1"], FEATURES)
    with pytest.raises(SettingError, match="no threshold"):
        measures.of_features(["dead_units(0.1)"], FEATURES)
    with pytest.raises(SettingError, match="not a number"):
        measures.of_features(["dormant_units(few)"], FEATURES)
    with pytest.raises(SettingError, match="p = 3"):
        measures.of_features(["dormant_units(3)"], FEATURES)
    with pytest.raises(AttributeError):
        _ = measures.nothing


def test_names_are_all_there():
    for name in measures.__all__:
        assert name in dir(measures)
        assert getattr(measures, name) is getattr(measures, name)
    functions = {*measures.WEIGHT_MEASURES, *measures.FEATURE_MEASURES} - {"step_size"}  # which the optimizer knows
    assert functions <= set(measures.__all__)


def test_names_are_read_without_torch():
    code = "import sys; from neoteny.measures import FEATURE_MEASURES; sys.exit('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_probe_set():
    inputs = torch.arange(40.0).reshape(20, 2)
    probe = measures.probe_set(inputs, 7)
    assert probe.shape == (7, 2)
    assert len({row[0].item() for row in probe}) == 7
    assert torch.equal(probe, measures.probe_set(inputs, 7))
    assert not torch.equal(probe, measures.probe_set(inputs, 7, seed=1))
    np.testing.assert_array_equal(measures.probe_set(inputs.numpy(), 7), probe.numpy())
    everything = measures.probe_set(inputs, 1000)
    assert torch.equal(everything, inputs)
    everything.zero_()
    assert inputs[3, 0] == 6
    for bad in (0, -1, 1.5):
        with pytest.raises(SettingError):
            measures.probe_set(inputs, bad)
    with pytest.raises(SettingError):
        measures.probe_set(inputs[:0])
    with pytest.raises(SettingError, match="seed = -1"):
        measures.probe_set(inputs, 7, seed=-1)
