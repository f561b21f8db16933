"""Nikishin et al., "The primacy bias in deep reinforcement learning", ICML 2022.

The values are the means of ten seeds at the last evaluation of the curves that the authors published with their code;
evaluations fall on the moments just before a reset, the best ones. So each claim about the end has one about the area
under the whole curve beside it. SAC's resets make the whole agent new and keep its replay buffer; DrQ's keep the
encoder that actor and critics share.
"""

from __future__ import annotations

from collections.abc import Mapping

from neoteny.report.claims.criteria import Beats, Claim
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.records import Paper, PaperFigure

__all__ = ["PRIMACY_BIAS", "PUBLISHED_IQM", "PUBLISHED_PIXELS", "PUBLISHED_RETURNS", "PUBLISHED_ROWS"]

STEPS = 2_000_000
RESET_EVERY = 200_000
SAC, PRIMED, CURED = "SAC", "primed SAC", "primed SAC with resets"
RATIO_1, RESET_1, RATIO_32, RESET_32 = "ratio 1", "ratio 1, resets", "ratio 32", "ratio 32, resets"
WHOLE = (0.0, 1.0)
"""The mean over a whole run: the area under its curve."""

PUBLISHED_RETURNS: Mapping[str, tuple[float, float, float, float]] = {
    "acrobot-swingup": (14, 3, 100, 87),
    "cheetah-run": (898, 771, 819, 917),
    "finger-turn_hard": (916, 516, 755, 969),
    "fish-swim": (455, 396, 147, 546),
    "hopper-hop": (201, 159, 196, 423),
    "humanoid-run": (176, 158, 40, 295),
    "humanoid-stand": (743, 796, 314, 806),
    "quadruped-run": (849, 859, 202, 924),
    "swimmer-swimmer15": (276, 269, 302, 310),
    "walker-run": (838, 774, 859, 863),
}
"""Returns after 2 million steps, by task: replay ratio 1, the same with resets, ratio 32, the same with resets."""
PUBLISHED_IQM: Mapping[str, tuple[float, float]] = {
    RATIO_1: (501, 578),
    RESET_1: (401, 481),
    RATIO_32: (301, 290),
    RESET_32: (652, 662),
}
"""IQM over these tasks after 1 and after 2 million steps. The paper's headline for SAC, 501 and 656, compares ratio 1
with ratio 32 and resets, both after a million."""
PUBLISHED_PIXELS: Mapping[str, float] = {"DrQ": 569, "DrQ, resets": 762}
"""IQM of agents that learn from pixels, over 19 tasks."""

PUBLISHED_ROWS: Mapping[str, float] = {
    "backprop, replay_ratio 1": 501,
    "full-reset, replay_ratio 1": 401,
    "backprop, replay_ratio 32": 301,
    "full-reset, replay_ratio 32": 652,
    **PUBLISHED_PIXELS,
}
"""The same after a million steps, under the names that `agents_table` has for the rows of `replay-ratio-v1`."""


def _ratios(**settings: str) -> tuple[Condition, ...]:
    return tuple(
        Condition(label, system, {**settings, "replay_ratio": ratio})
        for ratio, labels in ((1, (RATIO_1, RESET_1)), (32, (RATIO_32, RESET_32)))
        for label, system in zip(labels, ("backprop", "full-reset"), strict=True)
    )


def _twice(text: str, curve: str, other: str, by: float = 0.0) -> tuple[Claim, Claim]:
    """A claim about the end, and one about the whole run."""
    return (
        Claim(f"{text}, at the end", Beats(curve, other, by=by)),
        Claim(f"{text}, over the whole run", Beats(curve, other, by=by, window=WHOLE)),
    )


def _figure(task: str) -> PaperFigure:
    return PaperFigure(
        name=f"replay-ratio-{task}",
        title=f"Replay ratios with and without resets, {task}",
        source="Nikishin et al. (2022), the authors' curves",
        benchmark="replay-ratio",
        conditions=_ratios(task=task),
        length=STEPS,
        runs=10,
        fewer=5,
        metric="evaluation_return",
        axis="steps",
        bin=5_000,
        interval="bca",
        published={label: {STEPS: value} for label, value in zip(PUBLISHED_IQM, PUBLISHED_RETURNS[task], strict=True)},
        claims=(
            *_twice(f"{task}: at replay ratio 32 resets help", RESET_32, RATIO_32),
            *_twice(f"{task}: SAC at ratio 32 with resets beats SAC at ratio 1", RESET_32, RATIO_1),
        ),
    )


PRIMACY_BIAS = Paper(
    name="primacy-bias",
    title="The primacy bias in deep reinforcement learning",
    reference="Nikishin et al., ICML 2022, arXiv 2205.07802",
    figures=(
        PaperFigure(
            name="heavy-priming",
            title="SAC that learned too much from its first 100 transitions",
            source="Nikishin et al. (2022), heavy priming",
            benchmark="primacy-bias",
            conditions=(
                Condition(SAC, "backprop"),
                Condition(PRIMED, "primed"),
                Condition(CURED, "primed-full-reset"),
            ),
            length=STEPS,
            runs=10,
            fewer=5,
            metric="evaluation_return",
            axis="steps",
            bin=5_000,
            interval="bca",
            claims=(
                *_twice("Heavy priming costs SAC return", SAC, PRIMED),
                *_twice("Resets cure a primed SAC", CURED, PRIMED),
                Claim("A primed SAC with resets ends within 100 of SAC", Beats(CURED, SAC, by=-100.0)),
            ),
        ),
        *map(_figure, PUBLISHED_RETURNS),
    ),
)
