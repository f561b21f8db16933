"""Dropout behind every hidden activation, as a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import require_probability
from neoteny.errors import NetworkError
from neoteny.methods.base import Contract
from neoteny.methods.shared.architecture import Replacing

if TYPE_CHECKING:
    from torch import nn

    from neoteny.nn.surgery.replacing import Place


@dataclass(frozen=True, kw_only=True)
class WithDropout(Replacing):
    """Put dropout behind every hidden activation. In training

        h ← m h / (1 - p)    with m = 0 with probability p, else 1, drawn for each number

    In evaluation h stays as it is. The paper's p is the share that is kept, and it scales by p in evaluation. Here p is
    the share that is dropped, and the scale is in training, as in torch: the same in expectation. Weights keep their
    values. They keep their names too, but for those of activations with parameters.

    Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, "Dropout: a simple way to prevent neural networks from
    overfitting", JMLR 15, 2014 (Section 4); as a baseline: Dohare et al., Nature 632, 2024 (Extended Data Fig. 4b).

    Args:
        p: probability with which an activation is dropped; the authors drop half.

    Raises:
        SettingError: a p outside [0, 1).
        NetworkError: the network has dropout already.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithDropout(p=0.2), torch.zeros(1, 3))[1]
    Sequential(
      (0): ReLU()
      (1): Dropout(p=0.2, inplace=False)
    )
    """

    name: ClassVar[str] = "dropout"
    changes: ClassVar[str] = "dropout"
    avoid: ClassVar[str] = (
        "Against loss of plasticity itself: in the paper it makes that worse. It is here as a baseline, and against "
        "overfitting on few examples seen many times."
    )

    p: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings."""
        require_probability(self, "p")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(p=0.3)], [cls(p=0)]

    def inert(self) -> str | None:
        """With p = 0 nothing is dropped."""
        return "p = 0, so nothing is dropped" if self.p == 0 else None

    def module(self, old: nn.Module, place: Place) -> nn.Module:
        """Dropout behind the activation."""
        from torch import nn

        return nn.Sequential(old, nn.Dropout(self.p))

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """A copy of the network with dropout behind each hidden activation."""
        from torch.nn.modules.dropout import _DropoutNd

        there = next((name for name, module in model.named_modules() if isinstance(module, _DropoutNd)), None)
        if there is not None:
            raise NetworkError(f"The network has dropout already, {there!r}; set its p, or leave the method out.")
        return super().prepare(model, example_inputs)
