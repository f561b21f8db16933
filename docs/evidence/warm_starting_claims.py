"""What `warm_starting.py` says of the claims: losses, what they go with, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from warm_starting import DEPTHS, EPOCHS, MEASURES, STUDIES, final, ready

from neoteny.report.statistics.correlation import Correlation, correlation
from neoteny.report.statistics.intervals import mean_interval

FRESH = {"augmentation": "fresh-augmentation"}
"""Fresh networks that a system is compared with in place of the plain one."""
HALF_A_POINT, STRONG = 0.005, 0.5
TITLES = {
    "backprop": "warm, plain",
    "hare-and-tortoise": "Hare & Tortoise",
    "shrink-and-perturb": "shrink and perturb",
    "shrink-and-perturb-ash": "shrink and perturb, Ash & Adams",
    "l2": "L2",
    "l2-init": "L2-Init",
    "crelu": "CReLU",
    "self-distillation": "self-distillation",
    "fresh-augmentation": "fresh, augmentation",
    "ema": "EMA",
    "cbp": "continual backpropagation",
    "redo": "ReDo",
    "l2-er": "L2-ER",
    "dash": "DASH",
    "fire": "FIRE",
    "infer": "InFeR",
    "adamo": "AdamO",
}
WARM_STUDIES = tuple(name for name in STUDIES if name.startswith("warm-"))
TWO_STAGES = ("mnist", "fashion", "resnet", "ten-stages")


def title(system: str) -> str:
    """A system as the page calls it."""
    plain, adam, _ = system.partition("-adam") if system.endswith("-adam") else (system, "", "")
    return TITLES.get(plain, plain.replace("-", " ")) + (", Adam" if adam else "")


def points(value: float) -> str:
    """A share as points, with its sign."""
    return f"{100 * value:+.1f}"


def spread(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of [runs] with its 95 % interval."""
    found = mean_interval(np.asarray(values, dtype=float)[:, None])
    return tuple(float(bound[0]) for bound in (found.mean, found.low, found.high))  # type: ignore[return-value]


def told(values: np.ndarray) -> str:
    """Mean and half of the interval, in per cent."""
    mean, low, high = spread(values)
    return f"{100 * mean:.1f} ± {50 * (high - low):.1f}"


@dataclass(frozen=True)
class Check:
    """In a study the test accuracy of a system is above another's by more than a threshold.

    Attributes:
        study: its name.
        system: the one.
        other: the other.
        by: the threshold.
    """

    study: str
    system: str
    other: str
    by: float = 0.0

    def judge(self) -> tuple[str, str]:
        """The verdict, from the 95 % interval of the paired difference, and what was found."""
        found = ready(self.study)
        where = f"{STUDIES[self.study].title}: "
        if self.system not in found or self.other not in found:
            return "not yet run", where + "not yet run"
        mean, low, high = spread(final(found[self.system]) - final(found[self.other]))
        verdict = "holds" if low > self.by else "does not hold" if high < self.by else "undecided"
        pair = f"{title(self.system)} beside {title(self.other)}"
        return verdict, f"{where}{pair} {points(mean)} [{points(low)}, {points(high)}]"


@dataclass(frozen=True)
class Slope:
    """Along an axis of a stack or of studies the loss rises: the slope over ranks of the axis is above 0.

    Attributes:
        what: in words.
        values: the loss for each value of the axis, [values, runs], or nothing where pieces are missing.
    """

    what: str
    values: np.ndarray | None

    def judge(self) -> tuple[str, str]:
        """The verdict, from the interval of the runs' slopes."""
        if self.values is None:
            return "not yet run", f"{self.what}: not yet run"
        at = np.arange(len(self.values)) - (len(self.values) - 1) / 2
        mean, low, high = spread(at @ self.values / (at @ at))
        verdict = "holds" if low > 0 else "does not hold" if high < 0 else "undecided"
        return verdict, f"{self.what}: {points(mean)} [{points(low)}, {points(high)}] a value"


