"""What attaching a method costs: the same training loop bare, attached and by hand, in turns, one process, one thread.

`make overhead` measures every registered method with its default settings on small networks, and continual
backpropagation on larger ones and in Stable-Baselines3's PPO, with the usual optimizers. It keeps the figures in
`docs/evidence/overhead.parquet` and writes `overhead.md` from them; `--only` and `--methods` measure a part anew.

The loops take turns. A figure is a ratio of seconds of the core, of each side's best turn and, in brackets, the median
over the rounds. Where `by_hand.py` has the rule as a user would write it, the attached loop is compared with that too.
Continual backpropagation is measured in the state that it would have after 10,000 updates: all units are mature,
replacements happen, and there are the usual young units, whose bias correction differs.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).parent))
from by_hand import BY_HAND
from cases import OPTIMIZERS, Case, cases
from overhead_page import page
from sections import Row, clock

import neoteny
from neoteny import Plasticity, PlasticityWarning
from neoteny.attachment.bias_correction import horizon
from neoteny.errors import NetworkError
from neoteny.methods import ContinualBackprop, Method
from neoteny.registry import METHODS

OUT = Path(__file__).parents[1] / "docs" / "evidence"
UPDATES = 10_000
RATES = (1e-5, 1e-4, 1e-3)
TURN, STEPS = 0.05, 128  # seconds of a turn, steps at most
GPT = "GPT, 8 x 128 tokens"
SB3 = "Stable-Baselines3's PPO"
KEYS = ("network", "optimizer", "method")


@dataclass(frozen=True)
class Measured:
    """Seconds of the core for a step: each side's turns."""

    bare: list[float]
    attached: list[float]
    by_hand: list[float]

    def row(self) -> dict[str, float | None]:
        """Ratios of best turns and medians, and microseconds of a bare step."""
        hand = self.by_hand or None
        return {
            "bare_us": min(self.bare) * 1e6,
            "best": min(self.attached) / min(self.bare),
            "median": _ratio(self.attached, self.bare),
            "hand_best": None if hand is None else min(self.attached) / min(hand),
            "hand_median": None if hand is None else _ratio(self.attached, hand),
        }


def _ratio(over: list[float], under: list[float]) -> float:
    return median(a / b for a, b in zip(over, under, strict=True))


class Loop:
    """A network in training: bare, with an attached method, or with the rule by hand."""

    def __init__(self, case: Case, optimizer: str, method: Method | None = None, by_hand: str | None = None):
        torch.manual_seed(0)
        self.case, self.model = case, case.make()
        if method is not None:
            self.model = neoteny.prepare(self.model, method, case.reference)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.rule = BY_HAND[by_hand](self.model, self.optimizer) if by_hand else None
        self.plasticity = None
        if method is not None:
            given = case.reference[:1] if isinstance(method, ContinualBackprop) else case.reference
            self.plasticity = neoteny.attach(
                self.model, self.optimizer, method, given, reference=case.reference, only_preserving=False
            )
            if isinstance(method, ContinualBackprop):
                self.turn(1)
                go_on(self.plasticity, self.optimizer, method)

    def turn(self, steps: int) -> float:
        """Seconds for a step, of the core or of the accelerator."""
        device = str(self.case.x.device)
        start = clock(device)
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.case.loss(self.model(self.case.x), self.case.y).backward()
            if self.rule is None:
                self.optimizer.step()
            else:
                self.rule.before()
                self.optimizer.step()
                self.rule.after()
        return (clock(device) - start) / steps


def go_on(plasticity: Plasticity, optimizer: torch.optim.Optimizer, method: ContinualBackprop) -> None:
    """Go to the state after `UPDATES` updates, as a checkpoint would have it."""
    saved, layers = plasticity.state_dict(), plasticity.units.layers
    clock = method.schedule(plasticity.units, 0)
    due = clock.take(UPDATES)
    state = saved["methods"]["cbp"]["state"]
    ages = [horizon(*map(float, group["betas"])) for group in optimizer.param_groups if "betas" in group]
    for number, layer in enumerate(layers):
        updates = due[:, number].nonzero()[0][-layer.size :]
        since = torch.full((layer.size,), UPDATES, dtype=torch.int32)
        for unit, update in enumerate(updates[::-1]):
            since[unit] = UPDATES - 1 - int(update)
        left = [int(update) - UPDATES + max(ages, default=0) for update in updates]
        saved["since"][layer.name] = since
        saved["young"][layer.name] = [[until, 1] for until in left if until >= 0 and ages]
        state[f"{layer.name}/age"] = since.clone()
        state[f"{layer.name}/share"] = torch.ones_like(state[f"{layer.name}/share"])
    saved["methods"]["cbp"]["schedule"] = clock.state_dict()
    plasticity.load_state_dict(saved)
    for own in optimizer.state.values():
        if "step" in own:
            own["step"].fill_(UPDATES)


def measure(case: Case, optimizer: str, method: Method, rounds: int) -> dict[str, float | None]:
    """One row, without its keys."""
    name = method.name if method.name in BY_HAND and case.every else None
    sides = [Loop(case, optimizer), Loop(case, optimizer, method)]
    sides += [Loop(case, optimizer, by_hand=name)] if name else []
    for side in sides:
        side.turn(2)
    once = sides[0].turn(1)
    steps = max(1, min(STEPS, round(TURN / once)))
    turns: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds if once < 1 else min(rounds, 3)):
        for own, side in zip(turns, sides, strict=True):
            own.append(side.turn(steps))
    plasticity = sides[1].plasticity
    assert plasticity is not None
    size = sum(p.nbytes for p in sides[1].model.parameters())
    kept = sum(leaf.nbytes for leaf in tree_leaves(plasticity.state_dict()) if isinstance(leaf, Tensor))
    return {**Measured(turns[0], turns[1], turns[2] if name else []).row(), "kept": kept / size}


