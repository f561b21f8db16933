"""Streaming learning: Sutton 1992; Elsayed, Vasan & Mahmood, "Streaming deep reinforcement learning finally works".

Sutton's values are those of AAAI 1992, read off its figures, and of the Yale Workshop 1992. Those of Elsayed et al. are
read off their figures, of 30 runs.
"""

from __future__ import annotations

from neoteny.report.claims.criteria import Ahead, Beats, Claim, EndsAbove, EndsBelow, Grows
from neoteny.report.claims.several import All
from neoteny.report.papers.condition import Condition, vary
from neoteny.report.papers.records import Chosen, Paper, PaperFigure

__all__ = ["STREAMING"]

_SETTLED = (2 / 3, 1.0)
_SWEEP = "as the best of its sweep (docs/evidence/tracking.py)"
_MILLION = 1_000_000

TRACKING = PaperFigure(
    name="streaming-tracking",
    title="IDBD's tracking problem: one step size, or one for each input",
    source="Sutton, AAAI 1992, Experiment 1",
    benchmark="idbd-tracking",
    conditions=(
        Condition("LMS", "backprop"),
        Condition("NLMS", "nlms"),
        Condition("Autostep", "autostep"),
        Condition("IDBD", "idbd"),
    ),
    length=30_000,
    runs=30,
    fewer=30,
    metric="loss",
    bin=10_000,
    axis="examples",
    published={"LMS": {30_000: 3.5}, "IDBD": {30_000: 1.5}},
    last=_SETTLED,
    chosen=tuple(
        Chosen(said=f"The setting of {label} was chosen {_SWEEP}", seeds=range(30), scale="paper", curves=(label,))
        for label in ("LMS", "NLMS", "IDBD")
    ),
    claims=(
        Claim("Adapting the step sizes beats the best fixed one: tracking, IDBD", Beats("IDBD", "LMS", by=1.0)),
        Claim("The same, untuned: Autostep", Beats("Autostep", "LMS")),
        Claim("IDBD comes to about 1.5", EndsBelow("IDBD", 1.65)),
    ),
)

STEP_SIZES = PaperFigure(
    name="streaming-step-sizes",
    title="IDBD with a small meta step size",
    source="Sutton, AAAI 1992, Experiment 2",
    benchmark="idbd-tracking",
    conditions=(Condition("IDBD, theta 0.001", "slow"),),
    length=250_000,
    runs=30,
    fewer=30,
    metric="loss",
    bin=10_000,
    axis="examples",
    claims=(
        Claim(
            "Step sizes of irrelevant inputs vanish: the median input's, which is irrelevant, ends below 0.007",
            EndsBelow("IDBD, theta 0.001", 0.007),
            metric="step_size_50",
            layer="layers.0",
        ),
        Claim(
            "Those of relevant inputs come to 0.13 ± 0.015: the highest tenth ends above 0.115",
            EndsAbove("IDBD, theta 0.001", 0.115),
            metric="step_size_90",
            layer="layers.0",
        ),
    ),
)

_ROOTS = {"K1": 5.5, "IDBD": 6.6, "NLMS": 10.3, "LMS": 11.1}
GAIN = PaperFigure(
    name="streaming-gain-adaptation",
    title="Gain adaptation: squared error of weights that walk",
    source="Sutton, Yale Workshop 1992",
    benchmark="gain-adaptation",
    conditions=tuple(
        Condition(label, system)
        for label, system in (("K1", "k1"), ("IDBD", "idbd"), ("NLMS", "nlms"), ("LMS", "backprop"))
    ),
    length=30_000,
    runs=30,
    fewer=30,
    metric="loss",
    bin=10_000,
    axis="examples",
    published={label: {30_000: root**2} for label, root in _ROOTS.items()},
    last=_SETTLED,
    chosen=tuple(
        Chosen(said=f"The setting of {label} was chosen {_SWEEP}", seeds=range(30), scale="paper", curves=(label,))
        for label in ("K1", "IDBD", "NLMS")
    ),
    claims=(
        Claim("Adapting the step sizes beats the best fixed one: gain adaptation, K1", Beats("K1", "LMS")),
        Claim("K1 follows more closely than IDBD", Beats("K1", "IDBD")),
        Claim("IDBD follows more closely than a normalised step", Beats("IDBD", "NLMS")),
    ),
)

_FIXED = vary("backprop", "step_size", (3e-4, 1e-3, 3e-3, 1e-2), "TD, step size {}")
CONDITIONING = PaperFigure(
    name="streaming-conditioning",
    title="Trace conditioning: one step size, or one for each feature",
    benchmark="trace-conditioning",
    conditions=(*_FIXED, Condition("TIDBD", "tidbd"), Condition("SwiftTD", "swift-td")),
    length=2_000_000,
    runs=30,
    fewer=30,
    metric="loss",
    bin=20_000,
    axis="examples",
    claims=(
        Claim(
            "Adapting the step sizes beats the best fixed one: trace conditioning, SwiftTD, over the whole run",
            All(tuple(Beats("SwiftTD", one.label, window=(0.0, 1.0)) for one in _FIXED)),
        ),
        Claim("SwiftTD does not need the meta step size that TIDBD was given", Beats("SwiftTD", "TIDBD", by=-0.001)),
    ),
)
MEMORY = PaperFigure(
    name="streaming-memory",
    title="Trace conditioning on one observation a step",
    benchmark="trace-conditioning",
    conditions=(Condition("memoryless", "memoryless"), Condition("recurrent trace units", "recurrent")),
    optional=(Condition("network, 20 observations", "network"),),
    length=2_000_000,
    runs=30,
    metric="loss",
    bin=20_000,
    axis="examples",
    claims=(
        Claim(
            "Recurrent trace units remember the stimulus, at two numbers a weight",
            Beats("recurrent trace units", "memoryless"),
        ),
    ),
)

