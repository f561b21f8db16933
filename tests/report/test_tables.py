from __future__ import annotations

import io
import math

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from neoteny.errors import SettingError
from neoteny.report.page.sentences import beside
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import Group, group_frames
from neoteny.report.statistics.cell import Cell
from neoteny.report.statistics.final_table import FinalRow, FinalTable, final_table
from neoteny.report.statistics.intervals import mean_interval
from neoteny.report.statistics.paired import Difference
from report import made_up


def group(runs: int = 4, bins: int = 50, **options) -> Group:
    frame = made_up.metrics(runs=runs, bins=bins, **options)
    (result,) = group_frames([RunFrame(made_up.config(runs=runs), frame)])
    return result


def test_first_and_last_tenth_and_the_change_run_by_run():
    result = group()
    table = final_table(result)
    assert table.window == 100_000
    values = result.series[0].curve("loss").values
    first, last = values[:, :5].mean(axis=1), values[:, -5:].mean(axis=1)
    (row,) = table.rows
    for cell, wanted in ((row.first, first), (row.last, last), (row.change, last - first)):
        interval = mean_interval(wanted)
        assert (cell.mean, cell.low, cell.high) == pytest.approx(
            (float(interval.mean), float(interval.low), float(interval.high))
        )
    assert row.n == "4"


def test_a_run_that_ended_counts_only_where_it_was():
    (row,) = final_table(group(ended={2: 30})).rows
    assert (row.first.n, row.last.n, row.change.n, row.n) == (4, 3, 3, "3 of 4")


def test_one_run_has_no_interval():
    (row,) = final_table(group(runs=1)).rows
    assert math.isnan(row.first.low)
    assert "±" not in str(row.first)


def test_a_series_that_did_not_get_to_the_end_has_no_last_window():
    short = RunFrame(made_up.config("cbp"), made_up.metrics("cbp", bins=20))
    (both,) = group_frames([RunFrame(made_up.config(), made_up.metrics()), short])
    backprop, cbp = final_table(both).rows
    assert (backprop.last.n, cbp.first.n, cbp.last.n, cbp.n) == (3, 3, 0, "0 of 3")
    assert str(cbp.last) == "-"


def test_windows_are_whole_bins():
    assert final_table(group(bins=7)).window == 20_000
    assert final_table(group(bins=26)).window == 40_000
    assert final_table(group(), window=200_000).window == 200_000
    for window in (30_000, 0, 2_000_000):
        with pytest.raises(SettingError, match="multiple of 20000"):
            final_table(group(), window=window)


def test_windows_that_overlap_show_no_change():
    (row,) = final_table(group(bins=1)).rows
    assert row.first == row.last
    assert str(row.change) == "-"


def test_shares_are_shown_in_per_cent_and_kept_as_shares():
    table = final_table(group(metric="accuracy"))
    (row,) = table.rows
    assert table.cells(row)[0][0].startswith(f"{100 * row.first.mean:.3g}"[:3])
    assert "higher is better" in table.caption
    assert table.frame()["mean"].max() < 1


def test_decimals_follow_the_interval():
    assert str(Cell(0.123456, 0.12, 0.126912, 5)) == "0.1235 ± 0.0035"
    assert str(Cell(12345.6, 12000.0, 12691.2, 5)) == "12346 ± 346"
    assert str(Cell(2.5e8, 2.4e8, 2.6e8, 5)) == "2.5e+08 ± 1e+07"
    assert str(Cell(2.0, 2.0, 2.0, 5)) == "2.000 ± 0.000"


def test_numbers_of_any_size_are_shown():
    for factor, shown in ((1e-9, "1.3e-09 ± 1e-10"), (1e30, "1.3e+30 ± 1e+29")):
        cell = Cell(1.3 * factor, 1.2 * factor, 1.4 * factor, 3)
        assert str(cell) == shown
        table = FinalTable("b-v1", "", "loss", 10, "t", (FinalRow("cbp", cell, cell, cell, 3),))
        assert f"${shown.replace('±', chr(92) + 'pm')}$" in table.latex()
        said = beside("cbp", Difference(cell.mean, cell.low, cell.high, 0.5, 3), table, "l2")
        assert f"+{1.2 * factor:.2g} to +{1.4 * factor:.2g}" in said.replace("−", "-")
    assert str(Cell(0.5, 0.5 - 1e-9, 0.5 + 1e-9, 3)) == "0.500000 ± 0.000000"


def test_terminal_markdown_and_files(tmp_path):
    (result,) = group_frames(
        [RunFrame(made_up.config(name, 3), made_up.metrics(name, 3, seed=i)) for i, name in enumerate(made_up.SYSTEMS)]
    )
    table = final_table(result, interval="bca")
    text = io.StringIO()
    Console(file=text, width=100).print(table.rich())
    markdown = table.markdown()
    for shown in (text.getvalue(), markdown):
        for needed in (*made_up.SYSTEMS, "first 100,000", "last 100,000", "BCa bootstrap"):
            assert needed in shown
    assert len({line.count("|") for line in markdown.splitlines()[:7]}) == 1
    for suffix, read in ((".csv", pl.read_csv), (".parquet", pl.read_parquet)):
        frame = read(table.write(tmp_path / f"table{suffix}"))
        assert frame.height == 15
        np.testing.assert_allclose(frame["mean"].to_numpy(), table.frame()["mean"].to_numpy())
    assert table.write(tmp_path / "table.md").read_text(encoding="utf-8") == markdown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", "table.md", "table.parquet"]
    with pytest.raises(SettingError, match=r"\.xls"):
        table.write(tmp_path / "table.xls")


def test_the_table_of_the_demo_fits_a_terminal_of_80_columns():
    (result,) = group_frames([RunFrame(made_up.config(name, 3), made_up.metrics(name, 3)) for name in made_up.SYSTEMS])
    text = io.StringIO()
    Console(file=text, width=80).print(final_table(result).rich())
    assert "…" not in text.getvalue()
    assert any("shrink-and-perturb" in line and "±" in line for line in text.getvalue().splitlines())
    text = io.StringIO()
    Console(file=text, width=40).print(final_table(result).rich())
    assert all(word in text.getvalue() for name in made_up.SYSTEMS for word in name.split())
    text = io.StringIO()
    Console(file=text, width=80).print(final_table(result).against("shrink-and-perturb").rich())
    assert "differences to shrink-and-perturb are taken" in " ".join(text.getvalue().split())  # nothing is cut off


def test_no_column_is_cut_off_where_names_are_long():
    names = ("l2 step_size=0.0003", "cbp replacement_rate=0.0001", "shrink-and-perturb")
    cell = Cell(2.4, 2.2, 2.6, 3)
    rows = tuple(
        FinalRow(name, cell, cell, cell, 3, {k: k * place for k in range(3)}) for place, name in enumerate(names)
    )
    table = FinalTable("b-v1", "tiny", "loss", 80, "t", rows).against("l2 step_size=0.0003")
    text = io.StringIO()
    Console(file=text, width=80).print(table.rich())
    headings = next(line for line in text.getvalue().splitlines() if "first 80" in line)
    assert headings.split()[-2:] == ["p", "n"] and "replacement_rate=0.0001" in text.getvalue()
