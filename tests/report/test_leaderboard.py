"""The page and the figure of the leaderboard: numbers against closed forms and scipy, and what is drawn where."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_1samp, ttest_rel

from neoteny.errors import RunFolderError
from neoteny.registry import METHODS
from neoteny.report.leaderboard.board import Board, normalised_ranks, stratified_mean
from neoteny.report.leaderboard.costs import COSTED, Cost, Costs, read_costs, read_run_costs, write_run_costs
from neoteny.report.leaderboard.figure import KINDS, forest, limits, order
from neoteny.report.leaderboard.page import markdown
from neoteny.report.leaderboard.profile import drawn, normalised, profiles, scaled
from neoteny.report.leaderboard.reading import read
from report import made_up_board as made_up
from report.made_up_board import MNIST, REGRESSION

NAN = math.nan


@pytest.fixture
def board():
    """Two benchmarks, five rows; on MNIST two runs of one row ended, and one row was refused."""
    rng = np.random.default_rng(0)

    def runs(level: float) -> np.ndarray:
        return level + rng.normal(0, 0.01, 8)

    ended = runs(0.95)
    ended[[2, 5]] = NAN
    return made_up.board(
        made_up.reported(MNIST, "backprop", runs(0.8), runs(0.9), dead_units=0.25, weight_magnitude=0.5),
        made_up.reported(MNIST, "cbp", runs(0.9), runs(0.9), "cbp.replacement_rate=1e-05", srank_99=31.25),
        made_up.reported(MNIST, "l2", runs(0.85), runs(0.9), "l2.strength=0.001"),
        made_up.reported(MNIST, "adam", ended, ended, "step_size=0.001"),
        made_up.reported(REGRESSION, "backprop", runs(1.2), runs(0.6)),
        made_up.reported(REGRESSION, "cbp", runs(0.7), runs(0.6)),
        made_up.reported(REGRESSION, "l2", runs(1.2), runs(0.6)),
        made_up.reported(REGRESSION, "adam", runs(9.0), runs(0.6)),
        made_up.reported(REGRESSION, "linear", runs(0.88), runs(0.9)),
        made_up.tuned(MNIST, "l2", {"l2.strength=0.001": [0.8, 0.9], "l2.strength=0.01": [0.7, 0.7]}),
        made_up.refused(MNIST, "batch-norm", "batches of one | have no variance"),
    )


def test_standings_are_sorted_by_the_last_tenth_and_rows_with_ended_runs_come_last(board):
    assert [one.row for one in board.standings(MNIST)] == ["cbp", "l2", "backprop", "adam"]
    assert [one.row for one in board.standings(REGRESSION)] == [
        "cbp",
        "linear",
        *_by_mean(board, "backprop", "l2"),
        "adam",
    ]
    adam = board.standings(MNIST)[-1]
    assert (adam.ended, adam.runs, int(adam.last.n)) == (2, 8, 6)


def _by_mean(board, *rows: str) -> list[str]:
    return sorted(rows, key=lambda row: board.sample(REGRESSION, row, "last").values.mean())


def test_means_and_interquartile_means_are_those_of_numpy(board):
    one = board.standings(MNIST)[0]
    last = board.sample(MNIST, "cbp", "last").values
    np.testing.assert_allclose(one.last.mean, last.mean(), rtol=1e-12)
    np.testing.assert_allclose(one.iqm.mean, np.sort(last)[2:6].mean(), rtol=1e-12)
    first = board.sample(MNIST, "cbp", "first").values
    np.testing.assert_allclose(one.change.mean, (last - first).mean(), rtol=1e-12)
    assert float(one.last.low) < last.mean() < float(one.last.high)
    ended = board.sample(MNIST, "adam", "last").values
    np.testing.assert_allclose(board.standings(MNIST)[-1].last.mean, np.nanmean(ended), rtol=1e-12)


def test_normalised_ranks_by_counting():
    rng = np.random.default_rng(1)
    table = rng.integers(0, 5, (6, 9)).astype(float)
    table[2, 3] = np.inf
    ranks = normalised_ranks(table)
    for row, column in itertools.product(range(6), range(9)):
        below = (table[:, column] < table[row, column]).sum()
        equal = (table[:, column] == table[row, column]).sum() - 1
        assert ranks[row, column] == pytest.approx((below + equal / 2) / 5)
    np.testing.assert_allclose(ranks.mean(axis=0), 0.5)


def test_the_stratified_bootstrap_of_a_mean_against_all_resamples():
    one, other = np.array([0.0, 1.0, 5.0]), np.array([2.0, 3.0])
    means = [[np.mean(drawn) for drawn in itertools.product(table, repeat=len(table))] for table in (one, other)]
    everything = [(a + b) / 2 for a, b in itertools.product(*means)]
    result = stratified_mean([one, other])
    assert result.mean == pytest.approx((one.mean() + other.mean()) / 2)
    low, high = np.quantile(everything, [0.025, 0.975])
    assert float(result.low) == pytest.approx(low, abs=0.1)
    assert float(result.high) == pytest.approx(high, abs=0.1)
    assert np.isnan(stratified_mean([one, np.array([1.0])]).low)


def test_the_ranking_against_ranks_by_hand(board):
    ranking = {one.row: one for one in board.ranking()}
    assert set(ranking) == {"backprop", "cbp", "l2", "adam"}  # linear was on one benchmark alone
    by_hand: dict[str, list[float]] = {row: [] for row in ranking}
    for name in board.benchmarks:
        sign = 1 if name == MNIST else -1
        for row in ranking:
            ranks = []
            for seed in range(8):
                scores = [sign * board.sample(name, other, "last").values[seed] for other in ranking]
                mine = sign * board.sample(name, row, "last").values[seed]
                behind = len(scores) - 1 if math.isnan(mine) else sum(score > mine for score in scores)  # no ties
                ranks.append(behind / (len(scores) - 1))
            by_hand[row].append(float(np.mean(ranks)))
    for row, one in ranking.items():
        assert float(one.rank.mean) == pytest.approx(np.mean(by_hand[row]))
        assert float(one.rank.low) <= float(one.rank.mean) <= float(one.rank.high)
    assert [one.rank.mean for one in board.ranking()] == sorted(one.rank.mean for one in board.ranking())
    assert ranking["cbp"].places == (1, 1)


def test_a_benchmark_of_few_rows_is_not_ranked_over():
    rows = ("backprop", "adam", "l2", "cbp", "redo")
    everywhere = [made_up.reported(MNIST, row, [0.5, 0.6 + 0.01 * k]) for k, row in enumerate(rows)]
    few = [made_up.reported(REGRESSION, row, [0.5, 0.6]) for row in rows[:2]]
    found = made_up.board(*everywhere, *few)
    assert found.compared == (MNIST,)
    assert [one.row for one in found.ranking()] == list(reversed(rows))
    third = made_up.reported(REGRESSION, rows[2], [0.5, 0.6])
    assert set(made_up.board(*everywhere, *few, third).compared) == {MNIST, REGRESSION}


def test_better_or_worse_than_backprop_is_a_paired_test_corrected_for_the_rows(board):
    ranking = {one.row: one for one in board.ranking()}
    signs = {row: [] for row in ranking}
    for name, sign in ((MNIST, 1), (REGRESSION, -1)):
        tests = {}
        for row in board.rows(name):
            mine, base = (board.sample(name, one, "last").values for one in (row, "backprop"))
            both = np.isfinite(mine)
            if row != "backprop":
                tests[row] = ttest_rel(mine[both], base[both])
        order = sorted(tests, key=lambda row: tests[row].pvalue)
        p = 0.0
        for place, row in enumerate(order):  # Holm
            p = max(p, (len(order) - place) * tests[row].pvalue)
            if row in signs:
                signs[row].append(0 if p > 0.05 else int(np.sign(sign * tests[row].statistic)))
            (one,) = [one for one in board.standings(name) if one.row == row]
            assert one.beside.p == pytest.approx(min(p, 1.0))
            bounds = tests[row].confidence_interval()
            assert (one.beside.low, one.beside.high) == pytest.approx((bounds.low, bounds.high))
        if name == MNIST:  # two of its runs ended, so the others do not make it better
            assert signs["adam"] == [1]
            signs["adam"] = [0]
    for row in ("cbp", "l2", "adam"):
        assert ranking[row].against == (signs[row].count(1), signs[row].count(-1), signs[row].count(0))
    assert ranking["cbp"].against == (2, 0, 0)
    assert float(ranking["cbp"].improves.mean) == 1.0 and ranking["backprop"].improves is None


def test_intervals_of_means_are_students(board):
    """Percentiles of a bootstrap over ten runs cover the mean in nine of ten cases only."""
    one = board.standings(MNIST)[0]
    last = board.sample(MNIST, "cbp", "last").values
    bounds = ttest_1samp(last, 0.0).confidence_interval()
    assert (float(one.last.low), float(one.last.high)) == pytest.approx((bounds.low, bounds.high))


def test_runs_that_survived_do_not_make_a_row_better_or_worse():
    rng = np.random.default_rng(0)
    low, high = 0.5 + 0.01 * rng.normal(size=10), 0.9 + 0.01 * rng.normal(size=10)
    ended = np.where(np.arange(10) < 3, high, NAN)
    for base, row, sign in (
        (low, high, 1),
        (low, ended, 0),
        (high, low, -1),
        (ended, low, 0),
        (ended, 0.8 * ended, -1),
    ):
        found = made_up.board(made_up.reported(MNIST, "backprop", base), made_up.reported(MNIST, "cbp", row))
        assert {one.row: one.sign for one in found.standings(MNIST)} == {"backprop": 0, "cbp": sign}


def test_rows_are_ranked_among_those_that_all_benchmarks_have():
    """Rows on one benchmark alone take no places from the others: ranks go from 0 to 1 on each."""
    few = [made_up.reported(REGRESSION, row, [0.5 + k, 0.6 + k]) for k, row in enumerate(("l2", "cbp"))]
    many = [made_up.reported(MNIST, f"own-{k}", [0.91, 0.92]) for k in range(2)]
    many += [made_up.reported(MNIST, row, [0.9 - 0.1 * k] * 2) for k, row in enumerate(("l2", "cbp"))]
    ranking = made_up.board(*few, *many).ranking()
    assert [(one.row, float(one.rank.mean), one.places) for one in ranking] == [
        ("l2", 0.0, (3, 1)),
        ("cbp", 1.0, (4, 2)),
    ]


def test_a_single_row_has_a_page():
    rows = [made_up.reported(name, "cbp", [0.5, 0.6]) for name in (MNIST, REGRESSION)]
    page = markdown(made_up.board(*rows), Costs(), "it.png")
    assert "critical difference" not in page
    assert "| 1 | cbp | reset |" in page


def test_ends_of_ranges_and_rows_that_did_nothing_are_marked():
    steps = [f"step_size={step}" for step in (0.001, 0.01, 0.1)]
    base = dict(zip(steps, ([0.1, 0.2], [0.5, 0.4], [0.3, 0.1]), strict=True))
    idle = {f"{step}, redo.tau={tau}": base[step] for step, tau in zip(steps, (0.0, 0.05, 0.1), strict=True)}
    busy = {f"{step}, l2.strength={1e-4 * k}": [0.1 * k, 0.2] for k, step in enumerate(steps, 1)}
    chosen = {"backprop": steps[1], "redo": list(idle)[1], "l2": list(busy)[2]}
    found = made_up.board(
        *(
            made_up.tuned(MNIST, row, each, chosen[row])
            for row, each in (("backprop", base), ("redo", idle), ("l2", busy))
        ),
        *(made_up.reported(MNIST, row, [0.4, 0.5], settings=settings) for row, settings in chosen.items()),
    )
    assert found.all_tuned
    assert [found.did_nothing(MNIST, row) for row in chosen] == [False, True, False]
    assert [found.at_an_end(MNIST, row) for row in chosen] == [[], [], ["step_size", "l2.strength"]]
    page = markdown(found, Costs(), "it.png")
    assert "Every row, plain backprop as well, chooses its step size" in page
    assert "each end is tried with one step size only" in page
    assert "| redo ∅ |" in page and "step_size 0.1 ‡, strength 0.0003" in page


def test_the_page_says_all_of_it(board):
    page = markdown(board, Costs({"cbp": 1.3456}), "it.png", "A remark.")
    assert "![The last tenth of the stream, method by method](it.png)" in page
    assert "A remark." in page
    lines = [line for line in page.splitlines() if line.startswith("|")]
    (cbp,) = [line for line in lines if "replacement_rate 1e-05" in line]
    for text in ("| 1 | cbp | reset |", "| 31.2 |", "| 1.35 |", "| 8 |"):
        assert text in cbp
    assert any("| adam |" in line and "6 of 8" in line for line in lines)
    (backprop,) = [line for line in lines if "25.0%" in line]
    assert "| 0.5 | - | - | - | - | 8 |" in backprop  # neither a cost nor anything chosen
    assert "batch-norm on online-permuted-mnist-v1: batches of one" in page
    assert "2 tuning seeds (from 1000 on)" in page
    assert "not ranked: linear" in page
    assert "(overhead.md)" in page
    assert "(not measured)" in markdown(board, Costs(), "it.png")
    tables = re.split(r"\n\n(?!\|)", page)
    for table in (part for part in tables if part.lstrip().startswith("|")):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(widths) == 1


def test_which_rows_were_made_at_which_commit_is_said(board):
    made = (
        pl.when(pl.col("row") == "l2")
        .then(pl.lit("neoteny 0.1.0; commit 0123abc+; a processor"))
        .otherwise(pl.lit("neoteny 0.1.0; commit 4567def; a processor"))
    )
    found = Board(board.frame.with_columns(made_with=made))
    page = markdown(found, Costs(), "it.png")
    assert "commit 0123abc+; a processor: l2\n" in page and "A + after a commit" in page
    assert "commit 4567def; a processor: adam, backprop, batch-norm, cbp, linear\n" in page
    assert "neoteny leaderboard --scale fast --runs 8 --tuning-runs 2 --to docs/evidence" in page
    one = found.frame.filter(pl.col("row") != "l2")
    assert "A + after" not in markdown(Board(one), Costs(), "it.png")


def test_the_parquet_alone_makes_the_same_page_and_figure(board, tmp_path):
    path = tmp_path / "leaderboard.parquet"
    board.frame.write_parquet(path)
    assert markdown(read(path), Costs(), "it.png") == markdown(board, Costs(), "it.png")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunFolderError, match="leaderboard.parquet cannot be read"):
        read(path)
    board.frame.drop("seed").write_parquet(path)
    with pytest.raises(RunFolderError, match="lacks seed"):
        read(path)
    with pytest.raises(RunFolderError, match="cannot be read"):
        read(tmp_path / "elsewhere.parquet")
    for two, said in (
        (board.frame, "run of adam on online-permuted-mnist-v1 with the seed 0 twice"),
        (board.frame.with_columns(scale=pl.lit("table")), "with the scales fast and table"),
        (board.frame.with_columns(metric=pl.lit("other")), "with the metrics .* and other"),
    ):
        pl.concat([board.frame, two]).write_parquet(path)
        with pytest.raises(RunFolderError, match=said):
            read(path)


def test_costs_are_geometric_means_over_networks(tmp_path):
    path = tmp_path / "overhead.parquet"
    assert read_costs(path) == {}
    rows = [
        (COSTED[0], "SGD", "cbp, 0.0001", 1.0),
        (COSTED[1], "SGD", "cbp, 0.0001", 4.0),
        (COSTED[0], "SGD", "l2", 1.5),
        (COSTED[0], "Adam", "l2", 9.0),
        ("another network", "SGD", "l2", 9.0),
    ]
    pl.DataFrame(rows, ["network", "optimizer", "method", "best"], orient="row").write_parquet(path)
    assert read_costs(path) == pytest.approx({"cbp": 2.0, "l2": 1.5})
    path.write_text("no table")
    with pytest.raises(RunFolderError, match="measure them anew"):
        read_costs(path)


RUNS = [
    Cost(benchmark=MNIST, row="backprop", seconds=2.0, memory=100),
    Cost(benchmark=MNIST, row="cbp", seconds=3.0, memory=130),
    Cost(benchmark=REGRESSION, row="backprop", seconds=1.0, memory=50),
    Cost(benchmark=REGRESSION, row="cbp", seconds=6.0, memory=50),
    Cost(benchmark=REGRESSION, row="l2", seconds=5.0, known="measured"),
    Cost(benchmark="own-v1", row="backprop", seconds=9.0, known="measured", runs=64, hours=0.16),
    Cost(benchmark="own-v1", row="cbp", seconds=12.0, known="compared", runs=64, hours=0.215),
    Cost(benchmark=MNIST, row="crelu", seconds=12.0, known="compared", runs=10, hours=2.0),
    Cost(benchmark=MNIST, row="l2", seconds=2.0, known="measured", runs=10, hours=7.0),  # it was run since
]


def test_compiled_costs_and_memory_are_relative_to_backprop_on_the_same_benchmark():
    costs = Costs({"cbp": 1.25}, RUNS)
    assert costs.cells("cbp", [MNIST])[:2] == ("1.25", "1.50")
    assert costs.cells("cbp", [MNIST, REGRESSION, "own-v1"])[1] == f"{math.sqrt(1.5 * 6):.2f}"
    assert costs.cells("cbp", [MNIST])[2] == f"1.30 + {METHODS['cbp'].load().memory[1]:g}"
    assert costs.cells("backprop", [MNIST]) == ("-", "1.00", "1.00")
    assert costs.cells("l2", [REGRESSION]) == ("-", "-", "-")  # no run was finished


def test_what_was_not_run_is_listed_with_its_cost(board):
    page = markdown(board, Costs(runs=RUNS), "it.png")
    section = page[page.index("## What was not run") : page.index("## Left out")]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert lines[0] == f"| row | own-v1 | {MNIST} |"
    assert lines[2:] == [
        "| backprop | 0.16 |  |",
        "| cbp | 0.21 ~ |  |",
        "| crelu |  | 2 ~ |",
        "| **together** | **0.375** | **2** |",
    ]
    assert "not run" not in markdown(board, Costs(), "it.png")


def test_the_file_of_costs_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "costs.json"
    assert read_run_costs(path) == []
    write_run_costs(RUNS, path)
    assert read_run_costs(path) == RUNS
    path.write_text(path.read_text()[:-20])
    with pytest.raises(RunFolderError, match="no costs of runs"):
        read_run_costs(path)


def test_the_figure_draws_every_row_where_it_is(board):
    panels = {axes.get_label(): axes for axes in forest(board).axes}
    assert list(panels) == [MNIST, REGRESSION]
    rows = order(board)
    assert rows[0] == "cbp" and sorted(rows) == sorted({one.row for name in panels for one in board.standings(name)})
    assert [label.get_text() for label in panels[MNIST].get_yticklabels()] == rows  # named once, for all panels
    assert not any(label.get_text() for label in panels[REGRESSION].get_yticklabels())
    for name, axes in panels.items():
        standings = {one.row: one for one in board.standings(name)}
        dots = {round(float(line.get_ydata()[0])): line for line in axes.lines if line.get_marker() not in ("None", "")}
        (line,) = [line for line in axes.lines if list(line.get_ydata()) == [0, 1]]
        assert line.get_xdata()[0] == pytest.approx(float(standings["backprop"].last.mean))
        for place, row in enumerate(rows):
            one = standings.get(row)
            if one is None or (name == REGRESSION and row == "adam"):  # not run; far behind: named at the edge
                assert place not in dots
                continue
            assert dots[place].get_xdata()[0] == pytest.approx(float(one.last.mean))
            assert (dots[place].get_color(), dots[place].get_marker()) == KINDS[one.kind]
            assert (dots[place].get_markerfacecolor() == "#ffffff") == bool(one.ended)
    assert any(text.get_text() == "9 →" for text in panels[REGRESSION].texts)
    assert panels[MNIST].get_title("left").split() == ["online", "permuted", "mnist"]


def test_what_is_good_is_never_cut_off():
    runs = [0.5 + 0.001 * k for k in range(4)]
    rows = [made_up.reported(MNIST, f"row-{k}", [run + 0.001 * k for run in runs]) for k in range(8)]
    rows += [made_up.reported(MNIST, "best", [0.95, 0.96]), made_up.reported(MNIST, "worst", [0.1, 0.11])]
    low, high = limits(made_up.board(*rows).standings(MNIST), better=1)
    assert low > 0.4
    assert high > 0.96


def test_labels_of_a_full_table_do_not_overlap():
    rng = np.random.default_rng(0)
    rows = [made_up.reported(MNIST, f"method-{k}", rng.normal(0.8, 0.01, 4)) for k in range(40)]
    figure = forest(made_up.board(*rows))
    figure.canvas.draw()
    (axes,) = figure.axes
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    for above, below in itertools.pairwise(boxes):
        assert above.y0 >= below.y1 - 0.5
    assert min(box.x0 for box in boxes) >= 0


def test_many_benchmarks_stand_in_several_blocks():
    rng = np.random.default_rng(0)
    rows = [made_up.reported(f"own-{k}-v1", f"row-{j}", rng.normal(0.8, 0.01, 4)) for k in range(5) for j in range(3)]
    figure = forest(made_up.board(*rows))
    figure.canvas.draw()
    assert ["row-0" in [label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes] == [
        True,
        False,
        False,
        True,
        False,
    ]
    four = forest(made_up.board(*(one for one in rows if one[0]["benchmark"] != "own-4-v1")))
    named = [any(label.get_text() for label in axes.get_yticklabels()) for axes in four.axes]
    assert named == [True, False, True, False]  # two and two, not three and one
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert max(box.x1 for box in boxes) <= figure.bbox.width
    assert boxes[3].y1 < boxes[0].y0  # the second block is below the first


def test_profiles_show_backprop_and_the_best_of_each_kind(board):
    """Scores are 0 at backpropagation's mean and 1 at the best row's, also where less is better."""
    assert drawn(board)[0] == ("backprop", "reference")
    assert {kind for _, kind in drawn(board)[1:]} == {"reset", "regulariser", "optimizer"}
    for name in board.compared:
        assert np.nanmean(normalised(board, name, "backprop")) == pytest.approx(0.0, abs=1e-9)
        assert np.nanmean(normalised(board, name, board.standings(name)[0].row)) == pytest.approx(1.0)
    figure = profiles(board)
    assert figure is not None
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    assert set(lines) == {row for row, _ in drawn(board)}
    assert all((np.diff(share) <= 0).all() for share in lines.values())
    assert (lines["cbp"] >= lines["backprop"]).all()
    assert profiles(made_up.board(made_up.reported(MNIST, "cbp", [0.1, 0.2]))) is None


def test_a_benchmark_on_which_no_row_beats_backprop_has_no_scale():
    runs = {"backprop": (0.9, 0.5, 0.5), "cbp": (0.8, 0.9, 0.9), "l2": (0.85, 0.8, 0.8)}
    rows = [
        made_up.reported(f"own-{k}-v1", row, [levels[k] - 0.01, levels[k] + 0.01])
        for row, levels in runs.items()
        for k in range(3)
    ]
    found = made_up.board(*rows)
    assert scaled(found) == ["own-1-v1", "own-2-v1"]
    figure = profiles(found)
    assert figure is not None
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert lines["cbp"].get_ydata()[60] == 1.0  # at 0.25, where the other benchmark is not in the way
    assert lines["backprop"].get_marker() != lines["cbp"].get_marker()
    assert profiles(made_up.board(*(one for one in rows if one[0]["benchmark"] == "own-1-v1"))) is None
