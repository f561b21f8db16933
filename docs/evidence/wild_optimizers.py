"""Whether newborn units take a fresh network's first steps, under the optimizers of five packages.

Each optimizer trains a small network; then two units are made new. Right after, the network is copied, a fresh
optimizer of the same make is made for the copy, both get the same gradients, and how far the newborn rows go in 1, 2
and 5 steps is compared. Nothing of neoteny takes part in the comparison.

    python docs/evidence/wild_optimizers.py [--to docs/evidence/wild_optimizers.md] [NAMES]

The packages: torch, pytorch_optimizer, schedulefree, timm and stable_baselines3; those that are missing are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "wild"))
from reset_two import NEW, ResetTwo

import neoteny
from neoteny.errors import NeotenyError, PlasticityWarning

UPDATES, LOOKS = 400, (1, 2, 5)
SETTINGS = {
    "Ranger21": {"num_iterations": 2000},
    "BSAM": {"num_data": 16},
    "LBFGS": {"lr": 0.1, "max_iter": 2},
    "SGD": {"lr": 0.01},
    "SGDW": {"lr": 0.01},
}
GROUPED = {"AdaGO", "AdaMuon", "DistributedMuon", "Muon", "MuonClip", "NorMuon"}  # with a flag in each group
MODELS = {"AdaLOMO", "AdamMini", "LOMO"}  # made from a model, not from parameters
OTHERS = {"GSAM", "WSAM"}  # their steps need the model and its loss


# torchvision's compiled part is missing where it was built for another torch; timm's optimizers need none of it.
_torchvision = torch.library.Library("torchvision", "FRAGMENT")
with contextlib.suppress(RuntimeError):  # they are there
    for _operator in ("nms", "qnms"):
        _torchvision.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


class Row(NamedTuple):
    """A line of the table."""

    package: str
    name: str
    ratio: float | None
    told: str
    verdict: str
    seconds: float


def network() -> nn.Sequential:
    """The network of every trial."""
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4))


def batch(number: int) -> torch.Tensor:
    """A batch as a function of its number."""
    return torch.randn(16, 6, generator=torch.Generator().manual_seed(number))


def step(optimizer: Any, gradients: Callable[[], Any]) -> None:
    """One step; in two halves where an optimizer has them, else with a closure where it asks for one."""
    if hasattr(optimizer, "first_step") and hasattr(optimizer, "second_step"):
        gradients()
        optimizer.first_step()
        gradients()
        optimizer.second_step()
        return
    gradients()
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        optimizer.step(gradients)
    else:
        optimizer.step()


def tried(make: Callable[[Any], Any], told: list[str]) -> float:
    """The largest or smallest ratio of the three looks; the warnings are added to `told`."""
    torch.manual_seed(0)
    model = network()
    optimizer = make(model.parameters())
    getattr(optimizer, "train", lambda: None)()

    def learn(number: int) -> torch.Tensor:
        x = batch(number)
        model.zero_grad()
        loss = (model(x) - x[:, :4].cumsum(1).sin()).square().mean()
        loss.backward()
        return loss

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            plasticity = neoteny.attach(model, optimizer, ResetTwo(after=UPDATES), torch.zeros(1, 6))
            for number in range(UPDATES):
                step(optimizer, lambda number=number: learn(number))
        finally:
            told += [str(w.message) for w in caught if issubclass(w.category, PlasticityWarning)]
    replaced = plasticity.counters()["reset-two"]["0"]["units_replaced"]
    if replaced != len(NEW):
        raise RuntimeError(f"{replaced} units were replaced after {plasticity.updates} updates")
    copied = network()
    copied.load_state_dict(model.state_dict())
    fresh, start = make(copied.parameters()), model[0].weight[NEW].detach().clone()
    getattr(fresh, "train", lambda: None)()
    ratios = []
    for number in range(max(LOOKS)):

        def gradients(number: int = number) -> torch.Tensor:
            generator = torch.Generator().manual_seed(number)
            for p, q in zip(model.parameters(), copied.parameters(), strict=True):
                p.grad = torch.randn(p.shape, generator=generator) * 0.1
                q.grad = p.grad.clone()
            return torch.ones(())

        step(optimizer, gradients)
        step(fresh, gradients)
        mine, theirs = (float((net[0].weight[NEW].detach() - start).norm()) for net in (model, copied))
        ratios.append(1.0 if mine == theirs else mine / theirs if theirs else math.inf)
    looks = [ratios[look - 1] for look in LOOKS]
    return max(looks, key=lambda ratio: abs(math.log(ratio)) if 0 < ratio < math.inf else math.inf)


def candidates() -> Iterator[tuple[str, str, Callable[[Any], Any] | str]]:
    """Package, name and how it is made; or why it is left out."""
    for package in ("torch.optim", "pytorch_optimizer", "schedulefree", "timm.optim", "stable_baselines3.common.sb2_compat.rmsprop_tf_like"):  # fmt: skip # noqa: E501
        try:
            module = importlib.import_module(package)
        except ImportError:
            print(f"{package} is missing", file=sys.stderr)
            continue
        for name, cls in sorted(vars(module).items()):
            if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and not inspect.isabstract(cls):
                if cls is torch.optim.Optimizer or (package != "torch.optim" and cls.__module__.startswith("torch.")):
                    continue
                yield package.partition(".")[0], name, made(package, name, cls)


def made(package: str, name: str, cls: Any) -> Callable[[Any], Any] | str:
    """How an optimizer is made of parameters; or why it is left out."""
    if package == "torch.optim" and name in ("SparseAdam", "Muon"):
        return "takes no dense vectors" if name == "Muon" else "takes sparse gradients alone"
    if package == "pytorch_optimizer" and name in MODELS | GROUPED | OTHERS:
        return "is made of a model or of groups with flags, not of parameters"
    given = inspect.signature(cls).parameters
    first = next(iter(given), "")
    settings = SETTINGS.get(name, {})
    if first in ("optimizer", "base_optimizer", "base"):
        return lambda p: cls(torch.optim.SGD(p, lr=0.01, momentum=0.9), **settings)
    if "base_optimizer" in given:
        return lambda p: cls(p, torch.optim.AdamW, lr=0.01)
    if "lr" in given and given["lr"].default is inspect.Parameter.empty:
        settings = {"lr": 0.01, **settings}
    return lambda p: cls(p, **settings)


def row(package: str, name: str, make: Callable[[Any], Any] | str) -> Row:
    """Try one."""
    begun = time.process_time()
    if isinstance(make, str):
        return Row(package, name, None, make, "left out", 0.0)
    try:
        make(network().parameters())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trained(make)
    except Exception as error:
        return Row(package, name, None, f"cannot train this network: {type(error).__name__}", "left out", 0.0)
    told = list[str]()
    try:
        ratio = tried(make, told)
    except NeotenyError as error:
        return Row(package, name, None, str(error), "refused", time.process_time() - begun)
    except Exception as error:
        verdict = "warned" if told else "FAILED"
        words = " ".join([*told, f"{type(error).__name__}: {error}"])
        return Row(package, name, None, words, verdict, time.process_time() - begun)
    fresh = 1 / 2.001 <= ratio <= 2.001
    verdict = "warned" if told else "fresh" if fresh else "SILENT"
    return Row(package, name, ratio, " ".join(told), verdict, time.process_time() - begun)


def trained(make: Callable[[Any], Any]) -> None:
    """Training without neoteny, to see whether the optimizer can train this network at all."""
    model = network()
    optimizer = make(model.parameters())
    getattr(optimizer, "train", lambda: None)()
    for number in range(UPDATES + max(LOOKS)):

        def gradients(number: int = number) -> torch.Tensor:
            model.zero_grad()
            loss = model(batch(number)).square().mean()
            loss.backward()
            return loss

        step(optimizer, gradients)


def table(rows: list[Row]) -> str:
    """The page."""
    counts = {
        verdict: sum(row.verdict == verdict for row in rows) for verdict in dict.fromkeys(r.verdict for r in rows)
    }
    lines = [
        "# Optimizers",
        "",
        "Made by `python docs/evidence/wild_optimizers.py`. "
        f"A network is trained for {UPDATES:,} steps, two units are made new, and how far their incoming weights go in "
        "1, 2 and 5 steps is compared with a fresh optimizer on the same weights and gradients; shown is the look that "
        "differs most. *fresh*: within a factor of two, and no warning. *warned*: one warning at attach names the "
        "state. SILENT would be neither.",
        "",
        ", ".join(f"{verdict}: {count}" for verdict, count in counts.items()),
        "",
        "| package | optimizer | first steps, times a fresh one's | outcome | what the warning says, or why left out |",
        "|---|---|---|---|---|",
    ]
    for one in rows:
        ratio = "" if one.ratio is None else f"{one.ratio:.3g}"
        told = one.told.replace("|", "/").replace("\n", " ")
        lines.append(f"| {one.package} | {one.name} | {ratio} | {one.verdict} | {told[:200]} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Try all of them, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these")
    parser.add_argument("--to", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    rows = []
    for package, name, make in candidates():
        if not options.names or name in options.names:
            rows.append(row(package, name, make))
            print(*rows[-1], flush=True)
    if not options.names:
        options.to.write_text(table(rows))
    if any(one.verdict in ("SILENT", "FAILED") for one in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
