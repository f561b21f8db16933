"""Generalisability: what a network has learned first, from few images and wrong labels, costs it on the test set later.

Lee, Cho, Kim, Kim, Min, Choo & Lyle, "Slow and steady wins the race: maintaining plasticity with hare and tortoise
networks", ICML 2024, arXiv 2406.02596; the question is that of Ash & Adams, NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.generalisability_systems import SYSTEMS, TUNING
from neoteny.benchmarks.staged import Data, StagedBenchmark
from neoteny.checks import require, require_choice, require_count, require_fraction
from neoteny.errors import SettingError
from neoteny.lab.benchmark import System
from neoteny.methods.shared.accumulating import AccumulatingGradient
from neoteny.methods.shared.clip_grad_norm import ClipGradNorm
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
    system `fresh` has the last stage alone: it is what the others are compared with (`budget`). Ten stages (`tasks`)
    add a tenth of the images each, with fewer and fewer wrong labels (50, 40, 40, 30, 30, 20, 20, 10, 10, 0 per cent).

    A grid may vary `share` and `noise` within one stack, since no length depends on them. `TUNING` has six points for
    each system: two step sizes and three values of a setting of its own, or six step sizes.

    `authors_code` trains as the public code does, which differs from the paper: gradients are never set to zero (alone:
    `accumulates`); L2-Init pulls the last parameters of body and head alone, by the distance; self-distillation is
    weaker by the number of classes; hare and tortoise share a step after each return, and return after the epochs 0,
    10, 20, ... of the stage's own images; ReDo acts at tests; shrink and perturb and head resets take the initial
    weights; MNIST has CIFAR-10's mean; the second stage has as many epochs as fit into 100 divided by the share of
    images that it adds, 11 % more than a fresh network.

    Known (talk, in words): warm starting costs test accuracy, more with fewer images and more noise; L2, augmentation,
    L2-Init, CReLU and head resets leave a gap; shrink and perturb closes some of it, full resets and Hare & Tortoise
    all of it.

    Scales: `paper` is MNIST with a 784-512-256-10 network with batch norms; `cifar10-resnet18`, `cifar100-vit` and
    `tiny-imagenet-vgg16` are the paper's other pairs; `small` has 4,000 images of MNIST and ten passes; `tiny` is for
    tests.

    Versions:
        v1: as published, with gradients set to zero. Stage 2 has as many updates as the fresh network. The step size
            rises in 50 parts.

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
    SYSTEMS: ClassVar[Mapping[str, System]] = SYSTEMS
    TUNING: ClassVar[Mapping[str, Mapping[str, tuple[float, ...]]]] = TUNING

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
    """how long the first and the last of two stages are, in units of `passes`"""
    budget: Literal["last", "authors", "all"] = "last"
    """updates of a fresh network (one stage): as many as in the last stage, 100 of its 111 epochs as the authors have
    it, or as many as in both stages together"""
    warmup: float = 0.1
    """share of a stage in which the step size rises from 0"""
    max_grad_norm: float = 0.5
    """what the norm of all gradients together is clipped to"""
    authors_code: bool = False
    """train as the public code does, with all its differences from the paper"""
    accumulates: bool = False
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
        require_choice(self, "budget", ("last", "authors", "all"))
        require(self, "max_grad_norm", self.max_grad_norm > 0, "a number > 0")
        usual = self.lengths == (1.0, 1.0) and self.budget == "last"
        require(self, "authors_code", usual or not self.authors_code, "false where lengths or budget are given")

    def implied(self) -> tuple[Method, ...]:
        """The clipping of gradients, or their accumulation, and a new optimizer for each stage."""
        clipping = AccumulatingGradient if self.authors_code or self.accumulates else ClipGradNorm
        return clipping(max_norm=self.max_grad_norm), *super().implied()

    def acting(self, methods: Sequence[Method], varied: Sequence[str] = ()) -> tuple[Method, ...]:
        """The methods, as the authors' code has them where that is asked for.

        Raises:
            SettingError: the authors' code with shares that differ between the runs, as its epochs depend on them.
        """
        if self.authors_code:
            from neoteny.methods.shared.published_code import as_published

            if "share" in varied:
                raise SettingError(
                    "authors_code: the length of its stages depends on the share; run one share a stack."
                )
            epochs = [max(round(share * self.count) // self.batch_size, 1) for share in self._shares]
            every = max(self._whole // 20, 1)
            methods = [as_published(m, test_every=every, stages=self.stage_steps, epochs=epochs) for m in methods]
        return super().acting(methods, varied)

    @property
    def scaling(self) -> str:
        """As `pixels` says; the authors' code has numbers of its own for MNIST."""
        return "hare-and-tortoise" if self.authors_code and self.data == "mnist" else self.pixels

    @property
    def _whole(self) -> int:
        """Steps of `passes` epochs of all images."""
        return self.passes * (self.count // self.batch_size)

    @property
    def _shares(self) -> list[float]:
        """The share of the images that each stage has."""
        return {1: [1.0], 2: [self.share, 1.0]}.get(self.tasks, [part / 10 for part in range(1, 11)])

    @property
    def stage_steps(self) -> list[int]:
        """Steps of each stage."""
        first, last = self.lengths
        if self.authors_code and self.share < 1:  # whole epochs, as many as fit into 100 divided by the share added
            last = int(100 / (1 - self.share)) / 100
        fresh = {"last": last, "authors": last * 100 / 111, "all": first + last}[self.budget]
        fresh = 1.0 if self.authors_code else fresh
        lengths = {1: [fresh], 2: [first, last]}.get(self.tasks, [1.0] * self.tasks)
        return [max(round(length * self._whole), 1) for length in lengths]

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
            10: ([one * part for part in self._shares], [one * each for each in _NOISES]),
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
