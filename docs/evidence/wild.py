"""Try the library on networks that others wrote: which units are found, what is left out and why, is it true, how long.

    python docs/evidence/wild.py                    # what no row exists for yet, then the page; hours on one core
    python docs/evidence/wild.py timm "torch LSTM"  # the networks whose names begin so, anew, and no page

Needs the extra `wild`. Every network is built from its configuration, without trained weights, in a process of its own
with a limit of time. The rows are kept in `.cache/wild.json`, so that a run that was stopped goes on.

What is found is checked without `neoteny.units`: in a double-precision copy one unit of each layer has its outgoing
weights set to zero by hand; then all weights that feed it are changed, and the output must not move. A state that a
recurrent module gives back for the next step is no output: it goes through `forget` (docs/units.md).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import platform
import random
import re
import resource
import sys
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

# torchvision's compiled part is missing where it was built for another torch. timm needs only its Python part, which
# can be imported once the operators exist by name.
_torchvision = torch.library.Library("torchvision", "FRAGMENT")
for _operator in ("nms", "qnms"):
    try:
        _torchvision.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:  # it is there
        break

sys.path.insert(0, str(Path(__file__).parent))
from wild_networks import NETWORKS  # noqa: E402

import neoteny  # noqa: E402
from neoteny.units import Network, find  # noqa: E402

HERE, ROWS = Path(__file__).parent, Path(__file__).parents[2] / ".cache" / "wild.json"
SECONDS = 60  # of a core, for one network's search and for its check
MEMORY = 12 * 2**30  # bytes that the process of one network may take
TOLERANCE = 1e-9  # of the output's largest entry, in double precision
COLUMNS = (
    "network", "parameters", "units found of outputs", "layers left out, and why", "verified", "seconds of a core",
    "memory",
)  # fmt: skip
HEAD = """# Networks of others

`neoteny.attach` looks for the units of networks that nobody here wrote: so far {networks} of the {listed} that are listed. Each is built from its configuration, without trained weights.

{counts}

*Units found of outputs*: the hidden units that can be made new, of all outputs of linear maps and convolutions in the network. *Verified*: layers of which one unit
was checked without the library's help, of all layers found: its outgoing weights were set to zero by hand in a copy in double precision, its incoming weights changed, and the output stayed the same;
layers that are found but said not to preserve the function count as *disclosed*. *Seconds of a core*: the search for units, on one thread. *Memory*: its peak beyond the network itself, over the size of the
parameters. Names with `*` stand for all numbers.

"""  # noqa: E501


def searched(build: Callable[[], tuple[nn.Module, Any]]) -> dict[str, Any]:
    """The row of one network, made in this process."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    net, inputs = build()
    net.eval()
    size = sum(p.numel() * p.element_size() for p in net.parameters())
    row: dict[str, Any] = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "outputs": sum(outputs(module) for module in net.modules()),
    }
    yield_row({**row, "late": f"not within {SECONDS} seconds"})
    limit(SECONDS)
    before, began = resident(reset=True), time.process_time()
    try:
        network = find(net, inputs, allow_none=True)
    except Exception as error:
        kind = "refused" if isinstance(error, neoteny.errors.NeotenyError) else "crashed"
        place = traceback.extract_tb(error.__traceback__)[-1]
        at = "" if kind == "refused" else f" ({Path(place.filename).name}:{place.lineno})"
        return {**row, kind: f"{type(error).__name__}: {str(error)[:300]}{at}", "seconds": time.process_time() - began}
    row["seconds"] = time.process_time() - began
    row["memory"] = max(0, resident() - before) / max(1, size)
    row["layers"], row["units"] = len(network.layers), network.units
    row["left_out"] = left_out(network.skipped)
    yield_row({**row, "verified": f"not within {SECONDS} seconds"})
    began = time.process_time()
    limit(SECONDS)
    row["verified"] = verified(net, inputs, network)
    row["verifying"] = time.process_time() - began
    return row


def outputs(module: nn.Module) -> int:
    """How many outputs a linear map has, 0 for other modules."""
    width = getattr(module, "out_features", None) or getattr(module, "out_channels", None) or getattr(module, "nf", 0)
    return width if isinstance(width, int) and next(module.parameters(recurse=False), None) is not None else 0


