"""A linear prediction of a cumulant's discounted sum, learned from every step once."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from neoteny import compiling
from neoteny.checks import is_number, shown
from neoteny.errors import SettingError
from neoteny.linear.engines import Engine, RuleEngine, SwiftEngine
from neoteny.linear.features import finite
from neoteny.optim import Optimizer, SwiftTD
from neoteny.optim.signals import decay_of

__all__ = ["LinearPredictor", "engine_of"]


class LinearPredictor:
    r"""v(x) = w.x, the expected sum of future cumulants, each discounted by gamma for every step that it is away.

    Give it the features of every step and the cumulant that came with them. A discount of 1 step may be given by
    itself, as `discount=`: 0 says that the cumulant was the last of an episode and x the first features of the next
    one. With discount 0 throughout it is online regression on labels that come one step later.

    Args:
        features: n, how many features there are.
        rule: how it learns: a rule of `neoteny.optim` that follows a prediction, such as `SwiftTD`, `TrueOnlineTD`,
            `TIDBD` or `TraceSGD`.
        discount: gamma in [0, 1].
        trace: lambda in [0, 1].
        epsilon: SwiftTD alone: the share to which traces decay before they are left out.

    With `SwiftTD` and a C++ compiler a step on `Sparse` features costs as many operations as there are features with
    traces; otherwise as many as there are features.

    Raises:
        SettingError: a setting out of range; a rule that descends losses, or none.

    >>> from neoteny.linear import Sparse
    >>> learner = LinearPredictor(3, SwiftTD(step_size=0.05), discount=0.5, trace=0.9)
    >>> for _ in range(200):
    ...     before = learner.update(np.array([1.0, 0.0, 0.5]), cumulant=1.0)
    >>> round(learner.predict(Sparse([0, 2], [1.0, 0.5])), 2)
    2.0

    Source: Sutton, Machine Learning 3, 1988; for the rules see `neoteny.optim`.
    """

    def __init__(
        self,
        features: int,
        rule: Optimizer | None = None,
        *,
        discount: float = 0.99,
        trace: float = 0.95,
        epsilon: float = 1e-5,
    ):
        if not isinstance(features, Integral) or features < 1:
            raise SettingError(f"features = {features!r} is not a whole number >= 1; give how many there are.")
        self.features, self.discount, self.trace = int(features), finite(discount, "discount"), finite(trace, "trace")
        decay_of(self.discount, self.trace)
        self.engine = engine_of(self.features, SwiftTD() if rule is None else rule, epsilon)

    def predict(self, x: Any) -> float:
        """The prediction for features: a vector `[n]` or `Sparse`, NumPy or torch; nothing is learned.

        Raises:
            SettingError: another shape, or numbers that are not finite.
        """
        return self.engine.predict(x)

    def update(self, x: Any, cumulant: Any, discount: float | None = None) -> float:
        """Learn from the step to features x, with which the cumulant came.

        Args:
            x: features, as for `predict`.
            cumulant: the number that came with them; that of the first call is not used, as there is no step before it.
            discount: gamma of this step, if it is another than usual.

        Returns:
            The prediction for x that was made before learning.

        Raises:
            SettingError: another shape, or numbers that are not finite; nothing has been learned then.
        """
        gamma = self.discount if discount is None else finite(discount, "discount")
        return self.engine.step(x, finite(cumulant, "cumulant"), gamma, decay_of(gamma, self.trace))

    @property
    def weights(self) -> np.ndarray:
        """A copy of the weights, `[n]`."""
        return self.engine.weights()

    @property
    def step_sizes(self) -> np.ndarray | None:
        """The step size of each weight, `[n]`; None where all have one in common."""
        return self.engine.step_sizes()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on."""
        return self.engine.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; the learner must have been built with the same settings.

        Raises:
            CheckpointError: it belongs to another rule or another number of features.
        """
        self.engine.load_state_dict(state)


def engine_of(features: int, rule: Optimizer, epsilon: float) -> Engine:
    """The fastest engine for a rule.

    Raises:
        SettingError: the rule descends losses, or is none; epsilon is outside [0, 1).
    """
    if not (is_number(epsilon) and 0 <= epsilon < 1):
        raise SettingError(f"epsilon = {epsilon!r} is not a number in [0, 1); give a small one, such as 1e-5.")
    if not isinstance(rule, Optimizer):
        raise SettingError(f"rule = {shown(rule)} is no rule of neoteny.optim: give one such as SwiftTD().")
    if rule.follows == "loss":
        raise SettingError(
            f"{type(rule).__name__} descends losses, and this learner gives a prediction and its error: take SwiftTD, "
            "TrueOnlineTD, TIDBD or TraceSGD."
        )
    if isinstance(rule, SwiftTD) and compiling.compiler() is not None:
        return SwiftEngine(features, rule, epsilon)
    return RuleEngine(features, rule)
