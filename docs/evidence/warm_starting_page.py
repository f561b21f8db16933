"""The page of `warm_starting.py`, from the pieces that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from warm_starting import MEASURES, STUDIES, TUNED_SEEDS, TUNING_SEEDS, final, order, path_of, ready
from warm_starting_claims import TWO_STAGES, WARM_STUDIES, correlated, correlations, ledger, points, spread, title, told
from warm_starting_figures import draw_all

from neoteny.benchmarks.generalisability import Generalisability
from neoteny.report.papers.warm_starting import WARM_STARTING
from neoteny.report.statistics.paired import differences

HERE = Path(__file__).parent
CODES = ("code", "code-accumulates", "code-authors")


def warm_table() -> str:
    """Ash & Adams' table, with the published values where there are some."""
    published = {
        (figure.conditions[0].settings["data"], figure.conditions[0].settings["network"]): figure.published
        for figure in WARM_STARTING.figures
    }
    lines = ["| | | fresh | warm | shrink and perturb | fresh - warm | epochs to 99 %, last stage | published |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---|")
    for name in WARM_STUDIES:
        found, settings = ready(name), STUDIES[name].settings
        for end, word in (("-adam", "Adam"), ("", "SGD")):
            own = [found.get(f"{system}{end}") for system in ("fresh", "backprop", "shrink-and-perturb")]
            if all(each is None for each in own):
                continue
            cells = ["not yet run" if each is None else told(final(each)) for each in own]
            gap = told(final(own[0]) - final(own[1])) if own[0] is not None and own[1] is not None else ""
            epochs = [] if own[1] is None else own[1]["bins_to_goal"][:, -1]
            reached = np.isfinite(epochs)
            needed = (
                f"{np.nanmean(epochs):.0f}"
                if len(epochs) and reached.all()
                else f"{reached.sum()} of {len(epochs)} runs"
            )
            known = published.get((settings["data"], settings["network"]), {})
            values = [known.get(f"{label}, {word}", {}).get(2) for label in ("fresh", "warm")]
            words = f"{100 * values[0]:.1f} and {100 * values[1]:.1f}" if all(values) else ""
            lines.append(f"| {STUDIES[name].title} | {word} | {' | '.join(cells)} | {gap} | {needed} | {words} |")
    return "\n".join(lines)


def standings(name: str) -> str:
    """The systems of a study by test accuracy, each beside the fresh network."""
    found = ready(name)
    if "fresh" not in found or len(found) < 2:
        return ""
    scores = {system: final(own) for system, own in found.items()}
    to_fresh, to_warm = differences(scores, "fresh"), differences(scores, "backprop") if "backprop" in scores else {}
    lines = ["| system | test accuracy | beside fresh | p | beside warm, plain | p | settings |"]
    lines.append("|---|---:|---:|---:|---:|---:|---|")
    for system in sorted(scores, key=lambda each: -scores[each].mean()):
        cells = [title(system), told(scores[system])]
        for other in (to_fresh, to_warm):
            own = other.get(system)
            cells += (
                ["", ""]
                if own is None
                else [f"{points(own.mean)} [{points(own.low)}, {points(own.high)}]", f"{own.p:.2g}"]
            )
        chosen = {k.removeprefix("chosen "): float(v) for k, v in found[system].items() if k.startswith("chosen ")}
        tried = Generalisability.TUNING[system]
        edge = any(value in (min(tried[k]), max(tried[k])) and len(tried[k]) > 2 for k, value in chosen.items())
        words = ", ".join(f"{key.split('.')[-1]} {value:g}" for key, value in chosen.items())
        lines.append("| " + " | ".join([*cells, words + (", the end of its range" if edge else "")]) + " |")
    return f"### {STUDIES[name].title}\n\n{size(name)}\n\n" + "\n".join(lines)


def size(name: str) -> str:
    """A study's settings in words."""
    study = STUDIES[name]
    settings = ", ".join(f"{key} {value}" for key, value in study.settings.items())
    return f"`{study.benchmark}` ({settings}), {study.seeds} seeds."


def code_table() -> str:
    """The same systems by the paper's rules, with gradients that accumulate, and by the authors' code."""
    found = {name: ready(name) for name in CODES}
    systems = [system for system in STUDIES["code"].systems if all(system in own for own in found.values())]
    if not {"fresh", "backprop"} <= set(systems):
        return ""
    heads = ("paper's rules", "gradients accumulate", "authors' code")
    lines = ["| system, beside fresh | " + " | ".join(heads) + " |", "|---|---:|---:|---:|"]
    for system in systems:
        cells = []
        for name in CODES:
            fresh, own = final(found[name]["fresh"]), final(found[name][system])
            cells.append(told(own) if system == "fresh" else f"{points(spread(own - fresh)[0])} ± {half(own - fresh)}")
        lines.append(f"| {title(system)}{', test accuracy' * (system == 'fresh')} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", made(found, systems)])


