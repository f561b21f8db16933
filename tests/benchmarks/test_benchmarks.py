"""One contract for every registered benchmark: what it takes to run, list, resume and trust it."""

from __future__ import annotations

import inspect
import itertools
import pickle
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch

from neoteny import data, registry
from neoteny.errors import SettingError, UnknownNameError
from neoteny.measures import FEATURE_MEASURES, WEIGHT_MEASURES

BENCHMARKS = {name: entry.load() for name, entry in registry.BENCHMARKS.items()}
EVERY = [
    pytest.param(cls, scale, system, id=f"{name}-{scale}-{system}")
    for name, cls in BENCHMARKS.items()
    for scale, system in itertools.product(cls.SCALES, cls.SYSTEMS)
]
each = pytest.mark.parametrize("cls", BENCHMARKS.values(), ids=BENCHMARKS)


@pytest.fixture(autouse=True)
def _no_download(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (300, 784), dtype=np.uint8)
    monkeypatch.setattr(data, "mnist", lambda data_dir=None, train=True: (images, np.arange(300) % 10))


def of(cls, scale, system):
    return cls.preset(scale, **cls.SYSTEMS[system].overrides)


@pytest.mark.parametrize(("cls", "scale", "system"), EVERY)
def test_the_network_is_the_one_described_and_fits_the_stream(cls, scale, system):
    if scale == "paper" and cls.__name__ != "SlowlyChangingRegression":
        pytest.skip("the paper's widths differ from small's in nothing else, and take long to draw")
    problem = of(cls, scale, system)
    stream = problem.build_stream([3, 4, 5])
    x, y = stream.next(2)
    assert x.shape[:3] == (3, 2, problem.batch_size) and x.dtype == torch.float32
    network = problem.build_network()
    outputs = network(x[0, 0])
    if problem.LOSS == "mse":
        assert outputs.shape == y[0, 0].shape and y.dtype == torch.float32
    else:
        assert y.shape == (3, 2, problem.batch_size) and y.dtype == torch.int64
        assert outputs.shape[0] == problem.batch_size and 0 <= y.min() and y.max() < outputs.shape[1]
    sizes = problem.network_settings()["sizes"]
    linear = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    assert [linear[0].in_features, *(layer.out_features for layer in linear)] == sizes
    assert stream.task_length == problem.task_length
    assert stream.probe(problem.probe_size).shape == (3, problem.probe_size, *x.shape[3:])


@pytest.mark.parametrize(("cls", "scale", "system"), EVERY)
def test_lengths_fit_together(cls, scale, system):
    problem = of(cls, scale, system)
    assert problem.steps % problem.bin_size == 0
    if scale != "tiny":  # which is uneven on purpose: it is there for tests
        assert problem.steps % problem.measure_every == 0
    else:
        assert problem.steps <= 1_000 and problem.tasks >= 3


@each
def test_a_stream_goes_on_where_it_was(cls):
    problem = cls.preset("tiny")
    one, other = problem.build_stream([3, 4]), problem.build_stream([3, 4])
    one.next(problem.task_length + 7)
    other.load_state_dict(one.state_dict())
    for mine, theirs in zip(one.next(5), other.next(5), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(one.probe(3), other.probe(3))


@each
def test_every_setting_has_words_of_help(cls):
    source = "".join(inspect.getsource(base) for base in cls.__mro__ if is_dataclass(base))
    for field in fields(cls):
        assert re.search(rf"^    {field.name}: .*\n    \"\"\"\w", source, re.MULTILINE), field.name


@each
def test_its_docstring_names_version_known_figures_and_source(cls):
    assert f"v{cls.ID.rpartition('-v')[2]}:" in cls.__doc__
    assert "Known" in cls.__doc__ and ">>>" in cls.__doc__
    assert "Nature 632" in inspect.getmodule(cls).__doc__


@each
def test_it_is_a_value(cls):
    problem = cls.preset("small")
    assert pickle.loads(pickle.dumps(problem)) == problem
    assert cls(**{key: value for key, value in problem.settings().items() if key != "steps"}) == problem
    assert cls.preset("paper") == cls()
    with pytest.raises(AttributeError):
        problem.tasks = 3


@each
def test_measures_are_known(cls):
    assert cls.MEASURES
    assert {name.partition("(")[0] for name in cls.MEASURES} <= {*FEATURE_MEASURES, *WEIGHT_MEASURES}


@each
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("tasks", 0),
        ("task_length", -1),
        ("bin_size", 0),
        ("bin_size", 10**12),
        ("measure_every", 0),
        ("probe_size", 0),
        ("batch_size", 0),
        ("step_size", -1.0),
        ("step_size", float("nan")),
        ("optimizer", "sdg"),
        ("activation", "rleu"),
        ("momentum", 1.0),
    ],
)
def test_bad_settings_are_refused_with_their_value(cls, setting, value):
    with pytest.raises(SettingError, match=f"{setting} = {value!r}"):
        cls.preset("paper", **{setting: value})


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("slowly-changing-regression", "hidden", 0),
        ("slowly-changing-regression", "held_bits", 21),
        ("slowly-changing-regression", "beta", 2.0),
        ("online-permuted-mnist", "width", 0),
        ("online-permuted-mnist", "depth", -1),
        ("online-permuted-mnist", "normalisation", "batch"),
    ],
)
def test_bad_settings_of_its_own_are_refused(name, setting, value):
    with pytest.raises(SettingError, match=setting):
        registry.benchmark(name).load()(**{setting: value})


@each
def test_an_unknown_scale_is_refused(cls):
    with pytest.raises(UnknownNameError, match="Did you mean 'small'"):
        cls.preset("smal")


def test_no_torch_is_imported_to_list_them():
    script = (
        "import sys; from neoteny import registry; [entry.load() for entry in registry.BENCHMARKS.values()];"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": ":".join(filter(None, sys.path))})
