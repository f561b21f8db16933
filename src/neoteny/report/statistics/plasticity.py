"""Loss of plasticity: how much worse a run learns late tasks than networks that begin anew there."""

from __future__ import annotations

from neoteny.errors import RunFolderError
from neoteny.report.runs.curve import LAST, Window
from neoteny.report.runs.metrics import FRESH, OWN, direction
from neoteny.report.runs.series import Axis, Series, curve_of
from neoteny.report.statistics.sample import Sample

__all__ = ["has_fresh", "loss_of_plasticity"]


def has_fresh(series: Series, metric: str) -> bool:
    """Whether fresh networks were recorded beside the runs in a metric (`fresh_tasks` of a benchmark)."""
    return f"{FRESH}{metric}" in series.frame["metric"]


def loss_of_plasticity(series: Series, metric: str, window: Window = LAST, axis: Axis = "examples") -> Sample:
    """How much worse each run is than the networks that began anew at the same tasks, over late tasks.

        the mean over the tasks of the window of  (run - fresh network),  with the sign with which more is worse

    Both learned from the same examples with the same optimizer, so what is left is what the run's past costs it; below
    0 the past helps. The first tenth of a run cannot tell it: there the run, too, learns from scratch. It is the sum of
    what was lost and of what former tasks give to or take from the beginning of a new one. Where tasks end before a new
    network has learned them, what they give is large and hides a loss.

    Args:
        series: the runs, with fresh networks at some tasks.
        metric: loss, accuracy or test_accuracy.
        window: which part of the run is late; where it has no such task, the nearest one is taken.
        axis: over which the window is a share.

    Returns:
        One value a run; NaN for a run that ended early, and where a fresh network's value is not finite.

    Raises:
        RunFolderError: nothing was recorded of fresh networks.
    """
    if not has_fresh(series, metric):
        raise RunFolderError(
            f"{series.label}: no fresh networks were recorded beside its {metric}; run it with fresh_tasks, such as "
            "`neoteny run ... --fresh-tasks 10`."
        )
    own, fresh = (curve_of(series, f"{whose}{metric}", axis=axis).over(window) for whose in (OWN, FRESH))
    return Sample((own - fresh) * -direction(metric), series.seeds)
