"""Atari-100k's table: scores between random play and people, published values beside ours, as text and as a figure."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from neoteny.benchmarks.atari_100k import GAMES, Atari100k
from neoteny.errors import SettingError
from neoteny.lab.recorder import COLUMNS
from neoteny.report.papers.atari_100k import ATARI_100K, PUBLISHED_ROWS, SCORES, scores, scores_figure
from neoteny.report.papers.judging import judge
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import Runs, group_frames
from neoteny.report.statistics.agents_table import agents_table
from report import made_up
from report.test_figures import check_text, words


def evaluated(system, game, returns):
    rows = [
        (run, 3_000 * (place + 1), 0, "evaluation_return", "", float(value))
        for run, curve in enumerate(returns)
        for place, value in enumerate(curve)
    ]
    own = Atari100k.SYSTEMS[system].at("small").overrides
    config = made_up.config(system, len(returns), benchmark="atari-100k-v1", scale="small",
                            settings={**own, "game": game})  # fmt: skip
    return RunFrame(config, pl.DataFrame(rows, schema=COLUMNS, orient="row"))


@pytest.fixture(scope="module")
def runs():
    def between(game, *shares):
        low, high = SCORES[game]
        return [[low, low + share * (high - low)] for share in shares]

    frames = [
        evaluated(system, game, between(game, *shares))
        for system, game, shares in (
            ("backprop", "assault", (0.1, 0.3)),
            ("backprop", "road_runner", (0.2, 0.4)),
            ("head-reset", "assault", (0.5, 0.7)),
            ("head-reset", "road_runner", (0.6, 0.8)),
            ("head-reset-40k", "assault", (0.3, 0.5)),
            ("head-reset-40k", "road_runner", (0.4, 0.6)),
        )
    ]
    return Runs(group_frames(frames))


def test_every_game_has_its_scores():
    assert set(SCORES) == set(GAMES)
    assert all(low < high for low, high in SCORES.values())
    assert set(PUBLISHED_ROWS) <= set(Atari100k.SYSTEMS)


def test_scores_are_normalised_and_stand_beside_the_published_ones(runs):
    table = scores(runs, resamples=200)
    ours = {row.system: row for row in table.rows if row.runs}
    assert set(ours) == {"backprop", "head-reset", "head-reset-40k"}
    assert ours["backprop"].last["IQM"].mean == pytest.approx(0.25)
    assert ours["head-reset"].last["mean"].mean == pytest.approx(0.65)
    assert ours["head-reset"].last["optimality gap"].mean == pytest.approx(0.35)
    assert ours["head-reset"].whole.mean == pytest.approx(0.325)
    assert {row.system: row.published for row in table.rows} == pytest.approx(PUBLISHED_ROWS)
    assert "normalised, at the last evaluation" in table.markdown() and "0.243" in table.markdown()
    with pytest.raises(SettingError, match="game = 'assault' has no returns"):
        agents_table(runs["atari-100k-v1"], task="game", between={"pong": (-20.7, 14.6)}, resamples=200)


def test_the_table_as_a_figure(runs):
    drawn = scores_figure(runs)
    check_text(drawn)
    (axes,) = drawn.axes
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["backprop", "head-reset"]
    diamonds = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    np.testing.assert_allclose(sorted(diamonds), sorted(PUBLISHED_ROWS.values()))
    assert "2 tasks" in " ".join(text.get_text() for text in words(drawn))


def test_claims_name_the_runs_that_are_missing(runs):
    verdicts = {one.claim: one.outcome.verdict for one in judge(runs, [ATARI_100K])}
    assert len(verdicts) == sum(len(figure.claims) for figure in ATARI_100K.figures)
    assert verdicts["Assault: DrQ gains by Hare & Tortoise, at the end"] == "not yet run"
    assert verdicts["Assault: DrQ gains by head reset, at the end"] != "not yet run"


def test_the_figure_says_where_systems_have_other_numbers_of_games_and_runs():
    frames = [
        evaluated("backprop", "assault", [[1.0, 2.0]] * 3),
        evaluated("backprop", "road_runner", [[1.0, 2.0]] * 3),
        evaluated("head-reset", "assault", [[1.0, 2.0]] * 5),
    ]
    drawn = scores_figure(Runs(group_frames(frames)))
    assert "1 to 2 tasks, 3 to 5 runs of each" in " ".join(text.get_text() for text in drawn.texts)
