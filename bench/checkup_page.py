"""The page of `checkup.py`: thresholds chosen on one part of the networks, false alarms and misses on the other."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from checkup_forms import FORMS
from checkup_networks import NEW_TASKS
from scipy.stats import binomtest, spearmanr

from neoteny.measures import Trainability, verdict
from neoteny.report.figures.style import COLOURS, drawing, new_figure, render
from neoteny.report.files import write

HERE = Path(__file__).parents[1] / "docs" / "evidence"
EXPLORED = 60
"""Networks on which the form of the measure was chosen; all of them belong to the part where thresholds are."""
MARGIN = 0.02
ALARMS = 0.05
SIGNS = ("dormant units", "weak units", "saturated units", "falling rank", "growing weights", "no gradient")
GRID = [round(0.005 * k, 3) for k in range(1, 61)]


def judged(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Every network with its truth: `worse`, and `bad`, true, false, or None where neither answer is wrong."""
    found = []
    for row in rows.filter("finite").to_dicts():
        own, new = np.array(row["own_errors"]), np.reshape(row["new_errors"], (NEW_TASKS, -1))
        worse, spread = float((own - new.mean(1)).mean()), float(np.sqrt(new.var(1, ddof=1).mean()))
        good = row["history"] == "new" or worse < max(MARGIN / 2, spread)
        bad = False if good else True if worse > max(MARGIN, 2 * spread) else None
        found.append({**row, "worse": worse, "bad": bad, "said": measured(row["direct"])})
    return found


def measured(quarters: Any) -> Trainability:
    """The direct measure from the errors of each quarter of the steps, [the network, then new ones; quarters]."""
    mean = np.nan_to_num(np.array(quarters, float).mean(1), nan=np.inf)
    own, fresh = mean.reshape(2, -1).tolist()
    return Trainability(tuple(own), tuple(fresh), 200)


def told(said: Trainability, worse: float, as_new: float) -> bool | None:
    """The verdict at these thresholds."""
    low, high = said.interval
    return True if said.difference > worse and low > 0 else False if high <= as_new else None


def counts(rows: list[dict[str, Any]], worse: float, as_new: float) -> dict[str, int]:
    """How verdict and truth agree."""
    known = [(row["bad"], told(row["said"], worse, as_new)) for row in rows if row["bad"] is not None]
    return {
        "good": sum(not bad for bad, _ in known), "false": sum(said is True and not bad for bad, said in known),
        "open": sum(said is None and not bad for bad, said in known), "bad": sum(bad for bad, _ in known),
        "missed": sum(said is False and bad for bad, said in known),
        "bad open": sum(said is None and bad for bad, said in known),
    }  # fmt: skip


