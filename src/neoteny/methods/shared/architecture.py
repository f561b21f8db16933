"""What methods have in common that change the network before training, and do nothing afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require_choice
from neoteny.methods.base import Contract, Method, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from neoteny.nn.concatenated import Concatenated

__all__ = ["Architecture", "Doubling"]


class Architecture(Method):
    """A method that is done once the network is prepared (`neoteny.prepare`)."""

    stage: ClassVar[Stage] = "architecture"
    memory: ClassVar[tuple[float, float]] = (0.0, 0.0)
    changes: ClassVar[str] = ""
    """What of the network it changes, which no second method may."""

    def excludes(self, other: Method) -> str | None:
        """Another method that changes the same."""
        same = isinstance(other, Architecture) and other.changes == self.changes and other.name != self.name
        return f"both change the network's {self.changes}" if same else None

    @classmethod
    def contract(cls) -> Contract:
        """Active and still ones, for `neoteny.testing`: on a prepared network the method is still."""
        return [cls()], [cls()]


@dataclass(frozen=True, kw_only=True)
class Doubling(Architecture, ABC):
    """The base of activations that give two numbers for each unit, in networks that are made narrower in return.

    Args:
        match: `parameters`, or `features` to give each layer half as many units, so that it has as many inputs as
            before and about half the parameters.

    Raises:
        SettingError: another `match`.
    """

    changes: ClassVar[str] = "activations"

    match: Literal["parameters", "features"] = "parameters"

    def __post_init__(self) -> None:
        """Check the settings."""
        require_choice(self, "match", ("parameters", "features"))

    @abstractmethod
    def activation(self) -> Callable[[int], Concatenated]:
        """What makes the activation, of the dimension along which the two numbers lie."""

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """A copy with the activations replaced and the widths scaled."""
        from neoteny.nn.resizing import double

        return double(model, example_inputs, self.activation(), self.match)