def half(values: np.ndarray) -> str:
    """Half of an interval, in points."""
    _, low, high = spread(values)
    return f"{50 * (high - low):.1f}"


def made(found: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]], systems: Sequence[str]) -> str:
    """Which differences between systems the accumulated gradient makes: those whose verdict is another with it."""
    changed, same = [], []
    for system in systems:
        if system == "fresh":
            continue
        verdicts = []
        for name in CODES:
            _, low, high = spread(final(found[name][system]) - final(found[name]["fresh"]))
            verdicts.append("above" if low > 0 else "below" if high < 0 else "level with")
        words = f"{title(system)} is {verdicts[0]} the fresh network by the paper's rules"
        if len(set(verdicts)) == 1:
            same.append(f"{title(system)} ({verdicts[0]})")
        else:
            changed.append(
                f"{words}, {verdicts[1]} it with gradients that accumulate, {verdicts[2]} it in the authors' code"
            )
    text = "What the accumulated gradient made: " + ("; ".join(changed) if changed else "no verdict changes") + "."
    return text + (f" The same in all three: {', '.join(same)}." if same else "")


def correlation_table() -> str:
    """Rank correlations of measures with both kinds of loss."""
    both = {kind: correlations(kind) for kind in ("trainability", "generalisability")}
    if not any(both.values()):
        return ""
    lines = ["| measure | loss of trainability | loss of generalisability |", "|---|---:|---:|"]
    for name in MEASURES:
        cells = [f"{correlated(each)}, {each.n} runs" if (each := own.get(name)) else "" for own in both.values()]
        lines.append(f"| {name.replace('_', ' ')} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def report() -> None:
    """The page and the figures."""
    mpl.use("Agg")
    pieces = list(order(list(STUDIES), []))
    missing = sum(not path_of(*each).exists() for each in pieces)
    note = f"**{missing} of {len(pieces)} pieces are not yet run.**" if missing else ""
    figures = draw_all(HERE)
    text = [PAGE, note, verdicts := ledger(), "## Warm starting", WARM, warm_table(), "## Two stages", STAGES]
    text += [standings(name) for name in TWO_STAGES]
    code = code_table()
    text += [
        "## Which published claims the accumulated gradient made",
        CODE,
        code or "Not yet run.",
        "## What goes with the losses",
        CORRELATED,
    ]
    text += [correlation_table(), *(f"![{words}]({path})" for path, words in figures.items())]
    (HERE / "warm_starting.md").write_text("\n\n".join(filter(None, text)) + "\n", encoding="utf-8")
    print(verdicts)


PAGE = f"""# Warm starting, generalisability, Hare & Tortoise

`python docs/evidence/warm_starting.py`, on one core; `--plan` says what it makes and how long that takes. Real
images, but smaller problems than the papers': images are shrunk to 14x14 or 16x16, and there are 6,000 of them for
multi-layer perceptrons, 2,560 and 2,400 for ResNet-18; stages are 15 passes, not 100 (12 in each of ten stages); hidden
layers have 128 and 64 units, not 512 and 256; ResNet-18 has 16 maps, five seeds, and settings that were not tuned.
SGD's step size in warm starting is 0.02, not 0.001 (Adam has 0.001), and a stage has 300 epochs at most. Where settings
were tuned, six were tried for each system on {TUNING_SEEDS} seeds of their own, and the best
was trained on {TUNED_SEEDS} others. The images of the test are those that tuning saw, for all systems alike.
Intervals are 95 % Student t intervals of differences of the same seeds; p-values are two-sided and corrected by
Holm for all systems of a table."""
WARM = """Half of two thirds of the images until 99 % of them are fitted, then all of the two thirds; test
accuracy on the last third, in per cent. Shrink and perturb is the authors': 0.4 of the weights, 0.1 of fresh ones.
Published values are of all images, larger ones and a smaller step size: compare the differences."""
STAGES = """A tenth of the images with half of the labels wrong, then all of them, clean; test accuracy in per
cent after the last stage. `fresh` has the last stage alone, with as many updates."""
CODE = """The public code never sets gradients to zero. The same systems at the published settings by the
paper's rules, with accumulating gradients alone, and with all that differs in that code (L2-Init of the last
parameters alone, self-distillation weaker by the number of classes, the shared step of hare and tortoise, 11 % more
updates after a warm start, initial in place of fresh weights). Test accuracy, and differences to the fresh network
in points."""
CORRELATED = """Spearman's rank correlation over all runs, with intervals from drawing seeds anew (2,000 times).
Trainability: all runs of all step sizes, depths and lengths of tasks; the loss is accuracy in the first tenth of
the tasks less that in the last, the measure is taken at the end. Generalisability: all shares and noises of plain
training; the loss is what is missing to a fresh network, the measure is taken where the last stage begins."""
