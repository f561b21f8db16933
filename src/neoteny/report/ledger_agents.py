"""What is claimed of agents: the paper's claims about the ant, and the same of a robot that it does not have.

Dohare et al., Nature 632, 2024, Figs. 3 and 4. The curves that they are about are the same at every scale.
"""

from __future__ import annotations

from neoteny.report.atlas_agents import AGENTS, ANT, CBP, HALF_CHEETAH, L2, SLIPPERY_ANT, STANDARD, TUNED
from neoteny.report.claims import (
    FIRST,
    Beats,
    Claim,
    Falls,
    FallsMore,
    Grows,
    Keeps,
    NonOverlapping,
    Window,
    claims_about,
)

__all__ = ["about_agents"]

# An agent begins by knowing nothing, so what it loses is counted from a stretch in which it has learned to walk. It is
# fixed beforehand, since the best stretch of a run lies above the others by chance alone; each holds several grounds.
EARLY, LATE = (0.1, 0.4), (0.8, 1.0)
# On unchanging ground the paper's standard agent is back at 0 after a third of the run.
EARLY_STATIONARY = (0.05, 0.25)


def about_agents() -> tuple[Claim, ...]:
    """All of them.

    >>> about_agents()[0].describe()
    'loss of standard PPO > 0 (first: 10% to 40%, last: 80% to 100% of the run)'
    """
    return (*_changing(SLIPPERY_ANT), *_stationary(), *_changing(HALF_CHEETAH))


def _changing(benchmark: str) -> tuple[Claim, ...]:
    figure = _returns(benchmark)
    claim = claims_about(benchmark, "episodic_return", axis="steps", first=EARLY, last=LATE)
    return (
        claim(figure, "Standard PPO loses what it had learned", Falls(STANDARD)),
        claim(figure, "With tuned Adam less is lost", FallsMore(STANDARD, TUNED)),
        *_kept(benchmark, EARLY),
        *_measured(benchmark),
    )


def _stationary() -> tuple[Claim, ...]:
    claim = claims_about(ANT, "episodic_return", axis="steps", first=EARLY_STATIONARY, last=LATE)
    return (
        claim("nature-4a", "Standard PPO loses what it had learned", Falls(STANDARD)),
        claim("nature-4a", "With tuned Adam it is lost as well", Falls(TUNED)),
        *_kept(ANT, EARLY_STATIONARY),
        claim("nature-4a", "Continual backpropagation ends above L2", Beats(CBP, L2)),
        *_measured(ANT),
    )


def _kept(benchmark: str, early: Window) -> tuple[Claim, ...]:
    figure = _returns(benchmark)
    claim = claims_about(benchmark, "episodic_return", axis="steps", first=early, last=LATE)
    return (
        claim(figure, "L2 regularisation goes on improving", Keeps(L2, 0.0)),
        claim(figure, "Continual backpropagation goes on improving", Keeps(CBP, 0.0)),
        claim(figure, "L2 regularisation ends above standard PPO", Beats(L2, STANDARD)),
        claim(figure, "Continual backpropagation ends above standard PPO", Beats(CBP, STANDARD)),
        claim(
            figure,
            "Standard PPO and continual backpropagation end with 95% intervals apart",
            NonOverlapping(CBP, STANDARD),
        ),
    )


def _measured(benchmark: str) -> tuple[Claim, ...]:
    """What becomes of the actor, as far as the benchmark has figures of it."""
    claims: list[Claim] = []
    for figure in (one for one in AGENTS if one.benchmark == benchmark):
        claim = claims_about(benchmark, figure.metric, axis="steps", layer=figure.layer, first=FIRST, last=LATE)
        match figure.metric:
            case "dormant_units":
                grow, more = "Units of standard PPO become dormant", "more dormant units"
            case "weight_magnitude":
                grow, more = "The weights of standard PPO grow", "larger weights"
            case "srank_99":
                text = "Continual backpropagation ends with a higher rank than standard PPO"
                claims.append(claim(figure.name, text, Beats(CBP, STANDARD)))
                continue
            case _:
                continue
        claims += [
            claim(figure.name, grow, Grows(STANDARD)),
            claim(figure.name, f"Standard PPO ends with {more} than L2 regularisation", Beats(STANDARD, L2)),
            claim(figure.name, f"Standard PPO ends with {more} than continual backpropagation", Beats(STANDARD, CBP)),
        ]
    return tuple(claims)


def _returns(benchmark: str) -> str:
    """The name of the figure of a benchmark's returns."""
    return next(one.name for one in AGENTS if one.benchmark == benchmark and one.metric == "episodic_return")
