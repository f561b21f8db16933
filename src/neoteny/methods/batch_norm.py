"""Batch norm in front of every hidden activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import require_fraction, require_nonnegative
from neoteny.errors import NetworkError
from neoteny.methods.shared.architecture import Normalising

if TYPE_CHECKING:
    from torch import nn

    from neoteny.nn.surgery.replacing import Place


@dataclass(frozen=True, kw_only=True)
class WithBatchNorm(Normalising):
    """Normalise what each hidden activation f reads, over the batch and for each unit by itself:

        f(γ (x - μ) / √(σ² + ε) + β),    μ and σ² the mean and variance of x over examples (and positions of a map)

    In evaluation μ and σ² are running averages of those seen in training; each batch moves them by the share `momentum`
    towards its own. γ begins at 1 and β at 0. All weights keep names and values.

    Ioffe & Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift",
    ICML 2015 (Algorithm 1).

    Args:
        epsilon: ε.
        momentum: share of a batch in the running averages.

    Raises:
        SettingError: a setting outside its range.
        NetworkError: a norm is there already, an activation reads a sequence of vectors, or `example_inputs` is a
            single example.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithBatchNorm(), torch.zeros(2, 3))[1][0].num_features
    8
    """

    name: ClassVar[str] = "batch-norm"
    avoid: ClassVar[str] = (
        "With one example at a step, where it is refused, or with a few; and where the distribution changes between "
        "batches faster than the running averages follow."
    )

    epsilon: float = 1e-5
    momentum: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "epsilon")
        require_fraction(self, "momentum")

    def norm(self, place: Place) -> nn.Module:
        """A batch norm of the fitting number of dimensions."""
        from torch import nn

        dims, norms = place.value.dim(), {-1: nn.BatchNorm1d, -2: nn.BatchNorm1d, -3: nn.BatchNorm2d}
        if place.channels == -1 and dims != 2:
            raise NetworkError(
                f"{place.name!r} reads an input of shape {list(place.value.shape)}, whose second dimension "
                "nn.BatchNorm1d would take for the units; use WithLayerNorm there."
            )
        if place.value.numel() == place.size:
            raise NetworkError(
                f"{place.name!r} reads an input of shape {list(place.value.shape)}: the variance over a single "
                "example is 0. Train on batches of two examples or more, and give one of them as example_inputs."
            )
        kind = norms.get(place.channels, nn.BatchNorm3d)
        options = {"device": place.value.device, "dtype": place.value.dtype}
        return kind(place.size, eps=self.epsilon, momentum=self.momentum, **options)
