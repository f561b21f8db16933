"""Speed beside JAX: neoteny's learner and a `vmap` of a `scan` of the same step, in turns, one thread each.

    make beside-jax

Seconds of the core, best of the rounds, and seconds until the first result (with a cold cache of compiled code for
both). The JAX side is what a user of JAX would write: parameters `[runs, ...]`, the step mapped over runs and scanned
over examples; continual backpropagation judges every unit at every step and replaces by masks.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# before either library is loaded: one thread each, and nothing compiled earlier
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TORCHINDUCTOR_CACHE_DIR=tempfile.mkdtemp())
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # XLA starts a thread for each core that it may use

import jax
import jax.numpy as jnp
import numpy as np
import torch
from speed import Case, middle, tiny

from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods import ContinualBackprop
from neoteny.optim import SGD

STEP_SIZE, ETA, MATURITY = 0.01, 0.99, 100
COLUMNS = ("case", "method", "JAX us", "neoteny us", "neoteny / JAX", "JAX ready s", "neoteny ready s", "strategy")


def cases() -> list[Case]:
    """Networks with how many runs and steps."""
    found = []
    for cbp in (False, True):
        for runs in (30, 100):
            found.append(Case(f"20-5-1, {runs} runs", tiny, (1, 20), 0, runs, cbp, 0, 16_000, 0))
        found.append(Case("784-100x3-10, 30 runs", middle, (1, 784), 10, 30, cbp, 0, 240, 0, rate=1e-5))
    return found


def forward(weights: Any, x: Any) -> tuple[Any, list[Any]]:
    """Outputs and hidden activations of one example."""
    hidden = []
    for number, (w, b) in enumerate(weights):
        x = w @ x + b
        if number + 1 < len(weights):
            x = jax.nn.relu(x)
            hidden.append(x)
    return x, hidden


def loss_of(classes: int) -> Callable[..., Any]:
    """The loss of one example, and the hidden activations."""

    def loss(weights: Any, x: Any, y: Any) -> tuple[Any, list[Any]]:
        out, hidden = forward(weights, x)
        if classes:
            return -jax.nn.log_softmax(out)[y], hidden
        return jnp.mean((out - y) ** 2), hidden

    return loss


def replaced(weights: list[Any], states: list[Any], hidden: list[Any], key: Any, rate: float) -> tuple[Any, Any]:
    """Continual backpropagation after a step: adaptable contribution, an account of replacements, masks."""
    states = list(states)
    for layer, h in enumerate(hidden):
        age, utility, mean, account = states[layer]
        (w_in, b), (w_out, b_out) = weights[layer], weights[layer + 1]
        age = age + 1
        share = 1 - ETA**age
        mean = ETA * mean + (1 - ETA) * h
        new = jnp.abs(h - mean / share) * jnp.abs(w_out).sum(0) / jnp.maximum(jnp.abs(w_in).sum(1), 1e-30)
        utility = ETA * utility + (1 - ETA) * new
        eligible = age > MATURITY
        account = account + rate * eligible.sum()
        least = jnp.argmin(jnp.where(eligible, utility / share, jnp.inf))
        chosen = (jnp.arange(len(h)) == least) & (account >= 1) & eligible
        account = account - (account >= 1)
        bound = (6 / w_in.shape[1]) ** 0.5
        key, own = jax.random.split(key)
        fresh = jax.random.uniform(own, (w_in.shape[1],), minval=-bound, maxval=bound)
        weights[layer] = jnp.where(chosen[:, None], fresh, w_in), jnp.where(chosen, 0, b)
        weights[layer + 1] = jnp.where(chosen, 0, w_out), b_out
        states[layer] = (*(jnp.where(chosen, 0, value) for value in (age, utility, mean)), account)
    return weights, states


def jax_side(case: Case, weights: list[Any], x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """A function that trains all runs on all examples."""
    gradient, units = jax.grad(loss_of(case.classes), has_aux=True), [w.shape[1] for w, _ in weights[:-1]]
    zeros = [
        (*(np.zeros((case.runs, n), np.float32) for _ in range(3)), np.zeros(case.runs, np.float32)) for n in units
    ]

    def step(carry: Any, example: Any) -> tuple[Any, Any]:
        weights, states, key = carry
        change, hidden = gradient(weights, *example)
        weights = jax.tree.map(lambda w, g: w - STEP_SIZE * g, weights, change)
        if case.cbp:
            key, own = jax.random.split(key)
            weights, states = replaced(list(weights), states, hidden, own, case.rate)
        return (weights, states, key), None

    def run(weights: Any, states: Any, key: Any, x: Any, y: Any) -> Any:
        return jax.lax.scan(step, (weights, states, key), (x, y))[0]

    alone = bool(case.classes)  # one run after the other: 30 of these networks do not fit into the cache
    train = jax.jit(run if alone else jax.vmap(run))
    carry = [weights, zeros, jax.random.split(jax.random.key(0), case.runs)]
    data = jnp.asarray(x[:, :, 0]), jnp.asarray(y[:, :, 0])

    def part(of: Any, number: int) -> Any:
        return jax.tree.map(lambda value: value[number], of)

    carries = [part(carry, number) for number in range(case.runs)] if alone else [carry]
    parts = [part(data, number) for number in range(case.runs)] if alone else [data]

    def advance() -> None:
        carries[:] = jax.block_until_ready([train(*carry, *data) for carry, data in zip(carries, parts, strict=True)])

    return advance


def our_side(case: Case, x: torch.Tensor, y: torch.Tensor) -> tuple[Callable[[], None], Learner]:
    """The same, by a learner, and the learner."""
    cbp = ContinualBackprop(replacement_rate=case.rate, utility="adaptable_contribution")
    learner = Learner(
        case.network,
        x[0, 0],
        loss="cross_entropy" if case.classes else "mse",
        optimizer=SGD(step_size=STEP_SIZE),
        methods=(cbp,) if case.cbp else (),
        seeds=range(case.runs),
    )
    return lambda: float(learner.advance(examples(x, y))["loss"].sum()) and None, learner


def row(case: Case, rounds: int) -> list[str]:
    """One line of the table."""
    x, y = case.data(case.runs, case.steps)
    begun = time.perf_counter()
    ours, learner = our_side(case, x, y)
    ours()
    ready = [0.0, time.perf_counter() - begun]
    values = [value.numpy() for value in learner.weights().values()]
    weights = list(zip(values[::2], values[1::2], strict=True))
    begun = time.perf_counter()
    theirs = jax_side(case, weights, x.numpy(), y.numpy())
    theirs()
    ready[0] = time.perf_counter() - begun
    best = [float("inf")] * 2
    for _ in range(rounds):
        for side, advance in enumerate((theirs, ours)):
            begun = time.process_time()
            advance()
            best[side] = min(best[side], time.process_time() - begun)
    us = [1e6 * seconds / case.steps / case.runs for seconds in best]
    return [
        *(case.name, "cbp" if case.cbp else "backprop", f"{us[0]:.3f}", f"{us[1]:.3f}", f"{us[1] / us[0]:.2f}"),
        *(f"{ready[0]:.1f}", f"{ready[1]:.1f}", learner.strategy.name),
    ]


def main() -> None:
    """Measure and print; with `--out`, also write the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * (len(COLUMNS) - 3) + "---|"]
    print("\n".join(lines))
    for case in cases():
        if options.only in case.name:
            lines.append("| " + " | ".join(row(case, options.rounds)) + " |")
            print(lines[-1], flush=True)
    if options.out:
        head = PAGE.format(jax=jax.__version__, torch=torch.__version__)
        options.out.write_text(head + "\n" + "\n".join(lines) + "\n")


PAGE = """# Beside JAX

`make beside-jax`: neoteny's learner and the same training step in JAX {jax} (torch {torch}), in turns in one process
on one core; the best round counts, in seconds of the core for a step of one run. *Ready* is the time until the
first result, with a cold cache of compiled code on both sides. In JAX the step is scanned over examples, and mapped
over runs by `vmap` (20-5-1), or called for one run after the other (784-100x3-10, where `vmap` takes longer). Absolute
times are those of a shared virtual machine.
"""


if __name__ == "__main__":
    main()
