"""The page of `overhead.py`: its tables, with the targets beside the figures."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

CBP = {
    "17-64-64-6, 64": 1.5,
    "784-3x100-10, 32": 1.35,
    "GPT, 8 x 128 tokens": 1.03,
    "ResNet-18, 128": 1.03,
    "Stable-Baselines3's PPO": 1.10,
}
"""What a step with continual backpropagation may take at most, backpropagation being 1."""
HAND, NOISE = 1.25, 1.3
"""What a method may take of the time that the same rule takes by hand; shrink and perturb."""
ANY = 3.0
"""What any method may take on 784-3x100-10."""
PASSES = {
    "c-chain": "a forward and a backward pass on the reference batch",
    "infer": "a forward and a backward pass on the reference batch",
    "l2-er": "a forward and a backward pass on the reference batch, and the spectra of its features",
    "self-distillation": "two forward passes and a backward pass on the reference batch",
}
"""Methods whose rule needs more passes through the network."""
LARGE = "784-3x100-10, 32"
OVER = {
    "upgd": "each step draws a normal number for every weight, and takes a sigmoid of its utility",
    "dynamic": "gradients are centred, units judged and protected at each step; its own optimizers have a kernel",
}
"""Why others are above that."""


def page(figures: pl.DataFrame) -> str:
    """All of it, as Markdown."""
    return "\n".join([*_head(figures), *_cbp(figures), *_by_hand(figures), *_all(figures)]) + "\n"


def _head(figures: pl.DataFrame) -> list[str]:
    bare = figures.filter(pl.col("optimizer").is_in(["SGD", "Adam"])).group_by(
        "network", "optimizer", maintain_order=True
    )
    took = [f"{n}, {o}: {us:,.0f} µs" for n, o, us in bare.agg(pl.col("bare_us").median()).iter_rows()]
    return [
        "# What attaching a method costs",
        "",
        "`make overhead` (`bench/overhead.py`): the same eager training loop bare and with `neoteny.attach`, default",
        "settings, taking turns in one process with one thread, in seconds of the core. 1.00 is the bare loop. A",
        "figure is the ratio of the best turns; in brackets the median over the rounds. What happens only at a change",
        "of task, or once in a thousand updates, hardly shows. Absolute times are those of a shared virtual machine;",
        "where other programs share its cache, calls from Python, of which attaching is made, take longer than sums.",
        "`-`: not measured.",
        "",
        f"A bare step took: {'; '.join(took)}.",
        "",
    ]


def _cell(row: dict[str, float | None] | None, best: str, middle: str) -> str:
    if row is None or row[best] is None:
        return "-"
    return f"{row[best]:.2f} ({row[middle]:.2f})"


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]], words: int) -> list[str]:
    columns = list(columns)
    rule = "|" + "---|" * words + "---:|" * (len(columns) - words)
    return ["| " + " | ".join(columns) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows), ""]


def _cbp(figures: pl.DataFrame) -> list[str]:
    own = figures.filter(pl.col("method").str.starts_with("cbp"))
    rates = list(dict.fromkeys(own["method"]))
    rows = []
    for (network, optimizer), part in own.group_by("network", "optimizer", maintain_order=True):
        found = {row["method"]: row for row in part.iter_rows(named=True)}
        asked = CBP.get(str(network))
        kept = part["kept"].max()
        rows.append(
            [
                str(network),
                str(optimizer),
                *(_cell(found.get(rate), "best", "median") for rate in rates),
                f"{asked:.2f}" if asked else "-",
                f"{kept * 100:.2f} %" if isinstance(kept, float) else "-",
            ]
        )
    return [
        "## Continual backpropagation",
        "",
        "At three replacement rates, in the state after 10,000 updates: all units are mature, and there are the",
        "usual young ones, for which Adam's bias correction starts anew. `kept` is what a checkpoint keeps of the",
        "methods, as a share of the parameters' memory. Stable-Baselines3's PPO is measured as a whole: environment,",
        "rollouts, updates.",
        "",
        *_table(["network, batch", "optimizer", *rates, "asked: at most", "kept"], rows, 2),
    ]


def _by_hand(figures: pl.DataFrame) -> list[str]:
    own = figures.filter(pl.col("hand_best").is_not_null())
    optimizers = list(dict.fromkeys(own["optimizer"]))
    rows = []
    for (method, network), part in own.group_by("method", "network", maintain_order=True):
        found = {row["optimizer"]: row for row in part.iter_rows(named=True)}
        asked = NOISE if method == "shrink-and-perturb" else HAND
        cells = (_cell(found.get(optimizer), "hand_best", "hand_median") for optimizer in optimizers)
        rows.append([str(method), str(network), *cells, f"{asked:.2f}"])
    return [
        "## Attached against by hand",
        "",
        "A step with the attached method relative to a step with the same rule written into the loop",
        "(`bench/by_hand.py`: one call for all parameters where torch has one, no checks).",
        "",
        *_table(["method", "network, batch", *optimizers, "asked: at most"], sorted(rows), 2),
    ]


def _all(figures: pl.DataFrame) -> list[str]:
    own = figures.filter(~pl.col("method").str.starts_with("cbp"))
    lines = [
        "## Every method",
        "",
        f"At most {ANY:g} is asked on 784-3x100-10, unless the rule needs further passes through the network:",
        "",
        *(f"- {name}: {why}" for name, why in PASSES.items()),
        "",
    ]
    over = own.filter((pl.col("network") == LARGE) & (pl.col("best") > ANY) & ~pl.col("method").is_in([*PASSES]))
    if over.height:
        lines += ["Above it without further passes:", ""]
        for (name,), cases in over.group_by("method", maintain_order=True):
            told = ", ".join(f"{row['best']:.2f} with {row['optimizer']}" for row in cases.iter_rows(named=True))
            lines.append(f"- {name}, {told}: {OVER.get(str(name), 'not explained')}")
        lines.append("")
    for (network,), part in own.group_by("network", maintain_order=True):
        optimizers = list(dict.fromkeys(part["optimizer"]))
        rows = []
        for (method,), one in part.group_by("method", maintain_order=True):
            found = {row["optimizer"]: row for row in one.iter_rows(named=True)}
            rows.append([str(method), *(_cell(found.get(optimizer), "best", "median") for optimizer in optimizers)])
        lines += [f"### {network}", "", *_table(["method", *optimizers], rows, 1)]
    return lines