_WHOLE = (0.0, 1.0)
FLIGHTS = PaperFigure(
    name="streaming-flights",
    title="A million flights in time order",
    benchmark="flights",
    conditions=(
        Condition("SGD", "backprop", {"step_size": 0.001}),
        Condition("Autostep", "autostep", {"step_size": 0.001, "optimizer.mu": 0.01}),
        Condition("ObGD", "obgd", {"step_size": 0.01, "optimizer.kappa": 20.0}),
    ),
    length=_MILLION,
    runs=10,
    metric="loss",
    bin=10_000,
    axis="examples",
    chosen=(
        Chosen(
            said="All settings were chosen on later flights (docs/evidence/flights.py)", seeds=(100, 101), scale="paper"
        ),
    ),
    claims=(
        Claim(
            "Adapting the step sizes beats the best fixed one: flights, Autostep, over the whole run",
            Beats("Autostep", "SGD", window=_WHOLE),
        ),
        Claim("Steps that are bounded beat the best fixed one: flights, ObGD", Beats("ObGD", "SGD", window=_WHOLE)),
    ),
)


def _robot(robot: str, published: dict[str, dict[float, float]]) -> PaperFigure:
    whole, half = ({"robot": robot, "task_length": steps} for steps in (_MILLION, _MILLION // 2))
    without = {"ObGD": "no-obgd", "layer norm": "no-layer-norm", "scaled data": "no-scaling"}
    without["sparse initialisation"] = "no-sparse-init"
    name = robot.removesuffix("-v5")
    return PaperFigure(
        name=f"streaming-{name.lower()}",
        title=f"Stream AC, its parts, and PPO: {name}",
        source="Elsayed et al. (2024), Figs. 1 and 6" if published else "",
        benchmark="stream-mujoco",
        conditions=(
            Condition("stream AC", "backprop", whole),
            Condition("PPO", "ppo", whole),
            *(Condition(f"no {part}", system, half) for part, system in without.items()),
            Condition("classic AC", "classic-ac", half),
        ),
        optional=(
            Condition("AVG", "avg", whole),
            Condition("intentional", "intentional", whole),
        ),
        length=_MILLION,
        runs=5,
        fewer=5,
        metric="episodic_return",
        bin=10_000,
        axis="steps",
        published=published,
        chosen=(
            Chosen(
                said="The step sizes without ObGD were chosen as the best of five pairs on the hopper",
                seeds=(100, 101),
                scale="small",
                curves=("no ObGD",),
            ),
        ),
        claims=(
            Claim(
                f"The stream barrier, {name}: a policy is learned from every step once, without a buffer",
                Grows("stream AC"),
            ),
            Claim(
                f"The stream barrier, {name}: a usual actor-critic, one step with Adam, learns less",
                Ahead("stream AC", "classic AC"),
            ),
            Claim(f"The stream barrier, {name}: with fixed step sizes less is learned", Ahead("stream AC", "no ObGD")),
            Claim(
                f"{name}: every part of stream AC is needed",
                All(tuple(Ahead("stream AC", f"no {part}") for part in without)),
            ),
            Claim(f"{name}: stream AC ends above PPO, which has batches", Beats("stream AC", "PPO")),
        ),
    )


def _game(game: str, value: float) -> PaperFigure:
    name = game.replace("_", " ").title()
    return PaperFigure(
        name=f"streaming-{game.replace('_', '-')}",
        title=f"Stream Q on MinAtar's {name}",
        source="Elsayed et al. (2024), Fig. 4",
        benchmark="stream-minatar",
        conditions=(Condition("stream Q", "backprop", {"game": game, "task_length": _MILLION}),),
        length=5 * _MILLION,
        runs=30,
        fewer=5,
        metric="episodic_return",
        bin=10_000,
        axis="steps",
        published={"stream Q": {5 * _MILLION: value}},
        claims=(Claim(f"Stream Q learns {name} from every step once", Grows("stream Q")),),
    )


STREAMING = Paper(
    name="streaming",
    title="Streaming learning",
    reference="Elsayed, Vasan & Mahmood, arXiv 2410.14606, 2024; Sutton, AAAI 1992 and Yale Workshop 1992",
    figures=(
        TRACKING,
        STEP_SIZES,
        GAIN,
        CONDITIONING,
        MEMORY,
        FLIGHTS,
        _robot("Hopper-v5", {}),
        _robot("Walker2d-v5", {"stream AC": {2 * _MILLION: 2_600.0}}),
        _game("breakout", 11.5),
        _game("asterix", 12.0),
        _game("space_invaders", 80.0),
    ),
    beyond={
        "trace-conditioning": "Rafiee et al.'s problem; the learners and their settings are compared here.",
        "flights": "Not in the papers: a real series, and every optimizer tuned alike.",
    },
)
