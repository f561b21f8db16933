"""The systems of `generalisability-v1`, and what is tried when they are tuned: six points each."""

from __future__ import annotations

from collections.abc import Mapping

from neoteny.lab.benchmark import System
from neoteny.methods.base import Method
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.crelu import WithCReLU
from neoteny.methods.dash import DASH
from neoteny.methods.effective_rank import EffectiveRank
from neoteny.methods.ema import EMA
from neoteny.methods.fire import FIRE
from neoteny.methods.full_reset import FullReset
from neoteny.methods.hare_and_tortoise import HareAndTortoise
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.infer import InFeR
from neoteny.methods.l2 import L2
from neoteny.methods.layer_norm import WithLayerNorm
from neoteny.methods.redo import ReDo
from neoteny.methods.regenerative import L2Init
from neoteny.methods.self_distillation import SelfDistillation
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb
from neoteny.methods.spectral import Spectral

__all__ = ["SYSTEMS", "TUNING"]


def _periodic(summary: str, paper: Method, small: Method) -> System:
    """A system whose period suits the paper's length of a stage, or that of scale `small`."""
    return System(summary, (paper,), scaled={"small": System(summary, (small,))})


_ADAMO = {"optimizer": "adamo", "step_size": 1e-3, "optimizer.weight_decay": 1e-4}
_ASH = ShrinkAndPerturb(when="at_task", shrink=0.4, perturb=0.1, statistics=True)
SYSTEMS: Mapping[str, System] = {
    "backprop": System("the warm-started network goes on learning"),
    "fresh": System("a new network on all images: the reference", overrides={"tasks": 1}),
    "l2": System("L2 regularisation in the gradient", (L2(strength=1e-3),)),
    "augmentation": System("images shifted and flipped at random", overrides={"augment": True}),
    "fresh-augmentation": System(
        "a new network on all images, shifted and flipped at random", overrides={"tasks": 1, "augment": True}
    ),
    "l2-init": System("L2 towards the initial weights", (L2Init(strength=1e-3),)),
    "crelu": System("concatenated ReLUs", (WithCReLU(),)),
    "layer-norm": System("layer norm in place of batch norm", (WithLayerNorm(),), {"normalisation": "none"}),
    "head-reset": System("reset of the output layer between the stages", (HeadReset(),)),
    "shrink-and-perturb": System(
        "weights shrunk to a fifth, with four fifths of fresh ones, between the stages",
        (ShrinkAndPerturb(when="at_task", shrink=0.2),),
    ),
    "shrink-and-perturb-ash": System("weights shrunk to 0.4 with 0.1 of fresh ones, between the stages", (_ASH,)),
    "full-reset": System("reset of the whole network between the stages", (FullReset(),)),
    "ema": System("a moving average of the weights is tested", (EMA(mu=0.999),)),
    "self-distillation": System("pull towards the outputs of a moving average", (SelfDistillation(),)),
    "hare-and-tortoise": _periodic(
        "back to the moving average ten times a stage",
        HareAndTortoise(mu=0.999, period=2_340),
        HareAndTortoise(mu=0.99, period=62),
    ),
    "cbp": System("continual backpropagation", (ContinualBackprop(replacement_rate=1e-4),)),
    "redo": _periodic("resets of dormant units", ReDo(tau=0.1, period=234), ReDo(tau=0.1, period=62)),
    "l2-er": System("L2, and a term that keeps the effective rank high", (EffectiveRank(),)),
    "spectral": System("the largest singular values kept at one", (Spectral(),)),
    "fire": System("weights made orthogonal between the stages", (FIRE(),)),
    "dash": System("weights shrunk by how far they oppose the gradient", (DASH(),)),
    "infer": System("outputs of extra heads kept at their initial values", (InFeR(),)),
    "adamo": System("AdamO: weight matrices pulled towards orthogonal ones", overrides=_ADAMO),
}

_SIZES = {"step_size": (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3)}
_TWO = {"step_size": (3e-4, 1e-3)}
_AVERAGES = (0.99, 0.997, 0.999)
_OWN: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "l2": ("l2.strength", (1e-4, 1e-3, 1e-2)),
    "l2-init": ("l2-init.strength", (1e-3, 1e-2, 1e-1)),
    "shrink-and-perturb": ("shrink-and-perturb.shrink", (0.2, 0.5, 0.8)),
    "shrink-and-perturb-ash": ("shrink-and-perturb.shrink", (0.2, 0.4, 0.8)),
    "ema": ("ema.mu", _AVERAGES),
    "self-distillation": ("self-distillation.strength", (0.1, 1.0, 10.0)),
    "hare-and-tortoise": ("hare-and-tortoise.mu", _AVERAGES),
    "cbp": ("cbp.replacement_rate", (1e-5, 1e-4, 1e-3)),
    "redo": ("redo.tau", (0.0, 0.025, 0.1)),
    "l2-er": ("l2-er.rank_strength", (1e-3, 1e-2, 1e-1)),
    "spectral": ("spectral.strength", (1e-4, 1e-3, 1e-2)),
    "fire": ("fire.strength", (0.25, 0.5, 1.0)),
    "dash": ("dash.floor", (0.1, 0.3, 0.6)),
    "infer": ("infer.strength", (1e-3, 1e-2, 1e-1)),
    "adamo": ("optimizer.isometry", (1e-4, 1e-3, 1e-2)),
}
TUNING: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    name: {**_TWO, _OWN[name][0]: _OWN[name][1]} if name in _OWN else _SIZES for name in SYSTEMS
}
"""For each system the values to try, by setting; all combinations are six points."""
