"""Methods, optimizers and benchmarks of one's own in the laboratory, registered or not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

import neoteny
from neoteny import lab, registry
from neoteny.benchmarks.slowly_changing_regression import SlowlyChangingRegressionBenchmark
from neoteny.checks import require_fraction
from neoteny.errors import RunFolderError, SettingError, UnknownNameError
from neoteny.lab.config import RunConfig
from neoteny.methods import Method
from neoteny.optim import SGD

NAME = "slowly-changing-regression"
TINY = {"runs": 2, "scale": "tiny", "compile": False, "progress": False}
MODULE = """
from dataclasses import dataclass
from typing import ClassVar
from neoteny.benchmarks.slowly_changing_regression import SlowlyChangingRegressionBenchmark
from neoteny.methods import Method
from neoteny.optim import SGD

@dataclass(frozen=True, kw_only=True)
class Shrinking(Method):
    rate: float = 0.01
    def intervene(self, step, state, due):
        step.tensors.update({name: value * (1 - self.rate) for name, value in step.tensors.items()})
        return state

@dataclass(frozen=True, kw_only=True)
class Slow(SGD):
    name: ClassVar[str] = "slow"
    factor: float = 0.5
    def update(self, tensors, grads, optim, count, signals=None):
        super().update(tensors, {name: g * self.factor for name, g in grads.items()}, optim, count)

@dataclass(frozen=True, kw_only=True)
class Regression(SlowlyChangingRegressionBenchmark):
    ID: ClassVar[str] = "my-regression-v1"
    hidden: int = 7
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of one's own that can be imported, under a name that no other test has."""
    (tmp_path / "mine_of_tests.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import mine_of_tests  # type: ignore[import-not-found]

    yield mine_of_tests
    del sys.modules["mine_of_tests"]


@pytest.fixture(autouse=True)
def _nothing_stays_registered():
    before = [dict(table._added) for table in (registry.METHODS, registry.OPTIMIZERS, registry.BENCHMARKS)]
    yield
    for table, there in zip((registry.METHODS, registry.OPTIMIZERS, registry.BENCHMARKS), before, strict=True):
        for name in set(table._added) - set(there):
            table.remove(name)


def test_an_instance_of_a_registered_method_stands_for_itself():
    cbp = neoteny.ContinualBackprop(replacement_rate=1e-3)
    config = lab.resolve(NAME, method=cbp)
    assert config.interventions == (cbp,)
    assert config.label == "ContinualBackprop,cbp.replacement_rate=0.001"  # the benchmark's own `cbp` is another system
    assert RunConfig.from_yaml(config.to_yaml()) == config and not config.classes
    several = lab.resolve(NAME, method=["l2-init", neoteny.Spectral(strength=0.5)], grid={"l2-init.strength": [0.1, 1]})
    assert several.label == "l2-init+spectral,spectral.strength=0.5,by-l2-init.strength"
    assert RunConfig.from_yaml(several.to_yaml()).label == several.label


def test_classes_that_are_not_registered_can_be_run_and_resumed(tmp_path, mine):
    run = lab.run(
        mine.Regression.preset("tiny", tasks=2),
        method=[mine.Shrinking(rate=0.1), "l2"],
        optimizer=mine.Slow(step_size=0.02),
        methods={"shrinking": {"rate": 0.2}},
        out=tmp_path,
        **TINY,
    )
    assert run.folder.parent.name == "my-regression-v1"
    assert run.config.classes == {
        "benchmark": "mine_of_tests:Regression",
        "optimizer": "mine_of_tests:Slow",
        "methods.shrinking": "mine_of_tests:Shrinking",
    }
    assert run.config.interventions[0] == mine.Shrinking(rate=0.2)
    (run.folder / "metrics.parquet").unlink()
    (run.folder / "checkpoint.pt").unlink()
    code = f"from neoteny import lab; print(lab.resume({str(run.folder)!r}, progress=False).metrics.height)"
    path = f"{tmp_path}:{Path(neoteny.__file__).parents[1]}"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.stdout.strip() == str(run.metrics.height), done.stderr
    assert lab.run(run.config, out=tmp_path, resume=True, **{"compile": False, "progress": False}).folder == run.folder


def test_a_process_imports_them(tmp_path, mine):
    configs = lab.resolve_all(NAME, [mine.Shrinking()], runs=2, scale="tiny")
    (run,) = lab.compare(configs, out=tmp_path, compile=False, progress=False)
    assert run.config.label == "shrinking" and run.metrics.height


def test_a_class_that_cannot_be_imported_says_so_when_it_is_to_go_on(tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Local(Method):
        rate: float = 0.5

    run = lab.run(NAME, method=Local(), out=tmp_path, **TINY)
    assert run.folder.name == "local"
    with pytest.raises(RunFolderError, match=r"'local' is not registered.*register it with @neoteny.register"):
        lab.resume(run.folder, progress=False)
    with pytest.raises(SettingError, match="exists only in this program"):
        lab.compare([run.config], out=tmp_path / "other", compile=False, progress=False)
    neoteny.register(Local)
    assert lab.resume(run.folder, progress=False).config == run.config


def test_a_registered_class_is_known_by_name(tmp_path):
    @neoteny.register(summary="fade", source="nowhere")
    @dataclass(frozen=True, kw_only=True)
    class FadeAway(Method):
        varies: ClassVar[tuple[str, ...]] = ("rate",)
        rate: float = 0.5

        def __post_init__(self):
            require_fraction(self, "rate")

    @neoteny.register(name="lazy")
    @dataclass(frozen=True, kw_only=True)
    class LazySGD(SGD):
        """Do little. Slowly."""

    assert registry.method("fade-away").source == "nowhere" and "fade-away" in registry.METHODS
    assert registry.optimizer("lazy").summary == "Do little" and LazySGD.name == "lazy"
    config = lab.resolve(NAME, method="fade-away+l2", optimizer="lazy", grid={"fade_away.rate": [0.1, 0.2]})
    assert config.label == "fade-away+l2,optimizer=lazy,by-fade-away.rate"
    assert set(config.classes) == {"methods.fade-away", "optimizer"}  # another program would not know them
    with pytest.raises(UnknownNameError, match="Did you mean 'fade-away'"):
        lab.resolve(NAME, method="fade-awai")
    with pytest.raises(SettingError, match=r"rate = 2"):
        lab.resolve(NAME, method=[FadeAway(rate=0.1)], methods={"fade-away": {"rate": 2}})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": "cbp"}, "is already neoteny.methods.continual_backprop:ContinualBackprop"),
        ({"name": "My_Method"}, "small letters, digits and single dashes"),
        ({"name": "optimizer"}, "none of optimizer"),
    ],
)
def test_a_name_that_cannot_be_is_refused(body, message):
    cls = dataclass(frozen=True, kw_only=True)(type("Mine", (Method,), body))
    with pytest.raises(SettingError, match=message):
        neoteny.register(cls)


