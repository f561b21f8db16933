"""Generalisability: what a network has learned first, from few images and wrong labels, costs it on the test set later.

Lee, Cho, Kim, Kim, Min, Choo & Lyle, "Slow and steady wins the race: maintaining plasticity with hare and tortoise
networks", ICML 2024, arXiv 2406.02596; the question is that of Ash & Adams, NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.staged import Data, StagedBenchmark
from neoteny.checks import require, require_count, require_fraction
from neoteny.lab.benchmark import System
from neoteny.methods.architecture import WithCReLU, WithLayerNorm
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.dash import DASH
from neoteny.methods.effective_rank import EffectiveRank
from neoteny.methods.ema import EMA
from neoteny.methods.fire import FIRE
from neoteny.methods.full_reset import FullReset
from neoteny.methods.hare_and_tortoise import HareAndTortoise
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.infer import InFeR
from neoteny.methods.l2 import L2
from neoteny.methods.redo import ReDo
from neoteny.methods.regenerative import L2Init
from neoteny.methods.self_distillation import SelfDistillation
from neoteny.methods.shared.accumulating import AccumulatingGradient
from neoteny.methods.shared.clip_grad_norm import ClipGradNorm
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb
from neoteny.methods.spectral import Spectral
from neoteny.optim import AdamW, Optimizer

if TYPE_CHECKING:
    from neoteny.methods.base import Method
    from neoteny.streams.stages import StagedImages
    from neoteny.streams.timeline import Timeline

__all__ = ["Generalisability"]

_NOISES = (0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.0)
_WARMUP_PARTS = 50
"""Into so many equal parts the rise of the step size is cut, so that most steps of it are compiled together."""


@dataclass(frozen=True, kw_only=True)
class Generalisability(StagedBenchmark):
    """First a share of the images with a share of wrong labels, then all of them, clean; the score is the last test.

    Each stage lasts as many updates as `passes` epochs of all images. AdamW with a new state and a new schedule each
    stage (a linear rise over its first tenth, then constant), gradients clipped to a norm of 0.5, batches of 256. The
    system `fresh` has the last stage alone: it is what the others are compared with. Ten stages (`tasks`) add a tenth
    of the images each, with fewer and fewer wrong labels (50, 40, 40, 30, 30, 20, 20, 10, 10, 0 per cent).

    A grid may vary `share` and `noise` within one stack, since no length depends on them.

    Known (talk, in words): warm starting costs test accuracy, more with fewer images and more noise; L2, augmentation,
    L2-Init, CReLU and head resets leave a gap; shrink and perturb closes some of it, full resets and Hare & Tortoise
    all of it. The published code never sets gradients to zero (`authors_code`).

    Scales: `paper` is MNIST with a 784-512-256-10 network with batch norms; `cifar10-resnet18`, `cifar100-vit` and
    `tiny-imagenet-vgg16` are the paper's other pairs; `small` has 4,000 images of MNIST and ten passes; `tiny` is for
    tests.

    Versions:
        v1: as published, with gradients set to zero. Stage 2 has as many updates as the fresh network; the authors' has
            11 % more (`lengths`). The step size rises in 50 parts.

    Raises:
        SettingError: a setting is outside its range.

    >>> Generalisability().timeline().tasks
    array([23400, 46800])
    """

    ID: ClassVar[str] = "generalisability-v1"
    VARIES: ClassVar[tuple[str, ...]] = ("share", "noise")
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "cifar10-resnet18": {
            "data": "cifar10",
            "network": "resnet18",
            "width": 64,
            "hidden": (512,),
            "optimizer.weight_decay": 1e-3,
        },
        "cifar100-vit": {
            "data": "cifar100",
            "network": "vit",
            "width": 192,
            "step_size": 3e-3,
            "optimizer.weight_decay": 0.05,
        },
        "tiny-imagenet-vgg16": {
            "data": "tiny-imagenet",
            "network": "vgg16",
            "width": 64,
            "hidden": (1_024, 1_024),
            "optimizer.weight_decay": 1e-3,
        },
        "small": {
            "images": 4_000,
            "test_images": 2_000,
            "passes": 10,
            "hidden": (128, 64),
            "batch_size": 64,
            "probe_size": 500,
        },
        "tiny": {
            "images": 96,
            "test_images": 50,
            "passes": 2,
            "hidden": (12, 8),
            "batch_size": 4,
            "side": 7,
            "probe_size": 32,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("the warm-started network goes on learning"),
        "fresh": System("a new network on all images: the reference", overrides={"tasks": 1}),
        "l2": System("L2 regularisation in the gradient", (L2(strength=1e-3),)),
        "augmentation": System("images shifted and flipped at random", overrides={"augment": True}),
        "l2-init": System("L2 towards the initial weights", (L2Init(strength=1e-3),)),
        "crelu": System("concatenated ReLUs", (WithCReLU(),)),
        "layer-norm": System("layer norm in place of batch norm", (WithLayerNorm(),), {"normalisation": "none"}),
        "head-reset": System("reset of the output layer between the stages", (HeadReset(),)),
        "shrink-and-perturb": System(
            "weights shrunk to a fifth, with four fifths of fresh ones, between the stages",
            (ShrinkAndPerturb(when="at_task", shrink=0.2),),
        ),
        "full-reset": System("reset of the whole network between the stages", (FullReset(),)),
        "ema": System("a moving average of the weights is tested", (EMA(mu=0.999),)),
        "self-distillation": System("pull towards the outputs of a moving average", (SelfDistillation(),)),
        "hare-and-tortoise": System(
            "back to the moving average ten times a stage", (HareAndTortoise(mu=0.999, period=2_340),)
        ),
        "cbp": System("continual backpropagation", (ContinualBackprop(replacement_rate=1e-4),)),
        "redo": System("resets of dormant units", (ReDo(tau=0.1, period=234),)),
        "l2-er": System("L2, and a term that keeps the effective rank high", (EffectiveRank(),)),
        "spectral": System("the largest singular values kept at one", (Spectral(),)),
        "fire": System("weights made orthogonal between the stages", (FIRE(),)),
        "dash": System("weights shrunk by how far they oppose the gradient", (DASH(),)),
        "infer": System("outputs of extra heads kept at their initial values", (InFeR(),)),
    }

    tasks: int = 2
    """number of stages: 2, or 10 with a tenth of the images more each, or 1 with all of them at once"""
    data: Data = "mnist"
    hidden: tuple[int, ...] = (512, 256)
    normalisation: Literal["none", "layer", "batch"] = "batch"
    batch_size: int = 256
    optimizer: Optimizer = AdamW(step_size=1e-3, weight_decay=1e-4)
    share: float = 0.1
    """share of the images in the first of two stages"""
    noise: float = 0.5
    """share of wrong labels there"""
    passes: int = 100
    """epochs of all images that a stage's updates would make"""
    lengths: tuple[float, float] = (1.0, 1.0)
    """how long the first and the last stage are, in units of `passes`; the authors' are (1, 1.11)"""
    warmup: float = 0.1
    """share of a stage in which the step size rises from 0"""
    max_grad_norm: float = 0.5
    """what the norm of all gradients together is clipped to"""
    authors_code: bool = False
    """never set gradients to zero: add each to what clipping has left of those before it"""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_fraction(self, "share", "noise", "warmup")
        require(self, "share", self.share > 0, "above 0")
        require(self, "tasks", self.tasks in (1, 2, 10), "1, 2 or 10")
        require_count(self, "passes", least=1)
        pair = isinstance(self.lengths, tuple) and len(self.lengths) == 2 and min(self.lengths) > 0
        require(self, "lengths", pair, "two numbers above 0")
        require(self, "max_grad_norm", self.max_grad_norm > 0, "a number > 0")

    def implied(self) -> tuple[Method, ...]:
        """The clipping of gradients, or their accumulation, and a new optimizer for each stage."""
        clipping = AccumulatingGradient if self.authors_code else ClipGradNorm
        return clipping(max_norm=self.max_grad_norm), *super().implied()

    @property
    def stage_steps(self) -> list[int]:
        """Steps of each stage."""
        whole = self.passes * (self.count // self.batch_size)
        first, last = (max(round(length * whole), 1) for length in self.lengths)
        return {1: [last], 2: [first, last]}.get(self.tasks, [whole] * self.tasks)

    def timeline(self) -> Timeline:
        """A bin is a hundredth of a stage; tests come every twentieth, measurements at both ends of a stage."""
        import numpy as np

        from neoteny.streams.timeline import Timeline

        ends = np.cumsum(self.stage_steps)
        starts = np.insert(ends[:-1], 0, 0)
        rates: dict[int, float] = {}
        for start, steps in zip(starts.tolist(), self.stage_steps, strict=True):
            rising = round(self.warmup * steps)
            places = np.unique(np.linspace(0, rising, _WARMUP_PARTS + 1).astype(int)) if rising else np.array([0])
            rates |= {start + int(at): (int(at) + 1) / rising if at < rising else 1.0 for at in places}
        return Timeline(
            tasks=ends,
            bins=_parts(starts, ends, 100),
            looks=np.insert(ends, 0, 0),
            tests=_parts(starts, ends, 20),
            rates=rates,
        )

    def build_stream(
        self, seeds: Sequence[int], data_dir: str | Path | None = None, **varied: Sequence[float]
    ) -> StagedImages:
        """The images in stages; reads the data set, or fetches it once."""
        import numpy as np

        share, noise = (
            np.asarray(varied.get(name, [getattr(self, name)] * len(seeds)), dtype=float) for name in self.VARIES
        )
        one, none = np.ones(len(seeds)), np.zeros(len(seeds))
        shares, noises = {
            1: ([one], [none]),
            2: ([share, one], [noise, none]),
            10: ([one * part / 10 for part in range(1, 11)], [one * each for each in _NOISES]),
        }[self.tasks]
        return self.staged(
            seeds,
            data_dir,
            shares=np.stack(shares, 1),
            noises=np.stack(noises, 1),
            steps=self.stage_steps,
            split=False,
        )


def _parts(starts: Any, ends: Any, parts: int) -> Any:
    """The ends of the equal parts of each stage."""
    import numpy as np

    each = [np.linspace(start, end, parts + 1)[1:].astype(np.int64) for start, end in zip(starts, ends, strict=True)]
    return np.setdiff1d(np.concatenate(each), [0])
