"""The figures of agents: the paper's of robots that learn to walk, and the same of a robot that it does not have.

Dohare et al., Nature 632, 2024, Figs. 3 and 4.
"""

from __future__ import annotations

from neoteny.report.figure import Known, PaperFigure
from neoteny.report.lines import Line

__all__ = ["AGENTS", "ANT", "HALF_CHEETAH", "SLIPPERY_ANT"]

ANT, SLIPPERY_ANT, HALF_CHEETAH = "ant", "slippery-ant", "slippery-half-cheetah"
NATURE = "Nature 632 (2024)"

STANDARD, TUNED = Line("standard PPO", "backprop"), Line("tuned Adam", "tuned-adam")
L2, CBP, REDO = Line("l2", "l2"), Line("cbp", "cbp"), Line("redo", "redo")
LINES = (STANDARD, TUNED, L2, CBP)
# metric, layer, bin: points of 100,000 steps; measures are taken as often
RETURN = ("episodic_return", "", 102_400)
DORMANT, WEIGHTS = ("dormant_units", "actor.mean", 1), ("weight_magnitude", "actor.last", 1)
RANK = ("srank_99", "actor.last", 1)


def _figure(
    name: str, title: str, source: str, benchmark: str, length: int, runs: int, shown: tuple[str, str, int],
    *known: Known,
) -> PaperFigure:  # fmt: skip
    metric, layer, size = shown
    return PaperFigure(
        name, title, source, benchmark, LINES, length, runs, 5, metric=metric, layer=layer, axis="steps", bin=size,
        optional=(REDO,), known=known, interval="bca",
    )  # fmt: skip


def _changing(name: str, title: str, benchmark: str, shown: tuple[str, str, int], source: str = "") -> PaperFigure:
    return _figure(name, title, source, benchmark, 20_000_000, 100 if benchmark == SLIPPERY_ANT else 30, shown)


def _stationary(letter: str, title: str, shown: tuple[str, str, int], *known: Known) -> PaperFigure:
    return _figure(f"nature-4{letter}", title, f"{NATURE}, Fig. 4{letter}", ANT, 50_000_000, 30, shown, *known)


def _ends(*values: float) -> tuple[Known, ...]:
    return tuple(
        Known(line.label, 50_000_000, value) for line, value in zip(LINES[-len(values) :], values, strict=True)
    )


_WEIGHTS_TITLE = "Mean |w| into the actor's last hidden layer"
AGENTS = (
    _changing("nature-3c", "Return on ground of changing friction", SLIPPERY_ANT, RETURN, f"{NATURE}, Fig. 3c"),
    _stationary(
        "a", "Return on unchanging ground", RETURN,
        Known("standard PPO", 17_000_000, 0.0), Known("tuned Adam", 40_000_000, 0.0), *_ends(4_000.0, 4_900.0),
    ),
    _stationary("b", "Dormant units of the actor", DORMANT, *_ends(0.58, 0.57, 0.055, 0.045)),
    # the paper's axis is in per cent of the 256 units
    _stationary("c", "Stable rank of the actor's last hidden layer", RANK, *_ends(0.71 * 256, 0.83 * 256)),
    _stationary("d", _WEIGHTS_TITLE, WEIGHTS, *_ends(0.115, 0.104, 0.008, 0.03)),
    _changing("friction-dormant-units", "Dormant units of the actor", SLIPPERY_ANT, DORMANT),
    _changing("friction-weight-magnitude", _WEIGHTS_TITLE, SLIPPERY_ANT, WEIGHTS),
    _changing("friction-srank", "Stable rank of the actor's last hidden layer", SLIPPERY_ANT, RANK),
    _changing("friction-half-cheetah", "Return on ground of changing friction", HALF_CHEETAH, RETURN),
    _changing("friction-half-cheetah-dormant-units", "Dormant units of the actor", HALF_CHEETAH, DORMANT),
    _changing("friction-half-cheetah-weight-magnitude", _WEIGHTS_TITLE, HALF_CHEETAH, WEIGHTS),
)  # fmt: skip
"""Every figure of agents."""
