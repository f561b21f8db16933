"""Atari-100k: what agents that learn from little gain by resets and by Hare & Tortoise.

Lee's talk "Towards plastic neural networks" and Lee et al., "Slow and steady wins the race", ICML 2024, have one table
of it: interquartile means of human-normalised scores over 26 games. A score is normalised by those of random play and
of people, (x - random) / (human - random), so that 0 is random play and 1 what people reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from neoteny.report.claims.criteria import Beats, Claim
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.records import Paper, PaperFigure
from neoteny.report.runs.groups import Runs
from neoteny.report.statistics.agents_table import AgentsTable, agents_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ATARI_100K", "PUBLISHED_ROWS", "SCORES", "SOURCE", "scores", "scores_figure"]

SCORES: Mapping[str, tuple[float, float]] = {
    "alien": (227.8, 7127.7),
    "amidar": (5.8, 1719.5),
    "assault": (222.4, 742.0),
    "asterix": (210.0, 8503.3),
    "bank_heist": (14.2, 753.1),
    "battle_zone": (2360.0, 37187.5),
    "boxing": (0.1, 12.1),
    "breakout": (1.7, 30.5),
    "chopper_command": (811.0, 7387.8),
    "crazy_climber": (10780.5, 35829.4),
    "demon_attack": (152.1, 1971.0),
    "freeway": (0.0, 29.6),
    "frostbite": (65.2, 4334.7),
    "gopher": (257.6, 2412.5),
    "hero": (1027.0, 30826.4),
    "jamesbond": (29.0, 302.8),
    "kangaroo": (52.0, 3035.0),
    "krull": (1598.0, 2665.5),
    "kung_fu_master": (258.5, 22736.3),
    "ms_pacman": (307.3, 6951.6),
    "pong": (-20.7, 14.6),
    "private_eye": (24.9, 69571.3),
    "qbert": (163.9, 13455.0),
    "road_runner": (11.5, 7845.0),
    "seaquest": (68.4, 42054.7),
    "up_n_down": (533.4, 11693.2),
}
"""Of each game the score of random play and that of a person: Wang et al., "Dueling network architectures", ICML 2016,
Table 2 (with no-op starts), as Agarwal et al. (NeurIPS 2021) normalise by them in `rliable`."""
PUBLISHED_ROWS: Mapping[str, float] = {
    "backprop": 0.243,
    "shrink-and-perturb": 0.139,
    "hare-and-tortoise": 0.287,
    "head-reset": 0.332,
    "head-reset-40k": 0.288,
    "hare-and-tortoise-head-reset": 0.328,
    "bbf-no-prediction": 0.826,
    "bbf-hare-and-tortoise": 0.891,
    "bbf": 0.940,
}
"""IQM by system: replay ratio 2, five runs of each of 26 games. With self-prediction BBF takes twice the GPU hours."""
SOURCE = "Lee's talk, 26 games, 5 runs"
PLAIN, HEAD, SHRINK, HARE, BOTH = "DrQ", "head reset", "shrink and perturb", "Hare & Tortoise", "both"
_SYSTEMS = {
    PLAIN: "backprop",
    HEAD: "head-reset",
    SHRINK: "shrink-and-perturb",
    HARE: "hare-and-tortoise",
    BOTH: "hare-and-tortoise-head-reset",
}
_WHOLE = (0.0, 1.0)


def scores(runs: Runs, resamples: int = 9999) -> AgentsTable:
    """The table of the talk from runs of `atari-100k-v1`: a row for each system, published values beside ours.

    Args:
        runs: from `neoteny.report.load`.
        resamples: bootstrap samples.

    Raises:
        SettingError: there are no such runs.
    """
    return agents_table(
        runs["atari-100k-v1"],
        task="game",
        target=1.0,
        between=SCORES,
        published=PUBLISHED_ROWS,
        source=SOURCE,
        resamples=resamples,
    )


def scores_figure(runs: Runs) -> Figure:
    """The same as a figure: `neoteny figure neoteny.report.papers.atari_100k:scores_figure`."""
    from neoteny.report.figures.agents import draw_table

    return draw_table(scores(runs))


def _figure(game: str) -> PaperFigure:
    name = game.replace("_", " ").title()

    def gains(curve: str) -> tuple[Claim, Claim]:
        return (
            Claim(f"{name}: DrQ gains by {curve}, at the end", Beats(curve, PLAIN)),
            Claim(f"{name}: DrQ gains by {curve}, over the whole run", Beats(curve, PLAIN, window=_WHOLE)),
        )

    return PaperFigure(
        name=f"atari-100k-{game.replace('_', '-')}",
        title=f"DrQ with resets, {name}",
        source="Lee's talk, which has means over 26 games",
        benchmark="atari-100k",
        conditions=tuple(Condition(label, system, {"game": game}) for label, system in _SYSTEMS.items()),
        length=100_000,
        runs=5,
        fewer=5,
        metric="evaluation_return",
        axis="steps",
        bin=5_000,
        interval="bca",
        claims=(
            *gains(HEAD),
            *gains(HARE),
            *gains(BOTH),
            Claim(f"{name}: shrink and perturb costs DrQ score, at the end", Beats(PLAIN, SHRINK)),
        ),
    )


ATARI_100K = Paper(
    name="atari-100k",
    title="Slow and steady wins the race, on Atari-100k",
    reference="Lee et al., ICML 2024, arXiv 2406.02596, and Lee's talk",
    figures=tuple(map(_figure, ("assault", "road_runner"))),
)