def chosen(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """The thresholds with the fewest undecided, of those with at most 5% false alarms and 5% misses."""
    best = (np.inf, 0.0, 0.0)
    for worse, as_new in product(GRID, GRID):
        found = counts(rows, worse, as_new)
        wrong = [found["false"] / max(found["good"], 1), found["missed"] / max(found["bad"], 1)]
        excess = sum(max(0.0, each - ALARMS) for each in wrong)
        cost = 100 * excess + found["open"] / max(found["good"], 1) + found["bad open"] / max(found["bad"], 1)
        best = min(best, (cost, worse, as_new))
    return best[1], best[2]


def cells(rows: list[dict[str, Any]]) -> str:
    """False alarms, misses and undecided, as cells of a table."""
    found = counts(rows, verdict.WORSE, verdict.AS_NEW)
    good, bad = found["good"], found["bad"]
    shares = [
        f"{found[name]} of {of}" for name, of in (("false", good), ("open", good), ("missed", bad), ("bad open", bad))
    ]
    return " | ".join(shares)


def rank(values: list[float], rows: list[dict[str, Any]]) -> float:
    """The rank correlation with the truth."""
    return float(spearmanr(values, [row["worse"] for row in rows]).statistic)


def best_cut(values: list[float], rows: list[dict[str, Any]]) -> str:
    """False alarms and misses at the cut where they are fewest, as shares: what a measure could do at most."""
    known = [(value, row["bad"]) for value, row in zip(values, rows, strict=True) if row["bad"] is not None]
    said, bad = np.array([value for value, _ in known]), np.array([truth for _, truth in known])
    cost = [((said > cut) & ~bad).sum() / (~bad).sum() + ((said <= cut) & bad).sum() / bad.sum() for cut in said]
    cut = said[int(np.argmin(cost))]
    return f"{((said > cut) & ~bad).sum()} of {(~bad).sum()} | {((said <= cut) & bad).sum()} of {bad.sum()}"


def page(table: Path = HERE / "checkup.parquet") -> None:
    """Write `docs/evidence/checkup.md` and its figure."""
    rows = judged(pl.read_parquet(table))
    choosing = [row for row in rows if row["number"] < EXPLORED or row["number"] % 2 == 0]
    held = [row for row in rows if row["number"] >= EXPLORED and row["number"] % 2 == 1]
    worse, as_new = chosen(choosing)
    print(f"chosen: WORSE = {worse}, AS_NEW = {as_new}; in use: {verdict.WORSE}, {verdict.AS_NEW}")
    lines = [
        "# Can the check-up be trusted?", "",
        "`python bench/checkup.py` measures it again (an hour of a core). The data are in `checkup.parquet`, every "
        "repetition as it was.", "",
        *_made(rows), "", *_verdicts(choosing, held, worse, as_new), "", *_signs(held), "", *_forms(rows), "",
        *_cases(held),
    ]  # fmt: skip
    remarks = HERE / "checkup.remarks.md"
    if remarks.exists():
        lines += ["", remarks.read_text(encoding="utf-8").rstrip()]
    write(HERE / "checkup.md", ("\n".join(lines) + "\n").encode())
    write(HERE / "checkup.png", render(figure(held), "png"))


def _made(rows: list[dict[str, Any]]) -> list[str]:
    def of(history: str) -> str:
        own = [row["bad"] for row in rows if row["history"] == history]
        return f"| {history} | {len(own)} | {own.count(False)} | {own.count(True)} | {own.count(None)} |"

    return [
        f"{len(rows)} networks were drawn by chance: six sources of data (MNIST, Fashion-MNIST, five superclasses of "
        "CIFAR-100 and five classes of ImageNet, all at 14 x 14 grey pixels; delays of flights; a random network), "
        "perceptrons and convolutional networks of one to three hidden layers of 16 to 128 units, seven activations, "
        "with and without layer and batch norm, four optimizers at three step sizes. A network is *new*; or *trained* "
        "as usual for one to five epochs; or *worn* by 40 tasks, one after the other, whose inputs are permuted, whose "
        "targets mean something else, or whose labels are drawn by chance.", "",
        "The truth is what its user would see: the mean error while it learns five further tasks, 200 steps each, less "
        "that of new networks on the same batches. Errors are shares of wrong classes, or squared errors over the "
        "variance of the targets. A network learns worse if it errs by more than 2 points more and by more than twice "
        "the standard deviation among new networks, as well as a new one if by less than half of that, and every new "
        "one does by definition. Between the two no verdict is wrong.", "",
        "| history | networks | learn as well | learn worse | between |", "|---|---:|---:|---:|---:|",
        *(of(history) for history in ("new", "trained", "worn")),
    ]  # fmt: skip


def _verdicts(choosing: Any, held: Any, worse: float, as_new: float) -> list[str]:
    lines = [
        "## The verdict", "",
        "The direct measure is given the last 512 inputs, the user's optimizer, and the number of classes or the size "
        f"of the targets. \"Slower\" is said if the error on new targets is larger by more than {worse:.1%}, with an "
        f"interval above 0; \"as young as new\" if the interval ends at {as_new:.1%} or below; else \"undecided\". The "
        "two numbers are those with the fewest undecided at no more than 5% false alarms and 5% misses, chosen on the "
        f"{len(choosing)} networks of even number or below {EXPLORED}; the {len(held)} others were held out.", "",
        "| networks | n | false alarms | undecided, as well | missed | undecided, worse | rank correlation |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    groups: list[tuple[str, Any]] = [("chosen on", choosing), ("**held out**", held)]
    for column in ("history", "source", "optimizer", "activation", "norm", "change"):
        for value in sorted({row[column] for row in held}):
            groups.append((f"{column}: {value}", [row for row in held if row[column] == value]))
    for name, own in groups:
        values = [row["said"].difference for row in own]
        rho = f"{rank(values, own):.2f}" if len(own) > 4 else ""
        lines.append(f"| {name} | {len(own)} | {cells(own)} | {rho} |")
    found = counts(held, verdict.WORSE, verdict.AS_NEW)
    wrong = []
    for name, of in (("false", "good"), ("missed", "bad")):
        interval = binomtest(found[name], found[of]).proportion_ci()
        wrong.append(f"{found[name] / found[of]:.1%} [{interval.low:.1%}, {interval.high:.1%}]")
    said = found["good"] + found["bad"] - found["open"] - found["bad open"]
    lines += [
        "",
        f"Held out, {wrong[0]} are false alarms and {wrong[1]} misses (exact 95% intervals). Of {said} verdicts that "
        f'are not "undecided", {said - found["false"] - found["missed"]} are right. The aim was under 5% of each.',
    ]
    return [*lines, "", "![The verdict's difference against the truth](checkup.png)"]


def _signs(held: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Signs are no verdict", "",
        "Taken for one, each sign would say, of the networks held out:", "",
        "| sign | shown by networks that learn as well | by networks that learn worse |", "|---|---:|---:|",
    ]  # fmt: skip
    for sign in (*SIGNS, "any of them"):
        shown = [(row["bad"], bool(row["signs"]) if sign == "any of them" else sign in row["signs"]) for row in held]
        good, bad = [said for truth, said in shown if truth is False], [said for truth, said in shown if truth]
        lines.append(f"| {sign} | {sum(good)} of {len(good)} | {sum(bad)} of {len(bad)} |")
    return lines


def _forms(rows: list[dict[str, Any]]) -> list[str]:
    own = [row for row in rows if row["number"] < EXPLORED and row.get("library")]
    if not own:
        return []
    names = {
        "own function": "a random network's function, the user's loss and optimizer",
        "own renamed": "the user's targets with another meaning, the user's loss and optimizer",
        "adam function": "a random network's function, the user's loss, Adam at 1e-3",
        "adam renamed": "the user's targets with another meaning, the user's loss, Adam at 1e-3",
        "adam change": "a change of the present output, squared error, Adam at 1e-3",
    }
    assert set(names) == set(FORMS)
    values: list[tuple[str, list[float]]] = []
    for name, words in names.items():
        values.append((f"{words}: difference of errors", [measured(row[name]).difference for row in own]))
        values.append((f"{words}: ratio of errors", [_ratio(row[name]) for row in own]))
    pairs = [("library", "**the library's, told of loss and optimizer**"), ("blind", "the library's, told nothing")]
    for name, words in pairs:
        values.append((words, [Trainability(*map(tuple, row[name]), 200).difference for row in own]))
    values.append(("optimization readiness, below a new network's", [-_ready(row["readiness"]) for row in own]))
    lines = [
        "## Which form", "",
        f"On {len(own)} of the first {EXPLORED} networks. False alarms and misses are those at the best single "
        "cut, so the least that a form can have there.", "",
        "| what is learned | rank correlation with the truth | false alarms | misses |", "|---|---:|---:|---:|",
        *(f"| {words} | {rank(found, own):.2f} | {best_cut(found, own)} |" for words, found in values),
    ]  # fmt: skip
    library = [Trainability(*map(tuple, row["library"]), 200).difference for row in own]
    stacked = [row["said"].difference for row in own]
    agree = spearmanr(library, stacked).statistic
    return [
        *lines, "",
        "To measure many networks, the study trains stacks of networks side by side. With other random targets and new "
        f"networks the library, which trains one after the other, ranks these {len(own)} alike: rank correlation "
        f"{agree:.2f}, median difference {np.median(np.abs(np.subtract(library, stacked))):.1%}. Its verdicts: "
        f"{_said('library', own)} Told nothing, by Adam on values: {_said('blind', own)} That is why there is no "
        "verdict without the user's optimizer.",
    ]  # fmt: skip


def _said(name: str, rows: list[dict[str, Any]]) -> str:
    found = counts(
        [{**row, "said": Trainability(*map(tuple, row[name]), 200)} for row in rows], verdict.WORSE, verdict.AS_NEW
    )
    return (
        f"{found['false']} of {found['good']} false alarms, {found['missed']} of {found['bad']} missed, "
        f"{found['open'] + found['bad open']} undecided."
    )


def _ratio(quarters: Any) -> float:
    own, fresh = np.array(quarters, float).mean(1).reshape(2, -1)
    return float(np.nan_to_num(np.log((own + 1e-3) / (fresh + 1e-3)), nan=9.0, posinf=9.0).mean())


def _ready(pair: Any) -> float:
    own, fresh = np.mean(pair, axis=1)
    return float(own / fresh)


def _cases(held: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Where it errs", "",
        "| network | history | the user's error: truth | on new targets | verdict |", "|---|---|---:|---:|---|",
    ]  # fmt: skip
    words = {True: "false alarm", False: "missed"}
    for row in sorted(held, key=lambda row: row["worse"]):
        said = told(row["said"], verdict.WORSE, verdict.AS_NEW)
        if row["bad"] is None or said is None or said == row["bad"]:
            continue
        low, high = row["said"].interval
        network = ", ".join(
            str(row[name]) for name in ("source", "network", "activation", "norm", "optimizer", "step_size")
        )
        history = row["history"] + (f" ({row['change']})" if row["history"] == "worn" else "")
        interval = f"{100 * row['said'].difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        numbers = f"{100 * row['worse']:+.1f} points | {interval}"
        lines.append(f"| {network} | {history} | {numbers} | {words[said]} |")
    return lines


def figure(rows: list[dict[str, Any]]) -> Any:
    """The difference on new targets against the truth, one mark a network held out."""
    with drawing():
        shown = new_figure(6.4, 4.0)
        axes = shown.add_axes((0.11, 0.13, 0.86, 0.83))
        marks = {"new": ("o", "l2"), "trained": ("s", "cbp"), "worn": ("^", "backprop")}
        for history, (mark, colour) in marks.items():
            own = [row for row in rows if row["history"] == history]
            x = [100 * np.clip(row["worse"], -0.3, 0.6) for row in own]
            y = [100 * np.clip(row["said"].difference, -0.3, 0.8) for row in own]
            axes.plot(x, y, mark, color=COLOURS[colour], markersize=5, alpha=0.8, linewidth=0, label=history)
        axes.axhline(100 * verdict.WORSE, color="grey", linewidth=0.8, linestyle="--")
        axes.text(60, 100 * verdict.WORSE + 1, "slower above here", ha="right", size=7, color="grey")
        axes.axvline(100 * MARGIN, color="grey", linewidth=0.8, linestyle=":")
        axes.set(
            xlabel="truth: more errors on the user's next tasks, points",
            ylabel="the check-up: more errors on new targets, points",
        )
        axes.legend(frameon=False, loc="lower right")
    return shown