def test_what_is_no_method_is_refused():
    with pytest.raises(SettingError, match="no method, optimizer or benchmark"):
        neoteny.register(type("Mine", (), {}))
    for method, message in ((neoteny.ContinualBackprop, "is no method"), (3, "is no method"), ([], "No method")):
        with pytest.raises((SettingError, TypeError), match=message):
            lab.resolve(NAME, method=method)
    with pytest.raises(SettingError, match="is no benchmark"):
        lab.resolve(SGD)
    with pytest.raises(SettingError, match="given twice"):
        lab.resolve(NAME, method=[neoteny.L2(), neoteny.L2()])
    with pytest.raises(SettingError, match="is no optimizer"):
        lab.resolve(NAME, optimizer=SGD)


def test_an_instance_of_a_benchmark_keeps_its_settings():
    config = lab.resolve(SlowlyChangingRegressionBenchmark(tasks=3, hidden=9), method="adam")
    assert (config.problem.tasks, config.problem.hidden, config.scale) == (3, 9, "paper")
    assert config.label == "adam,tasks=3,hidden=9" and config.optimizer["name"] == "adam"
    assert RunConfig.from_yaml(config.to_yaml()) == config


@pytest.mark.parametrize("keyword", ["lerning_rate", "thread", "scael"])
def test_an_unknown_keyword_brings_the_near_ones(keyword, tmp_path):
    for call in (lab.run, lab.resolve):
        with pytest.raises(UnknownNameError, match=f"argument of {call.__name__} called '{keyword}'"):
            call(NAME, **{keyword: 1})
    with pytest.raises(UnknownNameError, match="argument of resume called 'devise'. Did you mean 'device'"):
        lab.resume(tmp_path, devise="cpu")
    with pytest.raises(UnknownNameError, match="argument of compare called 'job'. Did you mean 'jobs'"):
        lab.compare([], job=1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"settings": {"learning_rate": 0.3}},
        {"settings": {"optimizer.learning-rate": 0.3}},
        {"settings": {"optimizer": {"learning_rate": 0.3}}},
        {"optimizer": SGD(learning_rate=0.3)},
    ],
)
def test_learning_rate_is_another_word_for_step_size(arguments):
    assert lab.resolve(NAME, **arguments).label == "backprop,step_size=0.3"
    assert lab.resolve(NAME, grid={"learning-rate": [0.1]}).varied == {"step_size": (0.1,) * 10}
    with pytest.raises(SettingError, match="the same thing"):
        SGD(learning_rate=0.1, step_size=0.1)


def test_records_are_shown_in_few_words(tmp_path):
    config = lab.resolve("ant", runs=500, grid={"step_size": [1e-4 * k for k in range(1, 20)]})
    shown = [config, lab.RunStack(tmp_path, config), config.problem, config.problem.timeline(), registry.METHODS]
    assert "<td>optimizer</td><td>adam</td>" in config._repr_html_() and "<td>absent</td>" in shown[1]._repr_html_()
    assert all(len(repr(one)) < 2_000 for one in [*shown, *registry.METHODS.values(), *registry.BENCHMARKS.values()])
