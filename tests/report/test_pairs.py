"""What a stack of runs came to, in one line: arrays, frames, and a comparison with another stack."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_rel

import neoteny
from neoteny import lab
from neoteny.cli.main import main
from neoteny.errors import MissingPackageError, RunFolderError, SettingError, UnknownNameError
from neoteny.report import load
from report import made_up


@pytest.fixture
def folders(tmp_path):
    """Two systems on four seeds, the second of which ended in a run of the first."""
    for seed, name in enumerate(("backprop", "cbp")):
        frame = made_up.metrics(name, 4, 10, seed=seed, ended={1: 4} if seed else {})
        made_up.write(tmp_path / name, made_up.config(name, 4, seed=7), frame)
    return tmp_path


def test_a_stack_as_arrays_and_rows(tmp_path):
    config = lab.resolve("slowly-changing-regression", method="cbp", runs=4, seed=7, scale="tiny")
    made_up.write(tmp_path, config.to_dict(), made_up.metrics("cbp", 4, 10, ended={1: 4}))
    stack = neoteny.RunStack.load(tmp_path)
    assert stack.config == config and stack.seeds == (7, 8, 9, 10)
    assert stack.steps("loss").tolist() == list(range(20_000, 220_000, 20_000))
    for key, where in (("loss", {"layer": ""}), (("srank_99", "layer1"), {"layer": "layer1"})):
        name = key if isinstance(key, str) else key[0]
        values = stack[key]
        assert values.shape == (4, 10) and np.isnan(values[1]).tolist() == [False] * 4 + [True] * 6
        for run in (0, 1, 3):
            mine = stack.metrics.filter(run=run, metric=name, **where).sort("step")["value"].to_numpy()
            np.testing.assert_array_equal(values[run][: len(mine)], mine)
    frame = stack.to_frame()
    assert frame.columns == ["benchmark", "scale", "system", "seed", "step", "task", "metric", "layer", "value"]
    assert frame["value"].to_list() == stack.metrics["value"].to_list()
    assert frame["seed"].to_list() == (stack.metrics["run"] + 7).to_list()
    with pytest.raises(UnknownNameError, match="Did you mean 'loss'"):
        stack["los"]
    with pytest.raises(UnknownNameError, match=r'write stack\["srank_99", "layer1"\]'):
        stack["srank_99"]
    with pytest.raises(RunFolderError, match="no run folder"):
        neoteny.RunStack.load(tmp_path / "nothing")


def test_frames_have_a_column_for_each_setting_of_a_grid(folders):
    varied = {"cbp.replacement_rate": [1e-5, 1e-3] * 2}
    made_up.write(
        folders / "grid", made_up.config("cbp", 4, varied=varied, seeds=[1, 1, 2, 2]), made_up.metrics("cbp", 4, 3)
    )
    frame = load(folders).to_frame()
    assert set(frame["system"].unique()) == {
        "backprop", "cbp replacement_rate=0.0001", "cbp replacement_rate=1e-05", "cbp replacement_rate=0.001"
    }  # fmt: skip
    found = frame.filter(pl.col("cbp.replacement_rate") == 1e-3)
    assert set(found["seed"]) == {1, 2} and frame["cbp.replacement_rate"].null_count() > 0


def test_pandas_has_the_same(folders, monkeypatch):
    pytest.importorskip("pandas")
    frame = load(folders).to_frame()
    made = load(folders).to_pandas()
    assert list(made.columns) == frame.columns and (made["value"].to_numpy() == frame["value"].to_numpy()).all()
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingPackageError, match="pip install pandas"):
        load(folders).to_pandas()


def test_two_stacks_are_compared_on_the_seeds_that_came_to_their_end(folders):
    found = neoteny.compare_runs(folders / "cbp", folders / "backprop", window=40_000)
    means = {
        name: pl.read_parquet(folders / name / "metrics.parquet")
        .filter((pl.col("metric") == "loss") & (pl.col("step") > 160_000) & (pl.col("run") != 1))
        .group_by("run").agg(pl.col("value").mean()).sort("run")["value"].to_numpy()
        for name in ("cbp", "backprop")
    }  # fmt: skip
    assert found.difference.n == 3
    assert found.difference.mean == pytest.approx((means["cbp"] - means["backprop"]).mean())
    assert found.difference.p == pytest.approx(ttest_rel(means["cbp"], means["backprop"]).pvalue)
    assert str(found).startswith("cbp ends 0.") and " below backprop" in str(found) and "n = 3" in str(found)
    assert str(found).endswith("Left out, as they did not come to the end: 1 of 4 runs of cbp.")
    assert neoteny.compare_runs(folders / "backprop", folders / "cbp").difference.mean > 0


def test_what_cannot_be_compared_is_refused(folders):
    frame = made_up.metrics("l2", 4, 10)
    for name, changes in {
        "other": {"seed": 50},
        "scale": {"scale": "tiny"},
        "grid": {"varied": {"x": [1, 2, 1, 2]}},
    }.items():
        made_up.write(folders / name, made_up.config("l2", 4, **changes), frame)
    for one, message in (
        ("other", "run them with the same --seed"),
        ("scale", "tiny scale"),
        ("grid", "not two systems"),
        ("backprop", "hold backprop .*not two"),
        ("none", "config.yaml"),
    ):
        with pytest.raises((SettingError, RunFolderError), match=message):
            neoteny.compare_runs(folders / one, folders / "backprop")


def test_results_on_the_command_line(folders, capsys):
    def results(*options: str, status: int = 0) -> str:
        assert main(["results", str(folders), *options]) == status
        found = capsys.readouterr()
        return found.out if status == 0 else found.err

    assert "cbp ends 0." in results("--against", "backprop")
    latex = results("--format", "latex", "--against", "backprop")
    assert latex.count(r"\\") == 3 and r"\toprule" in latex and r"$\pm" not in latex
    csv = pl.read_csv(results("--format", "csv", "--against", "backprop").encode())
    assert csv.height == 7 and csv["p"].drop_nulls().len() == 1
    rows = pl.read_csv(results("--format", "all-numbers").encode())
    assert set(rows["seed"]) == {7, 8, 9, 10} and set(rows["system"]) == {"backprop", "cbp"}
    out = folders / "table.md"
    assert results("--format", "markdown", "--out", str(out)).strip() == str(out)
    assert out.read_text().startswith("| system |")
    assert "'backprop'" in results("--against", "backprob", status=2)
    assert "'loss'" in results("--metric", "los", status=2)