def in_sb3(method: Method, rounds: int, steps: int) -> dict[str, float | None]:
    """Stable-Baselines3's PPO with its default settings, environment included, on the cart and pole."""
    import gymnasium
    from stable_baselines3 import PPO

    def agent() -> Any:
        return PPO("MlpPolicy", gymnasium.make("CartPole-v1"), seed=0, device="cpu", n_steps=steps)

    def turn(one: Any) -> float:
        start = clock()
        one.learn(steps, reset_num_timesteps=False)
        return clock() - start

    bare, attached = agent(), agent()
    seen, _ = attached.policy.obs_to_tensor(attached.observation_space.sample())
    for one in (bare, attached):
        turn(one)
    plasticity = neoteny.attach(attached.policy, attached.policy.optimizer, method, seen, only_preserving=False)
    if isinstance(method, ContinualBackprop):
        turn(attached)
        go_on(plasticity, attached.policy.optimizer, method)
    turns = [(turn(bare), turn(attached)) for _ in range(rounds)]
    return Measured([b for b, _ in turns], [a for _, a in turns], []).row()


def stacked(device: str, quick: bool) -> Iterator[Row]:
    """What continual backpropagation adds to a step of a GPT on an accelerator."""
    warnings.simplefilter("ignore", PlasticityWarning)
    torch.manual_seed(0)
    name = "17-64-64-6, 64" if quick else GPT
    case = cases()[name]
    case = replace(
        case,
        make=lambda make=case.make: make().to(device),
        **{part: getattr(case, part).to(device) for part in ("x", "y", "reference")},
    )
    for optimizer in ("Adam", "Adam, fused"):
        for rate in RATES:
            found = measure(case, optimizer, ContinualBackprop(replacement_rate=rate), 2 if quick else 5)
            yield Row(f"{name}, {optimizer}: µs of a bare step, beside cbp at {rate:g}", found["bare_us"] or 0.0)
            yield Row(f"{name}, {optimizer}: with cbp at {rate:g}, times a bare step", found["best"] or 0.0, "1.03")


def planned(only: str, methods: list[str], quick: bool) -> Iterator[tuple[str, str, Case | None, str, Method]]:
    """What is measured: network, optimizer, case, the row's name, method."""

    def wanted(network: str, optimizer: str, name: str) -> bool:
        return only in f"{network}, {optimizer}" and (not methods or name in methods)

    rates = {f"cbp, {rate:g}": ContinualBackprop(replacement_rate=rate) for rate in RATES}
    others = {name: entry.load() for name, entry in METHODS.items() if name != "cbp"}
    for network, case in cases().items():
        for optimizer in OPTIMIZERS:
            if quick and (not case.every or optimizer not in ("SGD", "Adam")):
                continue
            for name, method in rates.items():
                if wanted(network, optimizer, "cbp"):
                    yield network, optimizer, case, name, method
            for name, cls in others.items() if case.every else ():
                if wanted(network, optimizer, name):
                    yield network, optimizer, case, name, cls()
    for name, method in rates.items():
        if wanted(SB3, "Adam", "cbp") and not quick:
            yield SB3, "Adam", None, name, method


def keep_memory() -> None:
    """Make the C library keep freed memory: else one loop or the other, by chance, pays for getting pages again."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            libc.mallopt(parameter, 2**30)


def main() -> None:
    """Measure, keep the figures, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", default="", help="networks and optimizers whose names hold this, as in '784-3x100-10, 32, Adam'"
    )
    parser.add_argument("--methods", default="", help="names of methods, with commas; all by default")
    parser.add_argument("--quick", action="store_true", help="small networks, SGD and Adam, two rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a folder for overhead.parquet and overhead.md; printed only, without")
    options = parser.parse_args()
    warnings.simplefilter("ignore", PlasticityWarning)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_memory()
    rounds = 2 if options.quick else options.rounds
    rows: list[dict[str, Any]] = []
    every = list(planned(options.only, [name for name in options.methods.split(",") if name], options.quick))
    if not every:
        parser.error(f"nothing is called so: --only {options.only!r} --methods {options.methods!r}")
    console = Console(width=160)
    with Progress(console=console) as progress:
        task = progress.add_task("", total=len(every))
        for network, optimizer, case, name, method in every:
            progress.update(task, description=f"{network}, {optimizer}: {name}", advance=1)
            try:
                found = in_sb3(method, rounds, 1024) if case is None else measure(case, optimizer, method, rounds)
            except NetworkError:
                continue  # not for this network
            rows.append({"network": network, "optimizer": optimizer, "method": name, **found})
            told = " ".join(f"{key} {value:.3g}" for key, value in found.items() if value is not None)
            progress.console.print(f"{network}, {optimizer}, {name}: {told}")
    figures = pl.DataFrame(rows, infer_schema_length=None)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / "overhead.parquet"
        if path.exists():
            before = pl.read_parquet(path).join(figures, on=KEYS, how="anti")
            figures = pl.concat([before, figures], how="diagonal_relaxed")
        figures.write_parquet(path)
        (options.out / "overhead.md").write_text(page(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
