"""A page for each registered method, and one of them all: from its class, its docstring and `make overhead`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import polars as pl
from docstrings import before, escaped, examples, markdown, section

from neoteny.methods import Method
from neoteny.methods.base import Stage
from neoteny.registry import METHODS, Entry
from neoteny.report.leaderboard.costs import USUAL

COSTS = Path(__file__).parent / "evidence" / "overhead.parquet"
STAGES = {
    "architecture": "changes the network before training",
    "regulariser": "adds to the gradients, or pulls the weights itself",
    "optimizer": "changes the gradients as a whole",
    "perturbation": "shrinks the weights and adds noise",
    "projection": "puts the weights back where they have to be",
    "reset": "makes units, weights or layers new",
    "average": "follows the weights",
}


def pages(methods: Mapping[str, Entry] = METHODS, costs: Path = COSTS) -> dict[str, str]:
    """The pages, as Markdown, by name: `methods`, and `method-<name>` for each."""
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    if costs.exists():
        for row in pl.read_parquet(costs).with_columns(pl.col("method").replace(USUAL)).iter_rows(named=True):
            measured.setdefault(row["method"], []).append(row)
    classes = {name: entry.load() for name, entry in methods.items()}
    own = {f"method-{name}": _page(entry, classes, measured[name]) for name, entry in methods.items()}
    return {"methods": _index(methods), **own}


def _index(methods: Mapping[str, Entry]) -> str:
    blocks = [
        "# Methods",
        "Each works with any optimizer (`neoteny.attach`) and is a system of every benchmark (`--method NAME`). Any "
        "list of them can be attached together: they act stage by stage, in the order of this page, and within a stage "
        "in the order of the list. The optimizer's own step comes between the stages `optimizer` and `perturbation`.",
    ]
    for stage, what in STAGES.items():
        own = [entry for entry in methods.values() if entry.kind == stage]
        if own:
            rows = [[f"[{entry.name}](method-{entry.name}.md)", escaped(entry.summary), entry.source] for entry in own]
            blocks += [f"## {stage}", f"What {what}.", _table(("method", "what it does", "source"), rows)]
    names = "\n".join(f"method-{name}" for name in methods)
    return "\n\n".join([*blocks, f"```{{toctree}}\n:hidden:\n\n{names}\n```"]) + "\n"


def _page(entry: Entry, classes: Mapping[str, type[Method]], measured: list[dict[str, Any]]) -> str:
    cls = classes[entry.name]
    doc, home = inspect.getdoc(cls) or "", ""
    if (
        sum(other.__module__ == cls.__module__ for other in classes.values()) == 1
    ):  # otherwise the file describes several
        home = inspect.getdoc(inspect.getmodule(cls)) or ""
    blocks = [
        f"# {entry.name}",
        f"`neoteny.{cls.__name__}`: {escaped(entry.summary)}.",
        f"Source: {entry.source}.",
        markdown(home),
        "## The rule",
        markdown(before(doc, "Args", "Raises")),
        "## Settings",
        _settings(cls),
        markdown(examples(doc)),
        "## What it needs",
        "\n".join(f"- {need}" for need in _needs(cls)),
        "## When it acts, and with which others",
        _order(cls),
        _excluded(entry, classes),
        "## What it costs",
        _costs(cls, measured),
        "## When not to use it",
        escaped(cls.avoid),
        "## What to tune",
        _grid(cls),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _settings(cls: type[Method]) -> str:
    said: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        said |= section(inspect.cleandoc(base.__doc__ or ""), "Args")
    rows = [[f"`{field.name}`", f"`{field.default!r}`", said.get(field.name, "")] for field in dataclasses.fields(cls)]
    raised = section(inspect.getdoc(cls) or "", "Raises")
    refused = [f"Refused, with `{error}`: {why}" for error, why in raised.items()]
    if not rows:
        return "It has none."
    return "\n\n".join([_table(("setting", "default", "what it is"), rows), *refused])


def _needs(cls: type[Method]) -> Iterator[str]:
    def overrides(name: str) -> bool:
        return getattr(cls, name) is not getattr(Method, name)

    usual = cls()
    if usual.prepares:
        yield "A prepared network: `model = neoteny.prepare(model, method, inputs)`, before the optimizer is made."
    if overrides("at_task"):
        yield "It may act at a change of task: call `plasticity.new_task()` there."
    else:
        yield "It does not need to know when the task changes."
    if cls.needs_units:
        yield "Hidden units that `neoteny.units` finds; it refuses a network without any."
    elif cls.resets_units:
        yield "It also resets hidden units, if there are any."
    if usual.observes:
        yield f"Statistics of the units' activations in training: {_listed(sorted(usual.observes))}."
    if cls.reads_gradients:
        yield "The gradients after the step: keep them until the next `zero_grad()`."
    if cls.needs_reference:
        yield "A reference batch, other than the one trained on: `neoteny.attach(..., reference=batch)`."
    if overrides("evaluated"):
        yield "Evaluation inside `with plasticity.evaluating():`, where the network has the weights to evaluate."


def _order(cls: type[Method]) -> str:
    stages = [stage for stage in get_args(Stage) if stage != "architecture"]
    if cls.stage not in stages:
        return "Stage `architecture`: it changes the network before training and does nothing later."
    place = stages.index(cls.stage)
    after = f", after {_listed(stages[:place])}" if place else ""
    others = f", before {_listed(stages[place + 1 :])}" if place + 1 < len(stages) else ""
    return f"Stage `{cls.stage}`, {place + 1} of {len(stages)}{after}{others}, whatever the order of the list."


def _excluded(entry: Entry, classes: Mapping[str, type[Method]]) -> str:
    cls = classes[entry.name]
    reasons: dict[str, list[str]] = {}
    for name, other in classes.items():
        if name != entry.name:
            reason = cls().excludes(other()) or other().excludes(cls())
            if reason:
                reasons.setdefault(reason, []).append(name)
    if not reasons:
        return "It can be attached together with every other method."
    lines = [f"- {', '.join(f'[{name}](method-{name}.md)' for name in names)}: {why}" for why, names in reasons.items()]
    return "It is refused together with\n\n" + "\n".join(map(escaped, lines))


def _costs(cls: type[Method], measured: list[dict[str, Any]]) -> str:
    kept, allocated = cls.memory
    promise = (
        f"Between steps it keeps at most {kept:g} times the memory of the parameters; a step allocates at most "
        f"{allocated:g} times that memory in addition. Memory that grows only with the number of units is not counted."
    )
    if not measured:
        return promise
    optimizers = list(dict.fromkeys(row["optimizer"] for row in measured))
    rows = []
    for network in dict.fromkeys(row["network"] for row in measured):
        found = {row["optimizer"]: row["best"] for row in measured if row["network"] == network}
        rows.append([network, *(f"{found[name]:.2f}" if name in found else "-" for name in optimizers)])
    said = "A step with it, the bare step being 1, measured [like this](../evidence/overhead.md)."
    return "\n\n".join([said, _table(("network, batch", *optimizers), rows), promise])


def _grid(cls: type[Method]) -> str:
    varies = f"Runs of one stack may differ in {_listed(cls.varies)}." if cls.varies else ""
    if not cls.grid:
        return varies or "None of its settings may differ between the runs of a stack; there is no grid."
    rows = [[f"`{name}`", ", ".join(f"{value:g}" for value in values)] for name, values in cls.grid.items()]
    return "\n\n".join(filter(None, [_table(("setting", "values"), rows), varies]))


def _listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    cells = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)
