"""Can the check-up be trusted? False alarms and misses on networks of which it is known how well they still learn.

    python bench/checkup.py                 # what is missing of 240 networks, about an hour of a core; then the page
    python bench/checkup.py --minutes 10    # begins no network after ten minutes
    python bench/checkup.py --report        # only the page

A network is drawn with its data (six sources), architecture, activation, norm, optimizer and history: new, trained as
usual for one to five epochs, or worn by a hundred tasks one after the other. The truth is what its user would see: its
mean error while it learns three new tasks, beside that of new networks on the same tasks. Measures of the check-up are
taken beside it; thresholds are chosen on the networks of even numbers, and false alarms and misses told of the others.
What was measured is kept in `docs/evidence/checkup.parquet`, one row a network.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

import neoteny
from neoteny.data.catalogue import labelled
from neoteny.measures.trainable import trainability

HERE = Path(__file__).parents[1] / "docs" / "evidence"
TABLE = HERE / "checkup.parquet"
NETWORKS = 240
IMAGES = {
    "mnist": "mnist",
    "fashion": "fashion-mnist",
    "superclasses": "cifar100-superclasses",
    "imagenet": "imagenet32",
}
SIDE, EXAMPLES, BATCH = 14, 4_000, 32
TASKS, TASK_STEPS, NEW_STEPS, NEW_TASKS, NEW_NETWORKS = 100, 150, 250, 3, 3
ACTIVATIONS = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU, "elu": nn.ELU, "sigmoid": nn.Sigmoid,
    "leaky-relu": nn.LeakyReLU,
}  # fmt: skip
OPTIMIZERS: dict[str, tuple[Any, dict[str, float], tuple[float, ...]]] = {
    "sgd": (torch.optim.SGD, {}, (0.01, 0.03, 0.1)),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}, (0.001, 0.003, 0.01)),
    "adam": (torch.optim.Adam, {}, (3e-4, 1e-3, 3e-3)),
    "adamw": (torch.optim.AdamW, {}, (3e-4, 1e-3, 3e-3)),
}
Make = Callable[[Any], torch.optim.Optimizer]


@dataclass(frozen=True)
class Case:
    """A network and its history."""

    number: int
    source: str
    network: str
    width: int
    depth: int
    activation: str
    norm: str
    optimizer: str
    step_size: float
    history: str
    """new, trained, or worn"""
    change: str
    """what differs between its tasks: inputs or labels"""
    epochs: int

    def build(self, seed: int) -> nn.Module:
        """A new network."""
        torch.manual_seed(seed)
        _, _, outputs = data(self.source)
        active = ACTIVATIONS[self.activation]
        norm = {"none": nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}[self.norm]
        parts: list[nn.Module] = []
        size = data(self.source)[0].shape[1]
        if self.network == "cnn":
            parts = [nn.Unflatten(1, (1, SIDE, SIDE)), nn.Conv2d(1, 8, 3, 2), active(), nn.Conv2d(8, 16, 3), active()]
            parts, size = [*parts, nn.Flatten()], 256
        for _ in range(self.depth):
            parts += [nn.Linear(size, self.width), norm(self.width), active()]
            size = self.width
        return nn.Sequential(*(part for part in parts if not isinstance(part, nn.Identity)), nn.Linear(size, outputs))

    def make(self, parameters: Any) -> torch.optim.Optimizer:
        """Its optimizer."""
        kind, settings, _ = OPTIMIZERS[self.optimizer]
        return kind(parameters, lr=self.step_size, **settings)


def draw(number: int) -> Case:
    """The case of a number; the same each time."""
    chance = np.random.default_rng(number)
    pick = lambda values: values[chance.integers(len(values))]  # noqa: E731
    source = pick([*IMAGES, "flights", "teacher"])
    optimizer = pick([*OPTIMIZERS])
    return Case(
        number=number,
        source=source,
        network="cnn" if source in IMAGES and chance.random() < 0.25 else "mlp",
        width=pick((16, 64, 128)),
        depth=pick((1, 2, 3)),
        activation=pick(("relu", "relu", *ACTIVATIONS)),
        norm=pick(("none", "none", "none", "layer", "batch")),
        optimizer=optimizer,
        step_size=pick(OPTIMIZERS[optimizer][2]),
        history=pick(("new", "trained", "trained", "worn", "worn", "worn")),
        change=pick(("inputs", "labels")),
        epochs=int(chance.integers(1, 6)),
    )


@cache
def data(source: str) -> tuple[Tensor, Tensor, int]:
    """Inputs [N, size], targets (classes [N], or numbers [N, 1]), and the number of outputs."""
    chance = np.random.default_rng(0)
    if source in IMAGES:
        found = labelled(IMAGES[source])
        rows = np.sort(chance.choice(len(found.train_labels), EXAMPLES, replace=False))
        images = torch.as_tensor(np.asarray(found.train_images[rows])).float()
        images = images.mean(1, keepdim=True) if images.dim() == 4 else images.unsqueeze(1)
        x = functional.interpolate(images, (SIDE, SIDE), mode="area").flatten(1)
        y = torch.as_tensor(np.asarray(found.train_labels[rows])).long()
        outputs = found.classes
    elif source == "flights":
        found = neoteny.data.flights()
        delay, hour = np.asarray(found.delay[:EXAMPLES]), np.asarray(found.minute[:EXAMPLES]) % 1440 / 1440
        places = [np.asarray(each[:EXAMPLES]) for each in (found.origin, found.destination)]
        ports = np.argsort(-np.bincount(np.concatenate(places)))[:10]
        columns = [np.asarray(found.distance[:EXAMPLES]), np.sin(2 * np.pi * hour), np.cos(2 * np.pi * hour)]
        columns += [place == port for place in places for port in ports]
        x, outputs = torch.tensor(np.stack(columns, 1).astype(np.float32)), 1
        y = torch.tensor(np.clip(delay / 30, -2, 6).astype(np.float32))[:, None]
    else:
        x, outputs = torch.tensor(chance.standard_normal((EXAMPLES, 20)), dtype=torch.float32), 1
        first, second = (
            torch.tensor(chance.standard_normal(size), dtype=torch.float32) for size in ((20, 30), (30, 1))
        )
        y = torch.relu(x @ first) @ second
        y = (y - y.mean()) / y.std()
    return (x - x.mean(0)) / (x.std(0) + 0.1), y, outputs


def task(case: Case, number: int) -> tuple[Tensor, Tensor]:
    """Task 0 is the data as they are; another has its inputs permuted, or its labels drawn anew."""
    x, y, _ = data(case.source)
    order = torch.Generator().manual_seed(1_000 * case.number + number)
    if number == 0:
        return x, y
    if case.change == "inputs":
        return x[:, torch.randperm(x.shape[1], generator=order)], y
    return x, y[torch.randperm(len(y), generator=order)]


def loss_of(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy for classes, squared error for numbers."""
    return (
        functional.mse_loss(output, target) if target.is_floating_point() else functional.cross_entropy(output, target)
    )


