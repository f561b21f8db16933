"""Ash & Adams, "On warm-starting neural network training", NeurIPS 2020: Table 1, for each data set and network."""

from __future__ import annotations

from itertools import product

from neoteny.report.claims.criteria import Beats, Claim
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.records import Paper, PaperFigure

__all__ = ["WARM_STARTING"]

# Accuracy on the third that is kept back, of a fresh network and of a warm-started one: with SGD, with Adam.
_PUBLISHED = {
    ("cifar10", "resnet18"): ((0.562, 0.517), (0.780, 0.744)),
    ("cifar10", "mlp"): ((0.390, 0.374), (0.394, 0.361)),
    ("cifar10", "linear"): ((0.405, 0.396), (0.338, 0.333)),
    ("svhn", "resnet18"): ((0.894, 0.875), (0.936, 0.935)),
    ("svhn", "mlp"): ((0.765, 0.754), (0.767, 0.694)),
    ("svhn", "linear"): ((0.280, 0.280), (0.224, 0.222)),
    ("cifar100", "resnet18"): ((0.182, 0.155), (0.414, 0.350)),
    ("cifar100", "mlp"): ((0.103, 0.094), (0.116, 0.099)),
    ("cifar100", "linear"): ((0.169, 0.163), (0.102, 0.099)),
}
_TITLES = {"mlp": "multi-layer perceptron", "resnet18": "ResNet-18", "linear": "logistic regression"}
_DATA = {
    "cifar10": "CIFAR-10",
    "svhn": "SVHN",
    "cifar100": "CIFAR-100",
    "cifar100-superclasses": "CIFAR-100's superclasses",
}


def _figure(data: str, network: str) -> PaperFigure:
    settings = {"data": data, "network": network}
    conditions = tuple(
        Condition(f"{label}, {words}", f"{system}{suffix}", settings)
        for suffix, words in (("", "SGD"), ("-adam", "Adam"))
        for label, system in (("fresh", "fresh"), ("warm", "backprop"), ("shrink and perturb", "shrink-and-perturb"))
    )
    where, published = f"{_DATA[data]}, {_TITLES[network]}", {}
    for name, pair in zip(("SGD", "Adam"), _PUBLISHED.get((data, network), ()), strict=False):
        published |= {f"{label}, {name}": {2: value} for label, value in zip(("fresh", "warm"), pair, strict=True)}
    return PaperFigure(
        name=f"warm-start-{data}-{network}",
        title=f"Warm starting: {_TITLES[network]}, {_DATA[data]}",
        source="Ash & Adams (2020), Table 1" if published else "",
        benchmark="warm-start",
        conditions=conditions,
        length=2,
        at_end=("fresh, SGD", "fresh, Adam"),
        runs=10,
        metric="test_accuracy",
        axis="tasks",
        published=published,
        claims=tuple(
            claim
            for name in ("SGD", "Adam")
            for claim in (
                Claim(
                    f"{where}: warm starting costs test accuracy, with {name}",
                    Beats(f"fresh, {name}", f"warm, {name}"),
                ),
                Claim(
                    f"{where}: shrink and perturb closes the gap to within half a point, with {name}",
                    Beats(f"shrink and perturb, {name}", f"fresh, {name}", by=-0.005),
                ),
            )
        ),
    )


WARM_STARTING = Paper(
    name="warm-starting",
    title="On warm-starting neural network training",
    reference="Ash & Adams, NeurIPS 2020, arXiv 1910.08475",
    figures=tuple(_figure(data, network) for data, network in product(_DATA, _TITLES)),
)
