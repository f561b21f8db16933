"""The registry: names, versions, near names, and that every entry is what it says."""

from __future__ import annotations

import pickle
from dataclasses import fields, is_dataclass

import pytest

from neoteny import registry
from neoteny.errors import NeotenyError, UnknownNameError
from neoteny.leaderboard.rows import BENCHMARKS as TABLE
from neoteny.registry import BENCHMARKS, METHODS, OPTIMIZERS, Entry, resolve


def entry(name: str) -> Entry:
    return Entry(name, f"nowhere:{name}", "", "")


def test_a_name_without_version_means_the_newest():
    table = {name: entry(name) for name in ("walk-v2", "walk-v10", "walk-v9", "walker-v11", "run")}
    assert resolve("walk", table).name == "walk-v10"
    assert resolve("walk-v2", table).name == "walk-v2"
    assert resolve("run", table).name == "run"


@pytest.mark.parametrize("name", ["walk-v3", "walk-v", "Walk", "", "-v2"])
def test_what_is_not_there_is_an_error(name: str):
    with pytest.raises(UnknownNameError):
        resolve(name, {"walk-v2": entry("walk-v2")})


def test_a_misspelt_name_brings_the_near_ones():
    with pytest.raises(UnknownNameError, match="no method called 'hed-reset'. Did you mean 'head-reset'") as caught:
        registry.method("hed-reset")
    assert caught.value.near[0] == "head-reset"
    with pytest.raises(UnknownNameError, match="online-permuted-mnist-v1"):
        registry.benchmark("online-permutted-mnist")


def test_errors_survive_the_way_out_of_a_process():
    error = UnknownNameError("cpb", ["cbp"], "method")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert copy.near == ["cbp"]
    assert isinstance(copy, NeotenyError)


def test_the_tables_cannot_be_changed():
    with pytest.raises(TypeError):
        METHODS["mine"] = entry("mine")  # type: ignore[index]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_a_frozen_record_that_goes_by_its_name(name: str):
    cls = METHODS[name].load()
    method = cls()
    assert is_dataclass(cls)
    assert cls.name == name
    assert set(cls.varies) <= {field.name for field in fields(cls)}
    assert method == cls(**method.settings())
    with pytest.raises(AttributeError):
        method.name = "other"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_a_frozen_record_that_goes_by_its_name(name: str):
    cls = OPTIMIZERS[name].load()
    assert is_dataclass(cls) and cls.name == name
    assert set(cls.varies) <= {field.name for field in fields(cls)}
    assert cls() == cls(**cls().settings())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_its_scales_and_systems(name: str):
    cls = BENCHMARKS[name].load()
    assert cls.ID == name
    usual = [scale for scale in ("paper", "small", "table", "fast", "tiny") if scale in cls.SCALES]
    assert [scale for scale in cls.SCALES if scale in usual] == usual
    assert {"paper", "small", "tiny"} <= set(usual)
    assert bool({"table", "fast"} & set(usual)) == (name.rpartition("-v")[0] in TABLE)
    assert "backprop" in cls.SYSTEMS
    assert BENCHMARKS[name].kind == cls.KIND
    sizes = []
    for scale in cls.SCALES:
        preset = cls.preset(scale)
        if scale in ("paper", "small", "tiny"):
            sizes.append(preset.steps)
        for system in cls.SYSTEMS.values():
            steps = cls.preset(scale, **system.overrides).settings()["steps"]
            assert steps == preset.steps or {"tasks", "agent"} & set(system.overrides)
            assert system.summary
            for method in system.methods:
                assert METHODS[method.name].load() is type(method)
    assert sizes == sorted(sizes, reverse=True)


def test_every_target_has_words_for_the_list():
    for found in (*METHODS.values(), *OPTIMIZERS.values(), *BENCHMARKS.values()):
        assert found.summary
        assert found.source
