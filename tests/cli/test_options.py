"""Options: every setting is one, a file has the same keys, and what is wrong is told in one line."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from pathlib import Path

import pytest
import yaml

from neoteny import registry
from neoteny.cli.main import main
from neoteny.cli.options import parse
from neoteny.lab.config import RunConfig
from neoteny.lab.overriding import names_of
from neoteny.lab.resolving import resolve

NAME = "slowly-changing-regression"
BENCHMARK = registry.benchmark(NAME).load()


def typed(value: object) -> list[str]:
    """A value as it stands on the command line."""
    return [str(part) for part in value] if isinstance(value, tuple) else [str(value)]


def flagged(owner: str, setting: str, value: object) -> list[str]:
    """The option of a setting with its value; of a truth value the flag alone."""
    no = "no-" if value is False else ""
    return [f"--{owner}.{no}{setting}".replace("_", "-"), *([] if isinstance(value, bool) else typed(value))]


def dry_run(capsys: pytest.CaptureFixture[str], *arguments: str, benchmark: str = NAME) -> list[RunConfig]:
    status = main(["run", benchmark, *arguments, "--dry-run"])
    out, err = capsys.readouterr()
    assert status == 0, err
    return [RunConfig.from_dict(content) for content in yaml.safe_load_all(out)]


@pytest.mark.parametrize("name", registry.METHODS)
def test_every_setting_of_a_method_is_an_option(name: str):
    method = registry.method(name).load()()
    for field in fields(method):
        value = getattr(method, field.name)
        assert parse(NAME, flagged(name, field.name, value)).methods == {name: {field.name: value}}


def test_every_setting_of_a_benchmark_is_an_option():
    preset = BENCHMARK.preset("tiny")
    for name in names_of(preset):
        value = attrgetter(name)(preset)
        if name == "optimizer":
            value = value.name
        request = parse(NAME, ["--scale", "tiny", f"--{name}".replace("_", "-"), *typed(value)])
        assert request.settings == {name: value}


@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_every_setting_of_an_optimizer_is_an_option(name: str):
    for setting, value in registry.optimizer(name).load()().settings().items():
        request = parse(NAME, ["--optimizer", name, *flagged("optimizer", setting, value)])
        full = setting if setting == "step_size" else f"optimizer.{setting}"
        assert request.settings == {"optimizer": name, full: value}


def test_the_optimizer_is_a_record_of_its_own(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (typed_in,) = dry_run(capsys, "--optimizer", "adam", "--optimizer.betas", "0.9", "0.99", "--learning-rate", "0.1")
    assert typed_in.label == "backprop,optimizer=adam,step_size=0.1,optimizer.betas=0.9-0.99"
    path = tmp_path / "mine.yaml"
    path.write_text("optimizer: {name: adam, betas: [0.9, 0.99]}\nlearning-rate: 0.1\n")
    assert dry_run(capsys, "--config", str(path)) == [typed_in]
    (other,) = dry_run(capsys, "--config", str(path), "--optimizer", "adamw", "--optimizer.weight-decay", "0.1")
    assert other.optimizer["weight_decay"] == 0.1 and other.optimizer["betas"] == (0.9, 0.999)
    # a system's optimizer has its own options, too
    (system,) = dry_run(capsys, "--method", "tuned-adam", "--optimizer.eps", "1e-7")
    assert (system.optimizer["betas"], system.optimizer["eps"]) == ((0.99, 0.99), 1e-7)


def test_only_what_was_said_replaces_a_preset(capsys: pytest.CaptureFixture[str]):
    configs = dry_run(capsys, "--method", "backprop,cbp", "--runs", "3", "--cbp.replacement_rate=1e-5", "--seed", "7")
    assert configs == [
        resolve(NAME, method="backprop", runs=3, seed=7),
        resolve(NAME, method="cbp", runs=3, seed=7, methods={"cbp": {"replacement_rate": 1e-5}}),
    ]
    # Said, though it is what the help shows as default.
    shown = configs[1].settings["step_size"]
    assert parse(NAME, ["--step-size", str(shown)]).settings == {"step_size": shown}


def test_a_grid_is_a_stack(capsys: pytest.CaptureFixture[str]):
    (config,) = dry_run(
        capsys, "--method", "cbp", "--runs", "2", "--grid", "cbp.replacement-rate=1e-6,1e-5", "--grid", "step_size=0.1"
    )
    assert config.runs == 4
    assert config.varied == {"cbp.replacement_rate": (1e-6, 1e-6, 1e-5, 1e-5), "step_size": (0.1,) * 4}


def test_a_file_has_the_same_keys_and_the_command_line_comes_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "method: [backprop, cbp]\nscale: tiny\nruns: 2\nstep-size: 1e-3\ntasks: 3\n"
        "cbp: {replacement-rate: 1e-5, decay_rate: 0.9}\ngrid: {step_size: [0.1, 1e-2]}\n"
    )
    backprop, cbp = dry_run(capsys, "--config", str(path), "--tasks", "5", "--cbp.replacement-rate", "1e-4")
    assert (backprop.scale, backprop.runs) == ("tiny", 4)
    assert (backprop.settings["tasks"], backprop.settings["step_size"]) == (5, 1e-3)
    assert (cbp.methods["cbp"]["replacement_rate"], cbp.methods["cbp"]["decay_rate"]) == (1e-4, 0.9)
    assert cbp.varied == {"step_size": (0.1, 0.1, 0.01, 0.01)}
    for spelled in ("step-size", "step_size", "learning-rate"):
        _, cbp = dry_run(capsys, "--config", str(path), "--grid", f"{spelled}=0.3")
        assert cbp.varied == {"step_size": (0.3, 0.3)}

    monkeypatch.setenv("HOME", str(tmp_path))
    (cbp,) = dry_run(capsys, "--config=~/mine.yaml", "--method", "cbp", "--scale", "small")
    assert (cbp.scale, cbp.settings["tasks"]) == ("small", 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("step_sise: 1", "Did you mean 'step_size'"),
        ("cbpp: {}", "Did you mean 'cbp'"),
        ("cbp: {rate: 1}", "no setting of cbp"),
        ("cbp: 3", "cbp is 3, not settings"),
        ("grid: [1]", "grid is"),
        ("runs: many", "'many' is not a whole number"),
        ("runs: 0", "runs = 0"),
        ("compile: 1", "not true or false"),
        ("tasks: 0", "tasks = 0"),
        ("- 1", "not settings"),
        ("a: [", "is not YAML"),
        ("scale: huge", "no scale"),
        ("method: cbpp", "Did you mean 'cbp'"),
        ("strategy: fast", "strategy"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    refused(capsys, ["run", NAME, "--config", str(path), "--dry-run"], message)


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    refused(capsys, ["run", NAME, "--config", str(tmp_path / "none.yaml")], "cannot be read")
    refused(capsys, ["run", NAME, "--config", str(tmp_path)], "cannot be read")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("ruin", "no command called 'ruin'. Did you mean 'run'"),
        ("run slowly-changing-regresion", "Did you mean 'slowly-changing-regression-v1'"),
        ("run slowly", "Did you mean 'slowly-changing-regression-v1'"),
        ("run --runs 3", "in the place of the benchmark"),
        (f"run {NAME} --stepsize 1", "no option called '--stepsize'. Did you mean '--step-size'"),
        (f"run {NAME} --optimizer adma", "optimizer called 'adma'. Did you mean 'adam'"),
        (f"run {NAME} --optimizer.betas 0.9 0.9", "no option called '--optimizer.betas'"),
        (f"run {NAME} --optimizer.momentum 2", "momentum = 2.0"),
        (f"run {NAME} --momentum 0.9", "Did you mean '--optimizer.momentum'"),
        (f"run {NAME} --cbpp.replacement-rate 1", "Did you mean '--cbp.replacement-rate'"),
        (f"run {NAME} --method cbpp", "no method called 'cbpp'. Did you mean 'cbp'"),
        (f"run {NAME} --method ,", "at least one"),
        (f"run {NAME} --method cbp,cbp", "twice"),
        (f"run {NAME} --scale tinny", "Did you mean 'tiny'"),
        (f"run {NAME} --runs 0", "runs = 0"),
        (f"run {NAME} --runs x", "--runs"),
        (f"run {NAME} --step-size -1", "step_size = -1.0"),
        (f"run {NAME} --step-size nan", "step_size = nan"),
        (f"run {NAME} --method cbp --cbp.replacement-rate 2", "replacement_rate = 2.0"),
        (f"run {NAME} --method cbp --cbp.replacement-rate -1", "replacement_rate = -1.0"),
        (f"run {NAME} --cbp.replacement-rate 1e-5", "none of the systems backprop has that method"),
        (f"run {NAME} --grid step-size", "SETTING=VALUE"),
        (f"run {NAME} --grid step-size=0.1 --grid learning_rate=0.2", "step_size is given twice"),
        (f"run {NAME} --grid step_size=0.1,0.2 --step-size 0.3", "--step-size says nothing beside a grid"),
        (f"run {NAME} --method cbp --grid cbp.decay-rate=0.1 --cbp.decay-rate 0.3", "--cbp.decay-rate says nothing"),
        (f"run {NAME} --grid tasks=1,2", "cannot differ"),
        (f"run {NAME} --grid step-size=0.1,-1", "step_size = -1.0"),
        (f"run {NAME} extra", "extra"),
        (f"run {NAME} --strategy fast", "fast"),
        ("report no/such/place", "not a directory"),
        ("resume no/such/place", "no run folder"),
        ("demo --scale huge", "no scale"),
        ("list thinks", "thinks"),
    ],
)
def test_what_is_wrong_is_told_without_a_traceback(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    refused(capsys, arguments.split(), message)
    assert list(tmp_path.iterdir()) == []


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """Every command refuses in the same form: one line, `error: what; cause; cure`."""
    status = main(arguments)
    told = capsys.readouterr().err
    assert status == 2
    assert told.startswith("error: ") and told.count("\n") == 1
    assert message in told