@dataclass(frozen=True)
class Correlates:
    """The absolute rank correlation of a measure with a loss is above a threshold, or below it."""

    what: str
    found: Correlation | None
    strong: bool

    def judge(self) -> tuple[str, str]:
        """The verdict, from the interval."""
        if self.found is None:
            return "not yet run", f"{self.what}: not yet run"
        low, high = sorted((abs(self.found.low), abs(self.found.high)))
        low = 0.0 if self.found.low < 0 < self.found.high else low
        above, below = low > STRONG, high < STRONG
        if np.isnan(self.found.value):  # what is the same in all runs goes with nothing
            above, below = False, True
        yes, no = (above, below) if self.strong else (below, above)
        return "holds" if yes else "does not hold" if no else "undecided", f"{self.what}: {correlated(self.found)}"


def correlated(found: Correlation) -> str:
    """A correlation in words."""
    if np.isnan(found.value):
        return "the same in all runs"
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def lost(found: Mapping[str, np.ndarray]) -> np.ndarray:
    """Loss of trainability, [runs]: accuracy in the last epochs of the first tenth of the tasks less the last's."""
    accuracy = found["accuracy"]
    tenth = max(accuracy.shape[1] // 10, 1)
    return accuracy[:, :tenth].mean(1) - accuracy[:, -tenth:].mean(1)


def along(names: Sequence[str], system: str) -> np.ndarray | None:
    """Loss of trainability by study, [studies, runs]."""
    found = [ready(name).get(system) for name in names]
    return None if any(each is None for each in found) else np.stack([lost(each) for each in found if each is not None])


def by_step_size(system: str) -> np.ndarray | None:
    """Loss of trainability by step size, [sizes, runs]."""
    found = ready("train-step").get(system)
    return None if found is None else lost(found).reshape(len(STUDIES["train-step"].sizes[system]), -1)


def by_noise(system: str = "backprop") -> np.ndarray | None:
    """What is missing to a fresh network, [shares, noises, runs]."""
    found, fresh = ready("noise").get(system), ready("mnist").get("fresh")
    if found is None or fresh is None:
        return None
    grid = STUDIES["noise"].grid
    scores = final(found).reshape(len(grid["share"]), len(grid["noise"]), -1)
    return final(fresh)[: scores.shape[-1]] - scores


@cache
def correlations(kind: str) -> dict[str, Correlation]:
    """Of each measure with the loss of trainability, or of generalisability, over all runs of a kind."""
    losses, seeds, measures = [], [], {name: [] for name in MEASURES}
    if kind == "trainability":
        studies = [(name, system) for name in STUDIES if name.startswith("train-") for system in STUDIES[name].systems]
    else:
        studies = [("noise", "backprop")]
    for name, system in studies:
        found = ready(name).get(system)
        if found is None:
            continue
        missing = by_noise(system)
        if kind != "trainability" and missing is None:
            continue
        own = lost(found) if kind == "trainability" else missing.reshape(-1)
        losses.append(own)
        seeds.append(np.tile(np.arange(STUDIES[name].seeds), len(own) // STUDIES[name].seeds))
        for measure, values in measures.items():  # at the end, or where the last stage begins
            table = found.get(measure)
            place = -1 if kind == "trainability" else 1
            values.append(np.full(len(own), np.nan) if table is None else table[:, place])
    if not losses:
        return {}
    loss, cluster = np.concatenate(losses), np.concatenate(seeds)
    return {
        name: correlation(np.concatenate(values), loss, cluster)
        for name, values in measures.items()
        if np.isfinite(np.concatenate(values)).any()
    }


def claims() -> dict[str, tuple[str, list[Check | Slope | Correlates]]]:
    """What is judged."""
    trained, general = correlations("trainability"), correlations("generalisability")
    noise = by_noise()
    sizes = {system: by_step_size(system) for system in ("backprop", "adam")}
    means = [each.mean(0) for each in sizes.values() if each is not None]
    adam = np.stack(means) if len(means) == len(sizes) else None
    names = {"backprop": "SGD", "adam": "Adam"}
    common = ("l2", "augmentation", "l2-init", "crelu")
    cures = ("head-reset", "shrink-and-perturb", "hare-and-tortoise")
    return {
        "C13": (
            "Warm starting costs test accuracy",
            [
                Check(name, f"fresh{end}", f"backprop{end}")
                for name in WARM_STUDIES
                for end in ("-adam", "")
                if f"fresh{end}" in STUDIES[name].systems
            ],
        ),
        "C14": (
            "Shrink and perturb at the switch closes the gap, to within half a point",
            [
                Check(name, f"shrink-and-perturb{end}", f"fresh{end}", -HALF_A_POINT)
                for name in WARM_STUDIES
                for end in ("-adam", "")
                if f"fresh{end}" in STUDIES[name].systems
            ],
        ),
        "C17": (
            "Trainability is lost more with larger steps, fewer layers and more frequent changes, and more by Adam",
            [
                *(Slope(f"larger steps, {names[system]}", values) for system, values in sizes.items()),
                *(
                    Slope(f"fewer layers, {word}", along([f"train-depth-{n}" for n in reversed(DEPTHS)], system))
                    for system, word in names.items()
                ),
                *(
                    Slope(
                        f"more frequent changes, {word}", along([f"train-epochs-{n}" for n in reversed(EPOCHS)], system)
                    )
                    for system, word in names.items()
                ),
                Slope("Adam above SGD, mean of four step sizes each", adam),
            ],
        ),
        "C18": (
            "Lost trainability goes with dead units, large weights and low rank; lost generalisability with no measure "
            f"(rank correlation above {STRONG} in size)",
            [
                *(
                    Correlates(f"trainability, {name}", trained.get(name), True)
                    for name in ("dead_units", "weight_magnitude", "srank_99")
                ),
                *(Correlates(f"generalisability, {name}", general.get(name), False) for name in MEASURES),
            ],
        ),
        "C19": (
            "Little and wrong data first cost test accuracy, more with less data and more noise; L2, augmentation, "
            "L2-Init and CReLU leave a gap",
            [
                *(Check(name, "fresh", "backprop") for name in TWO_STAGES),
                Slope("less data first", None if noise is None else noise.mean(1)[::-1]),
                Slope("more wrong labels", None if noise is None else noise.mean(0)),
                *(Check("mnist", FRESH.get(name, "fresh"), name) for name in common),
            ],
        ),
        "C20": (
            "Head resets, shrink and perturb and Hare & Tortoise close the gap, to within half a point; Hare & "
            "Tortoise is above EMA and self-distillation",
            [
                *(Check(study, name, "fresh", -HALF_A_POINT) for study in TWO_STAGES for name in cures),
                *(Check("mnist", "hare-and-tortoise", name) for name in ("ema", "self-distillation")),
            ],
        ),
    }


def ledger() -> str:
    """The verdicts: a claim holds where each of its parts does."""
    lines = ["## Claims", "", "| claim | | verdict | parts |", "|---|---|---|---|"]
    for name, (said, checks) in claims().items():
        found = [check.judge() for check in checks]
        ready_ = [verdict for verdict, _ in found if verdict != "not yet run"]
        counts = {verdict: ready_.count(verdict) for verdict in ("holds", "does not hold", "undecided")}
        whole = "not yet run" if not ready_ else next((v for v in counts if counts[v] == len(found)), "in part")
        some = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        some += f", {len(found) - len(ready_)} not yet run" if len(ready_) < len(found) else ""
        parts = "; ".join(f"{text} ({verdict})" for verdict, text in found if verdict != "not yet run")
        lines.append(f"| {name} | {said} | **{whole}** ({some.strip(', ')}) | {parts} |")
    return "\n".join(lines)
