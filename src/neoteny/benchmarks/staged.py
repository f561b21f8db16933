"""The base of benchmarks that train a network in stages on the same images: data set, network, test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, get_args

from neoteny.benchmarks.networks import HiddenLayers
from neoteny.checks import require, require_choice, require_count
from neoteny.lab.benchmark import StreamBenchmark
from neoteny.methods.shared.new_optimizer import NewOptimizer

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from neoteny.methods.base import Method
    from neoteny.streams.stages import StagedImages

__all__ = ["DATA", "Data", "Images", "StagedBenchmark"]


class Images(NamedTuple):
    """What a data set holds.

    Attributes:
        classes: number of classes.
        train: images to learn from.
        side: pixels of a side.
        colours: 1 for grey images, 3 for others.
    """

    classes: int
    train: int
    side: int
    colours: int


Data = Literal[
    "mnist",
    "fashion-mnist",
    "cifar10",
    "cifar100",
    "cifar100-superclasses",
    "svhn",
    "tiny-imagenet",
]
DATA: Mapping[str, Images] = MappingProxyType(
    {
        "mnist": Images(10, 60_000, 28, 1),
        "fashion-mnist": Images(10, 60_000, 28, 1),
        "cifar10": Images(10, 50_000, 32, 3),
        "cifar100": Images(100, 50_000, 32, 3),
        "cifar100-superclasses": Images(20, 50_000, 32, 3),
        "svhn": Images(10, 73_257, 32, 3),
        "tiny-imagenet": Images(200, 100_000, 64, 3),
    }
)
"""The data sets by name."""


@dataclass(frozen=True, kw_only=True)
class StagedBenchmark(HiddenLayers, StreamBenchmark):
    """A network learns in stages, each with a new optimizer, and is tested at their ends.

    Raises:
        SettingError: a setting is outside its range.
    """

    LOSS: ClassVar[Literal["mse", "cross_entropy"]] = "cross_entropy"
    MEASURES: ClassVar[tuple[str, ...]] = (
        "dead_units",
        "dormant_units",
        "srank_99",
        "weight_magnitude",
        "distance_from_init",
        "hessian_rank",
    )

    tasks: int = 2
    """number of stages"""
    data: Data = "cifar10"
    """the data set"""
    images: int = 0
    """how many of its images to learn from a run draws; 0 takes all"""
    test_images: int = 0
    """how many of the official test images to test with, where there are such; 0 takes all"""
    side: int = 0
    """pixels of a side, to which the images are shrunk; 0 leaves them as they are"""
    pixels: Literal["unit", "signed"] = "signed"
    """whether pixels are in [0, 1] or in [-1, 1]"""
    augment: bool = False
    """shift the images at random by up to 4 pixels, small ones by an eighth of their side, and flip them"""
    network: Literal["linear", "mlp", "resnet18", "vgg16", "vit"] = "mlp"
    """the kind of network"""
    hidden: tuple[int, ...] = (100, 100)
    """units of the hidden layers of a multi-layer perceptron; of `resnet18` and `vgg16` those in front of the output"""
    width: int = 16
    """maps of the first stage of a residual network or of VGG16; numbers of a token of a vision transformer"""
    depth: int = 12
    """layers of a vision transformer"""
    batch_size: int = 128
    """images a step"""

    def __post_init__(self) -> None:
        """Check the settings of the problem and the network."""
        super().__post_init__()
        require_choice(self, "data", get_args(Data))
        require_count(self, "images", "test_images", "side")
        require_count(self, "width", "depth", least=1)
        self.require_hidden_layers()
        if self.network == "mlp":
            self.require_several(self.batch_size)
        layers = isinstance(self.hidden, tuple) and all(type(size) is int and size > 0 for size in self.hidden)
        require(self, "hidden", layers, "a tuple of sizes, at least 1 each")
        most = DATA[self.data]
        require(self, "images", self.images <= most.train, f"at most {most.train:,}, as many as {self.data} has")
        in_colour = self.flat or most.colours == 3
        require(self, "network", in_colour, f"linear or mlp for the grey images of {self.data}")
        require(self, "side", not self.side or most.side % self.side == 0, f"a divisor of {most.side}")
        patched = self.network != "vit" or self.pixels_of_side >= 8
        require(self, "side", patched, "at least 8 for a vision transformer, whose patches are an eighth of it")

    @property
    def count(self) -> int:
        """Images of a run."""
        return self.images or DATA[self.data].train

    @property
    def pixels_of_side(self) -> int:
        """Pixels of a side, as the network sees them."""
        return self.side or DATA[self.data].side

    @property
    def scaling(self) -> str:
        """How bytes become numbers, one of `neoteny.streams.images.PIXELS`."""
        return self.pixels

    @property
    def flat(self) -> bool:
        """Whether images come row by row."""
        return self.network in ("linear", "mlp")

    def implied(self) -> tuple[Method, ...]:
        """A new optimizer for each stage."""
        return (NewOptimizer(),)

    def without_fresh(self) -> str:
        """A stage has the images of the one before it, too."""
        return "the system `fresh` has a new network for the last stage: run it beside the others."

    def network_settings(self) -> dict[str, Any]:
        """Kind and sizes."""
        inputs, classes = DATA[self.data].colours * self.pixels_of_side**2, DATA[self.data].classes
        if self.network == "linear":
            return {"kind": "linear", "sizes": [inputs, classes]}
        if self.network == "mlp":
            return {"kind": "mlp", "sizes": [inputs, *self.hidden, classes], **self.hidden_layers()}
        more = {"depth": self.depth} if self.network == "vit" else {"hidden": list(self.hidden)}
        return {"kind": self.network, "width": self.width, "outputs": classes, **more}

    def build_network(self) -> nn.Module:
        """A network of the kind asked for."""
        from neoteny import nn

        about, side = DATA[self.data], self.pixels_of_side
        inputs = about.colours * side**2
        if self.network == "linear":
            return nn.LinearNetwork(inputs, about.classes, "default")
        if self.network == "mlp":
            return nn.MLP(inputs, self.hidden, about.classes, initialisation="default", **self.hidden_arguments())
        if self.network == "resnet18":
            return nn.ResNet18(about.classes, self.width, hidden=self.hidden)
        if self.network == "vgg16":
            return nn.VGG16(about.classes, self.width, self.hidden, side)
        heads = next(heads for heads in (3, 2, 1) if self.width % heads == 0)
        return nn.VisionTransformer(
            about.classes, side, patch=side // 8, width=self.width, depth=self.depth, heads=heads, hidden=4 * self.width
        )

    def staged(
        self,
        seeds: Sequence[int],
        data_dir: str | Path | None,
        *,
        shares: Sequence[float] | np.ndarray,
        noises: Sequence[float] | np.ndarray,
        steps: Sequence[int],
        split: bool,
    ) -> StagedImages:
        """The stream: `split` keeps a third of the images back for the test, which is the official set otherwise."""
        from neoteny import data
        from neoteny.streams.augment import Augmentation
        from neoteny.streams.stages import StagedImages

        tested = self.test_images or None
        found = data.labelled(self.data, data_dir)
        moved = Augmentation(pad=min(4, self.pixels_of_side // 8), degrees=(0.0, 0.0)) if self.augment else None
        return StagedImages(
            found.train_images,
            found.train_labels,
            None if split else (found.test_images[:tested], found.test_labels[:tested]),
            seeds,
            shares=shares,
            noises=noises,
            steps=steps,
            batch_size=self.batch_size,
            count=self.count,
            side=self.pixels_of_side,
            augmentation=moved,
            pixels=self.scaling,
            source=self.data,
            flat=self.flat,
        )
