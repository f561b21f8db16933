"""A film of a network while it learns from a stream: its run is repeated from the configuration, and drawn on the way.

A run is a pure function of its configuration and seed, so that nothing has to be kept while it is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neoteny.errors import SettingError
from neoteny.lab.benchmark import OnlineBenchmark
from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution
from neoteny.lab.folder import RunFolder
from neoteny.report.films.drawing import Moment, NetworkPicture
from neoteny.rl.filming import check, film, kind

if TYPE_CHECKING:
    from neoteny.lab.learner import Learner

__all__ = ["GrowthFilm", "film_network", "moment_of"]

MOST_UNITS = 100
"""Units of a layer, inputs included, that can still be told apart."""


@dataclass(frozen=True)
class GrowthFilm:
    """A film of a network that learns.

    Attributes:
        path: of the file.
        seed: of the run.
        pictures: how many it has.
        last: the network at the end.
    """

    path: Path
    seed: int
    pictures: int
    last: Moment


def film_network(
    run_dir: str | Path,
    out: str | Path | None = None,
    *,
    run: int = 0,
    pictures: int = 60,
    rate: float = 6.0,
    size: tuple[int, int] = (640, 480),
    execution: Execution | None = None,
    notify: Callable[[int], None] = lambda pictures: None,
) -> GrowthFilm:
    """Repeat one run of a folder, and film its network.

    The numbers are those of the run up to rounding.

    Args:
        run_dir: the run folder; only its config.yaml is read, so archived copies will do.
        out: the film, .mp4 or .gif; by default BENCHMARK-SYSTEM-runN in the working directory.
        run: number of the run, from 0.
        pictures: about how many.
        rate: pictures a second.
        size: width and height in pixels.
        execution: how it is trained; on the CPU by default.
        notify: called with the number of pictures since the last call.

    Raises:
        RunFolderError: there is no run folder.
        SettingError: the run has no stream that is learned from online, or none of this number; its network is no
            chain of at most 100 units a layer; a bad size, number or suffix.
        MissingPackageError: the package that writes the film is missing.

    >>> film_network("runs/drifting-features-v1/cbp", "cbp.gif")  # doctest: +SKIP
    """
    from neoteny.lab.supervised import Supervised

    if len(size) != 2 or not all(isinstance(side, int) and 64 <= side <= 4_096 for side in size):
        raise SettingError(f"size = {size!r}: give width and height in pixels, from 64 to 4096, such as 640x480.")
    if isinstance(pictures, bool) or not isinstance(pictures, int) or pictures < 2:
        raise SettingError(f"pictures = {pictures!r} is not a whole number >= 2; give one.")
    folder = RunFolder(run_dir)
    config = alone(folder.config(), run, str(folder.path))
    path = Path(out) if out else Path(f"{config.benchmark}-{config.label}-run{run}{kind()}")
    check(path)
    training = Supervised(config, execution or Execution(device="cpu"))
    require_drawable(training.learner, str(folder.path))
    problem = config.problem
    steps = problem.steps * problem.batch_size
    metric = "squared error" if getattr(problem, "LOSS", "") == "mse" else "accuracy"
    draw = NetworkPicture(f"{config.benchmark}: {config.method}, seed {config.seed}", steps, size, metric)
    seen: list[Moment] = []

    def drawn() -> Iterator[NDArray[np.uint8]]:
        for step, value in training.replay(pictures):
            seen.append(moment_of(training.learner, step, value))
            yield draw(seen[-1])
            notify(1)

    film(path, drawn(), rate)
    return GrowthFilm(path, config.seed, len(seen), seen[-1])


def alone(config: RunConfig, run: int, path: str) -> RunConfig:
    """The configuration of one run of a stack."""
    if not isinstance(config.problem, OnlineBenchmark):
        raise SettingError(
            f"{path} is a run of {config.benchmark}, which does not learn from a stream online: its network cannot be "
            "filmed; film an agent, or a run of a stream such as drifting-features."
        )
    if isinstance(run, bool) or not isinstance(run, int) or not 0 <= run < config.runs:
        raise SettingError(f"run = {run!r}: {path} has {config.runs}, give a number from 0 to {config.runs - 1}.")
    varied = {name: values[run : run + 1] for name, values in config.varied.items()}
    return replace(config, runs=1, seed=config.seeds[run], seeds=config.seeds[run : run + 1], varied=varied)


def matrices(learner: Learner) -> dict[str, NDArray[np.float64]]:
    """The weights of each linear layer by its parameter's name, in order, [out, in]."""
    return {name: v[0].double().numpy() for name, v in learner.weights().items() if v.dim() == 3}


def require_drawable(learner: Learner, path: str) -> None:
    """Refuse networks that are no chain of small layers."""
    found = list(matrices(learner).values())
    shapes = [weight.shape for weight in found]
    chained = all(after[1] == before[0] for before, after in pairwise(shapes))
    others = [value for value in learner.weights().values() if value.dim() > 3]
    if not found or others or not chained or len(learner.network.layers) != len(found) - 1:
        raise SettingError(
            f"the network of {path} is no chain of linear layers: it cannot be drawn; film a run of one that is."
        )
    largest = max(max(shape) for shape in shapes)
    if largest > MOST_UNITS:
        raise SettingError(
            f"the network of {path} has a layer of {largest} units or inputs: up to {MOST_UNITS} can be drawn; film "
            "a run of a smaller one."
        )


def moment_of(learner: Learner, step: int, error: float) -> Moment:
    """The network of a learner of one run."""
    carry, found = learner.strategy.carry(), matrices(learner)
    sizes: dict[str, NDArray[np.float64] | None] = dict.fromkeys(found)
    for phase in learner.objective.phases:
        for name in found:
            if name in carry["optim"] and phase.trains(name):
                own = phase.optimizer.step_sizes(carry["optim"][name])
                sizes[name] = None if own is None else own[0].double().numpy()
    ages, backbone = [], []
    for layer in learner.network.layers:
        told = [state for state in carry["methods"] if f"{layer.name}/age" in state]
        grown = np.full(layer.size, float(step))
        ages.append(told[0][f"{layer.name}/age"][0].double().numpy() if told else grown)
        inside = [state[f"{layer.name}/backbone"] for state in carry["methods"] if f"{layer.name}/backbone" in state]
        backbone.append(inside[0][0].bool().numpy() if inside else None)
    return Moment(step, error, list(found.values()), list(sizes.values()), ages, backbone)
