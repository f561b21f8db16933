"""Dropout behind every hidden activation.

Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, "Dropout: a simple way to prevent neural networks from
overfitting", JMLR 15, 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import is_number, require
from neoteny.errors import NetworkError
from neoteny.methods.base import Contract
from neoteny.methods.shared.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Dropout(Architecture):
    """Drop hidden activations in training:

        h ← m h / (1 - p)    with m = 0 with probability p, else 1, for each number anew

    In evaluation h stays as it is. The paper writes p for the share that is kept and scales by it in evaluation; here
    it is the share that is dropped, and the scale is in training, as in torch: the same in expectation. Weights keep
    their values, and names too but for those of activations with parameters.

    Args:
        p: probability with which an activation is dropped; the authors drop half.

    Raises:
        SettingError: a p outside [0, 1).
        NetworkError: the network has dropout already.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, Dropout(p=0.2), torch.zeros(1, 3))[1]
    Sequential(
      (0): ReLU()
      (1): Dropout(p=0.2, inplace=False)
    )

    Source: Srivastava et al., JMLR 15, 2014, Section 4; as a baseline, Dohare et al., Nature 632, 2024,
    Extended Data Fig. 4b.
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
        require(self, "p", is_number(self.p) and 0 <= self.p < 1, "a probability in [0, 1)")

    @classmethod
    def contract(cls) -> Contract:
        """Active and still ones, for `neoteny.testing`."""
        return [cls(p=0.3)], [cls(p=0)]

    def inert(self) -> str | None:
        """With p = 0 nothing is dropped."""
        return "p = 0, so nothing is dropped" if self.p == 0 else None

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """A copy with dropout behind each activation."""
        from torch import nn
        from torch.nn.modules.dropout import _DropoutNd

        from neoteny.nn.rewriting import rewrite

        there = next((name for name, module in model.named_modules() if isinstance(module, _DropoutNd)), None)
        if there is not None:
            raise NetworkError(f"The network has dropout already, {there!r}; set its p, or leave the method out.")
        return rewrite(model, example_inputs, lambda old, place: nn.Sequential(old, nn.Dropout(self.p)))
