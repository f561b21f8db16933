"""What an optimizer of the laboratory is: settings and a pure update over dicts of tensors.

The library face rides on the user's own `torch.optim` optimizer. Inside a compiled stack of runs an optimizer must be
a pure function whose step size may differ between runs, which `torch.optim` does not offer; so the few that the papers
use stand here as formulas, and tests hold them to torch's.
"""

from __future__ import annotations

import copy
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import require_nonnegative
from neoteny.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]


class _LearningRate(ABCMeta):
    """Optimizers may be made with `learning_rate=`, which is `step_size=`."""

    if not TYPE_CHECKING:  # a type checker goes by the fields

        def __call__(cls, **settings: Any) -> Any:
            if "learning_rate" in settings:
                if "step_size" in settings:
                    raise SettingError(
                        f"{cls.__name__}: step_size and learning_rate are the same thing; give one of them."
                    )
                settings["step_size"] = settings.pop("learning_rate")
            return super().__call__(**settings)


@dataclass(frozen=True, kw_only=True)
class Optimizer(metaclass=_LearningRate):
    """Base of the laboratory's optimizers.

    Args:
        step_size: alpha > 0; `learning_rate` is taken for it as well.
    """

    step_size: float = 0.01
    name: ClassVar[str] = ""
    varies: ClassVar[tuple[str, ...]] = ("step_size",)
    counts: ClassVar[bool] = False
    """Whether the rule depends on the number of updates so far (a bias correction)."""

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "step_size")

    def settings(self) -> dict[str, Any]:
        """The settings as a plain dict."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The state of each trainable parameter before the first update."""
        return {name: {} for name in tensors}

    @abstractmethod
    def update(self, tensors: Tensors, grads: Tensors, optim: dict[str, Tensors], count: Tensors) -> None:
        """One update: replaces entries of `tensors` and of `optim[name]`.

        Args:
            tensors: parameters by name.
            grads: gradients by name; parameters without one stay.
            optim: state by parameter and name; a rule that counts keeps `step`, the updates of the parameter so far.
            count: for each parameter the number of updates, this one included, since each entry was made new;
                broadcasts against the parameter. Empty where the rule does not count.
        """

    def bind(self, values: Mapping[str, Any]) -> Optimizer:
        """The same optimizer with some settings replaced by values that are not checked (tensors of one run)."""
        bound = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(bound, name, value)
        return bound
