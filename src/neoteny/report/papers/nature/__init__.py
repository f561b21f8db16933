"""Dohare et al., "Loss of plasticity in deep continual learning", Nature 632 (2024).

Its longer predecessor, arXiv 2306.13812, has more conditions. The published values are read off the plots.
"""

from __future__ import annotations

from neoteny.report.papers.nature import agents, continual_imagenet, incremental_cifar, permuted_mnist, regression
from neoteny.report.papers.records import Paper

__all__ = ["NATURE"]

NATURE = Paper(
    name="nature",
    title="Loss of plasticity in deep continual learning",
    reference="Dohare et al., Nature 632 (2024); arXiv 2306.13812",
    figures=(
        *continual_imagenet.FIGURES,
        *incremental_cifar.FIGURES,
        *permuted_mnist.FIGURES,
        *regression.FIGURES,
        *agents.FIGURES,
    ),
    beyond={agents.HALF_CHEETAH: "Not the paper's: its claims about the ant, tested on a robot that it does not have."},
)
