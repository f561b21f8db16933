"""Configurations: what is resolved, what is refused, and that what is written is read back."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neoteny import registry
from neoteny.errors import SettingError, UnknownNameError
from neoteny.lab.config import RunConfig
from neoteny.lab.plain import read_value, read_yaml, write_yaml
from neoteny.lab.resolving import resolve, resolve_all

NAME = "slowly-changing-regression"
SYSTEMS = [(entry.name, system) for entry in registry.BENCHMARKS.values() for system in entry.load().SYSTEMS]


@pytest.mark.parametrize("scale", ["paper", "small", "tiny"])
@pytest.mark.parametrize(("benchmark", "system"), SYSTEMS)
def test_what_is_written_is_read_back(benchmark: str, system: str, scale: str):
    config = resolve(benchmark, method=system, scale=scale, runs=3, seed=4)
    again = RunConfig.from_yaml(config.to_yaml())
    assert again == config
    assert again.problem == config.problem
    assert again.interventions == config.interventions
    assert config.seeds == (4, 5, 6)
    assert config.label == system
    assert config.problem.settings() == config.settings
    assert {m.name: m.settings() for m in config.interventions} == config.methods


@pytest.mark.parametrize("name", registry.METHODS)
def test_every_method_is_a_system(name: str):
    config = resolve(NAME, method=name)
    assert name in config.methods or config.method in registry.BENCHMARKS[f"{NAME}-v1"].load().SYSTEMS


def test_overrides_replace_the_preset_and_name_the_folder():
    config = resolve(
        NAME, method="cbp", settings={"step-size": 0.003, "tasks": 1e1}, methods={"cbp": {"replacement-rate": 1e-5}}
    )
    assert (config.settings["step_size"], config.settings["tasks"]) == (0.003, 10)
    assert isinstance(config.settings["tasks"], int)
    assert config.optimizer["step_size"] == 0.003
    assert config.settings["steps"] == 10 * config.settings["task_length"]
    assert config.methods["cbp"]["replacement_rate"] == 1e-5
    assert config.label == "cbp,tasks=10,step_size=0.003,cbp.replacement_rate=1e-05"


def test_a_folder_of_many_settings_can_still_be_made():
    settings = {
        "ent_coef": 0.01, "max_grad_norm": 0.5, "normalise_advantages": "minibatch", "bootstrap_timeouts": True,
        "normalise_observations": True, "normalise_rewards": True, "clip_actions": True, "anneal_step_size": True,
    }  # fmt: skip
    usual = resolve("ant", settings=settings)
    one, other = (resolve("ant", settings={**settings, "activation": name}) for name in ("tanh", "elu"))
    assert usual.label.endswith(",anneal_step_size=True")
    assert len(usual.label) < len(one.label) == len(other.label) == 200
    assert one.label[:191] == other.label[:191] and one.label != other.label
    assert RunConfig.from_yaml(one.to_yaml()).label == one.label


def test_a_grid_is_a_stack_of_points_and_seeds():
    config = resolve(
        NAME, method="cbp", runs=2, seed=5, grid={"cbp.replacement-rate": [1e-6, 1e-5], "step_size": [1, 0.5]}
    )
    assert config.runs == 8
    assert config.seeds == (5, 6) * 4
    assert config.varied["cbp.replacement_rate"] == (1e-6,) * 4 + (1e-5,) * 4
    assert config.varied["step_size"] == (1.0, 1.0, 0.5, 0.5) * 2
    assert config.label == "cbp,by-cbp.replacement_rate,by-step_size"
    assert RunConfig.from_yaml(config.to_yaml()) == config


def test_a_value_of_a_grid_is_given_once():
    with pytest.raises(SettingError, match=r"grid: step_size = 0\.1 is given twice"):
        resolve(NAME, runs=2, grid={"step_size": [0.1, 0.2, 0.1]})


def test_a_grid_may_be_a_list_of_points():
    points = [{"cbp.replacement-rate": 1e-6, "step_size": 1}, {"cbp.replacement-rate": 1e-5, "step_size": 0.5}]
    config = resolve(NAME, method="cbp", runs=2, grid=points)
    assert config.varied == {"cbp.replacement_rate": (1e-6, 1e-6, 1e-5, 1e-5), "step_size": (1.0, 1.0, 0.5, 0.5)}
    assert resolve(NAME, method="cbp", grid=[]) == resolve(NAME, method="cbp", grid=None) != config
    for wrong in ([*points, {"step_size": 1}], [{}], [points[0], 1]):
        with pytest.raises(SettingError, match="grid"):
            resolve(NAME, method="cbp", grid=wrong)


def test_systems_can_be_joined():
    config = resolve(NAME, method="cbp+l2-init")
    assert list(config.methods) == ["cbp", "l2-init"]
    with pytest.raises(SettingError, match="twice"):
        resolve(NAME, method="cbp+cbp")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "cbpp"}, "method called 'cbpp'. Did you mean 'cbp'"),
        ({"scale": "tinny"}, "Did you mean 'tiny'"),
        ({"settings": {"step_sise": 1}}, "Did you mean 'step_size'"),
        ({"settings": {"optimizer": "sdg"}}, "optimizer called 'sdg'. Did you mean .*'sgd'"),
        ({"settings": {"optimizer.betas": (0.9, 0.9)}}, "setting of .*sgd called 'betas'"),
        ({"settings": {"momentum": 0.9}}, "Did you mean 'optimizer.momentum'"),
        ({"methood": "cbp"}, "argument of resolve called 'methood'. Did you mean 'method'"),
        ({"method": "cbp", "methods": {"cbp": {"replacment_rate": 1}}}, "Did you mean 'replacement_rate'"),
        ({"method": "cbp", "methods": {"cbpp": {}}}, "Did you mean 'cbp'"),
        ({"method": "cbp", "grid": {"cbp.rate": [1]}}, "'rate'"),
        ({"grid": {"step_sise": [1]}}, "Did you mean 'step_size'"),
    ],
)
def test_unknown_names_bring_near_ones(arguments: dict, message: str):
    with pytest.raises(UnknownNameError, match=message):
        resolve(NAME, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"runs": 0},
        {"runs": True},
        {"runs": 2.5},
        {"seed": -1},
        {"settings": {"step_size": -1}},
        {"settings": {"step_size": float("nan")}},
        {"settings": {"step_size": "big"}},
        {"settings": {"tasks": 0}},
        {"settings": {"tasks": 1.5}},
        {"settings": {"optimizer": 3}},
        {"settings": {"optimizer": "adam", "optimizer.betas": [0.9]}},
        {"settings": {"optimizer.momentum": 1}},
        {"settings": {"bin_size": 10**9}},
        {"method": "cbp", "methods": {"cbp": {"replacement_rate": 2}}},
        {"method": "cbp", "methods": {"cbp": {"replacement_rate": -1}}},
        {"method": "cbp", "methods": {"cbp": {"replacement_rate": float("nan")}}},
        {"method": "cbp", "methods": {"cbp": {"compensate": 1}}},
        {"method": "backprop", "methods": {"cbp": {}}},
        {"method": "backprop", "grid": {"cbp.replacement_rate": [1e-5]}},
        {"method": "cbp", "grid": {"cbp.replacement_rate": [1e-5, 2]}},
        {"method": "cbp", "grid": {"cbp.replacement_rate": []}},
        {"method": "cbp", "grid": {"cbp.replacement_rate": "1e-5"}},
        {"method": "cbp", "grid": {"cbp.replacement_rate": [1e-5], "cbp.replacement-rate": [1e-4]}},
        {"grid": {"tasks": [1, 2]}},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(arguments: dict):
    with pytest.raises(SettingError) as caught:
        resolve(NAME, **arguments)
    assert len(str(caught.value)) > 30


def test_several_systems_take_what_is_theirs():
    configs = resolve_all(
        NAME,
        ["backprop", "cbp"],
        runs=2,
        methods={"cbp": {"replacement_rate": 1e-5}},
        grid={"cbp.decay_rate": [0.9, 0.99], "step_size": [0.1]},
        settings={"tasks": 3},
    )
    assert [config.method for config in configs] == ["backprop", "cbp"]
    assert [config.runs for config in configs] == [2, 4]
    assert all(config.settings["tasks"] == 3 for config in configs)
    assert set(configs[0].varied) == {"step_size"}
    for wrong in (
        {"methods": {"redo": {}}},
        {"grid": {"redo.threshold": [1]}},
    ):
        with pytest.raises(SettingError, match="none of the systems"):
            resolve_all(NAME, ["backprop", "cbp"], **wrong)
    with pytest.raises(SettingError, match="twice"):
        resolve_all(NAME, ["cbp", "cbp"])
    with pytest.raises(SettingError, match="at least one"):
        resolve_all(NAME, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 3}, "schema 3"),
        ({"steps": 3}, "key in config.yaml called 'steps'"),
        ({"benchmark": "slowly-changing-regresion-v1"}, "Did you mean"),
        ({"runs": 3}, "seeds"),
        ({"varied": {"step_size": [1.0]}}, "varied.step_size"),
        ({"network": {"kind": "other"}}, "network"),
        ({"optimizer": {"name": "sgd", "step_size": 7.0}}, "optimizer"),
        ({"methods": {"cbp": {"replacement_rate": 7.0}}}, "replacement_rate = 7.0"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(change: dict, message: str):
    content = {**resolve(NAME, method="cbp", runs=2).to_dict(), **change}
    with pytest.raises((SettingError, UnknownNameError), match=message):
        RunConfig.from_dict(content)


def test_a_file_cut_short_is_refused():
    text = resolve(NAME).to_yaml()
    for cut in range(0, len(text), 37):
        with pytest.raises((SettingError, UnknownNameError)):
            RunConfig.from_yaml(text[:cut])
    content = resolve(NAME).to_dict()
    del content["methods"]
    with pytest.raises(SettingError, match="has no methods"):
        RunConfig.from_dict(content)


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        resolve(NAME).runs = 3  # type: ignore[misc]


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc_", min_size=1), plain_values, max_size=4))
def test_yaml_gives_back_what_it_was_given(content: dict):
    assert read_yaml(write_yaml(content), "here") == content


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_people_write_them(number: float):
    assert read_value(f"{number:e}") == float(f"{number:e}")
    assert read_value(repr(number)) == number


@pytest.mark.parametrize("text", ["[1", "a: b: c", "- 1", "just words", ""])
def test_what_is_no_mapping_is_refused(text: str):
    with pytest.raises(SettingError, match=r"mine\.yaml"):
        read_yaml(text, "mine.yaml")
