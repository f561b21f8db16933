"""The lines of code that put an entry of a comparison into a script."""

from __future__ import annotations

from dataclasses import fields

import neoteny
from neoteny.comparison.entries import Entries
from neoteny.methods.base import Method

__all__ = ["lines_of"]


def lines_of(found: Entries, name: str) -> list[str]:
    """Network, optimizer with its step size, and what is attached; `inputs` stands for a batch of inputs.

    Args:
        found: the comparison.
        name: of the entry.

    Raises:
        UnknownNameError: there is no such entry.
    """
    entry, (build, make) = found[name], found.names
    methods, factor = entry.way.methods, entry.way.factor
    made = f"[{', '.join(map(_written, methods))}]"
    modules = {type(method).__module__ for method in methods if not _is_ours(method)}
    modules |= {"neoteny"} if methods else set()
    modules |= {"torch"} if make.startswith("torch.") else set()
    lines = [f"import {module}" for module in sorted(modules)]
    if any(method.prepares for method in methods):
        lines += [f"methods = {made}", f"model = neoteny.prepare({build}(), methods, inputs)"]
        made = "methods"
    else:
        lines.append(f"model = {build}()")
    lines.append(f"optimizer = {make}(model.parameters())")
    if factor != 1:
        lines += ["for group in optimizer.param_groups:"]
        lines += [f'    group["lr"] *= {factor:.4g}  # step size {found.step_size(entry)}']
    if methods:
        more = ", reference=other_inputs" if any(method.needs_reference for method in methods) else ""
        lines.append(f"plasticity = neoteny.attach(model, optimizer, {made}, example_inputs=inputs{more})")
        if found.tasks:
            lines.append("# where a task begins: plasticity.new_task()")
    return lines


def _is_ours(method: Method) -> bool:
    return getattr(neoteny, type(method).__name__, None) is type(method)


def _written(method: Method) -> str:
    """A method as code: its class, and the settings that are not the defaults."""
    cls = type(method)
    usual = {field.name: field.default for field in fields(cls)}
    own = {name: value for name, value in method.settings().items() if value != usual[name]}
    module = "neoteny" if _is_ours(method) else cls.__module__
    return f"{module}.{cls.__qualname__}({', '.join(f'{name}={value!r}' for name, value in own.items())})"