def learn(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> float:
    """Learn, and give the mean error before each step: the share of wrong classes, or the squared error."""
    rows = torch.Generator().manual_seed(seed)
    total = torch.zeros(())
    for _ in range(steps):
        chosen = torch.randint(0, len(x), (BATCH,), generator=rows)
        output, target = model(x[chosen]), y[chosen]
        loss = loss_of(output, target)
        with torch.no_grad():
            total += loss if target.is_floating_point() else (output.argmax(1) != target).float().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(total) / steps


def grown(case: Case) -> tuple[nn.Module, nn.Module]:
    """The network after its history, and as it was at its start."""
    model = case.build(case.number)
    start = copy.deepcopy(model)
    optimizer = case.make(model.parameters())
    if case.history == "trained":
        learn(model, *task(case, 0), optimizer, case.epochs * EXAMPLES // BATCH, case.number)
    if case.history == "worn":
        for number in range(TASKS):
            learn(model, *task(case, number), optimizer, TASK_STEPS, case.number + number)
    return model, start


def truth(case: Case, model: nn.Module) -> dict[str, float]:
    """The error on new tasks, of the network and of new ones: the mean of the differences and their spread."""
    own, new = [], []
    for number in range(TASKS, TASKS + NEW_TASKS):
        x, y = task(case, number)
        for k, net in enumerate((copy.deepcopy(model), *map(case.build, range(10**6, 10**6 + NEW_NETWORKS)))):
            error = learn(net.train(), x, y, case.make(net.parameters()), NEW_STEPS, number)
            (new if k else own).append(error)
    fresh = np.reshape(new, (NEW_TASKS, NEW_NETWORKS))
    apart = np.array(own) - fresh.mean(1)
    return {
        "own_error": float(np.mean(own)), "new_error": float(fresh.mean()), "worse": float(apart.mean()),
        "least_worse": float(apart.min()), "spread": float(fresh.std(1, ddof=1).mean()),
    }  # fmt: skip


def measures(case: Case, model: nn.Module, start: nn.Module) -> dict[str, float]:
    """What the check-up finds, with its direct measure in several forms."""
    x, _, _ = data(case.source)
    probe = x[:512]
    report = neoteny.diagnose(model, probe, reference=start)
    signs = {finding.symptom for finding in report.losing()}
    found: dict[str, float] = {f"sign {name}": float(name in signs) for name in SIGNS}
    forms: dict[str, dict[str, Any]] = {
        "function": {}, "noise": {"targets": "noise"}, "own": {"optimizer": case.make},
        "own noise": {"optimizer": case.make, "targets": "noise"},
    }  # fmt: skip
    for name, form in forms.items():
        try:
            told = trainability(model, probe, repeats=5, seed=case.number, reference=start, **form)
        except neoteny.errors.SettingError:  # a new network diverges
            continue
        ratios = np.log(told.ratios)
        found |= {f"{name} ratio": float(ratios.mean()), f"{name} spread": float(ratios.std(ddof=1))}
        ratios = np.log(told.mean_ratios)
        found |= {f"{name} mean ratio": float(ratios.mean()), f"{name} mean spread": float(ratios.std(ddof=1))}
    return found


SIGNS = ("dormant units", "weak units", "saturated units", "falling rank", "growing weights", "not finite")


def work(until: float) -> bool:
    """Make the networks that are missing; whether none is left."""
    done = pl.read_parquet(TABLE) if TABLE.exists() else pl.DataFrame()
    for number in range(NETWORKS):
        if done.height and number in done["number"]:
            continue
        if time.monotonic() > until:
            return False
        case = draw(number)
        model, start = grown(case)
        sane = all(bool(value.isfinite().all()) for value in model.parameters())
        row = {**asdict(case), "finite": sane}
        if sane:
            row |= truth(case, model) | measures(case, model.eval(), start.eval())
        done = pl.concat([done, pl.DataFrame([row])], how="diagonal_relaxed")
        done.write_parquet(part := TABLE.with_suffix(".part"))
        part.replace(TABLE)
        print(number, case.source, case.network, case.history, row.get("worse"), row.get("function ratio"), flush=True)
    return True


MARGIN = 0.02
"""A network learns worse if it errs on so many more of the new examples, or if its squared error is larger by so large
a share; up to half of that it learns as well. Between the two hardly a user would see it, so neither answer is wrong.
"""


def judged(rows: pl.DataFrame) -> pl.DataFrame:
    """With the truth: `loss`, how much worse it learns, and `bad`, true, false, or null between the two."""
    numbers = pl.col("source").is_in([*IMAGES]).not_()
    rows = rows.filter("finite").with_columns(
        loss=pl.when(numbers).then(pl.col("worse") / pl.col("new_error")).otherwise(pl.col("worse"))
    )
    bad = pl.when(pl.col("loss") > MARGIN).then(True).when(pl.col("loss") < MARGIN / 2).then(False)
    return rows.with_columns(bad=bad)


def errors(rows: pl.DataFrame, measure: str, threshold: float) -> tuple[int, int, int, int]:
    """False alarms, of so many that learn well, and misses, of so many that do not."""
    known = rows.filter(pl.col("bad").is_not_null() & pl.col(measure).is_not_null())
    bad, said = known["bad"].to_numpy(), known[measure].to_numpy() > threshold
    return int((said & ~bad).sum()), int((~bad).sum()), int((bad & ~said).sum()), int(bad.sum())


def chosen(rows: pl.DataFrame, measure: str) -> float:
    """The threshold with the fewest false alarms and misses, as shares; of several the middle one."""
    values = rows[measure].drop_nulls().unique().sort().to_numpy()
    cuts = np.concatenate([[values[0] - 1], (values[1:] + values[:-1]) / 2, [values[-1] + 1]])
    costs = []
    for cut in cuts:
        false, well, missed, ill = errors(rows, measure, float(cut))
        costs.append(false / max(well, 1) + missed / max(ill, 1))
    best = np.flatnonzero(np.isclose(costs, np.min(costs)))
    return float(cuts[best[len(best) // 2]])


def page() -> None:
    """Write `docs/evidence/checkup.md`."""
    from scipy.stats import spearmanr

    rows = judged(pl.read_parquet(TABLE))
    choosing, held = rows.filter(pl.col("number") % 2 == 0), rows.filter(pl.col("number") % 2 == 1)
    lines = [
        "# Can the check-up be trusted?",
        "",
        __doc__.split("\n\n")[2].replace("\n", " "),
        "",
        f"{rows.height} networks: " + ", ".join(
            f"{name} {own.height}, of which {int(own['bad'].sum())} learn new tasks worse than new networks by more "
            f"than {MARGIN:.0%}" for (name,), own in rows.group_by("history", maintain_order=True)
        ) + ".",
        "",
        "| measure | rank correlation with the truth | threshold | false alarms | misses |",
        "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    measures = [name for name in rows.columns if name.startswith("sign ") or name.endswith("ratio")]
    for name in measures:
        own = rows.filter(pl.col(name).is_not_null())
        rank = spearmanr(own[name], own["loss"]).statistic if own[name].n_unique() > 1 else float("nan")
        cut = 0.5 if name.startswith("sign ") else chosen(choosing, name)
        false, well, missed, ill = errors(held, name, cut)
        told = "shown" if name.startswith("sign ") else f"{np.exp(cut):.2f}"
        lines.append(f"| {name} | {rank:.2f} | {told} | {false} of {well} | {missed} of {ill} |")
    (HERE / "checkup.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    """Measure what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no network after so long")
    parser.add_argument("--report", action="store_true", help="only the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.report or work(time.monotonic() + 60 * options.minutes):
        page()


if __name__ == "__main__":
    main()