def resident(reset: bool = False) -> int:
    """The most memory that this process has held since the last reset, in bytes."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024  # pyright: ignore
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@torch.no_grad()
def verified(net: nn.Module, inputs: Any, network: Network) -> dict[str, Any]:
    """How many layers pass, by changing one unit of each, and the names of those that do not."""
    for dtype, tolerance in ((torch.float64, TOLERANCE), (torch.float32, 1e-4)):
        try:
            own = generic(copy.deepcopy(net)).to(dtype)
            given = tree_map(partial(in_precision, dtype=dtype), inputs)
            run(own, given)
        except Exception:  # some networks fix the precision of what they make
            continue
        tensors = dict([*own.named_parameters(), *own.named_buffers()])
        layers = list(network.layers)
        if not moves(own, given, tensors, layers, tolerance):
            return {"right": len(layers), "wrong": [], "disclosed": []}
        wrong = [layer for layer in layers if moves(own, given, tensors, [layer], tolerance)]
        told = [layer.name for layer in wrong if layer.coupled or not layer.preserving]
        return {
            "right": len(layers) - len(wrong),
            "wrong": [layer.name for layer in wrong if layer.name not in told],
            "disclosed": told,
        }
    return {"right": 0, "wrong": [], "disclosed": [], "failed": "the network does not run as a copy"}


def in_precision(value: Any, dtype: torch.dtype) -> Any:
    """A tensor of floating-point numbers in another precision; all else as it is."""
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def generic(net: nn.Module) -> nn.Module:
    """With no gain, shift or bare parameter at a special value, such as the 0 that hides what lies behind it."""
    for tensor in net.parameters():
        if tensor.numel() and bool((tensor == tensor.flatten()[0]).all()):
            tensor.data.uniform_(0.5, 1.5)
    return net


def moves(net: nn.Module, inputs: Any, tensors: Mapping[str, Tensor], layers: Iterable[Any], tolerance: float) -> bool:
    """Whether the output changes when one unit of each layer, its outgoing weights at zero, is fed by other weights."""
    chosen = [(layer, random.Random(layer.name).randrange(layer.size)) for layer in layers]
    names = {s.name for layer, _ in chosen for s in (*layer.incoming, *layer.biases, *layer.norms, *layer.outgoing)}
    kept = {name: tensors[name].clone() for name in names}
    try:
        for layer, unit in chosen:
            for part in layer.outgoing:
                written(tensors[part.name], part, unit, lambda old: torch.zeros_like(old))
        before = run(net, inputs)
        for layer, unit in chosen:
            parts = (*layer.incoming, *layer.biases, *layer.norms)
            for part in (part for part in parts if tensors[part.name].is_floating_point()):
                written(tensors[part.name], part, unit, lambda old: old + torch.rand_like(old))
        for layer, unit in chosen:  # a weight may feed one chosen unit and read another
            for part in layer.outgoing:
                written(tensors[part.name], part, unit, lambda old: torch.zeros_like(old))
        after = run(net, inputs)
    finally:
        for name, value in kept.items():
            tensors[name].copy_(value)
    scale = max(float(value.abs().max()) for value in before) if before else 1.0
    return any(float((a - b).abs().max()) > tolerance * scale for a, b in zip(before, after, strict=True))


def written(tensor: Tensor, part: Any, unit: int, new: Callable[[Tensor], Tensor]) -> None:
    """Write a unit's entries of a tensor, found by counting, not by the library's own indexing."""
    length = tensor.shape[part.dim]
    for position in part.index[unit]:
        group, at = divmod(position, length) if part.groups > 1 else (0, position)
        rows = tensor.shape[0] // part.groups
        block = tensor[group * rows : (group + 1) * rows] if part.groups > 1 else tensor
        block.select(part.dim, at).copy_(new(block.select(part.dim, at)))


def run(net: nn.Module, inputs: Any) -> list[Tensor]:
    """All floating-point tensors of the output, with the same random numbers each time; recurrent states are none."""
    torch.manual_seed(1)
    states: list[Any] = []
    recurrent = [module for module in net.modules() if isinstance(module, (nn.RNNBase, nn.RNNCellBase))]
    hooks = [module.register_forward_hook(partial(keep_state, states)) for module in recurrent]
    inputs = tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, inputs)
    if isinstance(inputs, Mapping):
        output = net(**inputs)
    else:
        output = net(*inputs) if isinstance(inputs, tuple) else net(inputs)
    for hook in hooks:
        hook.remove()
    output = dict(output) if isinstance(output, Mapping) else output
    output = vars(output) if not isinstance(output, (Tensor, tuple, list, Mapping)) else output
    numbers = [t for t in tree_leaves(output) if isinstance(t, Tensor) and t.is_floating_point() and t.numel()]
    return [t for t in numbers if all(t is not state for state in states)]


def keep_state(states: list[Any], module: nn.Module, inputs: Any, output: Any) -> None:
    """Add what a recurrent module gives out as its state to a list."""
    states += tree_leaves(output[1] if isinstance(module, nn.RNNBase) else output)


def left_out(skipped: Mapping[str, str]) -> list[str]:
    """Modules with the same reason together and counted, numbers as `*`."""
    by_reason: dict[str, Counter[str]] = defaultdict(Counter)
    for name, reason in skipped.items():
        by_reason[re.sub(r"\d+", "*", reason)][re.sub(r"\d+", "*", name)] += 1
    return [f"{sum(names.values())} ({next(iter(names))}, ...): {reason}" for reason, names in by_reason.items()]


def limit(seconds: float) -> None:
    """End this process after so many seconds of a core from now on."""
    end = math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))


_sender: Any = None


def yield_row(row: dict[str, Any]) -> None:
    """Send what is known already, for the case that time runs out."""
    if _sender is not None:
        _sender.send(row)


def _child(name: str, sender: Any) -> None:
    global _sender
    _sender = sender
    sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    try:
        yield_row(searched(NETWORKS[name]))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        yield_row(
            {"unbuilt": f"{type(error).__name__}: {str(error)[:300]} ({Path(place.filename).name}:{place.lineno})"}
        )


def in_a_process(name: str) -> dict[str, Any]:
    """The row of one network, made in a process of its own: the last that it sent before it ended."""
    receiver, sender = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=_child, args=(name, sender))
    process.start()
    sender.close()
    row: dict[str, Any] = {"unbuilt": "its process died"}
    end = time.monotonic() + 20 * SECONDS  # where a process waits for something that never comes
    with suppress(EOFError):
        while receiver.poll(max(0.0, end - time.monotonic())):
            row = receiver.recv()
    process.kill()
    process.join()
    return row


def line(name: str, row: Mapping[str, Any]) -> str:
    """A row of the page."""
    told = next((f"**{kind}**: {row[kind]}" for kind in ("unbuilt", "late", "refused", "crashed") if kind in row), None)
    checked = row.get("verified", "-")
    if isinstance(checked, Mapping):
        checked = f"{checked['right']} of {row['layers']}" + "".join(
            f", {len(checked[kind])} {kind}" + (f" ({', '.join(checked[kind][:3])})" if kind == "wrong" else "")
            for kind in ("wrong", "disclosed")
            if checked[kind]
        )
    cells = (
        name,
        f"{row.get('parameters', 0):,}",
        f"{row['units']:,} of {row['outputs']:,}" if "units" in row else "-",
        (told or "; ".join(row.get("left_out", ())) or "-").replace("|", "/").replace("\n", " "),
        checked,
        f"{row['seconds']:.1f}" if "seconds" in row else "-",
        f"{row['memory']:.1f}" if "memory" in row else "-",
    )
    return "| " + " | ".join(cells) + " |"


def counted(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """What is said at the head of the page."""
    built = {name: row for name, row in rows.items() if "unbuilt" not in row}
    checks = [row["verified"] for row in built.values() if isinstance(row.get("verified"), Mapping)]
    return {
        "networks": len(built),
        "searched": sum("units" in row for row in built.values()),
        "refused with a message": sum("refused" in row for row in built.values()),
        "ended in a raw error": sum("crashed" in row for row in built.values()),
        f"not done within {SECONDS} seconds": sum("late" in row for row in built.values()),
        "at least one layer found": sum(row.get("layers", 0) > 0 for row in built.values()),
        "all layers verified": sum(c["right"] > 0 and not c["wrong"] and not c["disclosed"] for c in checks),
        "with a layer disclosed as not function-preserving": sum(bool(c["disclosed"]) for c in checks),
        "with a layer that is wrong without a word": sum(bool(c["wrong"]) for c in checks),
        "layers found": sum(row.get("layers", 0) for row in built.values()),
        "layers verified": sum(c["right"] for c in checks),
        "layers wrong without a word": sum(len(c["wrong"]) for c in checks),
        "hidden units found": sum(row.get("units", 0) for row in built.values()),
        "searches of over 20 seconds": sum(row.get("seconds", 0) > 20 for row in built.values()),
    }


def page(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The page."""
    rows = {name: rows[name] for name in NETWORKS if name in rows}
    counts = counted(rows)
    shown = "\n".join(f"- {what}: {count:,}" for what, count in counts.items())
    table = [f"| {' | '.join(COLUMNS)} |", "|---|---:|---:|---|---|---:|---:|"]
    table += [line(name, row) for name, row in rows.items()]
    made = f"Made by `make wild` with torch {torch.__version__} on {platform.machine()}."
    return (
        HEAD.format(networks=counts["networks"], listed=len(NETWORKS), counts=shown)
        + "\n".join(table)
        + f"\n\n{made}\n"
    )


def main() -> None:
    """Try the networks asked for, or all that have no row yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of names; all that have no row by default")
    parser.add_argument("--rows", type=Path, default=ROWS, help="where the rows are kept (default: %(default)s)")
    asked = parser.parse_args()
    rows = json.loads(asked.rows.read_text()) if asked.rows.exists() else {}
    wanted = [n for n in NETWORKS if (n.startswith(tuple(asked.names)) if asked.names else n not in rows)]
    for package in ("timm", "transformers"):
        __import__(package)  # once, before the processes
    for number, name in enumerate(wanted, 1):
        rows[name] = in_a_process(name)
        print(f"[{number}/{len(wanted)}] {line(name, rows[name])}", flush=True)
        asked.rows.parent.mkdir(parents=True, exist_ok=True)
        asked.rows.with_suffix(".part").write_text(json.dumps(rows, indent=1))
        asked.rows.with_suffix(".part").rename(asked.rows)
    if not asked.names:
        (HERE / "wild.md").write_text(page(rows), encoding="utf-8")
        print(HERE / "wild.md")
    print(*(f"{count:8,}  {what}" for what, count in counted(rows).items()), sep="\n")


if __name__ == "__main__":
    main()
